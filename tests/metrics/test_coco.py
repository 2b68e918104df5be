"""COCO files in, the twelve numbers out: pycocotools' rules, and one line for what is malformed."""

from __future__ import annotations

import copy
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ops.coco_cases import ellipse, quietly, random_problem, rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pyvqa.errors import DataError
from pyvqa.metrics.coco import CocoResult, coco_scores
from pyvqa.ops.coco_eval import NAMES, CocoParams

Entries = list[dict[str, Any]]


def plain(entries: Entries) -> Entries:
    """Run lengths as text, as in a file."""
    entries = copy.deepcopy(entries)
    for entry in entries:
        segmentation = entry.get("segmentation")
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):
            segmentation["counts"] = segmentation["counts"].decode()
    return entries


def files(seed: int, masks: bool) -> tuple[dict[str, Any], Entries]:
    problem = random_problem(seed, masks=masks)
    keys = ("image_id", "category_id", "score", "segmentation" if masks else "bbox")
    instances = {
        "images": problem.images,
        "categories": problem.categories,
        "annotations": plain(problem.truth),
    }
    return instances, [{k: e[k] for k in keys} for e in plain(problem.detections)]


def reference(instances: dict[str, Any], results: Entries, kind: str) -> COCOeval:
    coco = COCO()
    coco.dataset = copy.deepcopy(instances)
    judges = []

    def run() -> None:
        coco.createIndex()
        judge = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), kind)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
        judges.append(judge)

    quietly(run)
    return judges[0]


def check(instances: dict[str, Any], results: Entries, kind: str) -> CocoResult:
    ours, theirs = coco_scores(instances, results, kind), reference(instances, results, kind)
    assert list(ours.numbers) == list(NAMES)
    assert list(ours.numbers.values()) == theirs.stats.tolist()
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(getattr(ours.curves, name), theirs.eval[name])
    return ours


@pytest.mark.parametrize("seed", range(4))
def test_boxes(seed: int) -> None:
    found = check(*files(seed, masks=False), "bbox")
    assert found.numbers["AR100"] > 0


@pytest.mark.parametrize("seed", range(4))
def test_masks_and_their_boxes(seed: int) -> None:
    instances, results = files(seed, masks=True)
    assert check(instances, results, "segm").numbers["AP50"] > 0
    for entry in instances["annotations"]:
        entry["bbox"] = [1.0, 2.0, 30.0, 20.0]
    check(instances, results, "bbox")  # results without boxes: those of their masks
    results[3]["bbox"] = [1.0, 2.0, 30.0, 21.0]
    check(instances, results, "bbox")
    for entry in results:
        entry["bbox"] = [1.0, 2.0, 30.0, 20.0]
    check(instances, results, "segm")  # areas are those of the boxes now
    check(instances, results, "bbox")


@pytest.mark.parametrize("seed", range(4))
def test_polygons_and_rectangles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instances, results = files(seed, masks=True)
    for k, entry in enumerate(instances["annotations"]):
        if not entry["iscrowd"]:
            entry["segmentation"] = [
                (rng.uniform(-0.1, 1.1, (5, 2)) * (90, 60)).ravel().tolist()
                for _ in range(1 + k % 2)
            ]
        elif k % 2:
            counts = [100, 7, 53, 0, 3, 60 * 90 - 163]
            entry["segmentation"] = {"size": [60, 90], "counts": counts}
    check(instances, results, "segm")
    boxes = [
        {
            **{key: entry[key] for key in ("image_id", "category_id", "score")},
            "bbox": [float(v) for v in (*rng.uniform(-5, 60, 2), *rng.uniform(0, 40, 2))],
        }
        for entry in results
    ]
    check(instances, boxes, "segm")


def test_annotations_outside_the_frame_are_passed_over() -> None:
    instances, results = files(1, masks=True)
    other = {"id": 999, "image_id": -5, "category_id": -5, "iscrowd": 0, "area": 5.0}
    instances["annotations"].append({**other, "segmentation": [[0.0, 0, 9, 0, 9, 9]]})
    check(instances, results, "segm")


def test_files(tmp_path: Path) -> None:
    instances, results = files(2, masks=True)
    (tmp_path / "instances.json").write_text(json.dumps(instances))
    with gzip.open(tmp_path / "results.json.gz", "wt") as file:
        json.dump(results, file)
    read = coco_scores(tmp_path / "instances.json", str(tmp_path / "results.json.gz"), "segm")
    assert read.numbers == coco_scores(instances, results, "segm").numbers


def test_each_category_by_name() -> None:
    instances, results = files(3, masks=False)
    instances["categories"].append({"id": 5000, "name": "absent"})
    found = coco_scores(instances, results)
    ap = found.category_ap()
    assert set(ap) == {category["name"] for category in instances["categories"]}
    assert ap["absent"] == -1
    present = [value for value in ap.values() if value > -1]
    assert np.isclose(np.mean(present), found.numbers["AP"])
    whole = coco_scores(instances, results, params=CocoParams(use_categories=False))
    assert whole.category_ap() == {"all": pytest.approx(whole.numbers["AP"])}
    few = coco_scores(instances, results, params=CocoParams(max_dets=(5,)))
    assert few.numbers == {}
    assert few.curves.precision.shape[-1] == 1


