"""Random calls of `paste_masks`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from op_inputs import SPECIAL, boxes, explained, floats

from pyvqa.ops import paste_masks

TYPES = (torch.float32,) * 6 + (torch.float64, torch.float16, torch.bfloat16, torch.int64)


def _size(rng: random.Random) -> Any:
    height, width = rng.choice((0, 1, 7, 40)), rng.choice((0, 1, 5, 63, 64, 65, 130))
    form = rng.randrange(60)
    odd = {0: (-1, width), 1: (2**24, 5), 2: (height, 5.5), 3: (height,), 4: (2**70, 1)}
    return odd.get(form, (height, width))


def _paste(rng: random.Random) -> None:
    count = rng.randrange(4)
    side = (rng.randrange(1, 9), rng.randrange(1, 9)) if rng.random() < 0.95 else (0, 33)
    masks = floats(rng, (count, *side), rng.choice(TYPES))
    around = boxes(rng, count + (rng.random() < 0.02), rng.choice(TYPES))
    if rng.random() < 0.2:
        around = around * rng.choice((1e2, 1e5, 1e7, 1e8))
    size = _size(rng)
    packed = rng.random() < 0.5
    with explained("paste_masks"):
        pasted = paste_masks(
            masks,
            around,
            size,
            threshold=rng.choice((0.5, 0.5, 0.3, *SPECIAL)),
            rule=rng.choice(("torchvision", "detectron")),
            output="packed" if packed else "dense",
        )
        height, width = size
        if packed:
            assert pasted.bits.shape == (count, height, (width + 63) // 64)
        else:
            assert pasted.shape == (count, height, width)


CALLS: dict[str, Callable[[random.Random], None]] = {"paste_masks": _paste}
