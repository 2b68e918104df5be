"""Mask R-CNN (He et al. 2017) on a ResNet with a feature pyramid.

Three ways in: `forward` gives the training losses, `detect` the objects, `region_features` what
the network knows about regions, for systems that build on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvqa.nn.box_rules import MODERN, BoxRules, Weights
from pyvqa.nn.fpn import FeaturePyramid, scaled_uniform_
from pyvqa.nn.images import ImageBatch
from pyvqa.nn.product import linear
from pyvqa.nn.resnet import ResNet
from pyvqa.nn.roi_targets import RoiSample, Truth, sample_rois
from pyvqa.nn.rpn import AnchorSample, RegionProposer, RpnMaps, rpn_losses, sample_anchors
from pyvqa.ops import multiscale_roi_align

BOX_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
STRIDES = (4, 8, 16, 32)  # of the maps that regions are pooled from
BOX_POOL, MASK_POOL = 7, 14  # samples along each side of a pooled region; masks have twice as many


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of what is looked at."""

    test_per_level: int = 1000
    test_proposals: int = 1000
    train_per_level: int = 2000
    train_proposals: int = 2000
    proposal_iou: float = 0.7
    anchors: int = 256  # trained on per image
    rois: int = 512  # trained on per image
    score: float = 0.05  # least score of a detection
    detection_iou: float = 0.5
    detections: int = 100
    kinds: int = 1  # so many classes in a row are kinds of one thing; see `select_detections`


class Detections(NamedTuple):
    """The objects found in one image: by class, within a class by proposal."""

    boxes: Tensor  # [K, 4] in pixels of the original image
    scores: Tensor  # [K]
    labels: Tensor  # int64 [K], 1..classes-1
    masks: Tensor  # [K, S, S] probabilities within the boxes


class Regions(NamedTuple):
    """What the network knows about regions of one image."""

    boxes: Tensor  # [K, 4] in pixels of the original image
    features: Tensor  # [K, D] of the box head
    probabilities: Tensor  # [K, classes]


class Picks(NamedTuple):
    """What one image is trained on."""

    anchors: AnchorSample
    rois: RoiSample


class Losses(NamedTuple):
    """The parts of the training loss; those of the proposals per level, fine to coarse."""

    proposal_score: Tensor  # [L]
    proposal_box: Tensor  # [L]
    score: Tensor
    box: Tensor
    mask: Tensor
    accuracy: Tensor  # share of regions whose likeliest class is right; no part of the loss

    @property
    def total(self) -> Tensor:
        """Add up what is minimised."""
        proposals = self.proposal_score.sum() + self.proposal_box.sum()
        return proposals + self.score + self.box + self.mask


class BoxHead(nn.Module):
    """Two hidden layers, then a score per class and a box per class: pooled maps [K, C, S, S]."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, width)
        self.fc2 = nn.Linear(width, width)
        self.score = nn.Linear(width, classes)
        self.delta = nn.Linear(width, 4 * classes)
        for layer in (self.fc1, self.fc2):
            scaled_uniform_(layer.weight)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.delta.weight, std=0.001)
        for layer in (self.fc1, self.fc2, self.score, self.delta):
            nn.init.zeros_(layer.bias)

    def features(self, pooled: Tensor) -> Tensor:
        """Describe regions: [K, C, S, S] -> [K, D]."""
        hidden = F.relu_(linear(pooled.flatten(1), self.fc1.weight, self.fc1.bias))
        return F.relu_(linear(hidden, self.fc2.weight, self.fc2.bias))

    def judge(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Give logits [K, classes] and deltas [K, 4 classes] of described regions."""
        score = linear(features, self.score.weight, self.score.bias)
        return score, linear(features, self.delta.weight, self.delta.bias)


