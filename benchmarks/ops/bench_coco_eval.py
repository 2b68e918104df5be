"""COCO's evaluation against pycocotools: 100 images, 10 categories, boxes and masks.

The rival starts from loaded COCO objects, this package from flat arrays with the same boxes and
run-length texts; both compute the overlaps. Equality of all curves first. It prints a table:

    pytest benchmarks/ops/bench_coco_eval.py -s
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import timing

from pyvqa.ops import coco_eval
from pyvqa.ops.coco_eval import CocoDetections, CocoTruth

IMAGES, CATEGORIES, TRUTHS, DETECTIONS = 100, 10, 2000, 4000
SIZE = (480, 640)

Entries = list[dict[str, Any]]


def quiet(run: Callable[[], object]) -> Callable[[], None]:
    def silent() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            run()

    return silent


def ellipse(rng: np.random.Generator, box: np.ndarray) -> np.ndarray:
    """A rotated ellipse with a wavy edge about the middle of a box, bool [H, W]."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float32)
    x -= box[0] + box[2] / 2
    y -= box[1] + box[3] / 2
    angle = rng.uniform(0, 0.3)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = 1 + 0.1 * np.sin(9 * np.arctan2(v, u))
    return np.asarray((2 * u / box[2]) ** 2 + (2 * v / box[3]) ** 2 < wave)


def shape(rng: np.random.Generator, box: np.ndarray, masks: bool) -> dict[str, Any]:
    if not masks:
        return {"bbox": box.tolist(), "area": float(box[2] * box[3])}
    from pycocotools import mask

    rle = mask.encode(np.asfortranarray(ellipse(rng, box).astype(np.uint8)))
    return {"segmentation": rle, "area": float(mask.area(rle))}


def problem(masks: bool) -> tuple[Entries, Entries]:
    """Truths of 20..160 pixels; three detections of four are truths displaced by a tenth."""
    rng = np.random.default_rng(0)
    truth: Entries = []
    found: Entries = []
    boxes = np.concatenate(
        [
            rng.uniform(0, 1, (TRUTHS, 2)) * (SIZE[1] - 80, SIZE[0] - 80),
            np.exp(rng.uniform(np.log(20), np.log(160), (TRUTHS, 2))),
        ],
        axis=1,
    )
    for k, box in enumerate(boxes):
        place = {"image_id": k % IMAGES, "category_id": int(rng.integers(CATEGORIES))}
        crowd = int(rng.random() < 0.02)
        truth.append({"id": k + 1, **place, "iscrowd": crowd, **shape(rng, box, masks)})
    for k in range(DETECTIONS):
        source = int(rng.integers(TRUTHS))
        box = boxes[source] * np.exp(rng.normal(0, 0.1, 4))
        place = {key: truth[source][key] for key in ("image_id", "category_id")}
        if k % 4 == 0:
            place["category_id"] = int(rng.integers(CATEGORIES))
        score = {"score": float(rng.random()), "id": k + 1, "iscrowd": 0}
        found.append({**place, **score, **shape(rng, box, masks)})
    return truth, found


def judge(truth: Entries, found: Entries, kind: str) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    sides = []
    for entries in (truth, found):
        side = COCO()
        side.dataset = {
            "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in range(IMAGES)],
            "categories": [{"id": c} for c in range(CATEGORIES)],
            "annotations": entries,
        }
        quiet(side.createIndex)()
        sides.append(side)
    return COCOeval(*sides, kind)


def column(entries: Entries, key: str) -> np.ndarray:
    return np.array([entry[key] for entry in entries])


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_coco_eval(kind: str, benchmark: Any) -> None:
    pytest.importorskip("pycocotools")
    truth, found = problem(masks=kind == "segm")

    def shapes(entries: Entries) -> dict[str, Any]:
        if kind == "bbox":
            return {"boxes": column(entries, "bbox")}
        return {"masks": [entry["segmentation"] for entry in entries]}

    def arrays(entries: Entries) -> list[np.ndarray]:
        return [column(entries, key) for key in ("image_id", "category_id")]

    flat_truth = CocoTruth(
        *arrays(truth), column(truth, "area"), **shapes(truth), crowd=column(truth, "iscrowd")
    )
    flat_found = CocoDetections(
        *arrays(found), column(found, "score"), **shapes(found), area=column(found, "area")
    )

    def evaluate() -> coco_eval.Evaluation:
        return coco_eval.evaluate(
            flat_truth, flat_found, images=range(IMAGES), categories=range(CATEGORIES)
        )

    rival = judge(truth, found, kind)
    quiet(rival.evaluate)()
    quiet(rival.accumulate)()
    done = evaluate()
    curves = coco_eval.accumulate(done)
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(getattr(curves, name), rival.eval[name])
    case = f"{kind}, {IMAGES} images, {TRUTHS} truths, {DETECTIONS} detections"
    timing.compare(
        "coco_eval evaluate",
        case,
        ours=evaluate,
        rival=quiet(rival.evaluate),
        rival_name="pycocotools",
        target=20,
    )
    timing.compare(
        "coco_eval accumulate",
        case,
        ours=lambda: coco_eval.accumulate(done),
        rival=quiet(rival.accumulate),
        rival_name="pycocotools",
        target=10,
    )
    benchmark.pedantic(evaluate, rounds=5, warmup_rounds=1)
