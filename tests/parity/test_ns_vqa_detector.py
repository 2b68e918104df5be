"""NS-VQA's Mask R-CNN against numbers recorded from the original code.

Two kinds of files: the whole network on one picture (`network*`) and one training step
(`training_step*`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from kit_pictures import convolution, decoded, formula_weights, genuine_picture, read_json
from safetensors.torch import load_file
from torch import Tensor

from pyvqa.nn.box_rules import DETECTRON
from pyvqa.nn.images import ImageBatch
from pyvqa.nn.mask_rcnn import (
    BOX_WEIGHTS,
    Detections,
    Losses,
    MaskRcnn,
    Picks,
)
from pyvqa.nn.roi_targets import Truth, boxes_of_masks, roi_sample
from pyvqa.nn.rpn import AnchorSample, RpnMaps, sample_anchors
from pyvqa.ops import paste_masks
from pyvqa.systems.ns_vqa.build import build_detector, prepare_pictures
from pyvqa.systems.ns_vqa.config import DetectorConfig
from pyvqa.systems.ns_vqa.model.detector import class_of
from pyvqa.systems.ns_vqa.upstream import detector_from_upstream, detector_names

NETWORK = pytest.mark.kit("ns_vqa", "mask_rcnn/network*.safetensors")
TRAINING = pytest.mark.kit("ns_vqa", "mask_rcnn/training_step*.safetensors")


def scaled(name: str, shape: Sequence[int], u: np.ndarray) -> np.ndarray:
    """The kit's formula for the detector's weights."""
    if len(shape) == 4:
        return convolution(shape, u) * (0.5 if "RPN" in name or "Outs" in name else 1.0)
    if len(shape) == 2:
        share = 1.0 if "Head" in name else 2.0 if "cls_score" in name else 0.2
        return u * np.sqrt(6 / shape[1]) * share
    return 0.25 + 0.05 * u if name.endswith("weight") else 0.05 * u


@lru_cache(maxsize=1)
def published(shapes_file: Path) -> tuple[DetectorConfig, dict[str, Tensor]]:
    """The full-size detector's settings and formula weights, under our names."""
    shapes = read_json(shapes_file)["state_dict_shapes"]
    config, weights, unplaced = detector_from_upstream({"model": formula_weights(shapes, scaled)})
    assert unplaced == []
    return config, weights


class Seen(NamedTuple):
    """One forward pass."""

    network: MaskRcnn
    batch: ImageBatch
    pyramid: list[Tensor]
    maps: RpnMaps
    proposals: Tensor


@lru_cache(maxsize=1)
def seen(case: Path) -> Seen:
    meta_file = case.with_name(f"{case.stem}.json.gz")
    config, weights = published(meta_file)
    network = build_detector(config).eval()
    network.load_state_dict(weights)
    batch = prepare_pictures(config, [genuine_picture(read_json(meta_file)["image"])])
    with torch.no_grad():
        pyramid = network.features(batch.pixels)
        maps = network.proposer(pyramid)
        return Seen(network, batch, pyramid, maps, network.propose(maps, batch)[0])


@lru_cache(maxsize=1)
def detections(case: Path) -> Detections:
    return seen(case).network.detect(seen(case).batch, seen(case).pyramid)[0]


def check_relative(ours: Tensor, expected: Tensor, bound: float = 1e-3) -> None:
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= bound * expected.abs().max()


def distance(boxes: Tensor, expected: Tensor) -> Tensor:
    """How far the nearest of our boxes is from each expected one, in its worst corner."""
    return torch.cdist(expected, boxes, p=torch.inf).min(1).values


@NETWORK
def test_network_has_the_originals_weights(case: Path) -> None:
    shapes = read_json(case.with_name(f"{case.stem}.json.gz"))["state_dict_shapes"]
    names, unplaced = detector_names(list(shapes))
    config, weights = published(case.with_name(f"{case.stem}.json.gz"))
    own = build_detector(config).state_dict()
    assert unplaced == []
    assert {ours: shapes[theirs] for theirs, ours in names.items()} == {
        name: list(value.shape) for name, value in own.items()
    }
    assert weights.keys() == own.keys()


