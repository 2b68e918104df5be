"""Resizing bytes against a plain transcription of the rule, and against Pillow."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pyvqa.nn.resize import resize_bytes, resize_patch

SIZES = [((320, 480), (149, 224)), ((320, 480), (74, 112)), ((7, 9), (1, 1)), ((50, 41), (50, 41))]
GROWING = [((5, 7), (11, 13)), ((1, 1), (3, 4))]


def along(pixels: np.ndarray, target: int) -> np.ndarray:
    """Resample the first axis, sample by sample."""
    length = pixels.shape[0]
    scale = length / target
    reach = max(scale, 1.0)
    result = []
    for index in range(target):
        centre = (index + 0.5) * scale
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), length)
        weights = [max(0.0, 1 - abs(k - centre + 0.5) / reach) for k in range(first, last)]
        fixed = [math.floor(w / sum(weights) * 2**22 + 0.5) for w in weights]
        total = sum(w * pixels[k].astype(np.int64) for w, k in zip(fixed, range(first, last)))  # noqa: B905
        result.append(np.clip((total + 2**21) >> 22, 0, 255))
    return np.stack(result)


def transcribed(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    across = along(pixels.swapaxes(0, 1), size[1]).swapaxes(0, 1)
    return along(across, size[0]).astype(np.uint8)


def noise(size: tuple[int, int], channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size[0])
    pixels = torch.randint(0, 256, (*size, channels), dtype=torch.uint8, generator=generator)
    pixels[: size[0] // 3] = 255  # saturated areas must not overflow
    return pixels


@pytest.mark.parametrize(("full", "size"), SIZES + GROWING)
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_rule(full, size, channels):
    pixels = noise(full, channels)
    assert np.array_equal(resize_bytes(pixels, size).numpy(), transcribed(pixels.numpy(), size))


@pytest.mark.parametrize(("full", "size"), SIZES)
def test_equals_pillow(full, size):
    images = pytest.importorskip("PIL.Image", reason="needs Pillow")
    pixels = noise(full)
    picture = images.fromarray(pixels.numpy()).resize(size[::-1], images.BILINEAR)
    assert np.array_equal(resize_bytes(pixels, size).numpy(), np.asarray(picture))


@pytest.mark.parametrize(
    "box", [(0, 0, 40, 30), (100, 200, 161, 263), (319, 479, 320, 480), (0, 470, 320, 480)]
)
def test_a_patch_is_resized_as_the_whole(box):
    full, size = (320, 480), (149, 224)
    top, left, bottom, right = box
    picture = torch.zeros(*full, 3, dtype=torch.uint8)
    picture[top:bottom, left:right] = noise(full)[top:bottom, left:right]
    patch, (y, x) = resize_patch(picture[top:bottom, left:right], (top, left), full, size)
    whole = torch.zeros(*size, 3, dtype=torch.uint8)
    whole[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    assert torch.equal(whole, resize_bytes(picture, size))
    assert patch.shape[0] < size[0] or bottom - top == full[0]  # it is less work


def test_shrinking_to_where_nothing_is_seen():
    """A patch between two samples leaves nothing, or what the whole picture leaves."""
    picture = torch.zeros(100, 100, 1, dtype=torch.uint8)
    picture[50, 50] = 255
    patch, (y, x) = resize_patch(picture[50:51, 50:51], (50, 50), (100, 100), (7, 7))
    whole = torch.zeros(7, 7, 1, dtype=torch.uint8)
    whole[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
    assert torch.equal(whole, resize_bytes(picture, (7, 7)))
