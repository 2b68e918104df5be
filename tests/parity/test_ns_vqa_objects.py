"""From the original's detections to its objects and scenes, file by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from kit_pictures import attribute_checkpoint, genuine_file, read_json

from pyvqa.cli.main import main
from pyvqa.systems.ns_vqa.build import build_attributes
from pyvqa.systems.ns_vqa.detections import read_detections
from pyvqa.systems.ns_vqa.folder import AttributesPart, write_model
from pyvqa.systems.ns_vqa.objects import Suppression, make_objects, read_truth
from pyvqa.systems.ns_vqa.upstream import attributes_from_upstream

RUNS = pytest.mark.kit("ns_vqa", "scene_parse/proposals_*.json.gz")
PARSED = pytest.mark.kit("ns_vqa", "scene_parse/scenes_parsed_cat_label_*.json")
PICKLED = pytest.mark.kit("ns_vqa", "scene_parse/detections.pkl")


def options_of(case: Path) -> dict[str, Any]:
    """A run's options as ours; beside the truth the original leaves its suppression out."""
    run = case.name.removeprefix("proposals_").removesuffix(".json.gz")
    words = json.loads(case.with_name("proposals_runs.json").read_text())[run]
    given = dict(zip(words[::2], words[1::2], strict=True))
    options: dict[str, Any] = {"score": float(given.get("--score_thresh", 0.9))}
    if "--gt_scene_path" in given:
        truth = read_truth(case.with_name("mini_anns.json.gz"))
        align = float(given.get("--align_iou_thresh", 0.7))
        return options | {"truth": truth, "align_iou": align, "match": "first"}
    if given.get("--suppression") == "1":
        iou = float(given.get("--suppression_iou_thresh", 0.5))
        options["suppression"] = Suppression(
            iou, float(given.get("--suppression_iomin_thresh", 0.5))
        )
    return options


@RUNS
def test_objects_of_every_run(case: Path, tmp_path: Path) -> None:
    found = make_objects(read_detections(case.with_name("detections.pkl")), **options_of(case))
    found.write(tmp_path / "objects.json")
    ours, expected = read_json(tmp_path / "objects.json"), read_json(case)
    assert list(ours) == list(expected)
    for key in ("object_masks", "image_idxs", "category_idxs", "scores"):
        assert ours[key] == expected[key], key
    assert len(ours["feature_vectors"]) == len(expected["feature_vectors"])
    for one, other in zip(ours["feature_vectors"], expected["feature_vectors"], strict=True):
        assert one[:15] == other[:15]
        assert one[15:] == pytest.approx(other[15:], rel=1e-12)  # the order of three products


@PICKLED
def test_detections_of_the_original(case: Path) -> None:
    ours = read_detections(case)
    rows = {
        (entry["image"], entry["class"], *box): mask
        for entry in read_json(case.with_name("detections.json.gz"))
        for box, mask in zip(entry["boxes"], entry["segms"], strict=True)
    }
    assert len(ours) == len(rows) > 0
    for picture in range(len(ours.image_index)):
        for row in range(*ours.offsets[picture : picture + 2]):
            key = (picture, int(ours.classes[row]), *ours.boxes[row].tolist())
            assert ours.masks[row] == rows[(*key, float(ours.scores[row]))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clevr")


def fill(root: Path, kit: Path) -> None:
    """Lay the kit's pictures where the original looks for them, and its network in MODEL."""
    if (root / "MODEL").is_dir():
        return
    folder = root / "images/val"
    folder.mkdir(parents=True)
    for index, name in enumerate(read_json(kit / "images.json")["image_filenames"]):
        (folder / f"CLEVR_val_{index:06d}.png").symlink_to(genuine_file(name))
    config, weights, _ = attributes_from_upstream(attribute_checkpoint(kit, 6))
    network = build_attributes(config).eval()
    network.load_state_dict(weights)
    (root / "MODEL").mkdir()
    part = AttributesPart(network, config)
    write_model(root / "MODEL", "a card", attributes=part, dtype=torch.float32)


@PARSED
def test_scenes_of_the_original(case: Path, root: Path, tmp_path: Path) -> None:
    """The whole file: batches of 50 objects in file order, each normalised by itself."""
    fill(root, case.parent)
    out = tmp_path / "scenes.json"
    words = ["--model", root / "MODEL", "--root", root, "--split", "val", "--out", out]
    words += ["--objects", case.with_name("proposals_no_gt.json.gz")]
    words += ["--labels", "detector" if case.stem.endswith("1") else "network"]
    assert main(["prepare", "clevr-scenes", *map(str, words)]) == 0
    ours, expected = read_json(out), read_json(case)
    assert list(ours) == list(expected)
    assert ours["info"] == expected["info"]
    assert len(ours["scenes"]) == len(expected["scenes"])
    seen = 0
    for mine, theirs in zip(ours["scenes"], expected["scenes"], strict=True):
        assert list(mine) == list(theirs)
        assert (mine["image_index"], mine["image_filename"]) == (
            theirs["image_index"],
            theirs["image_filename"],
        )
        assert len(mine["objects"]) == len(theirs["objects"])
        for one, other in zip(mine["objects"], theirs["objects"], strict=True):
            assert list(one) == list(other)
            assert one.pop("position") == pytest.approx(other.pop("position"), rel=0, abs=1e-3)
            assert one == other
            seen += 1
    assert seen > 0
