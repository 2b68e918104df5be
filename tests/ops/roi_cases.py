"""Maps, regions and layouts that the tests of RoIAlign share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ops.helpers import strided

DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
TOLERANCE = {
    torch.float32: 1e-5,
    torch.float64: 1e-12,
    torch.bfloat16: 2**-7,
    torch.float16: 2**-9,
}
INF, NAN = math.inf, math.nan


def make(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last)


def random_rois(count: int, images: int, side: float, seed: int = 0) -> Tensor:
    """Regions inside, across and outside of images of `side` pixels, some of negative size."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 4, generator=generator) * 1.6 * side - 0.3 * side
    ordered = torch.cat(
        [corners[:, :2].minimum(corners[:, 2:]), corners[:, :2].maximum(corners[:, 2:])], dim=1
    )
    boxes = torch.where(torch.arange(count)[:, None] % 5 == 4, corners, ordered)
    image = torch.randint(0, images, (count, 1), generator=generator)
    return torch.cat([image.float(), boxes], dim=1)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda t: t,
    "channels_last": last,
    "strided": strided,
    "transposed": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "inner_part": lambda t: last(torch.nn.functional.pad(t, (1, 2, 1, 1)))[:, :, 1:-1, 1:-2],
}


def pyramid(
    dtype: torch.dtype = torch.float32, channels: int = 19, layout: str = "contiguous"
) -> tuple[list[Tensor], Tensor, Tensor, list[float]]:
    """Two levels of three images, 40 regions on them, and the levels' scales."""
    maps = [make(3, channels, 20, 31, seed=1), make(3, channels, 10, 16, seed=2)]
    maps = [LAYOUTS[layout](m.to(dtype)) for m in maps]
    levels = torch.arange(40) % 3 % 2
    return maps, random_rois(40, 3, 80.0), levels, [0.25, 0.125]


def op_arguments(
    dtype: torch.dtype = torch.float32, channels: int = 19, layout: str = "contiguous"
) -> tuple[Any, ...]:
    maps, rois, levels, scales = pyramid(dtype, channels, layout)
    return maps, rois, levels, scales, 3, 4, 2, True


def backward_arguments(
    dtype: torch.dtype = torch.float32, channels: int = 19, channels_last: bool = False
) -> tuple[Any, ...]:
    maps, rois, levels, scales = pyramid(dtype, channels)
    grad = make(40, channels, 3, 4, seed=3, dtype=dtype)
    sizes = [3, channels, *(n for m in maps for n in m.shape[2:])]
    return grad, rois, levels, scales, sizes, 2, True, channels_last


def assert_near(found: Tensor, expected: Tensor, tolerance: float | None = None) -> None:
    bound = TOLERANCE[found.dtype] if tolerance is None else tolerance
    largest = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(
        found.double(), expected.double(), rtol=0, atol=bound * max(largest, 1.0)
    )
