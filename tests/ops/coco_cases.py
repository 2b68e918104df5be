"""Random detection problems, and what pycocotools says about them."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pyvqa.ops.coco_eval import CocoDetections, CocoParams, CocoTruth


class Problem(NamedTuple):
    """Ground truth and detections as annotations of COCO files."""

    images: list[dict[str, Any]]
    categories: list[dict[str, Any]]
    truth: list[dict[str, Any]]
    detections: list[dict[str, Any]]  # with `id` and `area`, as pycocotools completes them


def ellipse(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A rotated ellipse with a wavy edge, anywhere near the picture."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x -= rng.uniform(0, width)
    y -= rng.uniform(0, height)
    angle, (a, b) = rng.uniform(0, np.pi), rng.uniform(1, max(2, min(height, width) / 4), 2)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = 1 + 0.1 * np.sin(7 * np.arctan2(v, u))
    return (u / a) ** 2 + (v / b) ** 2 < wave


def rle(mask: np.ndarray) -> dict[str, Any]:
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def shifted(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    return np.roll(mask, tuple(rng.integers(-3, 4, 2)), (0, 1))


def random_mask(
    rng: np.random.Generator, size: tuple[int, int], near: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A mask of its own, or another one slightly moved."""
    mask = ellipse(rng, *size) if near is None else shifted(rng, near["mask"])
    return {"mask": mask, "segmentation": rle(mask), "area": float(mask.sum())}


def random_box(rng: np.random.Generator, near: dict[str, Any] | None = None) -> dict[str, Any]:
    """A box of its own, with an area below that of its sides; or another one slightly changed."""
    if near is None:
        sides = np.exp(rng.uniform(np.log(4), np.log(200), 2))
        area = float(sides.prod() * rng.uniform(0.4, 1))
        return {"bbox": [*rng.uniform(0, 300, 2).tolist(), *sides.tolist()], "area": area}
    box = np.array(near["bbox"])
    box[:2] += rng.normal(0, 0.08, 2) * box[2:]
    box[2:] *= np.exp(rng.normal(0, 0.1, 2))
    return {"bbox": box.tolist(), "area": float(box[2] * box[3])}


def random_problem(
    seed: int,
    *,
    images: int = 6,
    categories: int = 4,
    truths: int = 40,
    detections: int = 80,
    masks: bool = False,
    size: tuple[int, int] = (60, 90),
    crowds: float = 0.15,
) -> Problem:
    """Objects of all sizes; most detections are displaced truths, and many scores are equal."""
    rng = np.random.default_rng(seed)
    ids = [int(i) for i in rng.permutation(1000)[:images]]
    category_ids = [int(c) for c in rng.permutation(100)[:categories]]

    def place() -> dict[str, int]:
        return {"image_id": int(rng.choice(ids)), "category_id": int(rng.choice(category_ids))}

    truth: list[dict[str, Any]] = []
    for k in range(truths):
        crowd = int(rng.random() < crowds)
        shape = random_mask(rng, size) if masks else random_box(rng)
        truth.append({"id": k + 1, **place(), "iscrowd": crowd, **shape})
    found: list[dict[str, Any]] = []
    for k in range(detections):
        source = truth[rng.integers(truths)] if truths and rng.random() < 0.8 else None
        where = {key: source[key] for key in ("image_id", "category_id")} if source else place()
        shape = random_mask(rng, size, source) if masks else random_box(rng, source)
        score = float(rng.integers(0, 12)) / 11
        found.append({"id": k + 1, **where, "score": score, "iscrowd": 0, **shape})
    for entry in (*truth, *found):
        entry.pop("mask", None)
    return Problem(
        [{"id": i, "height": size[0], "width": size[1]} for i in ids],
        [{"id": c, "name": f"c{c}"} for c in category_ids],
        truth,
        found,
    )


def flat(problem: Problem) -> tuple[CocoTruth, CocoDetections]:
    """The problem as flat arrays."""

    def column(entries: list[dict[str, Any]], key: str, dtype: type) -> np.ndarray:
        return np.array([entry[key] for entry in entries], dtype)

    def shapes(entries: list[dict[str, Any]]) -> dict[str, Any]:
        if any("segmentation" in e for e in (*problem.truth, *problem.detections)):
            return {"masks": [entry["segmentation"] for entry in entries]}
        return {"boxes": column(entries, "bbox", np.float64)}

    truth, found = problem.truth, problem.detections
    return (
        CocoTruth(
            column(truth, "image_id", np.int64),
            column(truth, "category_id", np.int64),
            column(truth, "area", np.float64),
            **shapes(truth),
            crowd=column(truth, "iscrowd", np.bool_),
            ids=column(truth, "id", np.int64),
        ),
        CocoDetections(
            column(found, "image_id", np.int64),
            column(found, "category_id", np.int64),
            column(found, "score", np.float64),
            **shapes(found),
            area=column(found, "area", np.float64),
            ids=column(found, "id", np.int64),
        ),
    )


def listed(problem: Problem) -> dict[str, list[int]]:
    """Which images and categories there are."""
    return {
        "images": [image["id"] for image in problem.images],
        "categories": sorted(category["id"] for category in problem.categories),
    }


def coco_object(problem: Problem, entries: list[dict[str, Any]]) -> COCO:
    coco = COCO()
    coco.dataset = {
        "images": problem.images,
        "categories": problem.categories,
        "annotations": copy.deepcopy(entries),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def quietly(run: Callable[[], object]) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        run()


def reference(problem: Problem, kind: str, params: CocoParams | None = None) -> COCOeval:
    """COCOeval, ready to `evaluate`."""
    judge = COCOeval(
        coco_object(problem, problem.truth), coco_object(problem, problem.detections), kind
    )
    params = CocoParams() if params is None else params
    judge.params.iouThrs = np.array(params.iou_thresholds)
    judge.params.recThrs = np.array(params.recall_thresholds)
    judge.params.maxDets = list(params.max_dets)
    judge.params.areaRng = [list(limits) for limits in params.area_ranges]
    judge.params.useCats = int(params.use_categories)
    return judge
