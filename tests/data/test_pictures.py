"""Pictures in every form become the same tensor, or are refused with a reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyvqa.data.pictures import as_picture, read_picture, shrink_picture
from pyvqa.errors import DataError


def colours(height: int = 6, width: int = 9) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_all_forms_give_the_same(tmp_path: Path) -> None:
    pixels = colours()
    image = Image.fromarray(pixels)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.webp", lossless=True)
    forms = [tmp_path / "a.png", str(tmp_path / "a.webp"), image, pixels, torch.from_numpy(pixels)]
    forms += [pixels[::1, ::-1][:, ::-1], np.dstack([pixels, np.full((6, 9), 255, np.uint8)])]
    for form in forms:
        picture = as_picture(form)
        assert picture.dtype == torch.uint8
        assert np.array_equal(picture.numpy(), pixels)


def test_grey_arrays_have_three_channels() -> None:
    grey = colours()[..., 0]
    for form in (grey, grey[..., None]):
        assert np.array_equal(as_picture(form).numpy(), np.repeat(grey[..., None], 3, 2))


def test_transparent_parts_lie_on_white() -> None:
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, 0] = [10, 20, 30, 255]
    picture = as_picture(pixels)
    assert picture[0, 0].tolist() == [10, 20, 30]
    assert picture[1, 1].tolist() == [255, 255, 255]


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 0x7FFF, 0xFFFF]], dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert read_picture(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 0, 1, 127, 255]


@pytest.mark.parametrize("turn", [3, 6, 8])
def test_pictures_are_turned_upright(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = colours()
    Image.fromarray(pixels).save(tmp_path / "t.png", exif=exif)
    times = {3: 2, 6: 3, 8: 1}[turn]
    assert np.array_equal(read_picture(tmp_path / "t.png").numpy(), np.rot90(pixels, times))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (7, "a int is no picture"),
        (colours().astype(float), "float64, uint8"),
        (np.zeros((3, 20, 30), np.uint8), "channels must come last"),
        (np.zeros((20, 30, 2), np.uint8), "is needed"),
        (np.zeros((0, 30, 3), np.uint8), "no pixels"),
        (np.zeros(5, np.uint8), "is needed"),
        (torch.zeros(1, dtype=torch.uint8).expand(8000, 8000, 3), "million pixels"),
    ],
)
def test_what_is_no_picture_is_refused(source: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        as_picture(source)


def refusal(path: Path) -> str | None:
    """Say why a file is refused, None where it is read."""
    try:
        return None if read_picture(path).shape[2] == 3 else "not of three channels"
    except DataError as error:
        return str(error)


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore::UserWarning")  # the library's own, which commands do not show
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_files_end_in_a_picture_or_a_reason(tmp_path: Path, kind: str) -> None:
    chance = np.random.default_rng(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "picture"
    Image.fromarray(colours(24, 30)).save(path, kind, exif=exif)
    content = path.read_bytes()
    refused = 0
    for round_number in range(120):
        broken = bytearray(content)
        if round_number % 3 == 0:
            broken = broken[: chance.integers(1, len(content))]
        for place in chance.integers(0, len(broken), 4):
            broken[place] = chance.integers(0, 256)
        path.write_bytes(broken)
        reason = refusal(path)
        refused += reason is not None
        assert reason is None or (str(path) in reason and "\n" not in reason)
    assert refused > 0


def test_shrinking_keeps_the_shape_and_the_mean() -> None:
    picture = torch.from_numpy(np.full((300, 450, 3), 90, dtype=np.uint8))
    assert shrink_picture(picture, 450) is picture
    small = shrink_picture(picture, 45)
    assert small.shape == (30, 45, 3)
    assert torch.equal(small, torch.full_like(small, 90))
    assert shrink_picture(torch.zeros(1, 900, 3, dtype=torch.uint8), 9).shape == (1, 9, 3)
