"""Pasting 100 masks of 28 x 28 against torchvision: dense as torchvision gives them, and packed.

Boxes have sides of 20 to 200 pixels, log-uniform, cut to the canvas; mask values are uniform.
Equality of every pixel first. It prints a table:

    pytest benchmarks/ops/bench_paste.py -s
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import rivals
import timing
import torch
from torch import Tensor

from pyvqa.ops import paste_masks

MASKS, SIDE = 100, 28


def inputs(height: int, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    sides = torch.exp(torch.rand(MASKS, 2, generator=generator) * math.log(10)) * 20
    centres = torch.rand(MASKS, 2, generator=generator) * torch.tensor([width, height])
    boxes = torch.cat([centres - sides / 2, centres + sides / 2], dim=1)
    limits = torch.tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    return torch.rand(MASKS, SIDE, SIDE, generator=generator), boxes


@pytest.fixture(scope="module")
def rival() -> Callable[..., Tensor]:
    rivals.torchvision_ops()
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    return paste_masks_in_image


@pytest.mark.parametrize(("width", "height", "target"), [(480, 320, 80), (640, 480, 100)])
def test_paste_masks(
    width: int, height: int, target: float, rival: Callable[..., Tensor], benchmark: Any
) -> None:
    torch.set_num_threads(1)
    masks, boxes = inputs(height, width)

    def dense() -> Tensor:
        return paste_masks(masks, boxes, (height, width))

    def packed() -> Tensor:
        return paste_masks(masks, boxes, (height, width), output="packed").bits

    def theirs() -> Tensor:
        return rival(masks[:, None], boxes, (height, width)) >= 0.5

    assert torch.equal(dense(), theirs()[:, 0])
    bits = (packed()[..., None] >> torch.arange(64) & 1).bool().flatten(2)
    assert torch.equal(bits[..., :width], dense())
    for case, ours in (("dense", dense), ("packed", packed)):
        timing.compare(
            "paste_masks",
            f"{MASKS} masks {SIDE}x{SIDE} into {width}x{height}, {case}",
            ours=ours,
            rival=theirs,
            rival_name="torchvision",
            target=target,
        )
    benchmark.pedantic(dense, rounds=20, warmup_rounds=2)
