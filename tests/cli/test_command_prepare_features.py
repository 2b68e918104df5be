"""From the built-in world to what MuRel trains on, by three commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyvqa.cli import main as cli
from pyvqa.data.region_store import open_regions
from pyvqa.data.vqa_questions import VqaData
from pyvqa.ops import box_iou

SCENES = {"train": 3, "val": 2}


def run(*arguments: object) -> None:
    assert cli.main([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vqa")
    for split, scenes in SCENES.items():
        size = ("--size", "240x160", "--samples", 4, "--workers", 0)
        run("synth", "vqa2", "--out", out / "vqa2", "--scenes", scenes, "--split", split, *size)
        images = out / f"vqa2/images/{split}2014"
        store = ("--out", out / f"{split}.h5", "--regions", 24, "--device", "cpu")
        run("prepare", "features", "--model", "ns-vqa-clevr", "--images", images, *store)
    run("prepare", "vqa2", "--root", out / "vqa2", "--out", out / "prepared")
    return out


def test_every_question_finds_its_regions(place: Path) -> None:
    data = VqaData(place / "prepared")
    store = open_regions([place / "train.h5", place / "val.h5"])
    assert data.splits == ["train", "val"]
    for split, scenes in SCENES.items():
        table = data.split(split)
        names = list(table.image_names)
        assert (len(table), len(names)) == (10 * scenes, scenes)
        regions = store.read(store.rows_of(names))
        assert regions.features.shape == (scenes, 24, store.width)
        assert regions.valid is None  # as many regions as asked for
        assert table.labelled


def test_regions_lie_on_the_objects(place: Path) -> None:
    """The shipped detector's likeliest regions hold nearly every object of a fresh picture."""
    store = open_regions([place / "train.h5"])
    content = json.loads((place / "vqa2/annotations/instances_train2014.json").read_text())
    best = []
    for image in content["images"]:
        own = [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes = torch.tensor(own, dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        [row] = store.rows_of([image["file_name"].replace(".png", ".jpg")])
        best.append(box_iou(boxes, store.read([row]).boxes[0]).max(1).values)
    overlap = torch.cat(best)
    assert len(overlap) >= 9
    assert (overlap > 0.5).float().mean() > 0.9