class MaskHead(nn.Module):
    """Four 3x3 convolutions, doubling of the size, and one mask per class."""

    def __init__(self, inputs: int, width: int, classes: int) -> None:
        super().__init__()
        widths = (inputs, width, width, width)
        self.convs = nn.ModuleList(nn.Conv2d(w, width, 3, padding=1) for w in widths)
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        self.classify = nn.Conv2d(width, classes, 1)
        for layer in (*self.convs, self.up, self.classify):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, pooled: Tensor, labels: Tensor) -> Tensor:
        """Give the mask logits of each region's own class: [K, C, S, S], [K] -> [K, 2 S, 2 S]."""
        for conv in self.convs:
            pooled = F.relu_(conv(pooled))
        maps = F.relu_(self.up(pooled))
        weight = self.classify.weight.flatten(1)[labels]  # [K, D]
        bias = self.classify.bias[labels]  # type: ignore[index]
        by_pixel = maps.permute(0, 2, 3, 1).flatten(1, 2)  # [K, 4 S S, D], as it is in memory
        logits = torch.bmm(by_pixel, weight.unsqueeze(2)).float() + bias[:, None, None]
        return logits.view(maps.shape[0], *maps.shape[2:])


class MaskRcnn(nn.Module):
    """The detector; `classes` counts the background, which is class 0.

    forward(batch, truths) -> Losses
    detect(batch) -> one Detections per image
    """

    def __init__(
        self,
        backbone: ResNet,
        classes: int,
        *,
        rules: BoxRules = MODERN,
        limits: Limits | None = None,
        width: int = 256,
        head_width: int = 1024,
        mask_width: int = 256,
        anchor_size: float = 32,
    ) -> None:
        super().__init__()
        self.classes, self.rules, self.limits = classes, rules, limits or Limits()
        self.backbone = backbone
        self.pyramid = FeaturePyramid(backbone.map_widths, width)
        self.proposer = RegionProposer(width, rules, size=anchor_size)
        self.box_head = BoxHead(width * BOX_POOL**2, head_width, classes)
        self.mask_head = MaskHead(width, mask_width, classes)
        # Pixels with their channels side by side: oneDNN and cuDNN convolve that faster.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def features(self, pixels: Tensor) -> list[Tensor]:
        """Give the pyramid of prepared images: [B, 3, H, W] -> maps of strides 4 to 64."""
        return self.pyramid(self.backbone.features(pixels))  # type: ignore[no-any-return]

    def pool(self, pyramid: Sequence[Tensor], boxes: Sequence[Tensor], size: int) -> Tensor:
        """Cut regions out of the level that fits them: boxes per image [k, 4] -> [K, C, S, S]."""
        levels = self.rules.levels(torch.cat(list(boxes)), len(STRIDES))
        return multiscale_roi_align(
            pyramid[: len(STRIDES)],
            list(boxes),
            size,
            [1 / stride for stride in STRIDES],
            levels,
            sampling_ratio=2,
            aligned=self.rules.aligned,
        )

    def mask_logits(
        self, pyramid: Sequence[Tensor], boxes: Sequence[Tensor], labels: Tensor
    ) -> Tensor:
        """Give the mask of each region's class: boxes per image [k, 4], labels [K] -> [K, S, S]."""
        logits: Tensor = self.mask_head(self.pool(pyramid, boxes, MASK_POOL), labels)
        return logits

    # ---- looking

    @torch.no_grad()
    def detect(
        self, batch: ImageBatch, pyramid: Sequence[Tensor] | None = None
    ) -> list[Detections]:
        """Find the objects of images; `pyramid`: their features, where they are known already."""
        pyramid = self.features(batch.pixels) if pyramid is None else pyramid
        proposals = self.propose(self.proposer(pyramid), batch)
        regions = self._regions(pyramid, proposals)
        found = []
        for (features, logits, deltas), boxes, scale, original in zip(
            regions, proposals, batch.scales, batch.originals, strict=True
        ):
            del features
            moved = self.rules.decode(deltas, boxes / scale, BOX_WEIGHTS)
            moved = self.rules.clip(moved, original)
            scores = torch.softmax(logits, 1)
            found.append(select_detections(scores, moved, self.rules, self.limits))
        scaled = [f.boxes * scale for f, scale in zip(found, batch.scales, strict=True)]
        labels = torch.cat([f.labels for f in found])
        masks = torch.sigmoid(self.mask_logits(pyramid, scaled, labels))
        parts = torch.split(masks, [f.labels.shape[0] for f in found])
        return [f._replace(masks=part) for f, part in zip(found, parts, strict=True)]

    @torch.no_grad()
    def region_features(
        self,
        batch: ImageBatch,
        boxes: Sequence[Tensor] | None = None,
        pyramid: Sequence[Tensor] | None = None,
    ) -> list[Regions]:
        """Describe regions of images: `boxes` in original pixels, or else the proposals."""
        pyramid = self.features(batch.pixels) if pyramid is None else pyramid
        if boxes is None:
            scaled = self.propose(self.proposer(pyramid), batch)
        else:
            pairs = zip(boxes, batch.scales, strict=True)
            scaled = [b.to(batch.pixels) * scale for b, scale in pairs]
        described = zip(self._regions(pyramid, scaled), scaled, batch.scales, strict=True)
        return [
            Regions(boxes / scale, features, torch.softmax(logits, 1))
            for (features, logits, _), boxes, scale in described
        ]

    @torch.no_grad()
    def top_regions(
        self, batch: ImageBatch, count: int, pyramid: Sequence[Tensor] | None = None
    ) -> list[Regions]:
        """Describe up to `count` regions of each image, those likeliest to be objects first.

        Proposals are moved as their likeliest class has it, thinned out, and pooled anew.
        """
        pyramid = self.features(batch.pixels) if pyramid is None else pyramid
        proposals = self.propose(self.proposer(pyramid), batch)
        regions = self._regions(pyramid, proposals)
        chosen = []
        for (_, logits, deltas), boxes, scale, original in zip(
            regions, proposals, batch.scales, batch.originals, strict=True
        ):
            scores, labels = torch.softmax(logits, 1)[:, 1:].max(1)
            moved = self.rules.decode(deltas, boxes / scale, BOX_WEIGHTS)
            by_class = torch.unflatten(self.rules.clip(moved, original), 1, (-1, 4))
            own = by_class[torch.arange(len(labels), device=labels.device), labels + 1]
            together = torch.zeros_like(labels)  # whatever their class
            keep = self.rules.suppress(own, scores, together, self.limits.detection_iou)
            chosen.append(own[keep[:count]])
        return self.region_features(batch, chosen, pyramid)

    def propose(self, maps: RpnMaps, batch: ImageBatch) -> list[Tensor]:
        """Give the proposals of each image in the network's input, best first: [k, 4] each."""
        limits, padded = self.limits, (batch.pixels.shape[2], batch.pixels.shape[3])
        in_padding = self.rules.propose_in_padding and not self.training
        sizes = [padded] * len(batch.sizes) if in_padding else batch.sizes
        proposals = self.proposer.propose(
            maps,
            sizes,
            per_level=limits.train_per_level if self.training else limits.test_per_level,
            limit=limits.train_proposals if self.training else limits.test_proposals,
            threshold=limits.proposal_iou,
        )
        return [p.boxes for p in proposals]

    def _regions(
        self, pyramid: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Give features, logits and deltas of each image's regions."""
        features = self.box_head.features(self.pool(pyramid, boxes, BOX_POOL))
        parts = [features, *self.box_head.judge(features)]
        counts = [len(b) for b in boxes]
        return list(zip(*(torch.split(part.float(), counts) for part in parts), strict=True))

    # ---- learning

    def forward(
        self,
        batch: ImageBatch,
        truths: Sequence[Truth],
        *,
        picks: Sequence[Picks] | None = None,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        average: Callable[[Tensor], Tensor] | None = None,
    ) -> Losses:
        """Give the training losses of images with known objects.

        What is trained on is drawn with `generator`, one for all images or one for each, or given
        as `picks`. `average` brings the counts that losses are divided by to their mean over the
        ranks of a job.
        """
        pyramid = self.features(batch.pixels)
        maps = self.proposer(pyramid)
        if picks is None:
            picks = self.draw_picks(maps, batch, truths, generator)
        proposal = rpn_losses(maps, [p.anchors for p in picks], self.limits.anchors)
        return self._roi_losses(pyramid, [p.rois for p in picks], average)._replace(
            proposal_score=proposal.score, proposal_box=proposal.box
        )

    @torch.no_grad()
    def draw_picks(
        self,
        maps: RpnMaps,
        batch: ImageBatch,
        truths: Sequence[Truth],
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
    ) -> list[Picks]:
        """Choose the anchors and regions of each image to train on."""
        anchors, picks = torch.cat(maps.anchors), []
        proposals = self.propose(maps, batch)
        drawing = generator if isinstance(generator, Sequence) else [generator] * len(truths)
        for truth, size, scale, found, own in zip(
            truths, batch.sizes, batch.scales, proposals, drawing, strict=True
        ):
            sample = sample_anchors(
                anchors,
                truth.boxes.to(anchors) * scale,
                size,
                self.rules,
                generator=own,
                count=self.limits.anchors,
            )
            rois = sample_rois(
                found,
                truth,
                scale,
                self.rules,
                weights=BOX_WEIGHTS,
                mask_size=2 * MASK_POOL,
                generator=own,
                count=self.limits.rois,
            )
            picks.append(Picks(sample, rois))
        return picks

    def _roi_losses(
        self,
        pyramid: Sequence[Tensor],
        rois: Sequence[RoiSample],
        average: Callable[[Tensor], Tensor] | None,
    ) -> Losses:
        logits, deltas = self.box_head.judge(
            self.box_head.features(self.pool(pyramid, [r.boxes for r in rois], BOX_POOL))
        )
        labels = torch.cat([r.labels for r in rois])
        targets = torch.cat([r.deltas for r in rois])
        positive = labels > 0
        counts = torch.stack((positive.new_ones(positive.shape).sum(), positive.sum())).float()
        if average is not None:  # what the images of all ranks have on average
            images = counts.new_full((1,), float(len(rois)))
            counts = average(torch.cat((counts, images)))
            counts = counts[:2] * (images / counts[2])
        counts = counts.clamp(min=1)
        score, box = box_losses(logits, deltas, labels, targets)
        with_object = [r.boxes[: r.masks.shape[0]] for r in rois]
        masks = torch.cat([r.masks for r in rois])
        if masks.shape[0]:
            mask_logits = self.mask_logits(pyramid, with_object, labels[positive])
            mask = F.binary_cross_entropy_with_logits(
                mask_logits, masks.to(mask_logits.dtype), reduction="sum"
            )
        else:  # keep the head in the graph: ranks of a job must agree on what has a gradient
            mask = torch.stack([p.sum() * 0.0 for p in self.mask_head.parameters()]).sum()
        mask = mask / (counts[1] * masks[:1].numel() if masks.shape[0] else 1.0)
        accuracy = (logits.argmax(1) == labels).float().mean()
        none = logits.new_zeros(0)
        return Losses(none, none, score / counts[0], box / counts[0], mask, accuracy)


def box_losses(
    logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum cross-entropy over all regions and smooth L1 over those with an object.

    logits [K, classes], deltas [K, 4 classes], labels [K], targets [P, 4] of the P labels above 0
    """
    score = F.cross_entropy(logits.float(), labels, reduction="sum")
    positive = (labels > 0).nonzero().squeeze(1)
    of_class = torch.unflatten(deltas.float(), 1, (-1, 4))[positive, labels[positive]]
    return score, F.smooth_l1_loss(of_class, targets, reduction="sum", beta=1.0)


def select_detections(scores: Tensor, boxes: Tensor, rules: BoxRules, limits: Limits) -> Detections:
    """Pick an image's objects from its regions: scores [R, classes], boxes [R, 4 classes].

    Each class by itself is thinned out; at most `limits.detections` in all, more only if equal in
    score. Masks are left empty. Where `limits.kinds` classes in a row are kinds of one thing, their
    scores are added up, the likeliest one gives label and box, and things are thinned out: what
    kind an object is may then be open without putting in doubt that it is there.
    """
    kinds = torch.unflatten(scores[:, 1:], 1, (-1, limits.kinds))  # [R, things, kinds]
    thing, row = (kinds.sum(2).t() > limits.score).nonzero(as_tuple=True)
    score, kind = kinds[row, thing].sum(1), kinds[row, thing].argmax(1)
    label = 1 + thing * limits.kinds + kind
    box = torch.unflatten(boxes, 1, (-1, 4))[row, label]
    # Ascending indices: thing by thing, in the order of the proposals.
    keep = rules.suppress(box, score, thing, limits.detection_iou).sort().values
    if keep.shape[0] > limits.detections:
        least = score[keep].topk(limits.detections).values[-1]
        keep = keep[score[keep] >= least]
    return Detections(box[keep], score[keep], label[keep], boxes.new_zeros(keep.shape[0], 0, 0))