def test_no_results() -> None:
    instances, _ = files(3, masks=False)
    numbers = coco_scores(instances, []).numbers
    assert numbers["AP"] == numbers["AR100"] == 0
    with pytest.raises(ValueError, match="kind must be one of bbox, segm, got 'keypoints'"):
        coco_scores(instances, [], "keypoints")


# ---- one line for what is malformed

DELETED = object()


def _edited(entry: dict[str, Any], key: str, value: Any) -> None:
    if value is DELETED:
        del entry[key]
    else:
        entry[key] = value


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("images", "id", "7", "images 1 .id 7.: 'id' must be an integer of 64 bits, got '7'"),
        ("images", "id", 2**63, "images 1 .*'id' must be an integer of 64 bits"),
        ("categories", "id", None, "categories 1 .*'id' must be an integer"),
        ("annotations", "id", 1, "annotations 1 .id 1.: its id is used twice"),
        ("annotations", "id", DELETED, "annotations 1: lacks 'id'"),
        ("annotations", "image_id", 1.5, "annotations 1 .id 2.: 'image_id' must be an integer"),
        ("annotations", "category_id", True, "'category_id' must be an integer"),
        ("annotations", "area", "big", "annotations . .*'area' must be a number, got 'big'"),
        ("annotations", "area", DELETED, "lacks 'area'"),
        ("annotations", "bbox", DELETED, "lacks 'bbox'"),
        ("annotations", "bbox", [1, 2, 3], r"'bbox' must be four numbers .*got \[1, 2, 3\]"),
        ("annotations", "bbox", [1, 2, 3, "4"], "'bbox' must be four numbers"),
        ("annotations", "bbox", "1234" * 20, "'bbox' must be four numbers .*[.]{3}$"),
    ],
)
def test_malformed_instances(part: str, key: str, value: Any, message: str) -> None:
    instances, results = files(4, masks=False)
    _edited(instances[part][1], key, value)
    with pytest.raises(DataError, match=f"^instances: .*{message}"):
        coco_scores(instances, results)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image_id", -7, "entry 1: 'image_id' -7 is no image of the instances"),
        ("image_id", DELETED, "entry 1: lacks 'image_id'"),
        ("category_id", "cat", "entry 1: 'category_id' must be an integer"),
        ("score", None, "entry 1: 'score' must be a number, got None"),
        ("score", DELETED, "entry 1: lacks 'score'"),
        ("bbox", [], r"entry 1: 'bbox' must be four numbers .*got \[\]"),
    ],
)
def test_malformed_results(key: str, value: Any, message: str) -> None:
    instances, results = files(4, masks=False)
    _edited(results[1], key, value)
    with pytest.raises(DataError, match=f"^results: {message}"):
        coco_scores(instances, results)


@pytest.mark.parametrize("side", ["instances", "results"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (7, "'segmentation' must be run lengths or polygons, got 7"),
        ({"size": [60, 90]}, 'its segmentation cannot be read: it needs "size" and "counts"'),
        ({"size": [60, 90], "counts": "4"}, "its segmentation cannot be read: the run lengths"),
        ([[1.0, 2.0]], "its segmentation cannot be read: a polygon must list x and y of at least"),
    ],
)
def test_malformed_masks(side: str, value: Any, message: str) -> None:
    instances, results = files(4, masks=True)
    (instances["annotations"] if side == "instances" else results)[2]["segmentation"] = value
    with pytest.raises(DataError, match=f"^{side}: .*{message}"):
        coco_scores(instances, results, "segm")


def test_polygons_need_the_size_of_their_image() -> None:
    instances, results = files(4, masks=True)
    instances["annotations"][0]["segmentation"] = [[1.0, 1, 5, 1, 5, 5]]
    del instances["images"][2]["height"]
    with pytest.raises(DataError, match=r"^instances: images 2 .*lacks 'height'"):
        coco_scores(instances, results, "segm")


def test_other_contents(tmp_path: Path) -> None:
    instances, results = files(4, masks=False)
    with pytest.raises(DataError, match=r"no such file"):
        coco_scores(tmp_path / "none.json", results)
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match=r"list.json: holds a list where a dictionary"):
        coco_scores(tmp_path / "list.json", results)
    with pytest.raises(DataError, match=r"^instances: lacks the key 'categories'"):
        coco_scores({"images": [], "annotations": []}, results)
    with pytest.raises(DataError, match=r"^instances: images must be a list of entries"):
        coco_scores({**instances, "images": "many"}, results)
    with pytest.raises(DataError, match=r"^results: entry 0: must be a dictionary"):
        coco_scores(instances, [5])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"^results: must be a list or a path"):
        coco_scores(instances, {})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"^results: entry 0: has neither 'bbox' nor"):
        coco_scores(instances, [{**results[0], "bbox": []}])


def test_masks_of_other_sizes_than_their_image() -> None:
    instances, results = files(5, masks=True)
    rng = np.random.default_rng(0)
    results[0]["segmentation"] = rle(ellipse(rng, 20, 20))
    check(instances, results, "segm")
