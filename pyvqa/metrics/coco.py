"""The numbers of a COCO detection benchmark from an instances file and a results file.

The rules are pycocotools' (`COCO`, `loadRes`, `COCOeval`), and so are the numbers, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa.errors import DataError
from pyvqa.files import read_json
from pyvqa.ops.coco_eval import (
    CocoCurves,
    CocoDetections,
    CocoMasks,
    CocoParams,
    CocoTruth,
    accumulate,
    evaluate,
    summarize,
)

KINDS = ("bbox", "segm")
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CocoResult:
    """What a set of detections scored."""

    kind: str  # "bbox" or "segm"
    numbers: dict[str, float]  # the twelve by name, -1 where nothing was to be found
    curves: CocoCurves  # precision, recall and scores behind them
    categories: dict[int, str]  # id -> name, in the order of the curves

    def category_ap(self) -> dict[str, float]:
        """AP of every category by name, over all thresholds and areas at the last `max_dets`."""
        names = list(self.categories.values()) if self.curves.params.use_categories else ["all"]
        found = {}
        for k, name in enumerate(names):
            curve = self.curves.precision[:, :, k, 0, -1]
            present = curve[curve > -1]
            found[name] = float(present.mean()) if present.size else -1.0
        return found


def coco_scores(
    instances: str | Path | Mapping[str, Any],
    results: str | Path | Sequence[Mapping[str, Any]],
    kind: str = "bbox",
    *,
    params: CocoParams | None = None,
) -> CocoResult:
    """Score detections (a results list or its file) against an instances file or its content.

    `kind` is "bbox" or "segm". As in pycocotools the first result decides how areas are measured:
    by its boxes if it has one, else by its masks; results without a mask are rectangles. Scores
    that are NaN come last. Segmentations are run lengths, compressed or not, or polygons.

    `numbers` of the result is empty unless `params` has three `max_dets` and four `area_ranges`.

    Raises:
        DataError: a file or an entry of it is malformed, or results name unknown images.
        ValueError: `kind` is neither of the two.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    params = CocoParams() if params is None else params
    truth = _read(instances, "instances", dict, ("images", "annotations", "categories"))
    found = _read(results, "results", list)
    images = _Table(truth.name, "images", truth.content["images"])
    categories = _categories(_Table(truth.name, "categories", truth.content["categories"]))
    frame = _Frame(images.integers("id"), list(categories), images)
    annotations = _Table(truth.name, "annotations", truth.content["annotations"])
    evaluation = evaluate(
        _truth(annotations, frame, kind),
        _detections(_Table(found.name, "entry", found.content), frame, kind),
        images=frame.images,
        categories=frame.categories,
        params=params,
    )
    curves = accumulate(evaluation)
    complete = len(params.max_dets) == 3 and len(params.area_ranges) == 4
    return CocoResult(
        kind=kind,
        numbers=summarize(curves) if complete else {},
        curves=curves,
        categories=categories,
    )


# ---- reading


@dataclass(frozen=True)
class _Content:
    name: str  # of the file, or what stands for it
    content: Any


def _read(source: Any, name: str, expect: type, keys: Sequence[str] = ()) -> _Content:
    if isinstance(source, (str, Path)):
        return _Content(str(source), read_json(source, expect=expect, keys=keys))
    wanted = Mapping if expect is dict else Sequence
    if not isinstance(source, wanted):
        raise DataError(f"{name}: must be a {expect.__name__} or a path, got {type(source)}")
    missing = [key for key in keys if key not in source]
    if missing:
        raise DataError(f"{name}: lacks the key {missing[0]!r}")
    return _Content(name, source)


class _Table:
    """Entries of a file, read column by column; errors name the file and the entry."""

    def __init__(self, name: str, part: str, entries: Any) -> None:
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise DataError(f"{name}: {part} must be a list of entries")
        self.name, self.part, self.entries = name, part, entries
        for k, entry in enumerate(entries):
            if not isinstance(entry, Mapping):
                raise self.error(k, "must be a dictionary")

    def __len__(self) -> int:
        return len(self.entries)

    def error(self, k: int, what: str) -> DataError:
        entry = self.entries[k]
        label = f" (id {entry['id']})" if isinstance(entry, Mapping) and "id" in entry else ""
        return DataError(f"{self.name}: {self.part} {k}{label}: {what}")

    def kept(self, keep: NDArray[np.bool_]) -> _Table:
        if keep.all():
            return self
        entries = [entry for entry, kept in zip(self.entries, keep, strict=True) if kept]
        return _Table(self.name, self.part, entries)

    def column(self, key: str, check: Callable[[Any], bool], wanted: str) -> list[Any]:
        values = []
        for k, entry in enumerate(self.entries):
            if key not in entry:
                raise self.error(k, f"lacks {key!r}")
            if not check(entry[key]):
                raise self.error(k, f"{key!r} must be {wanted}, got {_short(entry[key])}")
            values.append(entry[key])
        return values

    def integers(self, key: str) -> NDArray[np.int64]:
        return np.array(self.column(key, _is_integer, "an integer of 64 bits"), np.int64)

    def numbers(self, key: str) -> Floats:
        return np.array(self.column(key, _is_number, "a number"), np.float64)

    def boxes(self) -> Floats:
        rows = self.column("bbox", _is_box, "four numbers x, y, width, height")
        return np.array(rows, np.float64).reshape(-1, 4)

    def masks(self, segmentations: list[Any], sizes: NDArray[np.int64]) -> CocoMasks:
        try:
            return CocoMasks(segmentations, sizes)
        except ValueError:
            for k, segmentation in enumerate(segmentations):
                self._check_mask(k, segmentation, sizes[k : k + 1])
            raise

    def _check_mask(self, k: int, segmentation: Any, size: NDArray[np.int64]) -> None:
        try:
            CocoMasks([segmentation], size)
        except ValueError as error:
            reason = str(error).partition("mask 0: ")[2]
            raise self.error(k, f"its segmentation cannot be read: {reason}") from error


