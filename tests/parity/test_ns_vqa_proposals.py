"""NS-VQA's way from detected masks to objects: kept by score, paired with the truth, or suppressed.

A kit's `scene_parse/proposals_<run>.json.gz` is what the original script made of the detections
with the run's options in `proposals_runs.json`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pyvqa import ops

DEFAULTS = {
    "score_thresh": 0.9,
    "align_iou_thresh": 0.7,
    "suppression": 0.0,
    "suppression_iou_thresh": 0.5,
    "suppression_iomin_thresh": 0.5,
}
# The first fifteen numbers of an object's vector, each 1 where the object has the value.
VALUES = (
    "sphere", "cube", "cylinder", "large", "small", "metal", "rubber",
    "blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow",
)  # fmt: skip
proposals_kit = pytest.mark.kit("ns_vqa", "scene_parse/proposals_*.json.gz")


class Candidates(NamedTuple):
    """What was found in one picture, class after class."""

    masks: list[Any]
    categories: list[int]
    scores: Tensor  # float64 of the float32 that the detector gave


class Objects(NamedTuple):
    """What is left of a picture, and the vectors of the true objects that it was paired with."""

    masks: list[Any]
    categories: list[int]
    scores: list[float]
    vectors: list[list[float]]


def read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def options_of(case: Path) -> tuple[dict[str, float], bool]:
    """A run's thresholds, and whether it pairs with the truth."""
    run = case.name.removeprefix("proposals_").removesuffix(".json.gz")
    words = json.loads(case.with_name("proposals_runs.json").read_text())[run]
    given = dict(zip(words[::2], words[1::2], strict=True))
    with_truth = given.pop("--gt_scene_path", None) is not None
    options = DEFAULTS | {name.removeprefix("--"): float(value) for name, value in given.items()}
    assert options.keys() == DEFAULTS.keys()
    return options, with_truth


def candidates_of(detections: list[Any], image: int, threshold: float) -> Candidates:
    masks, categories, scores = [], [], []
    for entry in sorted(detections, key=lambda entry: entry["class"]):
        if entry["image"] != image:
            continue
        for box, mask in zip(entry["boxes"], entry["segms"], strict=True):
            if box[4] > threshold:
                masks.append(mask)
                categories.append(entry["class"])
                scores.append(box[4])
    return Candidates(masks, categories, torch.tensor(scores, dtype=torch.float64))


def vector_of(scene: Any, index: int) -> list[float]:
    """An object's values, then its place along right and front, and its height."""
    entry = scene["objects"][index]
    values = {entry[name] for name in ("shape", "size", "material", "color")}
    place = torch.tensor(entry["3d_coords"], dtype=torch.float64)
    along = [
        float(place @ torch.tensor(scene["directions"][name], dtype=torch.float64))
        for name in ("right", "front")
    ]
    return [float(value in values) for value in VALUES] + [*along, float(place[2])]


def take(found: Candidates, keep: list[int], vectors: list[list[float]]) -> Objects:
    return Objects(
        [found.masks[i] for i in keep],
        [found.categories[i] for i in keep],
        [found.scores[i].item() for i in keep],
        vectors,
    )


def paired(found: Candidates, scene: Any, threshold: float) -> Objects:
    """Those that overlap with a true object; the first in the scene's list counts, not the best."""
    truth = ops.pack_rles([entry["mask"] for entry in scene["objects"]])
    overlap = ops.mask_iou(ops.pack_rles(found.masks), truth)
    partners = ops.match_masks(overlap, threshold, rule="first").tolist()
    keep = [i for i, partner in enumerate(partners) if partner >= 0]
    return take(found, keep, [vector_of(scene, partners[i]) for i in keep])


def suppressed(found: Candidates, options: dict[str, float]) -> Objects:
    keep = ops.mask_nms(
        ops.pack_rles(found.masks),
        found.scores,
        iou_threshold=options["suppression_iou_thresh"],
        iomin_threshold=options["suppression_iomin_thresh"],
    )
    return take(found, keep.tolist(), [])


def objects_of(
    found: Candidates, scene: Any, options: dict[str, float], with_truth: bool
) -> Objects:
    if not found.masks:
        return Objects([], [], [], [])
    if with_truth:
        return paired(found, scene, options["align_iou_thresh"])
    if options["suppression"]:
        return suppressed(found, options)
    return take(found, list(range(len(found.masks))), [])


def assert_vectors(found: list[list[float]], expected: list[list[float]]) -> None:
    """Equal but for the rounding of a sum of three products."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one[:15] == other[:15]
        assert one[15:] == pytest.approx(other[15:], rel=1e-12)


@proposals_kit
def test_objects_of_all_pictures(case: Path) -> None:
    expected = read(case)
    options, with_truth = options_of(case)
    detections = read(case.with_name("detections.json.gz"))
    scenes = read(case.with_name("mini_anns.json.gz"))["scenes"]
    per_image = [
        objects_of(
            candidates_of(detections, image, options["score_thresh"]), scene, options, with_truth
        )
        for image, scene in enumerate(scenes)
    ]
    images = [i for i, found in enumerate(per_image) for _ in found.masks]
    assert images == expected["image_idxs"]
    assert [c for found in per_image for c in found.categories] == expected["category_idxs"]
    assert [s for found in per_image for s in found.scores] == expected["scores"]
    assert [m for found in per_image for m in found.masks] == expected["object_masks"]
    assert_vectors([v for found in per_image for v in found.vectors], expected["feature_vectors"])


@proposals_kit
def test_masks_survive_decoding_and_encoding(case: Path) -> None:
    masks = read(case)["object_masks"]
    dense = ops.decode_masks(masks)
    assert dense.shape == (len(masks), 320, 480)
    again = ops.encode_masks(ops.pack_rles(masks))
    assert [text(mask) for mask in again] == [text(mask) for mask in masks]
    assert torch.equal(ops.unpack_masks(ops.pack_rles(masks)), dense)
    assert torch.equal(ops.rle_area(masks), dense.flatten(1).sum(1))


def text(mask: Any) -> str:
    """The counts of a run-length mask, whether they are kept as text or as bytes."""
    counts = mask["counts"]
    return counts.decode() if isinstance(counts, bytes) else counts
