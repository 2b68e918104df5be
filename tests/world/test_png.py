"""PNG files of our own writing, read by another reader."""

from __future__ import annotations

import io

import numpy as np
import pytest

from pyvqa.world.png import encode_png, opaque

Image = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (3, 4), (64, 96)])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("kind", ["noise", "black", "white", "ramp"])
def test_another_reader_finds_the_same_picture(
    shape: tuple[int, int], channels: int, kind: str
) -> None:
    size = (*shape, channels)
    pictures = {
        "noise": np.random.default_rng(1).integers(0, 256, size),
        "black": np.zeros(size),
        "white": np.full(size, 255),
        "ramp": np.arange(np.prod(size)).reshape(size) % 256,
    }
    picture = pictures[kind].astype(np.uint8)
    content = encode_png(picture)
    assert encode_png(picture) == content
    read = Image.open(io.BytesIO(content))
    assert read.mode == {3: "RGB", 4: "RGBA"}[channels]
    assert np.array_equal(np.asarray(read), picture)


def test_opaque_pictures_have_full_alpha() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (2, 3, 4, 3)).astype(np.uint8)
    found = opaque(picture)
    assert np.array_equal(found[..., :3], picture)
    assert np.all(found[..., 3] == 255)
