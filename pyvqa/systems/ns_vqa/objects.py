"""From detections to objects: keep what scores well, then pair it with the truth or thin it out.

ns-vqa scene_parse/attr_net/tools/process_proposals.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa.errors import DataError
from pyvqa.files import read_json, write_json
from pyvqa.ops import PackedMasks, mask_iou, mask_nms, match_masks, pack_rles
from pyvqa.ops.masks import Rle
from pyvqa.systems.ns_vqa.detections import Detections
from pyvqa.systems.ns_vqa.model.attributes import BLOCKS, NUMBERS

_AT_ONCE = 2048  # masks unpacked at a time: 42 MB at 320 x 480
_KEYS = ("object_masks", "image_idxs", "category_idxs", "feature_vectors", "scores")


class Suppression(NamedTuple):
    """How much the lesser of two objects may overlap; more, and it goes."""

    iou: float = 0.5  # intersection over union
    iomin: float = 0.5  # intersection over the smaller one


class TrueObjects(NamedTuple):
    """The objects of a picture as its scene knows them."""

    masks: list[Rle]
    vectors: list[list[float]]  # the 18 numbers of each, see `vector_of`


@dataclass(frozen=True)
class Objects:
    """N objects, sorted by picture."""

    masks: list[Rle]
    image_index: list[int]
    classes: list[int]  # the detector's, from 1
    vectors: list[list[float]]  # 18 numbers of the true object each; empty without truth
    scores: list[float]

    def __len__(self) -> int:
        return len(self.masks)

    def write(self, path: str | Path) -> None:
        """Write the original's JSON file."""
        columns = (self.masks, self.image_index, self.classes, self.vectors, self.scores)
        write_json(path, dict(zip(_KEYS, columns, strict=True)), indent=None)


def read_objects(path: str | Path) -> Objects:
    """Read an objects file of ours or of the original.

    Raises:
        DataError: missing, damaged, or its lists do not fit together.
    """
    content = read_json(path, keys=_KEYS)
    masks, images, classes, vectors, scores = (content[key] for key in _KEYS)
    for key in _KEYS:
        if not isinstance(content[key], list):
            raise DataError(f"{path}: {key} is no list")
        if len(content[key]) != len(masks) and (key != "feature_vectors" or vectors):
            raise DataError(f"{path}: {len(masks)} object_masks, but {len(content[key])} {key}")
    for key, kinds in (("image_idxs", (int,)), ("category_idxs", (int,)), ("scores", (int, float))):
        wrong = [k for k, value in enumerate(content[key]) if type(value) not in kinds]
        if wrong:
            raise DataError(f"{path}: {key}[{wrong[0]}] is {content[key][wrong[0]]!r}, no number")
    for row, vector in enumerate(vectors):
        if not isinstance(vector, list) or len(vector) != NUMBERS:
            raise DataError(f"{path}: feature_vectors[{row}] is not {NUMBERS} numbers")
    for row, mask in enumerate(masks):
        if not isinstance(mask, dict) or not {"size", "counts"} <= mask.keys():
            raise DataError(f"{path}: object_masks[{row}] is no run-length mask")
    return Objects(masks, images, classes, vectors, scores)


def read_truth(path: str | Path) -> dict[int, TrueObjects]:
    """Read a scene file whose objects have masks (CLEVR-mini's): image_index -> objects.

    Raises:
        DataError: missing, damaged, an object without a mask or with an unknown value, or two
            scenes with one image_index.
    """
    truth: dict[int, TrueObjects] = {}
    for number, scene in enumerate(read_json(path, keys=("scenes",))["scenes"]):
        try:
            index, entries = scene["image_index"], scene["objects"]
            vectors = [vector_of(entry, scene) for entry in entries]
            masks = [{"size": e["mask"]["size"], "counts": e["mask"]["counts"]} for e in entries]
        except KeyError as error:
            raise DataError(
                f"{path}: scene {number} lacks {error.args[0]!r}; a file as "
                "CLEVR_mini_coco_anns.json is needed, whose objects have masks"
            ) from error
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: scene {number}: {error}") from error
        if index in truth:
            raise DataError(f"{path}: image_index {index} stands there more than once")
        truth[index] = TrueObjects(masks, vectors)  # type: ignore[arg-type]
    return truth


def vector_of(entry: dict[str, Any], scene: dict[str, Any]) -> list[float]:
    """Give an object's 18 numbers: 1 for each value that it has, then right, front and up.

    The place is measured along the scene's directions, or taken as stored where `position` is.

    Raises:
        KeyError, ValueError: something is missing, or a value is none of CLEVR's.
    """
    vector: list[float] = []
    for name, words in BLOCKS.items():
        if entry[name] not in words:
            raise ValueError(f"an object's {name} is {entry[name]!r}; known: {', '.join(words)}")
        vector += [float(entry[name] == word) for word in words]
    if "3d_coords" not in entry:
        return [*vector, *map(float, entry["position"])]
    place = np.array(entry["3d_coords"], dtype=np.float64)
    axes = [np.array(scene["directions"][name], dtype=np.float64) for name in ("right", "front")]
    return [*vector, *(float(np.dot(place, axis)) for axis in axes), float(place[2])]


