"""Random calls of RoIAlign: maps of any layout, regions of any kind, gradients old and new."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import torch
from op_inputs import boxes, explained, floats, integers, relaid
from torch import Tensor

from pyvqa import ops

SIDES = (0, 1, 1, 2, 3, 5, 9, 20)
CHANNELS = (0, 1, 1, 2, 3, 5, 17)
COUNTS = (0, 1, 2, 4)
BINS = (1, 2, 3, 7)
RARE_BINS = (0, 16, 17, 70, -1, 4096, 4097, 1 << 40)
RATIOS = (2, 2, 0, -1, 1, 3)
RARE_RATIOS = (100, 1024, 1025, -(1 << 40), 1 << 40)
SCALES = (1.0, 0.5, 0.25, 0.1)
RARE_SCALES = (0.0, -1.0, 1e-30, 1e30, 1e300, float("inf"), float("nan"))
FLOATS = (torch.float32,) * 4 + (torch.float64, torch.bfloat16, torch.float16)
OTHERS = (torch.int64, torch.bool, torch.complex64)
IMAGES = (-1.0, -0.5, 0.7, 2.0, 3.0, 1e30, -1e30, 2.0**31, float("nan"), float("inf"))


def now_and_then(rng: random.Random, usual: Any, rare: Any, chance: float = 0.04) -> Any:
    return rng.choice(rare if rng.random() < chance else usual)


def layout(rng: random.Random, tensor: Tensor) -> Tensor:
    """Channels-last, a part of something larger, repeated without being copied, or any other."""
    kind = rng.randrange(6)
    if tensor.dim() == 4 and kind == 0:
        return tensor.contiguous(memory_format=torch.channels_last)
    if tensor.dim() == 4 and kind == 1 and min(tensor.shape) > 0:
        return tensor[:, :, :1].expand_as(tensor)
    return relaid(rng, tensor)


def maps(rng: random.Random, count: int, dtype: torch.dtype) -> list[Tensor]:
    shape = [rng.choice((0, 1, 1, 2)), rng.choice(CHANNELS)]
    made = []
    for _ in range(count):
        sides = [rng.choice(SIDES), rng.choice(SIDES)]
        misfit = rng.random() < 0.01
        values = floats(rng, [*shape, *sides][misfit:], torch.float32)
        made.append(layout(rng, values.to(dtype)))
    return made


def rois(rng: random.Random, count: int, images: int) -> Tensor:
    if rng.random() < 0.02:
        return floats(rng, (count, rng.randrange(7)))
    numbers = torch.tensor([float(rng.randrange(max(images, 1))) for _ in range(count)])
    if count and rng.random() < 0.3:
        numbers[rng.randrange(count)] = rng.choice(IMAGES)
    regions = torch.cat([numbers[:, None], boxes(rng, count)], dim=1)
    return relaid(rng, regions.to(now_and_then(rng, FLOATS, OTHERS, 0.02)))


def output_size(rng: random.Random) -> tuple[int, int]:
    first = now_and_then(rng, BINS, RARE_BINS)
    # Two large sides would be a large output.
    return first, now_and_then(rng, BINS, RARE_BINS) if first < 100 else rng.choice((0, 1))


def options(rng: random.Random) -> dict[str, Any]:
    ratio = now_and_then(rng, RATIOS, RARE_RATIOS)
    return {"sampling_ratio": ratio, "aligned": rng.random() < 0.5}


def images_of(features: list[Tensor]) -> int:
    return features[0].shape[0] if features else 1


def check(pooled: Tensor, features: list[Tensor], count: int, size: tuple[int, int]) -> None:
    assert pooled.shape == (count, features[0].shape[1], *size)
    assert pooled.dtype == features[0].dtype


def call_roi_align(rng: random.Random) -> None:
    dtype = now_and_then(rng, FLOATS, OTHERS, 0.02)
    features = maps(rng, 1, dtype)
    count, size = rng.choice(COUNTS), output_size(rng)
    scale = now_and_then(rng, SCALES, RARE_SCALES)
    with explained("roi_align: "):
        if rng.random() < 0.2:
            images = images_of(features) + (rng.random() < 0.05)
            listed = [boxes(rng, rng.randrange(4)) for _ in range(images)]
            pooled = ops.roi_align(features[0], listed, size, scale, **options(rng))
            return check(pooled, features, sum(map(len, listed)), size)
        regions = rois(rng, count, images_of(features))
        pooled = ops.roi_align(features[0], regions, size, scale, **options(rng))
        check(pooled, features, count, size)


def pyramid(rng: random.Random) -> tuple[list[Tensor], Tensor, list[float], Tensor]:
    number = rng.choice((1, 2, 2, 3, 0 if rng.random() < 0.1 else 4))
    features = maps(rng, number, rng.choice(FLOATS))
    if rng.random() < 0.01 and number > 1:
        features[-1] = features[-1].double()
    count = rng.choice(COUNTS)
    regions = rois(rng, count, images_of(features))
    scales = [now_and_then(rng, SCALES, RARE_SCALES) for _ in range(number)]
    levels = torch.tensor([rng.randrange(max(number, 1)) for _ in range(count)])
    if rng.random() < 0.2:
        levels = integers(rng, (count + (rng.random() < 0.1),), torch.int64)
    return features, regions, scales, levels


def call_multiscale(rng: random.Random) -> None:
    features, regions, scales, levels = pyramid(rng)
    size = output_size(rng)
    with explained("roi_align: "):
        pooled = ops.multiscale_roi_align(features, regions, size, scales, levels, **options(rng))
        check(pooled, features, len(regions), size)


def call_gradient(rng: random.Random) -> None:
    features, regions, scales, levels = pyramid(rng)
    features = [f.detach().requires_grad_() for f in features]
    size, chosen = (rng.choice(BINS), rng.choice(BINS)), options(rng)
    with explained("roi_align: "):
        pooled = ops.multiscale_roi_align(features, regions, size, scales, levels, **chosen)
        grad = layout(rng, floats(rng, pooled.shape).to(pooled.dtype))
        found = torch.autograd.grad(pooled, features, grad)
        assert [g.shape for g in found] == [f.shape for f in features]


def call_backward_(rng: random.Random) -> None:
    features, regions, scales, levels = pyramid(rng)
    channels = features[0].shape[1] if features else 1
    shape = (len(regions), channels, rng.choice(BINS), rng.choice(BINS))
    grad = layout(rng, floats(rng, shape[rng.random() < 0.02 :]))
    if features and rng.random() < 0.98:
        grad = grad.to(features[0].dtype)
    before = [f.shape for f in features]
    with explained("roi_align: "):
        ops.roi_align_backward_(
            features,
            grad,
            regions,
            scales,
            None if rng.random() < 0.2 else levels,
            **options(rng),
        )
    assert [f.shape for f in features] == before


CALLS: dict[str, Callable[[random.Random], None]] = {
    "roi_align": call_roi_align,
    "multiscale_roi_align": call_multiscale,
    "roi_align_gradient": call_gradient,
    "roi_align_backward_": call_backward_,
}
EVERY = {"roi_align_gradient": 20}  # most of it is torch's autograd