@NETWORK
def test_feature_pyramid(case: Path) -> None:
    kit, ours = load_file(case), seen(case)
    for level, features in enumerate(ours.pyramid, 2):
        name = f"fpn{level}"
        assert list(features.shape) == kit[f"{name}.shape"].tolist()
        flat = features.contiguous().flatten()
        check_relative(flat[kit[f"{name}.positions"]], kit[f"{name}.samples"])
        check_relative(flat.abs().mean()[None], kit[f"{name}.abs_mean"])


@NETWORK
def test_proposal_maps(case: Path) -> None:
    kit, ours = load_file(case), seen(case)
    for level in range(len(ours.pyramid)):
        pairs = [("cls_logits", ours.maps.scores), ("bbox_pred", ours.maps.deltas)]
        for name, maps in pairs:
            name = f"rpn_{name}_fpn{level + 2}"
            _, channels, height, width = kit[f"{name}.shape"].tolist()
            theirs = maps[level].view(height, width, channels).permute(2, 0, 1).flatten()
            check_relative(theirs[kit[f"{name}.positions"]], kit[f"{name}.samples"])


@NETWORK
def test_merged_proposals(case: Path) -> None:
    kit, ours = load_file(case), seen(case)
    expected = kit["rpn.rois_top100"][:, 1:]
    assert len(ours.proposals) == kit["rpn.num_rois"].item()
    assert (distance(ours.proposals, expected) < 0.5).float().mean() >= 0.95
    in_place = (ours.proposals[: len(expected)] - expected).abs().amax(1) < 0.5
    assert in_place.float().mean() >= 0.9  # the same order, but for ties


@NETWORK
def test_heads(case: Path) -> None:
    kit, ours = load_file(case), seen(case)
    boxes = kit["fixed_rois"][:, 1:]
    with torch.no_grad():
        pooled = ours.network.pool(ours.pyramid, [boxes], 7)
        features = ours.network.box_head.features(pooled)
        logits, deltas = ours.network.box_head.judge(features)
    check_relative(features, kit["box_head.out"])
    check_relative(torch.softmax(logits, 1), kit["cls_prob"])
    check_relative(deltas, kit["bbox_pred"])
    in_pixels = boxes / ours.batch.scales[0]
    regions = ours.network.region_features(ours.batch, [in_pixels], ours.pyramid)[0]
    check_relative(regions.features, kit["box_head.out"])
    check_relative(regions.probabilities, kit["cls_prob"])


@NETWORK
def test_mask_head(case: Path) -> None:
    kit, ours = load_file(case), seen(case)
    (name,) = [n for n in kit if n.startswith("mask_prob_classes_")]
    classes = [int(word) for word in name.removeprefix("mask_prob_classes_").split("_")]
    boxes = kit["fixed_rois"][: len(kit[name]), 1:]
    for place, label in enumerate(classes):
        labels = torch.full((len(boxes),), label)
        with torch.no_grad():
            logits = ours.network.mask_logits(ours.pyramid, [boxes], labels)
        check_relative(torch.sigmoid(logits), kit[name][:, place])


@NETWORK
def test_detections(case: Path) -> None:
    found = detections(case)
    expected = read_json(case.with_name(f"{case.stem}.json.gz"))["detections"]
    total, right, in_order = 0, 0, 0
    for entry in expected:
        boxes = torch.tensor(entry["boxes"])
        of_class = found.labels == entry["class"]
        mine, scores = found.boxes[of_class], found.scores[of_class]
        total += len(boxes)
        if not len(mine):
            continue
        gap, nearest = torch.cdist(boxes[:, :4], mine, p=torch.inf).min(1)
        close = (gap < 0.5) & ((scores[nearest] - boxes[:, 4]).abs() < 1e-3)
        right += int(close.sum())
        in_order += int((nearest == torch.arange(len(boxes))).sum())
    assert abs(len(found.labels) - total) <= 0.05 * total
    assert right >= 0.95 * total
    assert in_order >= 0.9 * total
    assert found.masks.shape == (len(found.labels), 28, 28)


