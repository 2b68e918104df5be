"""The question encoder's GRU against numbers recorded from the original code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from murel_kit import OUTPUT, cases, check_gradients, gradients
from torch import Tensor

from pyvqa.nn.gru import GruMasks, PackedGru
from pyvqa.nn.recurrent import pack_full


def joined(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original's layer per gate, as our weights for all gates."""

    def stacked(letter: str, part: str) -> Tensor:
        return torch.cat([tensors[f"gru_cell.weight_{letter}{gate}.{part}"] for gate in "rin"])

    return {
        "directions.0.weight_input": stacked("i", "weight"),
        "directions.0.weight_hidden": stacked("h", "weight"),
        "directions.0.bias_input": stacked("i", "bias"),
    }


@pytest.mark.kit("murel", "gru.safetensors")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_gru(case: Path, dtype: torch.dtype):
    masked = 0
    for entry in cases(case):
        x = entry.of("in", dtype)["x"].requires_grad_()
        expected = entry.of("out", dtype)["y"]
        gru = PackedGru(x.shape[2], expected.shape[2], dropout=0.25).to(dtype)
        gru.load_state_dict(joined(entry.of("w", dtype)))
        masks, stored = None, entry.of("mask", dtype)
        if stored:
            inputs, hidden = ([stored[f"{k}{gate}"] for gate in "rin"] for k in "ih")
            masks = GruMasks(torch.stack(inputs), torch.stack(hidden))
            masked += 1
        packing = pack_full(x.shape[0], x.shape[1], x.device)
        gru.train(masks is not None)
        y = packing.pad(gru(packing.pack(x), packing, masks))
        torch.testing.assert_close(y, expected, **OUTPUT[dtype])
        y.backward(entry.of("gout", dtype)["y"])
        relative = 1e-9 if dtype == torch.float64 else 1e-3
        check_gradients(gradients(gru), joined(entry.of("gw", dtype)), relative, entry.name)
        check_gradients({"x": x.grad}, entry.of("gin", dtype), relative, entry.name)
    assert masked
