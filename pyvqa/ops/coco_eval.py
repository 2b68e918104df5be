"""COCO's evaluation of detections on flat arrays (csrc/coco_eval).

`evaluate` matches detections to ground truth, `accumulate` makes precision and recall curves of
the matches, `summarize` the twelve numbers. Everything equals pycocotools' COCOeval to the last
bit. NumPy in and out; files are read by `pyvqa.metrics.coco`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyvqa import _native
from pyvqa._native import CocoMasks as CocoMasks
from pyvqa._native import CocoMatches

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Outcomes of a detection, `CocoMatches.outcome`.
WRONG, RIGHT, UNCOUNTED = 0, 1, 2

AREA_RANGES = ((0.0, 1e10), (0.0, 1024.0), (1024.0, 9216.0), (9216.0, 1e10))
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True, kw_only=True)
class CocoParams:
    """What is evaluated; the defaults are COCO's."""

    iou_thresholds: Sequence[float] = tuple(np.linspace(0.5, 0.95, 10).tolist())
    recall_thresholds: Sequence[float] = tuple(np.linspace(0.0, 1.0, 101).tolist())
    max_dets: Sequence[int] = (1, 10, 100)  # best detections of an image (and category); sorted
    area_ranges: Sequence[tuple[float, float]] = AREA_RANGES  # square pixels, both ends included
    use_categories: bool = True  # False: any category matches any other

    def __post_init__(self) -> None:
        if any(len(limits) != 2 for limits in self.area_ranges):
            raise ValueError("coco_eval: every area range must be (low, high)")
        numbers = [*self.iou_thresholds, *self.recall_thresholds]
        numbers += [limit for limits in self.area_ranges for limit in limits]
        if np.isnan(_floats(numbers, "thresholds and area ranges")).any():
            raise ValueError("coco_eval: thresholds and area ranges must not be NaN")
        limits = sorted(_integers(self.max_dets, "max_dets").tolist())
        if limits and limits[0] < 0:
            raise ValueError("coco_eval: max_dets must not be negative")
        object.__setattr__(self, "max_dets", tuple(limits))


class CocoTruth(NamedTuple):
    """G objects that are there."""

    image: ArrayLike  # int [G] image ids
    category: ArrayLike  # int [G] category ids
    area: ArrayLike  # float [G] square pixels, as the annotation says
    boxes: ArrayLike | None = None  # float [G, 4] x, y, width, height; or else masks
    masks: Sequence[Any] | CocoMasks | None = None  # RLE dictionaries, or `CocoMasks`
    crowd: ArrayLike | None = None  # bool [G]; none by default
    ids: ArrayLike | None = None  # int [G]; 1, 2, ... by default. Id 0 is never seen as matched


class CocoDetections(NamedTuple):
    """D objects that were found."""

    image: ArrayLike  # int [D] image ids
    category: ArrayLike  # int [D] category ids
    score: ArrayLike  # float [D]; NaN comes after all numbers
    boxes: ArrayLike | None = None  # float [D, 4] x, y, width, height; or else masks
    masks: Sequence[Any] | CocoMasks | None = None  # RLE dictionaries, or `CocoMasks`
    area: ArrayLike | None = None  # float [D]; by default that of the boxes or masks
    ids: ArrayLike | None = None  # int [D]; 1, 2, ... by default. Ids below 1 leave truths free


class Evaluation(NamedTuple):
    """Matched detections and what they were matched for."""

    matches: CocoMatches
    images: Integers  # [I] ids, rising
    categories: Integers  # [K] ids, rising
    params: CocoParams


class CocoCurves(NamedTuple):
    """T thresholds, R recalls, K categories (1 where they do not count), A areas, M max_dets.

    -1 where there is nothing to be found.
    """

    precision: Floats  # [T, R, K, A, M]
    recall: Floats  # [T, K, A, M]
    scores: Floats  # [T, R, K, A, M] score of the detection that reaches the recall
    params: CocoParams


def evaluate(
    truth: CocoTruth,
    detections: CocoDetections,
    *,
    images: ArrayLike | None = None,
    categories: ArrayLike | None = None,
    params: CocoParams | None = None,
) -> Evaluation:
    """Match detections to ground truth for all thresholds, area ranges and categories in one pass.

    Only objects of `images` and `categories` (ids; by default those that occur in the truth) count.
    A detection takes the free truth of the highest overlap, in the order of falling scores, equal
    scores as given. Crowds and truths outside the area range are ignored: what matches them counts
    neither way. Masks of different sizes do not match.

    Memory is linear in detections and truth.

    Raises ValueError when arrays do not fit together or a mask is malformed.
    """
    params = CocoParams() if params is None else params
    image = _integers(truth.image, "image")
    category = _integers(truth.category, "category")
    found_image = _integers(detections.image, "image")
    shapes, found_shapes = _shapes(truth), _shapes(detections)
    image_ids = np.unique(image if images is None else _integers(images, "images"))
    category_ids = _integers(category if categories is None else categories, "categories")
    category_ids = _listed(
        category_ids, in_order=not params.use_categories and categories is not None
    )
    crowd = np.zeros(len(image), bool) if truth.crowd is None else truth.crowd
    area = _areas(found_shapes) if detections.area is None else detections.area
    matches = _native.coco_evaluate(
        image,
        category,
        _ids(truth.ids, len(image)),
        _floats(truth.area, "area"),
        _vector(_array(crowd, np.bool_, "crowd"), "crowd"),
        shapes,
        found_image,
        _integers(detections.category, "category"),
        _ids(detections.ids, len(found_image)),
        _floats(area, "area"),
        _floats(detections.score, "score"),
        found_shapes,
        image_ids,
        category_ids,
        [float(t) for t in params.iou_thresholds],
        [float(limit) for limits in params.area_ranges for limit in limits],
        max(params.max_dets, default=0),
        params.use_categories,
    )
    return Evaluation(matches, image_ids, category_ids, params)


