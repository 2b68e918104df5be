"""Region proposals (Ren et al. 2015) over a feature pyramid, with targets and losses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvqa.nn.box_rules import BoxRules
from pyvqa.ops import anchor_grid, cell_anchors

Size = tuple[int, int]  # height, width


class RpnMaps(NamedTuple):
    """What the head says about every anchor of every level, in the order of `anchors`."""

    scores: list[Tensor]  # logits, [B, N_l] per level
    deltas: list[Tensor]  # [B, N_l, 4]
    anchors: list[Tensor]  # [N_l, 4]


class Proposals(NamedTuple):
    """The most likely objects of one image, best first."""

    boxes: Tensor  # [K, 4]
    scores: Tensor  # [K]


class AnchorSample(NamedTuple):
    """The anchors of one image that are trained on, as indices into all levels' anchors."""

    positive: Tensor  # int64 [P]
    negative: Tensor  # int64 [M]
    deltas: Tensor  # [P, 4] from each positive anchor to its object


class RegionProposer(nn.Module):
    """One small head on all levels; each level has anchors of one size and several ratios.

    forward(pyramid of maps [B, C, H_l, W_l]) -> RpnMaps
    """

    def __init__(
        self,
        width: int,
        rules: BoxRules,
        *,
        strides: Sequence[int] = (4, 8, 16, 32, 64),
        size: float = 32,
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
    ) -> None:
        super().__init__()
        self.rules = rules
        self.strides = tuple(strides)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.score = nn.Conv2d(width, len(ratios), 1)
        self.delta = nn.Conv2d(width, 4 * len(ratios), 1)
        for conv in (self.conv, self.score, self.delta):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
        for level, stride in enumerate(self.strides):
            cells = cell_anchors(stride, [size * stride / self.strides[0]], ratios)
            if not rules.inclusive:  # the far corner is the edge of the last pixel
                cells[:, 2:] += 1
            self.register_buffer(f"cells{level}", cells, persistent=False)

    def forward(self, pyramid: Sequence[Tensor]) -> RpnMaps:
        maps = RpnMaps([], [], [])
        for level, features in enumerate(pyramid):
            hidden = F.relu_(self.conv(features))
            rows = features.shape[0]
            score = self.score(hidden).float().permute(0, 2, 3, 1)  # [B, H, W, A]
            delta = self.delta(hidden).float().permute(0, 2, 3, 1)
            maps.scores.append(score.reshape(rows, -1))
            maps.deltas.append(delta.reshape(rows, -1, 4))
            cells = self.get_buffer(f"cells{level}")
            size = (features.shape[2], features.shape[3])
            maps.anchors.append(anchor_grid(cells, size, self.strides[level]))
        return maps

    @torch.no_grad()
    def propose(
        self, maps: RpnMaps, sizes: Sequence[Size], *, per_level: int, limit: int, threshold: float
    ) -> list[Proposals]:
        """Pick each image's proposals: the best `per_level` anchors of each level, moved, brought
        into the image of (height, width), thinned out within their level, the best `limit` of all.
        """
        ranked = []
        for scores in maps.scores:
            # Of the probabilities, as published: float32 makes some of the largest equal.
            top = torch.sigmoid(scores).topk(min(per_level, scores.shape[1]), 1)
            ranked.append((top.values, top.indices))
        levels = torch.cat(
            [i.new_full((i.shape[1],), level) for level, (_, i) in enumerate(ranked)]
        )
        scores = torch.cat([values for values, _ in ranked], 1)
        proposals = []
        for row, size in enumerate(sizes):
            picks = [indices[row] for _, indices in ranked]
            anchors = torch.cat([a[i] for a, i in zip(maps.anchors, picks, strict=True)])
            deltas = torch.cat([d[row, i] for d, i in zip(maps.deltas, picks, strict=True)])
            boxes = self.rules.clip(self.rules.decode(deltas, anchors), size)
            keep = self.rules.suppress(boxes, scores[row], levels, threshold)[:limit]
            proposals.append(Proposals(boxes[keep], scores[row, keep]))
        return proposals


