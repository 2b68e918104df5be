"""The MuRel cell against numbers recorded from the original code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from murel_kit import OUTPUT, cases, check_gradients, gradients
from murel_networks import WAYS, relation, renamed, take, under

from pyvqa.systems.murel.build import build_cell


@pytest.mark.kit("murel", "cell.safetensors")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_cell(case: Path, dtype: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch):
    take(way, monkeypatch)
    for entry in cases(case):
        config = relation(entry.settings, steps=1)
        inputs = entry.of("in", dtype)
        question, regions = (inputs[k].requires_grad_() for k in ("q", "mm"))
        cell = build_cell(config, question.shape[1], regions.shape[2]).to(dtype).eval()
        weights = renamed({f"cell.{k}": v for k, v in entry.of("w", dtype).items()})
        cell.load_state_dict(under(weights, "cells.0."))
        y = cell(regions, cell.prepare(question, inputs["coords"])).regions
        torch.testing.assert_close(y, entry.of("out", dtype)["y"], **OUTPUT[dtype])
        y.backward(entry.of("gout", dtype)["y"])
        relative = 1e-9 if dtype == torch.float64 else 2e-2
        expected = renamed({f"cell.{k}": v for k, v in entry.of("gw", dtype).items()})
        check_gradients(gradients(cell), under(expected, "cells.0."), relative, entry.name)
        ours = {"q": question.grad, "mm": regions.grad}
        check_gradients(ours, entry.of("gin", dtype), relative, entry.name)