def make_objects(
    detections: Detections,
    *,
    score: float = 0.9,
    truth: dict[int, TrueObjects] | None = None,
    align_iou: float = 0.7,
    match: Literal["best", "first"] = "best",
    suppression: Suppression | None = None,
) -> Objects:
    """Make objects of the detections that score above `score`, picture by picture, by class.

    With `truth`, those stay whose mask has a true object's above `align_iou`; they get its
    numbers. "best" pairs with the one that overlaps most, "first" with the first in the scene, as
    the original; several may pair with one. Without, `suppression` drops the lesser of two that
    overlap, and sorts by falling score.

    Raises:
        ValueError: both `truth` and `suppression` are given.
        DataError: a mask is damaged, a picture has no true scene, or their sizes differ.
    """
    if truth is not None and suppression is not None:
        raise ValueError("objects are paired with the truth or thinned out, not both")
    scores = detections.scores.astype(np.float64)
    of_picture = np.repeat(detections.image_index, np.diff(detections.offsets))
    rows = np.flatnonzero(scores > score)
    number = np.repeat(np.arange(len(detections.image_index)), np.diff(detections.offsets))
    rows = rows[np.lexsort((detections.classes[rows], number[rows]))]
    vectors: list[list[float]] = []
    if truth is not None or suppression is not None:
        kept = []
        for batch in _batches(detections, np.split(rows, _changes(number[rows]))):
            masks = _pack([detections.masks[row] for own in batch for row in own], "detections")
            if truth is not None:
                images = [int(of_picture[own[0]]) for own in batch]
                pairs = _pair(masks, batch, _true_scenes(truth, images), align_iou, match)
                kept += [own for own, _ in pairs]
                vectors += [vector for _, told in pairs for vector in told]
            elif suppression is not None:
                kept += _thin(masks, batch, scores, suppression)
        rows = np.concatenate([np.zeros(0, np.int64), *kept])
    return Objects(
        masks=[detections.masks[row] for row in rows],
        image_index=of_picture[rows].tolist(),
        classes=detections.classes[rows].tolist(),
        vectors=vectors,
        scores=scores[rows].tolist(),
    )


_Rows: TypeAlias = NDArray[np.int64]  # of one picture's detections


def _changes(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give where sorted values change."""
    return np.flatnonzero(np.diff(values)) + 1


def _batches(detections: Detections, pictures: Sequence[_Rows]) -> Iterator[list[_Rows]]:
    """Part pictures into runs of one size whose masks are unpacked together."""
    batch: list[_Rows] = []
    size: list[int] = []
    for own in pictures:
        if not len(own):
            continue
        own_size = detections.masks[own[0]]["size"]
        if batch and (own_size != size or sum(map(len, batch)) + len(own) > _AT_ONCE):
            yield batch
            batch = []
        batch.append(own)
        size = own_size
    if batch:
        yield batch


def _pack(rles: Sequence[Rle], what: str) -> PackedMasks:
    try:
        return pack_rles(rles)
    except (ValueError, TypeError) as error:
        raise DataError(f"masks of the {what}: {error}") from error


def _true_scenes(truth: dict[int, TrueObjects], images: Sequence[int]) -> list[TrueObjects]:
    missing = [index for index in images if index not in truth]
    if missing:
        raise DataError(
            f"the ground truth has no scene with image_index {missing[0]}, where something was "
            "found; both must be of the same split"
        )
    return [truth[index] for index in images]


def _pair(
    masks: PackedMasks,
    batch: Sequence[_Rows],
    scenes: Sequence[TrueObjects],
    align_iou: float,
    match: Literal["best", "first"],
) -> list[tuple[_Rows, list[list[float]]]]:
    """Keep each picture's rows that lie on a true object, with that object's numbers."""
    truth = _pack([mask for scene in scenes for mask in scene.masks], "ground truth")
    if len(truth) and (truth.height, truth.width) != (masks.height, masks.width):
        raise DataError(
            f"masks of {masks.height} x {masks.width} pixels were found, those of the ground truth "
            f"have {truth.height} x {truth.width}; both must be of the same pictures"
        )
    pairs = []
    start = true_start = 0
    for own, scene in zip(batch, scenes, strict=True):
        end, true_end = start + len(own), true_start + len(scene.masks)
        table = mask_iou(masks.select(slice(start, end)), truth.select(slice(true_start, true_end)))
        partners = match_masks(table, align_iou, rule=match)
        chosen = (partners >= 0).nonzero().squeeze(1)
        told = [scene.vectors[partner] for partner in partners[chosen].tolist()]
        pairs.append((own[chosen.numpy()], told))
        start, true_start = end, true_end
    return pairs


def _thin(
    masks: PackedMasks, batch: Sequence[_Rows], scores: NDArray[np.float64], rule: Suppression
) -> list[_Rows]:
    """Keep each picture's rows that overlap with no better one, by falling score."""
    kept = []
    start = 0
    for own in batch:
        here = masks.select(slice(start, start + len(own)))
        own_scores = torch.from_numpy(scores[own])
        chosen = mask_nms(here, own_scores, iou_threshold=rule.iou, iomin_threshold=rule.iomin)
        kept.append(own[chosen.numpy()])
        start += len(own)
    return kept
