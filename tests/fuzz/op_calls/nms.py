"""Random calls of the suppression of boxes: any numbers, thresholds, groups and misfits."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from op_inputs import boxes, explained, floats, integers
from torch import Tensor

from pyvqa import ops

SIZES = (0, 1, 2, 3, 5, 8, 17, 40)
THRESHOLDS = (0.5, 0.3, 0.7, 0.0, 1.0, -1.0, 1e300, float("nan"), float("inf"), float("-inf"))
FLOATS = (torch.float32,) * 5 + (torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.bool, torch.complex64)
INTEGERS = (torch.int64,) * 4 + (torch.uint8, torch.int8, torch.int16, torch.int32)


def draw(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and groups, which now and then do not fit."""
    count = rng.choice(SIZES)
    kinds = [rng.choice(OTHERS if rng.random() < 0.02 else FLOATS) for _ in range(2)]
    corners = boxes(rng, count, kinds[0])
    if rng.random() < 0.03:
        corners = floats(rng, (count, rng.randrange(6)), kinds[0])
    lengths = [count + (rng.random() < 0.02) for _ in range(2)]
    scores = floats(rng, lengths[:1], kinds[1])
    if rng.random() < 0.3 and not scores.is_complex():
        scores = (scores * 2).to(torch.int8).to(scores.dtype)  # ties
    return corners, scores, integers(rng, lengths[1:], rng.choice(INTEGERS))


def options(rng: random.Random) -> dict[str, Any]:
    flags = rng.getrandbits(3)
    return {
        "iou_threshold": rng.choice(THRESHOLDS),
        "inclusive": bool(flags & 1),
        "suppress_equal": bool(flags & 2),
        "order": "input" if flags & 4 else "score",
    }


def check(keep: Tensor, count: int) -> None:
    """The kept boxes exist, each once, and there is one if there is any box."""
    values = keep.tolist()
    assert keep.dtype == torch.int64
    assert len(set(values)) == len(values) <= count
    assert all(0 <= value < count for value in values)
    assert bool(values) == (count > 0)


def call_nms(rng: random.Random) -> None:
    corners, scores, _ = draw(rng)
    with explained("nms: "):
        check(ops.nms(corners, scores, **options(rng)), len(corners))


def call_batched_nms(rng: random.Random) -> None:
    corners, scores, idxs = draw(rng)
    with explained("nms: ", "idxs"):
        check(ops.batched_nms(corners, scores, idxs, **options(rng)), len(corners))


def call_nms_padded(rng: random.Random) -> None:
    corners, scores, idxs = draw(rng)
    with explained("nms: ", "idxs"):
        groups = idxs if rng.random() < 0.5 else None
        keep, kept = ops.nms_padded(corners, scores, idxs=groups, **options(rng))
        assert (keep[kept:] == -1).all()
        check(keep[:kept], len(corners))


CALLS: dict[str, Callable[[random.Random], None]] = {
    "nms": call_nms,
    "batched_nms": call_batched_nms,
    "nms_padded": call_nms_padded,
}
