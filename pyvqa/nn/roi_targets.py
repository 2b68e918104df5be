"""What the second stage of Mask R-CNN is trained on: sampled regions and their masks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyvqa.nn.box_rules import BoxRules, Weights
from pyvqa.nn.rpn import draw


class Truth(NamedTuple):
    """The objects of one image, in pixels of that image as it was annotated."""

    boxes: Tensor  # [G, 4]
    labels: Tensor  # int64 [G], 1..classes-1; 0 is the background
    masks: Tensor  # bool or uint8 [G, H, W]

    def to(self, device: torch.device | str) -> Truth:
        """Give the same objects on `device`."""
        return Truth(*(value.to(device) for value in self))


class RoiSample(NamedTuple):
    """Regions of one image to train on; those with an object come first."""

    boxes: Tensor  # [K, 4] in the network's input
    labels: Tensor  # int64 [K], 0: background
    deltas: Tensor  # [P, 4] from each of the first P regions to its object
    masks: Tensor  # bool [P, S, S] of these objects within the regions


def boxes_of_masks(masks: Tensor, rules: BoxRules) -> Tensor:
    """Give the tightest boxes around masks: [G, H, W] -> [G, 4]; NaN for an empty mask."""
    bounds = []
    for axis in (1, 2):  # over rows: columns that are touched, x; then rows, y
        touched = masks.view(torch.uint8).amax(axis) > 0  # twice as fast as `any`
        places = torch.arange(touched.shape[1], device=masks.device)
        first = torch.where(touched, places, touched.shape[1]).amin(1)
        last = torch.where(touched, places, -1).amax(1) + (0 if rules.inclusive else 1)
        bounds += [first, last]
    boxes = torch.stack((bounds[0], bounds[2], bounds[1], bounds[3]), 1).float()
    return torch.where(touched.any(1)[:, None], boxes, torch.nan)


@torch.no_grad()
def sample_rois(
    proposals: Tensor,
    truth: Truth,
    scale: float,
    rules: BoxRules,
    *,
    weights: Weights,
    mask_size: int,
    generator: torch.Generator | None = None,
    count: int = 512,
    share: float = 0.25,
    overlap: float = 0.5,
) -> RoiSample:
    """Choose among proposals [P, 4] and the objects' own boxes.

    At most `share` of `count` regions have an object, which is one that they overlap by `overlap`.
    `scale` leads from the annotation's pixels to the network's input.
    """
    boxes = truth.boxes.to(proposals) * scale
    candidates = torch.cat((boxes, proposals))
    if boxes.shape[0] == 0:
        chosen = draw(torch.arange(len(candidates), device=candidates.device), count, generator)
        return roi_sample(
            candidates[chosen],
            chosen[:0],
            truth,
            scale,
            rules,
            weights=weights,
            mask_size=mask_size,
        )
    best, owner = rules.iou(candidates, boxes).max(1)
    has_object = best >= overlap
    with_object = draw(has_object.nonzero().squeeze(1), round(share * count), generator)
    others = (~has_object & (best >= 0)).nonzero().squeeze(1)
    without = draw(others, count - with_object.shape[0], generator)
    chosen = torch.cat((with_object, without))
    return roi_sample(
        candidates[chosen],
        owner[with_object],
        truth,
        scale,
        rules,
        weights=weights,
        mask_size=mask_size,
    )


@torch.no_grad()
def roi_sample(
    boxes: Tensor,
    owner: Tensor,
    truth: Truth,
    scale: float,
    rules: BoxRules,
    *,
    weights: Weights,
    mask_size: int,
) -> RoiSample:
    """Make the targets of regions [K, 4], the first P of which are of the objects `owner` [P]."""
    count = owner.shape[0]
    labels = torch.zeros(boxes.shape[0], dtype=torch.int64, device=boxes.device)
    labels[:count] = truth.labels[owner]
    deltas = rules.encode(truth.boxes.to(boxes)[owner] * scale, boxes[:count], weights)
    masks = crop_masks(truth.masks, boxes[:count] / scale, owner, mask_size, rules)
    return RoiSample(boxes, labels, deltas, masks)


def crop_masks(masks: Tensor, boxes: Tensor, owner: Tensor, size: int, rules: BoxRules) -> Tensor:
    """Cut masks [G, H, W] out along boxes [K, 4] and bring them to [K, size, size], bool.

    Corners are cut to whole pixels; bilinear interpolation at pixel centres between them; true
    where more than `rules.mask_cover` is covered.
    """
    corner = boxes.long()
    far = corner[:, 2:] + (1 if rules.inclusive else 0)
    x, x_next, x_share = _taps(corner[:, 0], far[:, 0], masks.shape[2], size)
    y, y_next, y_share = _taps(corner[:, 1], far[:, 1], masks.shape[1], size)
    flat = masks.reshape(-1).to(torch.bool)
    base = (owner * (masks.shape[1] * masks.shape[2]))[:, None, None]

    def row(at: Tensor) -> Tensor:
        start = base + at[:, :, None] * masks.shape[2]
        left, right = flat[start + x[:, None]].float(), flat[start + x_next[:, None]].float()
        return torch.lerp(left, right, x_share[:, None])

    return torch.lerp(row(y), row(y_next), y_share[:, :, None]) > rules.mask_cover


def _taps(start: Tensor, stop: Tensor, limit: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Give both neighbours of samples between start and stop, and the second's share: [K, size]."""
    start = start.clamp(0, limit - 1)
    length = torch.maximum(stop.clamp(max=limit) - start, torch.ones_like(start))
    step = length.double() / size
    centres = torch.arange(size, device=start.device, dtype=torch.float64) + 0.5
    place = (centres * step[:, None] - 0.5).float().clamp(min=0)
    first = place.floor().long()
    share = place - first
    last = (length - 1)[:, None]
    at_end = first >= last
    first = torch.where(at_end, last, first)
    following = torch.where(at_end, last, first + 1)
    return start[:, None] + first, start[:, None] + following, share.masked_fill(at_end, 0.0)
