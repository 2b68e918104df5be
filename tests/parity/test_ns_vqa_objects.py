"""From the original's detections to its objects and scenes, file by file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kit_pictures import read_json

from pyvqa.systems.ns_vqa.detections import read_detections
from pyvqa.systems.ns_vqa.objects import Suppression, make_objects, read_truth

RUNS = pytest.mark.kit("ns_vqa", "scene_parse/proposals_*.json.gz")
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
