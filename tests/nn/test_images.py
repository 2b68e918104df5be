"""Pictures as a batch: sizes, order of channels, padding."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pyvqa.nn.images import CAFFE_MEAN, IMAGENET_MEAN, IMAGENET_STD, prepare_images


def picture(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)


def test_a_clevr_picture_as_published():
    image = picture(320, 480)
    batch = prepare_images([image])
    assert batch.pixels.shape == (1, 3, 800, 1216)
    assert (batch.sizes, batch.originals, batch.scales) == ([(800, 1200)], [(320, 480)], [2.5])
    assert not batch.pixels[..., 1200:].any()
    # Sample (row 1, column 2) lies at 0.1 and 0.5 of the picture's pixels.
    rows = image[0].double() * 0.9 + image[1].double() * 0.1
    value = rows[0] * 0.5 + rows[1] * 0.5 - torch.tensor(CAFFE_MEAN, dtype=torch.float64)
    torch.testing.assert_close(batch.pixels[0, :, 1, 2].double(), value.flip(0), rtol=0, atol=1e-3)


def test_no_resizing_leaves_the_pixels():
    image = picture(64, 96)
    batch = prepare_images([image], short=64, mean=(0.0, 0.0, 0.0), reverse_channels=False)
    assert torch.equal(batch.pixels[0], image.permute(2, 0, 1).float())


def test_mean_and_std_belong_to_red_green_blue():
    image = picture(32, 32)
    options = {"short": 32, "mean": IMAGENET_MEAN, "std": IMAGENET_STD}
    plain = prepare_images([image], reverse_channels=False, **options).pixels
    expected = (image.float() - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    torch.testing.assert_close(plain[0], expected.permute(2, 0, 1))
    assert torch.equal(prepare_images([image], **options).pixels, plain.flip(1))


@pytest.mark.parametrize(
    ("size", "expected"),
    [((100, 400), (64, 256)), ((100, 500), (60, 300)), ((400, 100), (256, 64))],
)
def test_long_pictures_stay_within_the_long_side(size, expected):
    batch = prepare_images([picture(*size)], short=64, long=300, multiple=1)
    assert batch.sizes == [expected]
    assert batch.pixels.shape[2:] == expected


def test_pictures_of_several_sizes_share_a_batch():
    images = [picture(40, 60), picture(80, 50)]
    batch = prepare_images(images, short=40, long=1000)
    assert batch.sizes == [(40, 60), (64, 40)]
    assert batch.pixels.shape == (2, 3, 64, 64)
    assert not batch.pixels[0, :, 40:].any()
    alone = prepare_images(images[1:], short=40, long=1000)
    assert torch.equal(alone.pixels[0, :, :64, :40], batch.pixels[1, :, :64, :40])
    expected = (
        F.interpolate(images[1].permute(2, 0, 1)[None].float(), size=(64, 40), mode="bilinear")[0]
        - torch.tensor(CAFFE_MEAN)[:, None, None]
    )
    torch.testing.assert_close(batch.pixels[1, :, :64, :40], expected.flip(0), rtol=0, atol=1e-3)
