"""Random calls of `paste_masks`."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyvqa.ops import paste_masks

ODD = (float("nan"), float("inf"), -float("inf"), -0.0, 1e38, -1e38, 2.0**30, -(2.0**30), 1e-45)
TYPES = (torch.float32,) * 6 + (torch.float64, torch.float16, torch.bfloat16, torch.int64)


def _viewed(rng: random.Random, values: Tensor) -> Tensor:
    """The same shape behind other strides."""
    form = rng.randrange(8)
    if form == 0:
        return values.transpose(-1, -2).contiguous().transpose(-1, -2)
    if form == 1:
        return values.repeat_interleave(2, dim=-1)[..., ::2]
    if form == 2 and len(values):
        return values[:1].expand(values.shape)
    return values


def _sprinkled(rng: random.Random, values: Tensor) -> Tensor:
    for _ in range(rng.randrange(1, 4) if values.numel() and rng.random() < 0.3 else 0):
        values.view(-1)[rng.randrange(values.numel())] = rng.choice(ODD)
    return values


def _boxes(rng: random.Random, count: int, reach: float) -> Tensor:
    rows = []
    for _ in range(count):
        left, top = rng.uniform(-reach, reach), rng.uniform(-reach, reach)
        right, bottom = left + rng.uniform(-2, reach), top + rng.uniform(-2, reach)
        rows.append((left, top, right, bottom))
    return torch.tensor(rows, dtype=torch.float32).reshape(count, 4)


def _size(rng: random.Random) -> Any:
    height, width = rng.choice((0, 1, 7, 40)), rng.choice((0, 1, 5, 63, 64, 65, 130))
    form = rng.randrange(60)
    odd = {0: (-1, width), 1: (2**24, 5), 2: (height, 5.5), 3: (height,), 4: (2**70, 1)}
    return odd.get(form, (height, width))


def _paste(rng: random.Random) -> None:
    count = rng.randrange(4)
    side = (rng.randrange(1, 9), rng.randrange(1, 9)) if rng.random() < 0.95 else (0, 33)
    masks = _sprinkled(rng, torch.rand(count, *side)).to(rng.choice(TYPES))
    extra = rng.random() < 0.02
    boxes = _sprinkled(rng, _boxes(rng, count + extra, rng.choice((5.0, 60.0, 1e4, 1e9))))
    size = _size(rng)
    output = rng.choice(("dense", "packed"))
    try:
        pasted = paste_masks(
            _viewed(rng, masks),
            _viewed(rng, boxes.to(rng.choice(TYPES))),
            size,
            threshold=rng.choice((0.5, 0.5, 0.3, *ODD)),
            rule=rng.choice(("torchvision", "detectron")),
            output=output,  # type: ignore[arg-type]
        )
    except (RuntimeError, TypeError, ValueError) as error:
        if "paste_masks: " not in str(error):
            raise
        return
    if output == "packed":
        assert pasted.bits.shape == (count, size[0], (size[1] + 63) // 64)
    else:
        assert pasted.shape == (count, *size)


CALLS: dict[str, Callable[[random.Random], None]] = {"paste_masks": _paste}
