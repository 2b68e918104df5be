"""Region features of a folder of pictures: what stands in the store, interruption, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pyvqa.cli.main import main
from pyvqa.data.pictures import read_picture
from pyvqa.data.region_origin import RegionOrigin
from pyvqa.data.region_store import open_file, open_regions
from pyvqa.nn.mask_rcnn import MaskRcnn
from pyvqa.ops import box_iou
from pyvqa.systems.ns_vqa import regions as module
from pyvqa.systems.ns_vqa.build import build_detector, prepare_pictures
from pyvqa.systems.ns_vqa.folder import DetectorPart, read_detector, write_model
from pyvqa.systems.ns_vqa.regions import RegionWork, region_features_of

from .test_extract import DETECTOR

PICTURES, REGIONS = 9, 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a detector, and pictures of noise of two sizes."""
    folder = tmp_path_factory.mktemp("regions")
    chance = np.random.default_rng(0)
    (folder / "images").mkdir()
    for k in range(PICTURES):
        small = chance.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        suffix = "jpg" if k % 2 else "png"
        size = (96, 64) if k % 3 else (120, 90)
        Image.fromarray(small).resize(size).save(folder / f"images/COCO_val2014_{k:012d}.{suffix}")
    (folder / "images/notes.txt").write_text("no picture")
    (folder / "model").mkdir()
    torch.manual_seed(0)
    part = DetectorPart(build_detector(DETECTOR).eval(), DETECTOR)
    write_model(folder / "model", "a card", parser=None, detector=part)
    return folder


def features(place: Path, out: Path, *more: object) -> int:
    words = ["prepare", "features", "--model", place / "model", "--images", place / "images"]
    words += ["--regions", REGIONS, "--batch-size", 2, "--device", "cpu", "--out", out, *more]
    return main([str(word) for word in words])


def test_the_store_holds_what_the_network_says(place: Path, tmp_path: Path) -> None:
    assert features(place, tmp_path / "f.h5", "--dtype", "float32") == 0
    store = open_file(tmp_path / "f.h5")
    paths = sorted((place / "images").glob("COCO_*"))
    assert list(store.names) == [path.stem for path in paths]
    rows = open_regions([tmp_path / "f.h5"]).rows_of([f"{path.stem}.jpg" for path in paths])
    detector = read_detector(place / "model")
    for row, path in zip(rows, paths, strict=True):
        picture = read_picture(path)
        found = store.read([row])
        [expected] = region_features_of(detector, [picture], REGIONS)
        count = int(found.counts[0])
        assert 0 < count == len(expected.boxes) <= REGIONS
        torch.testing.assert_close(found.boxes[0], expected.boxes, rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(found.features[0], expected.features, rtol=1e-3, atol=1e-3)
        height, width = picture.shape[:2]
        size = torch.tensor([width, height, width, height])
        torch.testing.assert_close(found.norm_boxes * size, found.boxes)
        assert found.norm_boxes.min() >= 0
        assert found.norm_boxes.max() <= 1


def test_regions_are_the_likeliest_and_lie_apart(place: Path) -> None:
    detector = read_detector(place / "model")
    network: MaskRcnn = detector.network
    pictures = [read_picture(path) for path in sorted((place / "images").glob("*.png"))[:2]]
    batch = prepare_pictures(detector.config, pictures)
    everything = network.top_regions(batch, 1000)
    few = network.top_regions(batch, 3)
    again = network.region_features(batch, [one.boxes for one in few])
    for all_of, first, pooled in zip(everything, few, again, strict=True):
        assert len(first.boxes) == 3 < len(all_of.boxes)
        torch.testing.assert_close(first.boxes, all_of.boxes[:3])
        torch.testing.assert_close(first.features, pooled.features)  # of the box that is given
        overlap = box_iou(all_of.boxes, all_of.boxes)
        apart = overlap[~torch.eye(len(overlap), dtype=torch.bool)]
        assert apart.max() <= network.limits.detection_iou + 1e-4


def test_interrupted_work_goes_on_and_both_stores_agree(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "_PIECE_PICTURES", 2)
    assert features(place, tmp_path / "whole.safetensors") == 0
    out = tmp_path / "parts.safetensors"
    work = RegionWork(place / "model", place / "images", out, regions=REGIONS, batch_size=2)
    told: list[int] = []
    assert work.make(1, 2, torch.device("cpu"), 1, told.append) == 4
    assert sum(told) == 4
    assert not out.exists()
    assert features(place, out) == 0
    assert out.read_bytes() == (tmp_path / "whole.safetensors").read_bytes()
    about = json.loads(Path(f"{out}.json").read_text())
    assert about["regions"] == REGIONS
    assert open_file(out).origin == RegionOrigin(
        detector=str(place / "model"), weights=about["weights"], regions=REGIONS
    )
    capsys.readouterr()
    assert features(place, out) == 0
    assert "complete already" in capsys.readouterr().out
    assert features(place, tmp_path / "same", "--store", "h5") == 0
    packed, plain = open_file(out), open_file(tmp_path / "same.h5")
    for ours, theirs in zip(packed.read([0, 4]), plain.read([0, 4]), strict=True):
        assert torch.equal(ours, theirs)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name.startswith(".")) == []


def test_mistakes_are_one_line(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.h5").write_text("of another origin")
    (tmp_path / "twice").mkdir()
    for suffix in ("png", "jpg"):
        (tmp_path / f"twice/a.{suffix}").write_text("")
    cases = {
        ("--out", tmp_path / "f.txt"): "must end in .h5 or .safetensors",
        ("--out", tmp_path / "f.h5", "--store", "packed"): "ends in .safetensors",
        ("--out", tmp_path / "f.h5", "--regions", 0): "must be at least 1",
        ("--out", tmp_path / "f.h5", "--images", tmp_path / "none"): "no such folder",
        ("--out", tmp_path / "f.h5", "--images", tmp_path / "empty"): "holds no picture",
        ("--out", tmp_path / "f.h5", "--images", tmp_path / "twice"): "two pictures are called a",
        ("--out", tmp_path / "other.h5"): "of another origin",
    }
    for words, message in cases.items():
        assert features(place, *words[1:]) == 1
        printed = capsys.readouterr()
        assert printed.err.count("\n") == 1
        assert message in printed.err
        assert printed.out == ""
    assert features(place, tmp_path / "g.h5") == 0
    assert features(place, tmp_path / "g.h5", "--dtype", "float32") == 1
    assert "other settings (dtype)" in capsys.readouterr().err
    assert (tmp_path / "other.h5").read_text() == "of another origin"
