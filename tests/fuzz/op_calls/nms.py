"""Random calls of the suppression of boxes."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
from torch import Tensor

from pyvqa import ops

SIZES = (0, 1, 2, 3, 5, 8, 17, 40)
NUMBERS = (0.0, -0.0, 1.0, 5.0, 9.5, 30.0, -7.0, 1e38, -1e38, 3e-39)
NUMBERS += (float("nan"), float("inf"), float("-inf"))
THRESHOLDS = (0.5, 0.3, 0.7, 0.0, 1.0, -1.0, 1e300, float("nan"), float("inf"), float("-inf"))
FLOATS = (torch.float32,) * 5 + (torch.float64, torch.float16, torch.bfloat16)
OTHERS = (torch.int64, torch.bool, torch.complex64)
INTEGERS = (torch.int64,) * 4 + (torch.uint8, torch.int8, torch.int16, torch.int32, torch.bool)
POOL = torch.rand(4000, generator=torch.Generator().manual_seed(0))
GROUPS = (0, 1, 2, -1, 7, 2**31, -(2**63), 2**63 - 1)


def _laid_out(tensor: Tensor, rng: random.Random) -> Tensor:
    """The same values as they are, behind every second place, or as columns of something wider."""
    kind = rng.randrange(6)
    if kind == 0:
        return tensor.repeat_interleave(2, 0)[::2]
    if kind == 1 and tensor.dim() == 2:
        return tensor.T.contiguous().T
    if kind == 2 and tensor.dim() == 2:
        return torch.cat([tensor, tensor], 1)[:, : tensor.shape[1]]
    if kind == 3 and tensor.shape[0] > 0:
        return tensor[:1].expand_as(tensor)
    return tensor


def _floats(shape: tuple[int, ...], rng: random.Random) -> Tensor:
    dtype = rng.choice(OTHERS) if rng.random() < 0.02 else rng.choice(FLOATS)
    size, start = math.prod(shape), rng.randrange(3000)
    tensor = POOL[start : start + size].view(shape) * rng.choice((1, 30, 1000, 1e38))
    if rng.random() < 0.5 and size > 0:
        flat = tensor.view(-1)
        for _ in range(rng.randrange(4)):
            flat[rng.randrange(len(flat))] = rng.choice(NUMBERS)
    return _laid_out(tensor.to(dtype), rng)


def _arguments(rng: random.Random) -> tuple[Tensor, Tensor, Tensor]:
    count = rng.choice(SIZES)
    columns = 4 if rng.random() < 0.97 else rng.randrange(6)
    boxes = _floats((count, columns), rng)
    if columns == 4 and boxes.is_floating_point() and rng.random() < 0.8:
        boxes = torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    wrong = rng.random() < 0.03
    scores = _floats((count + 1,) if wrong else (count,), rng)
    values = [rng.choice(GROUPS) for _ in range(rng.choice(SIZES) if wrong else count)]
    idxs = torch.tensor(values, dtype=torch.int64).to(rng.choice(INTEGERS))
    return boxes, scores, _laid_out(idxs, rng)


def _call(function: Callable[[Tensor, Tensor, Tensor], Tensor], rng: random.Random) -> None:
    boxes, scores, idxs = _arguments(rng)
    try:
        keep = function(boxes, scores, idxs)
    except (RuntimeError, TypeError) as error:
        if "nms: " in str(error) or "idxs" in str(error):
            return
        raise
    values = keep.tolist()
    assert keep.dtype == torch.int64
    assert len(set(values)) == len(values) <= len(boxes)
    assert all(0 <= value < len(boxes) for value in values)
    assert bool(values) == bool(len(boxes))


def _options(rng: random.Random) -> dict[str, bool | str]:
    flags = rng.getrandbits(3)
    return {
        "inclusive": bool(flags & 1),
        "suppress_equal": bool(flags & 2),
        "order": "input" if flags & 4 else "score",
    }


def _padded(boxes: Tensor, scores: Tensor, idxs: Tensor | None, rng: random.Random) -> Tensor:
    keep, count = ops.nms_padded(boxes, scores, rng.choice(THRESHOLDS), idxs=idxs, **_options(rng))
    assert (keep[count:] == -1).all()
    return keep[:count]


def call_nms(rng: random.Random) -> None:
    _call(lambda b, s, _: ops.nms(b, s, rng.choice(THRESHOLDS), **_options(rng)), rng)


def call_batched_nms(rng: random.Random) -> None:
    _call(lambda b, s, i: ops.batched_nms(b, s, i, rng.choice(THRESHOLDS), **_options(rng)), rng)


def call_nms_padded(rng: random.Random) -> None:
    grouped = rng.random() < 0.5
    _call(lambda b, s, i: _padded(b, s, i if grouped else None, rng), rng)


CALLS: dict[str, Callable[[random.Random], None]] = {
    "nms": call_nms,
    "batched_nms": call_batched_nms,
    "nms_padded": call_nms_padded,
}
