"""Random calls of COCO's evaluation."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
from op_inputs import explained

from pyvqa.ops import coco_eval
from pyvqa.ops.coco_eval import CocoDetections, CocoMasks, CocoParams, CocoTruth

ODD = (0.0, -0.0, 1.0, float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 5e-324)


def _numbers(rng: random.Random, count: int) -> Any:
    values = [rng.choice(ODD) if rng.random() < 0.2 else rng.uniform(-5, 60) for _ in range(count)]
    form = rng.randrange(8)
    if form == 0:
        return np.array([v for v in values for _ in range(2)])[::2]
    if form != 1:
        return values
    with np.errstate(over="ignore"):
        return np.array(values, np.float32)


def _labels(rng: random.Random, count: int) -> Any:
    odd = rng.random() < 0.1
    values = [rng.choice((0, -1, 2**62, 3)) if odd else rng.randrange(3) for _ in range(count)]
    if rng.random() < 0.03:
        return [float(v) for v in values]
    return np.array(values, rng.choice((np.int64, np.int32))) if not odd else values


def _mask(rng: random.Random) -> Any:
    height, width = rng.randrange(9), rng.randrange(9)
    form = rng.randrange(12)
    if form == 0:
        return rng.choice((None, [], {}, [[1.0]], {"size": [3, 3], "counts": "!"}))
    if form < 4:
        points = [rng.choice(ODD) if rng.random() < 0.05 else rng.uniform(-3, 12) for _ in range(8)]
        return [points] * rng.randrange(1, 3)
    runs, left = [], height * width
    while left > 0:
        runs.append(min(left, rng.randrange(12)))
        left -= runs[-1]
    return {"size": [height, width], "counts": runs if runs else [0]}


def _side(rng: random.Random, count: int, masks: bool) -> dict[str, Any]:
    """Images, categories and shapes; now and then one of them has another length."""
    lengths = [count + (rng.random() < 0.02) for _ in range(3)]
    side = {"image": _labels(rng, lengths[0]), "category": _labels(rng, lengths[1])}
    if masks:
        sizes = np.full((lengths[2], 2), 8, np.int64)
        return {**side, "masks": CocoMasks([_mask(rng) for _ in range(lengths[2])], sizes)}
    boxes = np.array(_numbers(rng, 4 * lengths[2]), np.float64).reshape(-1, 4)
    return {**side, "boxes": boxes}


def _params(rng: random.Random) -> CocoParams | None:
    if rng.random() < 0.5:
        return None
    return CocoParams(
        iou_thresholds=[rng.choice((0.5, 0.0, -1.0, 2.0, 0.9)) for _ in range(rng.randrange(3))],
        recall_thresholds=[rng.choice(ODD) for _ in range(rng.randrange(4))],
        max_dets=[
            rng.randrange(-1 if rng.random() < 0.1 else 0, 5) for _ in range(rng.choice((2, 3)))
        ],
        area_ranges=[(rng.uniform(-5, 50), rng.choice((30.0, 1e9)))] * rng.choice((0, 1, 4)),
        use_categories=rng.random() < 0.5,
    )


def _evaluate(rng: random.Random) -> None:
    masks = rng.random() < 0.4
    truths, found = rng.randrange(6), rng.randrange(8)
    with explained("coco_eval: "):
        truth = CocoTruth(
            area=_numbers(rng, truths),
            crowd=[rng.random() < 0.2 for _ in range(truths)],
            ids=_labels(rng, truths) if rng.random() < 0.3 else None,
            **_side(rng, truths, masks),
        )
        detections = CocoDetections(
            score=_numbers(rng, found),
            area=_numbers(rng, found) if rng.random() < 0.5 else None,
            ids=_labels(rng, found) if rng.random() < 0.3 else None,
            **_side(rng, found, masks if rng.random() < 0.97 else not masks),
        )
        done = coco_eval.evaluate(truth, detections, params=_params(rng))
        curves = coco_eval.accumulate(done)
        present = curves.precision[curves.precision != -1]
        assert present.size == 0 or (present.min() >= 0 and present.max() <= 1)
        if len(done.params.max_dets) == 3:
            coco_eval.summarize(curves)


CALLS: dict[str, Callable[[random.Random], None]] = {"coco_eval": _evaluate}
