"""Single operations of NS-VQA's detector against numbers recorded from the original code.

Operations that are kernels of their own have their tests beside the kernels'.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from kit_pictures import decoded, genuine_picture, read_json
from safetensors.torch import load_file
from torch import Tensor

from pyvqa.nn.box_rules import DETECTRON
from pyvqa.nn.mask_rcnn import Limits, box_losses, select_detections
from pyvqa.nn.roi_targets import boxes_of_masks, crop_masks
from pyvqa.nn.rpn import RegionProposer, RpnMaps
from pyvqa.systems.ns_vqa.build import prepare_pictures
from pyvqa.systems.ns_vqa.config import DetectorConfig

OPS = pytest.mark.kit("ns_vqa", "mask_rcnn/ops*.safetensors")


def group(case: Path, name: str) -> dict[str, Tensor]:
    tensors = {
        key.removeprefix(f"{name}."): value
        for key, value in load_file(case).items()
        if key.startswith(f"{name}.")
    }
    return tensors or pytest.skip(f"{case.name} holds no {name}")


def operated_picture(case: Path) -> tuple[Tensor, list[dict[str, Any]]]:
    """The picture that operations are shown on, and its annotated objects."""
    name = read_json(case.with_suffix(".json"))["gt_image"]
    folder = case.parents[1] / "scene_parse"
    row = read_json(folder / "images.json")["image_filenames"].index(name)
    objects = read_json(folder / "mini_anns.json.gz")["scenes"][row]["objects"]
    return genuine_picture(name), objects


@OPS
def test_prepared_picture(case: Path) -> None:
    kit = group(case, "blob")
    batch = prepare_pictures(DetectorConfig(), [operated_picture(case)[0]])
    assert list(batch.pixels.shape) == kit["shape"].tolist()
    height, width, scale = kit["im_info"][0].tolist()
    assert (*batch.pixels.shape[2:], batch.scales[0]) == (height, width, scale)
    samples = batch.pixels.flatten()[kit["positions"]]
    torch.testing.assert_close(samples, kit["samples"], rtol=0, atol=5e-3)
    pixels = batch.pixels.double()
    sums = torch.stack((pixels.sum(), pixels.abs().sum()))
    torch.testing.assert_close(sums, kit["sums"], rtol=1e-5, atol=0)


@OPS
def test_boxes_of_the_objects(case: Path) -> None:
    masks = decoded([known["mask"] for known in operated_picture(case)[1]])
    assert torch.equal(boxes_of_masks(masks, DETECTRON).double(), group(case, "gt")["boxes"])


@OPS
def test_mask_targets(case: Path) -> None:
    kit = group(case, "mask_target")
    masks = decoded([known["mask"] for known in operated_picture(case)[1]])
    owner = torch.arange(len(kit["rois"])) % len(masks)
    ours = crop_masks(masks, kit["rois"], owner, 28, DETECTRON)
    assert torch.equal(ours, kit["masks28"] > 0)


@OPS
def test_losses_of_regions_and_their_gradients(case: Path) -> None:
    kit = group(case, "loss")
    logits = kit["cls_score"].clone().requires_grad_()
    deltas = kit["bbox_pred"].clone().requires_grad_()
    labels = kit["labels"].long()
    targets = kit["targets_compact"][labels > 0, 1:]
    score, box = (part / len(labels) for part in box_losses(logits, deltas, labels, targets))
    (score + box).backward()
    close = {"rtol": 0, "atol": 1e-4}
    torch.testing.assert_close(score.detach()[None], kit["loss_cls"], **close)
    torch.testing.assert_close(box.detach()[None], kit["loss_bbox"], **close)
    torch.testing.assert_close(logits.grad, kit["grad_cls"], **close)
    torch.testing.assert_close(deltas.grad, kit["grad_bbox"], **close)
    accuracy = (logits.argmax(1) == labels).float().mean()
    torch.testing.assert_close(accuracy[None], kit["accuracy"])


@OPS
def test_loss_of_masks(case: Path) -> None:
    kit = group(case, "mask_loss")
    target = kit["target_of_class"].view_as(kit["pred_of_class"]).float()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(kit["pred_of_class"], target)
    torch.testing.assert_close(loss[None], kit["loss"], rtol=0, atol=1e-4)


@OPS
def test_selected_detections(case: Path) -> None:
    kit = group(case, "detect")
    found = select_detections(kit["scores"], kit["boxes"], DETECTRON, Limits())
    assert torch.equal(found.labels, kit["out_class"])
    torch.testing.assert_close(found.boxes, kit["out_boxes"], rtol=0, atol=1e-4)
    torch.testing.assert_close(found.scores, kit["out_scores"], rtol=0, atol=1e-4)


@OPS
def test_proposals_of_one_level(case: Path) -> None:
    kit = group(case, "proposals")
    height, width, _ = kit["im_info"][0].tolist()
    stride = round(height / kit["scores"].shape[2])
    proposer = RegionProposer(1, DETECTRON, strides=(stride,), size=8 * stride)
    rows, count = kit["scores"].shape[:2]
    features = torch.zeros(rows, 1, *kit["scores"].shape[2:])
    scores = torch.logit(kit["scores"].permute(0, 2, 3, 1).reshape(rows, -1).double())
    deltas = kit["deltas"].unflatten(1, (count, 4)).permute(0, 3, 4, 1, 2).reshape(rows, -1, 4)
    maps = RpnMaps([scores], [deltas], proposer([features]).anchors)
    ours = proposer.propose(
        maps, [(int(height), int(width))], per_level=1000, limit=1000, threshold=0.7
    )[0]
    torch.testing.assert_close(ours.boxes, kit["rois"][:, 1:], rtol=0, atol=1e-4)
    torch.testing.assert_close(ours.scores.float(), kit["probs"][:, 0], rtol=0, atol=1e-4)
