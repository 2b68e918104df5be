"""Pictures read ahead of who looks at them: in order, errors in their turn, threads gone after."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from pyvqa.data.pictures import read_pictures
from pyvqa.errors import DataError


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{k}.png" for k in range(9)]
    for k, path in enumerate(found):
        Image.new("RGB", (4, 3), (k, 0, 0)).save(path)
    return found


def readers() -> int:
    return sum(thread.name.startswith("pictures") for thread in threading.enumerate())


@pytest.mark.parametrize(("ahead", "workers"), [(0, 1), (2, 1), (4, 3), (100, 2)])
def test_in_order(paths, ahead, workers):
    found = list(read_pictures(paths, ahead=ahead, workers=workers))
    assert [int(picture[0, 0, 0]) for picture in found] == list(range(9))
    assert list(read_pictures([], ahead=ahead, workers=workers)) == []


def test_an_error_comes_in_its_turn(paths):
    paths[4].write_bytes(paths[4].read_bytes()[:30])
    pictures = read_pictures(paths, ahead=8, workers=2)
    assert [int(next(pictures)[0, 0, 0]) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(DataError, match=r"4\.png"):
        next(pictures)


def test_no_more_is_read_than_asked_for(paths):
    taken = []
    pictures = read_pictures((taken.append(path) or path for path in paths), ahead=2)
    next(pictures)
    assert len(taken) == 3
    assert readers() == 1
    pictures.close()
    assert readers() == 0