def draw(indices: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw up to `count` of the indices [N] without replacement, in ascending order."""
    if indices.shape[0] <= count:
        return indices
    order = torch.randperm(indices.shape[0], generator=generator)[:count].to(indices.device)
    return indices[order].sort().values


@torch.no_grad()
def sample_anchors(
    anchors: Tensor,
    boxes: Tensor,
    size: Size,
    rules: BoxRules,
    *,
    generator: torch.Generator | None = None,
    count: int = 256,
    share: float = 0.5,
    high: float = 0.7,
    low: float = 0.3,
) -> AnchorSample:
    """Choose anchors [N, 4] to train on for an image of (height, width) with objects [G, 4].

    Anchors that leave the image are not used. Positive are those that overlap an object by `high`
    and for every object the best ones; negative those that overlap none by `low`. Of `count` at
    most `share` are positive.
    """
    limit = anchors.new_tensor([size[1], size[0]]) + (0 if rules.inclusive else 1)
    inside = ((anchors[:, :2] >= 0) & (anchors[:, 2:] < limit)).all(1).nonzero().squeeze(1)
    if boxes.shape[0] == 0:
        negative = draw(inside, count, generator)
        return AnchorSample(negative[:0], negative, anchors[:0])
    overlap = rules.iou(anchors[inside], boxes)  # [N', G]
    best, owner = overlap.max(1)
    best_of_object = overlap.max(0).values
    is_best = ((overlap == best_of_object) & (best_of_object > 0)).any(1)
    positive = draw((is_best | (best >= high)).nonzero().squeeze(1), int(share * count), generator)
    negative = (best < low).nonzero().squeeze(1)
    missing = count - positive.shape[0]
    if not rules.repeat_negatives:
        negative = negative[~is_best[negative]]
        negative = draw(negative, missing, generator)
    elif negative.shape[0] > missing:
        picks = torch.randint(negative.shape[0], (missing,), generator=generator)
        negative = torch.unique(negative[picks.to(negative.device)])
        # Best anchors of an object that overlap it little may be drawn too, and then are negative.
        positive = positive[~torch.isin(positive, negative)]
    deltas = rules.encode(boxes[owner[positive]], anchors[inside[positive]])
    return AnchorSample(inside[positive], inside[negative], deltas)


class RpnLosses(NamedTuple):
    """Per level [L]; their sums are what is trained on."""

    score: Tensor
    box: Tensor


def rpn_losses(maps: RpnMaps, samples: Sequence[AnchorSample], count: int = 256) -> RpnLosses:
    """Judge scores (cross-entropy) and deltas (smooth L1, beta 1/9) of the sampled anchors.

    `count` anchors an image were asked for: cross-entropies are divided by that, offsets by the
    number that there are.
    """
    scores, deltas = torch.cat(maps.scores, 1), torch.cat(maps.deltas, 1)
    ends = torch.tensor([a.shape[0] for a in maps.anchors], device=scores.device).cumsum(0)
    score_loss = scores.new_zeros(len(maps.anchors))
    box_loss = torch.zeros_like(score_loss)
    for row, (positive, negative, target) in enumerate(samples):
        chosen = torch.cat((positive, negative))
        label = torch.zeros_like(scores[row, chosen])
        label[: positive.shape[0]] = 1
        entropy = F.binary_cross_entropy_with_logits(scores[row, chosen], label, reduction="none")
        distance = F.smooth_l1_loss(deltas[row, positive], target, reduction="none", beta=1 / 9)
        distance = distance.sum(1) / max(1, chosen.shape[0])
        level = torch.bucketize(chosen, ends, right=True)
        score_loss = score_loss.index_add(0, level, entropy)
        box_loss = box_loss.index_add(0, level[: positive.shape[0]], distance)
    return RpnLosses(score_loss / (count * len(samples)), box_loss / len(samples))
