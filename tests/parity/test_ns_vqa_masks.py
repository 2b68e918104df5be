"""Pairing and suppression of NS-VQA's proposals, and its mask texts, against the reference kit."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pyvqa import ops

SHAPES, SIZES, MATERIALS = ("sphere", "cube", "cylinder"), ("large", "small"), ("metal", "rubber")
COLORS = ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow")


class Proposal(NamedTuple):
    image: int
    category: int
    score: float
    mask: ops.Rle


def read(path: Path) -> Any:
    return json.loads(gzip.decompress(path.read_bytes()))


def proposals(folder: Path, threshold: float) -> list[Proposal]:
    """Detections above the threshold: by image, then class, then as detected."""
    entries = read(folder / "detections.json.gz")
    found = [
        Proposal(entry["image"], entry["class"], box[4], mask)
        for entry in sorted(entries, key=lambda entry: (entry["image"], entry["class"]))
        for box, mask in zip(entry["boxes"], entry["segms"], strict=True)
    ]
    return [proposal for proposal in found if proposal.score > threshold]


def suppressed(given: list[Proposal], iou: float, iomin: float) -> list[Proposal]:
    kept = []
    for image in sorted({proposal.image for proposal in given}):
        own = [proposal for proposal in given if proposal.image == image]
        scores = torch.tensor([proposal.score for proposal in own], dtype=torch.float64)
        keep = ops.mask_nms(
            [proposal.mask for proposal in own], scores, iou_threshold=iou, iomin_threshold=iomin
        )
        kept += [own[k] for k in keep.tolist()]
    return kept


def attributes(vector: list[float]) -> list[str]:
    names = (*SHAPES, *SIZES, *MATERIALS, *COLORS)
    return [name for name, value in zip(names, vector, strict=False) if value == 1]


def paired(
    given: list[Proposal], scenes: list[dict[str, Any]], threshold: float
) -> list[tuple[Proposal, list[str]]]:
    """Proposals that lie on an object, with what that object is."""
    found = []
    for image, scene in enumerate(scenes):
        own = [proposal for proposal in given if proposal.image == image]
        objects = scene["objects"]
        masks = [thing["mask"] for thing in objects]
        partners = ops.match_masks(([proposal.mask for proposal in own], masks), threshold)
        for proposal, partner in zip(own, partners.tolist(), strict=True):
            if partner >= 0:
                thing = objects[partner]
                said = [thing[name] for name in ("shape", "size", "material", "color")]
                found.append((proposal, said))
    return found


def options(words: list[str]) -> dict[str, str]:
    return {name.lstrip("-"): value for name, value in zip(words[::2], words[1::2], strict=True)}


@pytest.mark.kit("ns_vqa", "scene_parse/proposals_runs.json")
def test_proposals_of_every_run(case: Path) -> None:
    checked = 0
    for name, words in json.loads(case.read_bytes()).items():
        given = options(words)
        expected = read(case.with_name(f"proposals_{name}.json.gz"))
        found = proposals(case.parent, float(given.get("score_thresh", 0.9)))
        if "gt_scene_path" in given:
            scenes = read(case.with_name("mini_anns.json.gz"))["scenes"]
            pairs = paired(found, scenes, float(given.get("align_iou_thresh", 0.7)))
            found = [proposal for proposal, _ in pairs]
            seen = [attributes(vector) for vector in expected["feature_vectors"]]
            assert [said for _, said in pairs] == seen
        elif given.get("suppression") == "1":
            found = suppressed(
                found,
                float(given.get("suppression_iou_thresh", 0.5)),
                float(given.get("suppression_iomin_thresh", 0.5)),
            )
        assert [proposal.mask for proposal in found] == expected["object_masks"], name
        assert [proposal.image for proposal in found] == expected["image_idxs"]
        assert [proposal.score for proposal in found] == pytest.approx(expected["scores"])
        checked += len(found)
    assert checked > 0


@pytest.mark.kit("ns_vqa", "mask_rcnn/ops.json")
def test_pasted_texts_come_back(case: Path) -> None:
    rles = json.loads(case.read_bytes())["paste_rles"]
    assert rles
    again = ops.encode_masks(ops.decode_masks(rles))
    assert [rle["counts"].decode() for rle in again] == [rle["counts"] for rle in rles]
    assert ops.encode_masks(ops.pack_rles(rles)) == again
