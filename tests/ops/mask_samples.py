"""Masks for tests: blobs, noise, empty and full ones, in all kinds of layout."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Empty, single, odd sizes, and both sides of a word's 64 pixels.
SIZES = [(0, 0), (0, 5), (5, 0), (1, 1), (1, 70), (70, 1), (5, 7), (33, 64), (64, 33), (64, 64)]
SIZES += [(65, 129), (128, 63), (130, 200), (63, 600)]


def random_masks(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Draw rectangles, noise and now and then nothing or everything: bool [N, H, W]."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        if not mask.size:
            continue
        for _ in range(rng.integers(4)):
            top, left = rng.integers(height), rng.integers(width)
            bottom, right = top + rng.integers(1, height + 1), left + rng.integers(1, width + 1)
            mask[top:bottom, left:right] ^= True
        mask ^= rng.random((height, width)) < rng.choice([0.0, 0.0, 0.02, 0.5])
        if rng.random() < 0.1:
            mask[:] = rng.random() < 0.5
    return torch.from_numpy(masks)


def ellipses(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Draw rotated ellipses with a wavy edge, half axes 10 .. 80 pixels: bool [N, H, W]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        dx, dy = x - rng.uniform(0, width), y - rng.uniform(0, height)
        long, short = rng.uniform(10, 80, 2)
        turn, waves, phase = rng.uniform(0, np.pi), rng.integers(3, 9), rng.uniform(0, 2 * np.pi)
        u = (dx * np.cos(turn) + dy * np.sin(turn)) / long
        v = (dy * np.cos(turn) - dx * np.sin(turn)) / short
        mask[:] = np.hypot(u, v) < 1 + 0.1 * np.sin(waves * np.arctan2(v, u) + phase)
    return torch.from_numpy(masks)


def layouts(masks: Tensor) -> dict[str, Tensor]:
    """The same masks [N, H, W] as bytes of other values and behind other strides."""
    count, height, width = masks.shape
    wide = torch.zeros((count, 2 * height, 3 * width), dtype=torch.bool)
    wide[:, ::2, ::3] = masks
    return {
        "rows": masks,
        "uint8": masks.to(torch.uint8) * 200,
        "columns": masks.transpose(1, 2).contiguous().transpose(1, 2),
        "fortran": masks.permute(1, 2, 0).contiguous().permute(2, 0, 1),
        "slices": wide[:, ::2, ::3],
        "padded": torch.nn.functional.pad(masks, (1, 2, 3, 4))[:, 3 : 3 + height, 1 : 1 + width],
    }