@dataclass(frozen=True)
class _Frame:
    """The images and categories that count."""

    images: NDArray[np.int64]
    categories: list[int]
    table: _Table  # of the images

    def sizes(self, image: NDArray[np.int64], segmentations: list[Any]) -> NDArray[np.int64]:
        """Height and width of each object's picture; only polygons need them: int64 [N, 2]."""
        if not any(isinstance(segmentation, list) for segmentation in segmentations):
            return np.zeros((len(image), 2), np.int64)
        pairs = zip(self.table.integers("height"), self.table.integers("width"), strict=True)
        known = dict(zip(self.images.tolist(), pairs, strict=True))
        return np.array([known[i] for i in image.tolist()], np.int64).reshape(-1, 2)


def _categories(table: _Table) -> dict[int, str]:
    """Id -> name, by rising id."""
    ids = table.integers("id").tolist()
    names = [str(entry.get("name", k)) for k, entry in zip(ids, table.entries, strict=True)]
    return dict(sorted(zip(ids, names, strict=True)))


def _truth(table: _Table, frame: _Frame, kind: str) -> CocoTruth:
    ids = table.integers("id")
    _refuse_repeated(table, ids)
    listed = np.isin(table.integers("image_id"), frame.images)
    table = table.kept(listed & np.isin(table.integers("category_id"), frame.categories))
    image = table.integers("image_id")
    crowd = [bool(entry.get("iscrowd", 0)) for entry in table.entries]
    boxes = masks = None
    if kind == "bbox":
        boxes = table.boxes()
    else:
        segmentations = table.column("segmentation", _is_segmentation, "run lengths or polygons")
        masks = table.masks(segmentations, frame.sizes(image, segmentations))
    return CocoTruth(
        image=image,
        category=table.integers("category_id"),
        area=table.numbers("area"),
        boxes=boxes,
        masks=masks,
        crowd=np.array(crowd, np.bool_),
        ids=table.integers("id"),
    )


def _detections(table: _Table, frame: _Frame, kind: str) -> CocoDetections:
    image = table.integers("image_id")
    unknown = np.flatnonzero(~np.isin(image, frame.images))
    if unknown.size:
        k = int(unknown[0])
        raise table.error(k, f"'image_id' {image[k]} is no image of the instances")
    by_box = len(table) == 0 or bool(table.entries[0].get("bbox"))
    if not by_box and "segmentation" not in table.entries[0]:
        raise table.error(0, "has neither 'bbox' nor 'segmentation'")
    boxes = masks = None
    if by_box:
        boxes = table.boxes()
        area = boxes[:, 2] * boxes[:, 3]
    if not by_box or kind == "segm":
        masks = _result_masks(table, frame, image, by_box)
    if masks is not None and not by_box:
        area = masks.areas
        boxes = _boxes_or_of_masks(table, masks) if kind == "bbox" else None
    return CocoDetections(
        image=image,
        category=table.integers("category_id"),
        score=table.numbers("score"),
        boxes=boxes if kind == "bbox" else None,
        masks=masks if kind == "segm" else None,
        area=area,
    )


def _result_masks(
    table: _Table, frame: _Frame, image: NDArray[np.int64], by_box: bool
) -> CocoMasks:
    if by_box:
        segmentations = [
            entry["segmentation"] if "segmentation" in entry else _rectangle(entry["bbox"])
            for entry in table.entries
        ]
    else:
        segmentations = table.column("segmentation", _is_segmentation, "run lengths or polygons")
    return table.masks(segmentations, frame.sizes(image, segmentations))


def _boxes_or_of_masks(table: _Table, masks: CocoMasks) -> Floats:
    boxes: Floats = masks.boxes
    for k, entry in enumerate(table.entries):
        if "bbox" not in entry:
            continue
        if not _is_box(entry["bbox"]):
            raise table.error(k, f"'bbox' must be four numbers, got {_short(entry['bbox'])}")
        boxes[k] = entry["bbox"]
    return boxes


def _rectangle(box: Sequence[float]) -> list[list[float]]:
    left, top = box[0], box[1]
    right, bottom = left + box[2], top + box[3]
    return [[left, top, left, bottom, right, bottom, right, top]]


def _refuse_repeated(table: _Table, ids: NDArray[np.int64]) -> None:
    values, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        repeated = values[counts > 1][0]
        raise table.error(int(np.flatnonzero(ids == repeated)[1]), "its id is used twice")


# ---- what a value must be


def _is_integer(value: Any) -> bool:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    return whole and -(2**63) <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, (float, int, np.floating, np.integer)) and not isinstance(value, bool)


def _is_box(value: Any) -> bool:
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) != 4:
        return False
    return all(_is_number(number) for number in value)


def _is_segmentation(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