@NETWORK
def test_masks_of_the_detections(case: Path) -> None:
    found, size = detections(case), seen(case).batch.originals[0]
    pasted = paste_masks(found.masks, found.boxes, size, rule="detectron").bool()
    equal, total = 0, 0
    for entry in read_json(case.with_name(f"{case.stem}.json.gz"))["detections"]:
        mine = (found.labels == entry["class"]).nonzero().squeeze(1)
        for box, mask in zip(entry["boxes"], decoded(entry["segms"]), strict=True):
            total += 1
            if len(mine):
                gap = (found.boxes[mine] - torch.tensor(box[:4])).abs().amax(1)
                equal += int((pasted[mine[gap.argmin()]] != mask).sum() <= 2)
    assert equal >= 0.95 * total


# ---- one training step


class Step(NamedTuple):
    """A training step's network, data and stored picks."""

    network: MaskRcnn
    batch: ImageBatch
    truths: list[Truth]
    maps: RpnMaps
    picks: list[Picks]


def stored_anchors(kit: dict[str, Tensor], row: int, maps: RpnMaps, sizes: Any) -> AnchorSample:
    """The stored sample of an image, as indices into the anchors of all levels."""
    positive, negative, deltas, start = [], [], [], 0
    for level, anchors in enumerate(maps.anchors):
        name = f"image{row}.rpn_fpn{level + 2}"
        anchor, y, x, label = kit[f"{name}.a_y_x_label"].unbind(1)
        count = len(anchors) // (sizes[level][0] * sizes[level][1])
        index = start + (y * sizes[level][1] + x) * count + anchor
        positive.append(index[label == 1])
        negative.append(index[label == 0])
        deltas.append(kit[f"{name}.positive_targets"])
        start += len(anchors)
    return AnchorSample(torch.cat(positive), torch.cat(negative), torch.cat(deltas))


@lru_cache(maxsize=1)
def step(case: Path) -> Step:
    kit = load_file(case)
    pictures_file = case.parents[1] / "scene_parse" / "images.json"
    truth_file = pictures_file.with_name("mini_anns.json.gz")
    shapes_file = case.with_name("network.json.gz")
    for file in (pictures_file, truth_file, shapes_file):
        if not file.is_file():
            pytest.skip(f"the kit holds no {file.name}")
    rows = range(int(kit["data_shape"][0]))
    names = read_json(pictures_file)["image_filenames"]
    config, weights = published(shapes_file)
    config = replace(
        config, short_side=int(kit["im_info"][0, 0]), train_rois=len(kit["image0.rois"])
    )
    network = build_detector(config)
    network.load_state_dict(weights)
    batch = prepare_pictures(config, [genuine_picture(names[row]) for row in rows])
    truths = []
    for row in rows:
        objects = read_json(truth_file)["scenes"][row]["objects"]
        masks = decoded([known["mask"] for known in objects])
        labels = torch.tensor([class_of(known) for known in objects])
        truths.append(Truth(boxes_of_masks(masks, DETECTRON), labels, masks))
    with torch.no_grad():
        pyramid = network.features(batch.pixels)
        maps = network.proposer(pyramid)
    sizes = [tuple(features.shape[2:]) for features in pyramid]
    picks = []
    for row in rows:
        boxes, labels = kit[f"image{row}.rois"][:, 1:], kit[f"image{row}.labels_int32"]
        owner = DETECTRON.iou(boxes, truths[row].boxes).argmax(1)[labels > 0]
        rois = roi_sample(
            boxes,
            owner,
            truths[row],
            batch.scales[row],
            DETECTRON,
            weights=BOX_WEIGHTS,
            mask_size=28,
        )
        picks.append(Picks(stored_anchors(kit, row, maps, sizes), rois))
    return Step(network, batch, truths, maps, picks)


