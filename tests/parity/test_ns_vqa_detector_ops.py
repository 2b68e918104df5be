"""The detector's kernels against NS-VQA's: every group of `mask_rcnn/ops.safetensors`.

All boxes there count both corners (`inclusive`); suppression is by >= and keeps the order of the
input. Floats agree to 1e-4, indices, levels and orders exactly, pasted masks to 2 pixels.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pyvqa import ops

PICTURE = (320, 480)
RATIOS = (0.5, 1, 2)
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
detector_kit = pytest.mark.kit("ns_vqa", "mask_rcnn/ops.safetensors")

# Group of tensors -> the test here that is about it.
COVERED = {
    "anchors": "test_anchors",
    "bbox_transform": "test_decoding_and_clipping",
    "clip": "test_decoding_and_clipping",
    "bbox_inv": "test_encoding",
    "overlaps": "test_overlaps",
    "fpn_levels": "test_levels",
    "nms": "test_suppression",
    "nms_exact": "test_suppression_at_the_threshold",
    "roi_align": "test_roi_align",
    "proposals": "test_proposals_of_a_level",
    "detect": "test_selection_by_class",
    "paste": "test_pasted_masks",
}
# The detector's input, training targets and losses: each is asked for by name there.
ELSEWHERE = "test_ns_vqa_detector_parts.py"
OF_THE_DETECTOR = {"blob", "gt", "mask_target", "loss", "mask_loss"}


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> None:
    """To `tolerance`, or to the next float32 where those are further apart (from 1024 on)."""
    found = found.to(expected.dtype)
    torch.testing.assert_close(found, expected, rtol=2**-23, atol=tolerance)


def group_of(name: str) -> str:
    """nms0.dets -> nms: numbered groups are one."""
    return re.sub(r"\d+$", "", name.split(".")[0])


def numbered(tensors: dict[str, Tensor], group: str) -> list[dict[str, Tensor]]:
    """The cases of a numbered group: their tensors by what follows the dot."""
    cases: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"{group}(\d+)\.(\w+)", name)
        if match:
            cases.setdefault(int(match[1]), {})[match[2]] = tensor
    assert cases
    return [cases[number] for number in sorted(cases)]


def suppress(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    return ops.nms(boxes, scores, threshold, inclusive=True, suppress_equal=True, order="input")


@detector_kit
def test_no_group_is_forgotten(case: Path) -> None:
    found = {group_of(name) for name in load_file(case)}
    assert found == set(COVERED) | OF_THE_DETECTOR
    other = Path(__file__).with_name(ELSEWHERE).read_text(encoding="utf-8")
    assert {name for name in OF_THE_DETECTOR if f'group(case, "{name}")' not in other} == set()
    assert {test for test in COVERED.values() if not callable(globals().get(test))} == set()


@detector_kit
def test_anchors(case: Path) -> None:
    tensors = load_file(case)
    levels = [name for name in tensors if group_of(name) == "anchors"]
    assert len(levels) == 5
    for name in levels:
        level = int(name.removeprefix("anchors.level"))
        found = ops.cell_anchors(2**level, [32 * 2 ** (level - 2)], RATIOS, dtype=torch.float64)
        assert torch.equal(found, tensors[name])


@detector_kit
def test_decoding_and_clipping(case: Path) -> None:
    tensors = load_file(case)
    deltas, boxes = tensors["bbox_transform.deltas"], tensors["bbox_transform.boxes"]
    decoded = ops.decode_boxes(deltas, boxes, inclusive=True)
    weighted = ops.decode_boxes(deltas, boxes, weights=BOX_WEIGHTS, inclusive=True)
    close(decoded, tensors["bbox_transform.w1"])
    close(weighted, tensors["bbox_transform.w10_5"])
    close(ops.clip_boxes(weighted, PICTURE, inclusive=True), tensors["clip.out"])


@detector_kit
def test_encoding(case: Path) -> None:
    tensors = load_file(case)
    boxes, targets = tensors["bbox_inv.gt"], tensors["bbox_inv.targets"]
    proposals = tensors["bbox_transform.boxes"]
    found = ops.encode_boxes(boxes, proposals, weights=BOX_WEIGHTS, inclusive=True)
    close(found, targets)
    back = ops.decode_boxes(targets, proposals, weights=BOX_WEIGHTS, inclusive=True)
    close(back, boxes, 1e-3)


@detector_kit
def test_overlaps(case: Path) -> None:
    tensors = load_file(case)
    found = ops.box_iou(tensors["overlaps.a"], tensors["overlaps.b"], inclusive=True)
    close(found, tensors["overlaps.iou"], 1e-6)


@detector_kit
def test_levels(case: Path) -> None:
    tensors = load_file(case)
    found = ops.assign_levels(tensors["fpn_levels.rois"], 2, 5, inclusive=True) + 2
    assert torch.equal(found.float(), tensors["fpn_levels.level"])
    assert found.unique().tolist() == [2, 3, 4, 5]


@detector_kit
def test_suppression(case: Path) -> None:
    for given in numbered(load_file(case), "nms"):
        boxes, scores = given["dets"][:, :4], given["dets"][:, 4]
        keep = suppress(boxes, scores, given["thresh"].item())
        assert torch.equal(keep, given["keep"])


@detector_kit
def test_suppression_at_the_threshold(case: Path) -> None:
    """Pairs whose overlap is exactly one half go at 0.5 and stay above it."""
    tensors = load_file(case)
    boxes, scores = tensors["nms_exact.dets"][:, :4], tensors["nms_exact.dets"][:, 4]
    assert torch.equal(suppress(boxes, scores, 0.5), tensors["nms_exact.keep_050"])
    assert torch.equal(suppress(boxes, scores, 0.501), tensors["nms_exact.keep_0501"])


@detector_kit
def test_roi_align(case: Path) -> None:
    for given in numbered(load_file(case), "roi_align"):
        sampling, scale, size = given["params_sampling_scale_size"].tolist()
        features = given["features"].requires_grad_()
        out = ops.roi_align(features, given["rois"], int(size), scale, int(sampling))
        close(out, given["out"])
        (gradient,) = torch.autograd.grad(out, features, given["grad_out"])
        close(gradient, given["grad_features"])


@detector_kit
def test_proposals_of_a_level(case: Path) -> None:
    """The best 1000 anchors, decoded, clipped, without those centred outside, suppressed at 0.7."""
    tensors = load_file(case)
    height, width, _ = tensors["proposals.im_info"][0].tolist()
    # [1, A * 4, h, w] and [1, A, h, w] by row, column, anchor
    h, w = tensors["proposals.scores"].shape[-2:]
    deltas = tensors["proposals.deltas"].permute(0, 2, 3, 1).reshape(-1, 4)
    scores = tensors["proposals.scores"].permute(0, 2, 3, 1).reshape(-1)
    anchors = ops.anchor_grid(ops.cell_anchors(8, [64], RATIOS), (h, w), 8)
    scores, best = scores.topk(1000)
    boxes = ops.decode_boxes(deltas[best], anchors[best], inclusive=True)
    boxes = ops.clip_boxes(boxes, (height, width), inclusive=True)
    centres = (boxes[:, :2] + boxes[:, 2:] + 1) / 2
    inside = (centres < torch.tensor([width, height])).all(1)
    boxes, scores = boxes[inside], scores[inside]
    keep = suppress(boxes, scores, 0.7)[:1000]
    expected = tensors["proposals.rois"]
    assert bool((expected[:, 0] == 0).all())
    close(boxes[keep], expected[:, 1:])
    assert torch.equal(scores[keep], tensors["proposals.probs"][:, 0])


def select(boxes: Tensor, scores: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and classes that are left of [N, 4 C] and [N, C], class after class.

    Scores above 0.05, each class suppressed for itself at 0.5, and of what is left all that reach
    the score of number `most`.
    """
    candidate = scores > 0.05
    candidate[:, 0] = False  # the background
    classes, rows = candidate.T.nonzero(as_tuple=True)
    chosen, values = boxes.unflatten(1, (-1, 4))[rows, classes], scores[rows, classes]
    keep = ops.batched_nms(
        chosen, values, classes, 0.5, inclusive=True, suppress_equal=True, order="input"
    )
    lowest = values[keep].topk(min(most, len(keep))).values[-1]
    keep = keep[values[keep] >= lowest]
    return chosen[keep], values[keep], classes[keep]


