"""Boxes to try the box functions with, and torchvision to compare them with."""

from __future__ import annotations

import functools
import math
from types import ModuleType

import pytest
import torch
from torch import Tensor

SPECIAL = (0.0, -0.0, 1.0, -1.0, 1e38, -1e38, 1e-40, math.inf, -math.inf, math.nan)


def some_boxes(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes of sides 0 to 60 in a 100 x 100 image, so that many overlap and many do not."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(*shape, 4, generator=generator, dtype=torch.float64) * 100
    corners[..., 2:] = corners[..., :2] + corners[..., 2:] * 0.6
    return corners.to(dtype)


def wild_boxes(seed: int, count: int) -> Tensor:
    """Boxes whose numbers are special ones, in any order.

    Add 0.0 to be rid of negative zeros: a hull of -0 turns an infinity round, and which of two
    zeros a maximum gives is not for sure in torch.
    """
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor(SPECIAL)[torch.randint(len(SPECIAL), (count, 4), generator=generator)]


@functools.cache
def find_torchvision() -> ModuleType | None:
    """Return torchvision.ops where it imports; its box functions need no compiled ops."""
    try:
        from torchvision import ops as found
    except (ImportError, RuntimeError, AttributeError):
        return None
    return found  # type: ignore[no-any-return]


def need_torchvision() -> ModuleType:
    """Return torchvision.ops, or skip the test."""
    found = find_torchvision()
    if found is None:
        pytest.skip("torchvision does not work beside this torch")
    return found
