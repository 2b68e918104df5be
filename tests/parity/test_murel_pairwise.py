"""Pairwise relations against numbers recorded from the original code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from murel_kit import OUTPUT, cases, check_gradients, gradients
from murel_networks import pairwise, renamed, under

from pyvqa.systems.murel.build import build_pairwise
from pyvqa.systems.murel.model.pairwise import Pairwise
from pyvqa.systems.murel.model.reference import relate_pairs

PRECISIONS = [torch.float64, torch.float32]


def forward(module: Pairwise, x, coordinates, *, reference: bool):
    if reference:
        return relate_pairs(module, x, coordinates)
    return module(x, module.prepare(coordinates))


@pytest.mark.kit("murel", "pairwise.safetensors")
@pytest.mark.parametrize("reference", [False, True], ids=["by node", "by pair"])
@pytest.mark.parametrize("dtype", PRECISIONS, ids=str)
def test_pairwise(case: Path, dtype: torch.dtype, reference: bool):
    for entry in cases(case):
        prefix = "cells.0.pairwise."
        weights = renamed({f"cell.pairwise_module.{k}": v for k, v in entry.of("w", dtype).items()})
        inputs = entry.of("in", dtype)
        x = inputs["x"].requires_grad_()
        module = build_pairwise(pairwise(entry.settings), x.shape[2]).to(dtype).eval()
        module.load_state_dict(under(weights, prefix))
        y, winner = forward(module, x, inputs["coords"], reference=reference)
        expected = entry.of("out", dtype)
        torch.testing.assert_close(
            y, expected["y"], **OUTPUT[dtype], msg=lambda m, n=entry.name: f"{n} {m}"
        )
        if entry.settings["agg"]["type"] == "max":
            differing = winner != expected["argmax"]
            if dtype == torch.float64:
                assert not differing.any(), entry.name
            else:  # rounding decides between neighbours that are this close
                assert differing.float().mean() < 2e-3, entry.name
        else:
            assert winner is None
        y.backward(entry.of("gout", dtype)["y"])
        relative = 1e-9 if dtype == torch.float64 else 2e-2
        grads = {f"cell.pairwise_module.{k}": v for k, v in entry.of("gw", dtype).items()}
        check_gradients(gradients(module), under(renamed(grads), prefix), relative, entry.name)
        # The original has no gradient where no feature is looked at but through the residual.
        check_gradients({"x": x.grad}, {"x": entry.of("gin", dtype)["x"]}, relative, entry.name)
