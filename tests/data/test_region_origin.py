"""Feature stores tell which detector made them, however they are converted and joined."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data.vqa_cases import write_store
from pyvqa.cli.main import main
from pyvqa.data.region_files import Picture, region_writer
from pyvqa.data.region_origin import RegionOrigin
from pyvqa.data.region_store import open_file, open_regions
from pyvqa.errors import DataError

ONE = RegionOrigin(detector="runs/detector", weights="ab" * 32, regions=5)


def write(path: Path, name: str, origin: RegionOrigin | None = None) -> Path:
    with region_writer(path, "float32", origin) as put:
        boxes = np.full((2, 4), 0.5, dtype=np.float32)
        put(Picture(name, np.ones((2, 3), dtype=np.float32), boxes, boxes))
    return path


@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_it_is_kept_and_survives_conversion(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"a.{kind}", "a", ONE)
    assert open_file(path).origin == ONE
    other = tmp_path / f"b.{'h5' if kind == 'safetensors' else 'safetensors'}"
    command = ["prepare", "region-files", "--source", str(path), "--out", str(other)]
    assert main(command) == 0
    assert open_file(other).origin == ONE
    write_store(tmp_path / f"c.{kind}", ["a", "b"])
    assert open_file(tmp_path / f"c.{kind}").origin is None


def test_joined_stores_are_of_one_detector(tmp_path: Path) -> None:
    more = RegionOrigin(detector="elsewhere", weights=ONE.weights, regions=9)
    foreign = RegionOrigin(detector="other", weights="cd" * 32, regions=5)
    a = write(tmp_path / "a.h5", "a", ONE)
    b = write(tmp_path / "b.safetensors", "b", more)
    c = write(tmp_path / "c.h5", "c", foreign)
    unknown = write(tmp_path / "d.h5", "d")
    assert open_regions([a, b]).origin == more
    assert open_regions([a, unknown]).origin is None
    with pytest.raises(DataError, match="made by different detectors"):
        open_regions([a, b, c])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"detector": "x"}',
        '{"detector": "x", "weights": 1, "regions": 2}',
        '{"detector": "x", "weights": "y", "regions": true}',
        ONE.to_text()[:-1] + ', "more": 1}',
        7,
    ],
)
def test_damage_is_one_line(text: object, tmp_path: Path) -> None:
    path = write(tmp_path / "a.h5", "a", ONE)
    with h5py.File(path, "a") as file:
        file.attrs["origin"] = text
    with pytest.raises(DataError, match=r"a\.h5: what it says of its origin is damaged"):
        open_file(path)
