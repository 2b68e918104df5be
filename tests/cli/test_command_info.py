"""`pyvqa info`: what was built, and why not the rest."""

from __future__ import annotations

import json

import pytest
import torch

from pyvqa import ops
from pyvqa.cli import main as cli
from pyvqa.inventory import inventory


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert f"torch {torch.__version__}" in text
    assert f"{ops.isa()} kernels, {torch.get_num_threads()} threads" in text
    assert "\nmodels    " in text
    assert "ns-vqa-clevr" in text
    for kernel in ("execute", "execute_trace", "verify"):
        assert f"\n{kernel} " in text
    if ops.has_cuda():
        assert "CUDA      kernels for" in text
    else:
        assert f"CUDA      no kernels: {ops.cuda_missing()}" in text


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == inventory()
    assert found["kernels"]["execute"] == {"CPU": True, "CUDA": ops.has_cuda()}
