"""Pictures of any size as one tensor that a network can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.nn.rpn import Size

CAFFE_MEAN = (122.7717, 115.9465, 102.9801)  # red, green, blue; of pixel values 0..255
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class ImageBatch(NamedTuple):
    """Prepared images."""

    pixels: Tensor  # [B, 3, H, W], padded with zeros at the right and bottom
    sizes: list[Size]  # of each image without padding
    originals: list[Size]  # of each image before it was resized
    scales: list[float]  # from original pixels to prepared ones

    def to(self, device: torch.device | str) -> ImageBatch:
        """Give the same batch with its pixels on `device`."""
        return self._replace(pixels=self.pixels.to(device))


def fit_scale(size: Size, short: int, long: int) -> float:
    """Give the scale at which the short side becomes `short` and the long one at most `long`."""
    return min(short / min(size), long / max(size))


def prepare_images(
    images: Sequence[Tensor],
    *,
    short: int = 800,
    long: int = 1333,
    multiple: int = 32,
    mean: tuple[float, float, float] = CAFFE_MEAN,
    std: tuple[float, float, float] = (1.0, 1.0, 1.0),
    reverse_channels: bool = True,
) -> ImageBatch:
    """Normalise, resize and pad RGB pictures, uint8 [H, W, 3] each.

    Bilinear resizing between pixel centres, without smoothing. `reverse_channels` hands blue,
    green, red to the network, as models that came from Caffe want it; mean and std are in the
    pictures' own order.
    """
    parts, sizes, scales = [], [], []
    for image in images:
        size = (image.shape[0], image.shape[1])
        scale = fit_scale(size, short, long)
        target = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
        x = (image.float() - image.new_tensor(mean, dtype=torch.float32)).permute(2, 0, 1)[None]
        x = x / x.new_tensor(std)[:, None, None]
        x = x.flip(1) if reverse_channels else x
        if target != size:
            x = F.interpolate(x, size=target, mode="bilinear", align_corners=False)
        parts.append(x[0])
        sizes.append(target)
        scales.append(scale)
    height, width = (-(-max(s[axis] for s in sizes) // multiple) * multiple for axis in (0, 1))
    pixels = parts[0].new_zeros(len(parts), 3, height, width)
    for row, part in enumerate(parts):
        pixels[row, :, : part.shape[1], : part.shape[2]] = part
    originals = [(image.shape[0], image.shape[1]) for image in images]
    return ImageBatch(pixels, sizes, originals, scales)