@detector_kit
def test_selection_by_class(case: Path) -> None:
    tensors = load_file(case)
    boxes, scores, classes = select(tensors["detect.boxes"], tensors["detect.scores"], 100)
    assert torch.equal(classes, tensors["detect.out_class"])
    close(boxes, tensors["detect.out_boxes"])
    close(scores, tensors["detect.out_scores"])
    assert len(classes) < int((tensors["detect.scores"][:, 1:] > 0.05).sum())


def differing_pixels(found: list[Any], expected: list[Any]) -> list[int]:
    pixels = ops.decode_masks(found) ^ ops.decode_masks(expected)
    return pixels.flatten(1).sum(1).tolist()


@detector_kit
def test_pasted_masks(case: Path) -> None:
    tensors = load_file(case)
    expected = json.loads(case.with_name("ops.json").read_text())["paste_rles"]
    masks, boxes = tensors["paste.masks_of_class"], tensors["paste.boxes"]
    assert len(expected) == len(masks) == len(tensors["paste.classes"])
    for output in ("rle", "dense", "packed"):
        found = ops.paste_masks(masks, boxes, PICTURE, rule="detectron", output=output)
        rles = found if output == "rle" else ops.encode_masks(found)
        assert max(differing_pixels(rles, expected)) <= 2
    assert int(ops.rle_area(expected).min()) > 20
