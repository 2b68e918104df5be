"""Region proposals: what is kept, what is sampled, what is counted."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pyvqa.nn.box_rules import DETECTRON, MODERN, BoxRules
from pyvqa.nn.rpn import (
    AnchorSample,
    RegionProposer,
    RpnMaps,
    draw,
    rpn_losses,
    sample_anchors,
)

RULES = pytest.mark.parametrize("rules", [DETECTRON, MODERN], ids=["detectron", "modern"])


def overlap(a: torch.Tensor, b: torch.Tensor, rules: BoxRules) -> float:
    one = int(rules.inclusive)
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2]) + one).clamp(min=0)
    areas = [(box[2] - box[0] + one) * (box[3] - box[1] + one) for box in (a, b)]
    return float(sides.prod() / (sum(areas) - sides.prod()))


@RULES
def test_maps_line_up_with_their_anchors(rules):
    """A score raised at one place of the map is the score of the anchor there."""
    proposer = RegionProposer(2, rules, strides=(4, 8), size=16).double()
    torch.nn.init.zeros_(proposer.conv.weight)
    proposer.conv.weight.data[:, :, 1, 1] = torch.eye(2)
    proposer.score.weight.data = torch.tensor([[1.0, 0], [0, 1], [1, 1]]).double()[..., None, None]
    features = torch.zeros(1, 2, 6, 5, dtype=torch.float64)
    features[0, 1, 4, 3] = 7
    maps = proposer([features, features[:, :, :3, :3]])
    place = int(maps.scores[0][0].argmax())
    assert place in {(4 * 5 + 3) * 3 + 1, (4 * 5 + 3) * 3 + 2}
    anchor = maps.anchors[0][(4 * 5 + 3) * 3 + 1]
    far = 1.0 if rules.inclusive else 0.0
    centre = (anchor[:2] + anchor[2:] + far) / 2
    assert centre.tolist() == [3 * 4 + 2, 4 * 4 + 2]
    assert (anchor[2:] - anchor[:2] + far).tolist() == [16, 16]
    assert maps.deltas[0].shape == (1, 6 * 5 * 3, 4)
    assert (maps.anchors[1][1, 2] - maps.anchors[1][1, 0] + far).item() == 32


@RULES
def test_proposals_against_plain_loops(rules):
    torch.manual_seed(1)
    sizes, image = [40, 12], (60, 90)
    anchors = []
    for count in sizes:
        corner = torch.rand(count, 2) * torch.tensor([80.0, 50.0])
        anchors.append(torch.cat((corner, corner + 5 + 30 * torch.rand(count, 2)), 1))
    maps = RpnMaps(
        [torch.randn(2, n) for n in sizes], [0.3 * torch.randn(2, n, 4) for n in sizes], anchors
    )
    proposer = RegionProposer(1, rules, strides=(4, 8))
    found = proposer.propose(maps, [image, image], per_level=15, limit=12, threshold=0.5)
    for row in range(2):
        expected = []
        for scores, deltas, places in zip(*maps, strict=True):
            kept = []
            for index in scores[row].argsort(descending=True)[:15].tolist():
                box = rules.decode(deltas[row, index][None], places[index][None])
                box = rules.clip(box, image)[0]
                meets = [overlap(box, other, rules) for other in kept]
                if all(x < 0.5 if rules.suppress_equal else x <= 0.5 for x in meets):
                    kept.append(box)
                    expected.append((float(scores[row, index]), box))
        expected.sort(key=lambda pair: -pair[0])
        boxes = torch.stack([box for _, box in expected[:12]])
        torch.testing.assert_close(found[row].boxes, boxes)
        scores = torch.sigmoid(torch.tensor([score for score, _ in expected[:12]]))
        torch.testing.assert_close(found[row].scores, scores)


def test_draw_takes_each_at_most_once():
    indices = torch.arange(100) * 3
    drawn = draw(indices, 40, torch.Generator().manual_seed(0))
    assert drawn.unique().shape == (40,)
    assert torch.isin(drawn, indices).all()
    assert torch.equal(drawn, drawn.sort().values)
    assert not torch.equal(drawn, draw(indices, 40, torch.Generator().manual_seed(1)))
    assert torch.equal(drawn, draw(indices, 40, torch.Generator().manual_seed(0)))
    assert torch.equal(draw(indices, 100, None), indices)


def grid() -> torch.Tensor:
    """Anchors of side 10 over a 100 x 100 image; some leave it."""
    x, y = torch.meshgrid(torch.arange(-5, 100, 5), torch.arange(-5, 100, 5), indexing="xy")
    corner = torch.stack((x.flatten(), y.flatten()), 1).float()
    return torch.cat((corner, corner + 9), 1)


def test_sampled_anchors():
    anchors, rules = grid(), DETECTRON
    boxes = torch.tensor([[20.0, 20, 29, 29], [52, 52, 61, 61], [80, 3, 84, 7]])
    sample = sample_anchors(
        anchors, boxes, (100, 100), rules, generator=torch.Generator().manual_seed(0), count=64
    )
    table = torch.tensor([[overlap(a, b, rules) for b in boxes] for a in anchors])
    inside = (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2:] < 100).all(1)
    table[~inside] = -1
    best = ((table == table.max(0).values).any(1) | (table.max(1).values >= 0.7)) & inside
    low = (table.max(1).values < 0.3) & inside
    drawn_again = torch.isin(best.nonzero().squeeze(1), sample.negative)
    assert torch.equal(sample.positive, best.nonzero().squeeze(1)[~drawn_again])
    assert low[sample.negative].all()
    assert len(sample.negative) == len(sample.negative.unique()) <= 64 - len(sample.positive)
    owner = table[sample.positive].argmax(1)
    expected = rules.encode(boxes[owner], anchors[sample.positive])
    torch.testing.assert_close(sample.deltas, expected)


@RULES
def test_positive_anchors_are_at_most_their_share(rules):
    anchors = torch.tensor([[10.0, 10, 19, 19]]).repeat(50, 1)
    sample = sample_anchors(anchors, anchors[:1], (100, 100), rules, count=20, share=0.5)
    assert len(sample.positive) == 10
    assert len(sample.negative) == 0


def test_modern_rules_fill_the_sample_with_different_negatives():
    boxes = torch.tensor([[20.0, 20, 30, 30]])
    sample = sample_anchors(grid(), boxes, (100, 100), MODERN, count=64)
    assert len(sample.positive) + len(sample.negative.unique()) == 64
    assert not torch.isin(sample.positive, sample.negative).any()


@RULES
def test_a_picture_without_objects_gives_negatives_alone(rules):
    sample = sample_anchors(grid(), torch.zeros(0, 4), (100, 100), rules, count=30)
    assert (len(sample.positive), len(sample.negative), sample.deltas.shape) == (0, 30, (0, 4))


def test_losses_against_plain_loops():
    torch.manual_seed(0)
    sizes = [6, 3]
    maps = RpnMaps(
        [torch.randn(2, n) for n in sizes],
        [torch.randn(2, n, 4) for n in sizes],
        [torch.zeros(n, 4) for n in sizes],
    )
    empty = torch.zeros(0, dtype=torch.int64)
    samples = [
        AnchorSample(torch.tensor([1, 7]), torch.tensor([0, 5, 6]), torch.randn(2, 4)),
        AnchorSample(empty, torch.tensor([8]), torch.zeros(0, 4)),
    ]
    score, box = [0.0, 0.0], [0.0, 0.0]
    for row, (positive, negative, targets) in enumerate(samples):
        total = len(positive) + len(negative)
        logits, deltas = torch.cat(maps.scores, 1)[row], torch.cat(maps.deltas, 1)[row]
        for index, label in [(i, 1.0) for i in positive] + [(i, 0.0) for i in negative]:
            level = int(index >= 6)
            loss = F.binary_cross_entropy_with_logits(logits[index], torch.tensor(label))
            score[level] += float(loss) / (256 * 2)
        for index, target in zip(positive, targets, strict=True):
            gap = (deltas[index] - target).abs()
            smooth = torch.where(gap < 1 / 9, 4.5 * gap**2, gap - 1 / 18).sum()
            box[int(index >= 6)] += float(smooth) / total / 2
    ours = rpn_losses(maps, samples)
    torch.testing.assert_close(ours.score, torch.tensor(score))
    torch.testing.assert_close(ours.box, torch.tensor(box))
