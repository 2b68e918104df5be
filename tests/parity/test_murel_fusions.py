"""All fusions against numbers recorded from the original code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from murel_kit import OUTPUT, cases, check_gradients, gradients

from pyvqa.nn.fusions import FUSIONS, Fusion

PRECISIONS = [torch.float64, torch.float32]


def build(settings: dict[str, Any]) -> Fusion:
    ignored = ("type", "input_dims", "output_dim", "batch", "n_params")
    options = {k: v for k, v in settings.items() if k not in ignored}
    if settings["type"] == "tucker":
        options.pop("shared", None)  # has no effect there
    return FUSIONS[settings["type"]](settings["input_dims"], settings["output_dim"], **options)


@pytest.mark.kit("murel", "fusions.safetensors")
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_fusions(case: Path, dtype: torch.dtype):
    seen = set()
    for entry in cases(case):
        fusion = build(entry.settings).to(dtype).eval()
        fusion.load_state_dict(entry.of("w", dtype))
        assert fusion.n_params == entry.settings["n_params"], entry.name
        inputs = {k: v.requires_grad_() for k, v in entry.of("in", dtype).items()}
        y = fusion(inputs["x0"], inputs["x1"])
        torch.testing.assert_close(
            y, entry.of("out", dtype)["y"], **OUTPUT[dtype], msg=lambda m, n=entry.name: f"{n} {m}"
        )
        y.backward(entry.of("gout", dtype)["y"])
        relative = 1e-9 if dtype == torch.float64 else 1e-3
        check_gradients(gradients(fusion), entry.of("gw", dtype), relative, entry.name)
        ours = {k: v.grad for k, v in inputs.items()}
        check_gradients(ours, entry.of("gin", dtype), relative, entry.name)
        seen.add(entry.settings["type"])
    assert seen == set(FUSIONS)
