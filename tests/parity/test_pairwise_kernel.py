"""The pairwise kernel against MuRel's pairwise fusion: every kit case that keeps the largest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from pyvqa.ops import PairLayout, pairwise_max

PARTS = ("feat", "coord")


def factors(weights: dict[str, Tensor], part: str, side: int, inputs: Tensor) -> list[Tensor]:
    """The merged projections of one operand of a Block fusion, chunk after chunk."""
    prefix = f"f_{part}_module."
    name = f"{prefix}linear{side}"
    projected = functional.linear(inputs, weights[f"{name}.weight"], weights[f"{name}.bias"])
    merges = [
        (weights[f"{key}.weight"], weights[f"{key}.bias"])
        for key in (f"{prefix}merge_linears{side}.{c}" for c in range(len(weights)))
        if f"{key}.weight" in weights
    ]
    chunks = projected.split([weight.shape[1] for weight, _ in merges], dim=-1)
    return [functional.linear(c, *merge) for c, merge in zip(chunks, merges, strict=True)]


def layout_of(fusion: dict[str, int], outputs: list[Tensor]) -> PairLayout:
    rank = fusion["rank"]
    return PairLayout.of([o.shape[-1] // rank for o in outputs], rank, "each")


def run_case(
    settings: dict[str, dict[str, int]], weights: dict[str, Tensor], x: Tensor, coords: Tensor
) -> tuple[Tensor, Tensor]:
    used = [part for part in PARTS if settings[f"fusion_{part}"]]
    inputs = {"feat": x, "coord": coords}
    sides = [[factors(weights, part, side, inputs[part]) for part in used] for side in (0, 1)]
    layouts = [
        layout_of(settings[f"fusion_{part}"], chunks)
        for part, chunks in zip(used, sides[0], strict=True)
    ]
    layout = layouts[0] if len(layouts) == 1 else layouts[0] + layouts[1]
    left, right = (torch.cat([c for part in side for c in part], dim=-1) for side in sides)
    outs = [f"f_{part}_module.linear_out" for part in used]
    weight = torch.cat([weights[f"{name}.weight"] for name in outs], dim=1)
    bias = torch.stack([weights[f"{name}.bias"] for name in outs]).sum(0)
    out, winners = pairwise_max(left, right, weight, bias, layout=layout)
    return (out + x if settings["residual"] else out), winners


def relative_error(found: Tensor, expected: Tensor) -> float:
    difference = (found.double() - expected).norm()
    return float(difference / expected.norm().clamp(min=1e-30))


@pytest.mark.kit("murel", "pairwise.safetensors")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_every_case(case: Path, dtype: torch.dtype) -> None:
    tensors = load_file(case)
    every = json.loads(case.with_suffix(".json").read_text())
    largest = {name: s for name, s in every.items() if s["agg"]["type"] == "max"}
    assert len(largest) >= 7
    double = dtype == torch.float64
    for name, settings in largest.items():

        def group(kind: str, name: str = name) -> dict[str, Tensor]:
            prefix = f"{name}/{kind}/"
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        leaves = {k: v.to(dtype).requires_grad_() for k, v in (group("w") | group("in")).items()}
        out, winners = run_case(settings, leaves, leaves["x"], leaves["coords"])
        expected = group("out")
        torch.testing.assert_close(
            out.double(), expected["y"], rtol=1e-9 if double else 0, atol=1e-9 if double else 2e-5
        )
        agreement = (winners == expected["argmax"]).double().mean()
        assert float(agreement) == 1.0 if double else float(agreement) > 0.99, name
        out.backward(group("gout")["y"].to(dtype))
        gradients = group("gw") | group("gin")
        for key, exact in gradients.items():
            found = leaves[key].grad
            if found is None:  # not an input of this case's fusions
                assert not exact.any()
                continue
            assert relative_error(found, exact) < (1e-9 if double else 2e-2), (name, key)
