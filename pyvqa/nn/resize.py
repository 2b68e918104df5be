"""Smooth resizing of bytes in fixed point, as Pillow does it.

A triangle as wide as the shrinking, weights in 22-bit fixed point, along rows and then along
columns with bytes in between. (Pillow 13 takes the columns first where that is less work; for
pictures that shrink alike on both sides it does not.) Pictures that are black almost everywhere,
such as one object cut out, are resized where they are not: the result is the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

_BITS = 22


class Taps(NamedTuple):
    """What each of T output samples takes from up to K neighbouring input samples."""

    first: Tensor  # int64 [T]
    weights: Tensor  # int32 [K, T] in 2^-22
    last: Tensor  # int64 [T]


@lru_cache(maxsize=64)
def axis_taps(length: int, target: int) -> Taps:
    """Plan the resizing of an axis of `length` samples to `target` samples."""
    scale = length / target
    reach = max(scale, 1.0)
    centre = (torch.arange(target, dtype=torch.float64) + 0.5) * scale
    first = (centre - reach + 0.5).long().clamp(min=0)
    end = (centre + reach + 0.5).long().clamp(max=length)
    place = first + torch.arange(int((end - first).max()))[:, None]  # [K, T]
    weight = (1 - (place - centre + 0.5).abs() / reach).clamp(min=0) * (place < end)
    weight = weight / weight.sum(0)
    return Taps(first, (weight * (1 << _BITS) + 0.5).int(), end - 1)


def resize_bytes(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize a picture, uint8 [H, W, C] -> [h, w, C]."""
    full = (pixels.shape[0], pixels.shape[1])
    return resize_patch(pixels, (0, 0), full, size)[0]


def resize_patch(
    patch: Tensor, origin: tuple[int, int], full: tuple[int, int], size: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Resize a picture of `full` (height, width) that is black outside of a patch.

    patch: uint8 [H', W', C] whose first pixel is at `origin` (y, x). Returns the part of the
    result, of `size`, that is not surely black, and where it begins (y, x).
    """
    # Each axis in its turn comes first: rows of memory are then moved whole.
    x, left = _resample(patch.transpose(0, 1), origin[1], full[1], size[1])
    x, top = _resample(x.transpose(0, 1), origin[0], full[0], size[0])
    return x.to(torch.uint8), (top, left)


def _resample(x: Tensor, origin: int, length: int, target: int) -> tuple[Tensor, int]:
    """Resample [L', ...] along its first axis, on which it is at `origin` of `length`: int32."""
    first, weights, last = axis_taps(length, target)
    end = origin + x.shape[0]
    low = int(torch.searchsorted(last, origin))  # the first that reaches the patch
    high = max(low, int(torch.searchsorted(first, end)))
    place = first[low:high] + torch.arange(weights.shape[0])[:, None] - origin  # [K, T']
    weights = weights[:, low:high] * ((place >= 0) & (place < x.shape[0]))
    place = place.clamp(0, x.shape[0] - 1).to(x.device)
    weights = weights.to(x.device).view(*weights.shape, *[1] * (x.dim() - 1))
    x = x.to(torch.int32, memory_format=torch.contiguous_format)
    total = x.new_zeros(high - low, *x.shape[1:])
    for index, weight in zip(place, weights, strict=True):
        total.addcmul_(x.index_select(0, index), weight)
    # At most 255 * (2^22 + a few roundings) + 2^21, which int32 holds.
    return total.add_(1 << (_BITS - 1)).bitwise_right_shift_(_BITS).clamp_(0, 255), low