def accumulate(evaluation: Evaluation) -> CocoCurves:
    """Make precision and recall curves of matched detections."""
    params = evaluation.params
    recalls = [float(r) for r in params.recall_thresholds]
    precision, recall, scores = _native.coco_accumulate(
        evaluation.matches, recalls, list(params.max_dets)
    )
    return CocoCurves(precision, recall, scores, params)


def summarize(curves: CocoCurves) -> dict[str, float]:
    """Average curves into COCO's twelve numbers, by the names of `NAMES`; -1 for what is absent.

    AR1, AR10 and AR100 go by the three `max_dets` whatever they are, AP by 100 detections, all
    others by the last; s, m, l are area ranges 1, 2, 3.

    Raises ValueError unless there are three `max_dets` and four area ranges.
    """
    params = curves.params
    if len(params.max_dets) != 3 or len(params.area_ranges) != 4:
        raise ValueError("coco_eval: the twelve numbers need three max_dets and four area_ranges")
    thresholds = np.asarray(params.iou_thresholds, np.float64)
    first, second, last = params.max_dets

    def places(limit: int) -> list[int]:
        return [m for m, other in enumerate(params.max_dets) if other == limit]

    def precision(area: int, limit: int, threshold: float | None = None) -> float:
        some = slice(None) if threshold is None else thresholds == threshold
        return _mean(curves.precision[some][:, :, :, area][..., places(limit)])

    def recall(area: int, limit: int) -> float:
        return _mean(curves.recall[:, :, area][..., places(limit)])

    numbers = [precision(0, 100), precision(0, last, 0.5), precision(0, last, 0.75)]
    numbers += [precision(area, last) for area in (1, 2, 3)]
    numbers += [recall(0, limit) for limit in (first, second, last)]
    numbers += [recall(area, last) for area in (1, 2, 3)]
    return dict(zip(NAMES, numbers, strict=True))


def _mean(values: Floats) -> float:
    """Average what is there, in the order of the axes: the sum's rounding depends on it."""
    present = values[values > -1]
    return float(np.mean(present)) if len(present) else -1.0


def _listed(ids: Integers, in_order: bool) -> Integers:
    """Ids by rising number, or as they are listed: then none may be there twice."""
    rising: Integers = np.unique(ids)
    if in_order and len(rising) != len(ids):
        raise ValueError("coco_eval: categories lists an id twice")
    return ids if in_order else rising


def _array(values: ArrayLike, dtype: Any, name: str) -> NDArray[Any]:
    try:
        return np.ascontiguousarray(values, dtype)
    except (TypeError, ValueError) as error:
        raise TypeError(f"coco_eval: {name} cannot be read as numbers: {error}") from error


def _vector(array: NDArray[Any], name: str) -> NDArray[Any]:
    if array.ndim != 1:
        raise ValueError(f"coco_eval: {name} must be a vector, got {array.ndim} dimensions")
    return array


def _integers(values: ArrayLike, name: str) -> Integers:
    array = _array(values, None, name)
    if array.size and (array.dtype.kind not in "iub" or array.dtype == np.uint64):
        raise TypeError(f"coco_eval: {name} must hold integers of 64 bits, got {array.dtype}")
    return _vector(np.ascontiguousarray(array, np.int64), name)


def _floats(values: ArrayLike, name: str) -> Floats:
    return _vector(_array(values, np.float64, name), name)


def _ids(values: ArrayLike | None, count: int) -> Integers:
    return np.arange(1, count + 1) if values is None else _integers(values, "ids")


def _shapes(objects: CocoTruth | CocoDetections) -> Floats | CocoMasks:
    """Boxes or masks, whichever is given."""
    if (objects.boxes is None) == (objects.masks is None):
        raise ValueError("coco_eval: give either boxes or masks")
    if objects.boxes is not None:
        boxes = _array(objects.boxes, np.float64, "boxes")
        return boxes.reshape(0, 4) if boxes.size == 0 else boxes
    masks = objects.masks
    return masks if isinstance(masks, CocoMasks) else CocoMasks(masks)


def _areas(shapes: Floats | CocoMasks) -> Floats:
    if isinstance(shapes, CocoMasks):
        areas: Floats = shapes.areas
        return areas
    if shapes.ndim != 2 or shapes.shape[1] != 4:
        raise ValueError("coco_eval: boxes of detections must be [N, 4]")
    with np.errstate(over="ignore", invalid="ignore"):
        found: Floats = shapes[:, 2] * shapes[:, 3]
    return found