@lru_cache(maxsize=1)
def losses(case: Path) -> tuple[Losses, dict[str, Tensor]]:
    """The losses of the stored picks, and the gradient of every trained weight."""
    network, batch, truths, _, picks = step(case)
    result = network(batch, truths, picks=picks)
    result.total.backward()
    gradients = {n: p.grad for n, p in network.named_parameters() if p.grad is not None}
    return result, gradients


@TRAINING
def test_data_of_the_training_step(case: Path) -> None:
    kit = load_file(case)
    batch = step(case).batch
    assert list(batch.pixels.shape) == kit["data_shape"].tolist()
    for row, (height, width, scale) in enumerate(kit["im_info"].tolist()):
        assert (batch.sizes[row], batch.scales[row]) == ((height, width), scale)


@TRAINING
def test_anchor_targets(case: Path) -> None:
    """With all candidates drawn, the stored sample is part of ours, with its targets."""
    _, batch, truths, maps, picks = step(case)
    for truth, size, (stored, _) in zip(truths, batch.sizes, picks, strict=True):
        ours = sample_anchors(
            torch.cat(maps.anchors), truth.boxes, size, DETECTRON, count=10**7, share=1.0
        )
        assert torch.isin(stored.positive, ours.positive).all()
        assert torch.isin(stored.negative, ours.negative).all()
        place = torch.searchsorted(ours.positive, stored.positive)
        torch.testing.assert_close(ours.deltas[place], stored.deltas, rtol=1e-3, atol=1e-5)


@TRAINING
def test_region_targets(case: Path) -> None:
    kit = load_file(case)
    for row, (truth, (_, rois)) in enumerate(zip(step(case).truths, step(case).picks, strict=True)):
        name = f"image{row}."
        labels = kit[f"{name}labels_int32"].long()
        overlap, owner = DETECTRON.iou(rois.boxes, truth.boxes).max(1)
        assert torch.equal(torch.where(overlap >= 0.5, truth.labels[owner], 0), labels)
        assert torch.equal(rois.labels, labels)
        count = len(rois.masks)
        stored = kit[f"{name}bbox_targets"]
        torch.testing.assert_close(rois.deltas, stored[:count], rtol=1e-3, atol=1e-5)
        assert not stored[count:].any()
        assert torch.equal(rois.boxes[:count], kit[f"{name}mask_rois"][:, 1:])
        bits = np.unpackbits(kit[f"{name}masks_int32"].numpy(), axis=1)[:, : 28 * 28]
        assert np.array_equal(rois.masks.numpy(), bits.reshape(-1, 28, 28))


@TRAINING
def test_losses(case: Path) -> None:
    kit, ours = load_file(case), losses(case)[0]
    named = {"cls": ours.score, "bbox": ours.box, "mask": ours.mask}
    for level, (score, box) in enumerate(
        zip(ours.proposal_score, ours.proposal_box, strict=True), 2
    ):
        named |= {f"rpn_cls_fpn{level}": score, f"rpn_bbox_fpn{level}": box}
    expected = {n.removeprefix("loss.loss_"): v for n, v in kit.items() if "loss.loss_" in n}
    assert named.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(named[name].detach(), value[0], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(ours.total.detach(), kit["loss.total"][0], rtol=1e-3, atol=0)
    torch.testing.assert_close(ours.accuracy, kit["accuracy_cls"][0])


@TRAINING
def test_gradients(case: Path) -> None:
    kit, gradients = load_file(case), losses(case)[1]
    stored = {n.removeprefix("grad_norm."): v for n, v in kit.items() if "grad_norm." in n}
    names, unplaced = detector_names(list(stored))
    assert unplaced == []
    for theirs, ours in names.items():
        norm = gradients[ours].double().norm()[None]
        torch.testing.assert_close(norm, stored[theirs], rtol=1e-3, atol=0)


@TRAINING
def test_frozen_parameters(case: Path) -> None:
    frozen, unplaced = detector_names(read_json(case.with_suffix(".json"))["frozen_parameters"])
    network = step(case).network
    trained = {n for n, p in network.named_parameters() if p.requires_grad}
    assert unplaced == []
    assert set(frozen.values()) == network.state_dict().keys() - trained
    assert losses(case)[1].keys() == trained
