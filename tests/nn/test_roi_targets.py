"""What regions are trained on: sampling, boxes and masks."""

from __future__ import annotations

import math

import pytest
import torch

from pyvqa.nn.box_rules import DETECTRON, MODERN
from pyvqa.nn.roi_targets import Truth, boxes_of_masks, crop_masks, sample_rois

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
RULES = pytest.mark.parametrize("rules", [DETECTRON, MODERN], ids=["detectron", "modern"])


def discs(height: int = 40, width: int = 60) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    centres = [(12, 10, 7), (25, 40, 11), (5, 55, 5)]
    return torch.stack([(y - v) ** 2 + (x - u) ** 2 <= r * r for v, u, r in centres])


def test_boxes_of_masks():
    masks = torch.zeros(3, 20, 30, dtype=torch.bool)
    masks[0, 4:9, 7:12] = True
    masks[1, 0, 29] = True
    boxes = boxes_of_masks(masks, DETECTRON)
    assert boxes[:2].tolist() == [[7, 4, 11, 8], [29, 0, 29, 0]]
    assert boxes[2].isnan().all()
    assert boxes_of_masks(masks, MODERN)[:2].tolist() == [[7, 4, 12, 9], [29, 0, 30, 1]]
    assert boxes_of_masks(masks.to(torch.uint8), DETECTRON)[:2].equal(boxes[:2])
    assert boxes_of_masks(masks[:0], MODERN).shape == (0, 4)


def cropped(mask: torch.Tensor, box: torch.Tensor, size: int, rules) -> torch.Tensor:
    """Interpolate pixel by pixel."""
    one = int(rules.inclusive)
    x0, y0, x1, y1 = (int(v) for v in box)
    part = mask[y0 : y1 + one, x0 : x1 + one].float()
    height, width = part.shape
    result = torch.zeros(size, size)
    for i in range(size):
        for j in range(size):
            y = min(max((i + 0.5) * height / size - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size - 0.5, 0), width - 1)
            v, u = math.floor(y), math.floor(x)
            below, right = min(v + 1, height - 1), min(u + 1, width - 1)
            top = part[v, u] * (1 - (x - u)) + part[v, right] * (x - u)
            bottom = part[below, u] * (1 - (x - u)) + part[below, right] * (x - u)
            result[i, j] = top * (1 - (y - v)) + bottom * (y - v)
    return result > rules.mask_cover


@RULES
def test_cropped_masks_against_plain_loops(rules):
    masks = discs()
    boxes = torch.tensor(
        [
            [3.0, 5, 17, 19],
            [28.6, 13.2, 52.9, 37.4],
            [0, 0, 59, 39],
            [50, 0, 59, 9],
            [20, 20, 21, 22],
        ]
    )
    owner = torch.tensor([0, 1, 1, 2, 0])
    ours = crop_masks(masks, boxes, owner, 14, rules)
    for row in range(len(boxes)):
        assert torch.equal(ours[row], cropped(masks[owner[row]], boxes[row], 14, rules)), row
    assert torch.equal(crop_masks(masks.to(torch.uint8), boxes, owner, 14, rules), ours)


def test_published_targets_are_a_little_larger():
    masks, boxes = discs(), torch.tensor([[3.0, 5, 17, 19]])
    wide = crop_masks(masks, boxes, torch.tensor([0]), 28, DETECTRON).sum()
    fair = crop_masks(masks, boxes, torch.tensor([0]), 28, MODERN).sum()
    assert wide > fair


@RULES
def test_boxes_outside_the_picture_do_no_harm(rules):
    boxes = torch.tensor([[-5.0, -5, 3, 3], [58, 38, 90, 80], [200, 200, 300, 300], [5, 5, 5, 5]])
    assert crop_masks(discs(), boxes, torch.zeros(4, dtype=torch.int64), 7, rules).shape == (
        4,
        7,
        7,
    )


def truth(rules) -> Truth:
    masks = discs()
    return Truth(boxes_of_masks(masks, rules), torch.tensor([3, 1, 2]), masks)


@RULES
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_sampled_regions(rules, scale):
    torch.manual_seed(0)
    known = truth(rules)
    corner = torch.rand(300, 2) * torch.tensor([50.0, 30.0])
    proposals = torch.cat((corner, corner + 3 + 20 * torch.rand(300, 2)), 1) * scale
    sample = sample_rois(
        proposals,
        known,
        scale,
        rules,
        weights=WEIGHTS,
        mask_size=28,
        generator=torch.Generator().manual_seed(0),
        count=64,
    )
    best, owner = rules.iou(sample.boxes, known.boxes * scale).max(1)
    positive = len(sample.masks)
    assert len(sample.boxes) == 64
    assert 0 < positive <= 16
    assert (best[:positive] >= 0.5).all()
    assert (best[positive:] < 0.5).all()
    expected = known.labels[owner[:positive]]
    assert sample.labels.tolist() == expected.tolist() + [0] * (64 - positive)
    back = rules.decode(sample.deltas, sample.boxes[:positive], WEIGHTS)
    torch.testing.assert_close(back, (known.boxes * scale)[owner[:positive]], rtol=1e-4, atol=1e-3)
    masks = crop_masks(known.masks, sample.boxes[:positive] / scale, owner[:positive], 28, rules)
    assert torch.equal(sample.masks, masks)


@RULES
def test_objects_are_candidates_themselves(rules):
    known = truth(rules)
    sample = sample_rois(torch.zeros(0, 4), known, 2.0, rules, weights=WEIGHTS, mask_size=14)
    torch.testing.assert_close(sample.boxes, known.boxes * 2)
    torch.testing.assert_close(sample.deltas, torch.zeros(3, 4), rtol=0, atol=1e-4)
    assert sample.labels.tolist() == [3, 1, 2]


@RULES
def test_a_picture_without_objects(rules):
    nothing = Truth(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 40, 60).bool()
    )
    proposals = torch.tensor([[0.0, 0, 5, 5], [3, 3, 30, 30]])
    sample = sample_rois(proposals, nothing, 1.0, rules, weights=WEIGHTS, mask_size=14)
    assert torch.equal(sample.boxes, proposals)
    assert sample.labels.tolist() == [0, 0]
    assert sample.masks.shape == (0, 14, 14)
    assert sample.deltas.shape == (0, 4)


@RULES
def test_regions_with_an_object_are_at_most_their_share(rules):
    known = truth(rules)
    near = known.boxes.repeat(40, 1) + torch.rand(
        120, 4, generator=torch.Generator().manual_seed(0)
    )
    far = torch.tensor([[30.0, 0, 34, 4]]).repeat(100, 1)
    sample = sample_rois(
        torch.cat((near, far)), known, 1.0, rules, weights=WEIGHTS, mask_size=14, count=32
    )
    assert (len(sample.boxes), len(sample.masks), int((sample.labels > 0).sum())) == (32, 8, 8)
