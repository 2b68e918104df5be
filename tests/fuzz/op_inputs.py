"""Random tensors with the values and the layouts that break kernels."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

RANDOM = torch.Generator()  # reseeding the global one would cost more than a call
SPECIAL = (float("nan"), float("inf"), -float("inf"), -0.0, 1e38, -1e38, 1e-40, 2.0**31, -(2.0**63))


@contextmanager
def explained(*names: str) -> Iterator[None]:
    """Let an exception pass only if it is of an expected type and names one of `names`."""
    try:
        yield
    except (RuntimeError, ValueError, TypeError) as error:
        if not any(name in str(error) for name in names):
            raise AssertionError(f"an exception that explains nothing: {error}") from error


def floats(
    rng: random.Random, shape: Sequence[int], dtype: torch.dtype = torch.float32, scale: float = 1.0
) -> Tensor:
    """Normal values times `scale`, some of them special, in a random layout."""
    RANDOM.manual_seed(rng.getrandbits(30))
    values = torch.randn(tuple(shape), generator=RANDOM) * scale
    if values.numel() and rng.random() < 0.4:
        places = [rng.randrange(values.numel()) for _ in range(rng.randint(1, 4))]
        for place in places:
            values.view(-1)[place] = rng.choice(SPECIAL)
    return relaid(rng, values.to(dtype))


def boxes(rng: random.Random, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Boxes [count, 4] xyxy around a picture of about 100 pixels; some special values."""
    values = floats(rng, (count, 4), torch.float32, 60.0) + 50
    if count and rng.random() < 0.7:
        values = torch.cat([values[:, :2], values[:, :2] + values[:, 2:].abs()], dim=1)
    return relaid(rng, values.to(dtype))


def integers(rng: random.Random, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Integers of every size, small ones most of the time."""
    RANDOM.manual_seed(rng.getrandbits(30))
    values = torch.randint(-2, 40, tuple(shape), generator=RANDOM)
    if values.numel() and rng.random() < 0.4:
        bounds = torch.iinfo(dtype)
        for _ in range(rng.randint(1, 4)):
            values.view(-1)[rng.randrange(values.numel())] = rng.choice(
                [bounds.min, bounds.max, 1 << 31, -(1 << 31), 255]
            )
    return relaid(rng, values.to(dtype))


def relaid(rng: random.Random, tensor: Tensor) -> Tensor:
    """The same values as they are, behind a gap, transposed, reversed in memory or spread out."""
    kind = rng.randrange(5)
    if tensor.dim() == 0 or kind == 0:
        return tensor
    if kind == 1:
        return torch.cat([tensor.new_zeros(3), tensor.reshape(-1)])[3:].view(tensor.shape)
    if kind == 2:
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if kind == 3:
        wide = tensor.new_zeros([*tensor.shape[:-1], 2 * tensor.shape[-1]])
        wide[..., ::2] = tensor
        return wide[..., ::2]
    return tensor.clone()
