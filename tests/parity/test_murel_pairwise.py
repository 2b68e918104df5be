"""Pairwise relations against numbers recorded from the original code."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from murel_kit import OUTPUT, cases, check_gradients, gradients
from murel_networks import pairwise, renamed, under

from pyvqa.systems.murel.build import build_pairwise
from pyvqa.systems.murel.model.pairwise import Pairwise
from pyvqa.systems.murel.model.reference import relate_pairs, relations

PRECISIONS = [torch.float64, torch.float32]


def forward(module: Pairwise, x, coordinates, way: str):
    if way == "pairs":
        return relate_pairs(module, x, coordinates)
    relate = module.by_blocks if way == "blocks" else module
    return relate(x, module.prepare(coordinates))


@torch.no_grad()
def nearly_equal(module: Pairwise, x, coordinates) -> torch.Tensor:
    """Say where rounding may decide which neighbour wins: [B, N, D]."""
    exact = relations(copy.deepcopy(module).double(), x.double(), coordinates.double())
    if exact.shape[2] == 1:
        return torch.zeros_like(exact[:, :, 0], dtype=torch.bool)
    first, second = exact.topk(2, dim=2).values.unbind(2)
    return first - second <= 1e-5


@pytest.mark.kit("murel", "pairwise.safetensors")
@pytest.mark.parametrize("way", ["kernel", "blocks", "pairs"])
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_pairwise(case: Path, dtype: torch.dtype, way: str):
    for entry in cases(case):
        prefix = "cells.0.pairwise."
        weights = renamed({f"cell.pairwise_module.{k}": v for k, v in entry.of("w", dtype).items()})
        inputs = entry.of("in", dtype)
        x = inputs["x"].requires_grad_()
        module = build_pairwise(pairwise(entry.settings), x.shape[2]).to(dtype).eval()
        module.load_state_dict(under(weights, prefix))
        y, winner = forward(module, x, inputs["coords"], way)
        expected = entry.of("out", dtype)
        torch.testing.assert_close(
            y, expected["y"], **OUTPUT[dtype], msg=lambda m, n=entry.name: f"{n} {m}"
        )
        if entry.settings["agg"]["type"] == "max":
            differing = winner != expected["argmax"]
            close = (
                torch.zeros_like(differing)
                if dtype == torch.float64
                else nearly_equal(module, x, inputs["coords"])
            )
            assert not (differing & ~close).any(), entry.name
        else:
            assert winner is None
        y.backward(entry.of("gout", dtype)["y"])
        relative = 1e-9 if dtype == torch.float64 else 2e-2
        grads = {f"cell.pairwise_module.{k}": v for k, v in entry.of("gw", dtype).items()}
        check_gradients(gradients(module), under(renamed(grads), prefix), relative, entry.name)
        check_gradients({"x": x.grad}, {"x": entry.of("gin", dtype)["x"]}, relative, entry.name)
