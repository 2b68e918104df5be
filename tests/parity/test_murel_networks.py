"""Whole networks, MuRel and the attention baseline, against the original code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from murel_kit import OUTPUT, cases, check_gradients, gradients
from murel_networks import WAYS, network, renamed, take
from torch.nn import functional as F

from pyvqa.systems.murel.build import build_network


@pytest.mark.kit("murel", "networks.safetensors")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_networks(case: Path, dtype: torch.dtype, way: str, monkeypatch: pytest.MonkeyPatch):
    take(way, monkeypatch)
    kinds = set()
    for entry in cases(case):
        inputs, expected = entry.of("in", dtype), entry.of("out", dtype)
        words = [""] + [str(k) for k in range(entry.settings["vocab"])]
        config = network(entry.settings)
        if config.attention is not None:
            hidden = entry.of("w", dtype).get("attention.linear0.bias")
            config.attention.hidden = 512 if hidden is None else len(hidden)
        model = build_network(config, words, expected["logits"].shape[1]).to(dtype).eval()
        model.load_state_dict(renamed(entry.of("w", dtype)))
        visual = inputs["visual"].requires_grad_()
        lengths = inputs["lengths"].flatten()
        logits, _ = model(inputs["question"], lengths, visual, inputs["norm_coord"])
        torch.testing.assert_close(
            logits, expected["logits"], **OUTPUT[dtype], msg=lambda m, n=entry.name: f"{n} {m}"
        )
        vector = model.question(inputs["question"], lengths).vector
        torch.testing.assert_close(vector, expected["q"], **OUTPUT[dtype])
        loss = F.cross_entropy(logits, inputs["class_id"].flatten())
        torch.testing.assert_close(loss, expected["loss"].squeeze(), **OUTPUT[dtype])
        loss.backward()
        relative = 1e-9 if dtype == torch.float64 else 2e-2
        check_gradients(gradients(model), renamed(entry.of("gw", dtype)), relative, entry.name)
        check_gradients({"visual": visual.grad}, entry.of("gin", dtype), relative, entry.name)
        kinds.add(entry.settings["net"])
    assert kinds == {"MuRelNet", "VQANet"}
