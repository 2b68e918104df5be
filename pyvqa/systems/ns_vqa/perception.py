"""From pictures to scenes: find the objects, keep those that count, say what and where each is.

ns-vqa scene_parse: mask_rcnn/tools/test_net.py, attr_net/tools/{process_proposals,run_test}.py
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyvqa.data.pictures import read_pictures, shrink_picture
from pyvqa.ops import PackedMasks, mask_iou, mask_nms, paste_masks, unpack_masks
from pyvqa.ops.paste import Rule
from pyvqa.systems.ns_vqa.build import prepare_pictures
from pyvqa.systems.ns_vqa.config import PerceptionConfig
from pyvqa.systems.ns_vqa.folder import (
    AttributesPart,
    DetectorPart,
    read_attributes,
    read_config,
    read_detector,
)
from pyvqa.systems.ns_vqa.model.attributes import decode_attributes
from pyvqa.systems.ns_vqa.model.detector import attributes_of

LARGE = 1024  # pixels of a side up to which objects are described in the picture's own size
UNSURE = 0.3  # a score above which something may be an object
COVERED = 0.5  # share of an uncertain thing from which on it is taken for what lies there


class Found(NamedTuple):
    """The N objects that a detector found in one picture."""

    boxes: Tensor  # float32 [N, 4] x1, y1, x2, y2 in pixels of the picture
    scores: Tensor  # float32 [N]
    labels: Tensor  # int64 [N] classes, see `attributes_of`
    masks: PackedMasks  # N of the picture's size

    def select(self, rows: Tensor) -> Found:
        """Give the objects at `rows`, in that order."""
        return Found(
            self.boxes[rows], self.scores[rows], self.labels[rows], self.masks.select(rows)
        )


class Seen(NamedTuple):
    """A picture understood: its objects, and what each is."""

    found: Found
    objects: list[dict[str, Any]]  # N: shape, size, material, color, position
    unsure: int = 0  # things elsewhere in the picture that may be objects, but score too low


@torch.no_grad()
def detect(detector: DetectorPart, pictures: Sequence[Tensor]) -> list[Found]:
    """Find everything that might be an object: RGB pictures, uint8 [H, W, 3] each.

    The masks are pasted on the CPU, where what comes after works.
    """
    device = next(detector.network.parameters()).device
    batch = prepare_pictures(detector.config, pictures).to(device)
    rule: Rule = "detectron" if detector.config.rules == "detectron" else "torchvision"
    found = []
    for picture, raw in zip(pictures, detector.network.detect(batch), strict=True):
        boxes, masks = raw.boxes.float().cpu(), raw.masks.float().cpu()
        size = (picture.shape[0], picture.shape[1])
        pasted = paste_masks(masks, boxes, size, rule=rule, output="packed")
        found.append(Found(boxes, raw.scores.float().cpu(), raw.labels.cpu(), pasted))
    return found


def keep_objects(found: Found, settings: PerceptionConfig) -> Found:
    """Keep what scores well and, if asked for, what no better object overlaps."""
    found = found.select((found.scores > settings.score).nonzero().squeeze(1))
    if not settings.suppression:
        return found
    kept = mask_nms(
        found.masks, found.scores, iou_threshold=settings.iou, iomin_threshold=settings.iomin
    )
    return found.select(kept)


def count_unsure(found: Found, kept: Found, settings: PerceptionConfig) -> int:
    """Count what may be an object, does not score enough and lies on none that was kept."""
    low = (found.scores > UNSURE) & (found.scores <= settings.score)
    if not low.any():
        return 0
    low_masks, scores = found.masks.select(low.nonzero().squeeze(1)), found.scores[low]
    free = (mask_iou(low_masks, kept.masks, measure="iomin") <= COVERED).all(1)
    rest = low_masks.select(free.nonzero().squeeze(1))
    kept_rows = mask_nms(rest, scores[free], iou_threshold=settings.iou, iomin_threshold=COVERED)
    return len(kept_rows)


def _within(picture: Tensor, masks: PackedMasks, longest: int) -> tuple[Tensor, Tensor]:
    """Scale a large picture and its masks down: -> uint8 [H, W, 3], bool [N, H, W]."""
    if max(picture.shape[:2]) <= longest:
        return picture, unpack_masks(masks)
    small = shrink_picture(picture, longest)
    rows, columns = (
        ((torch.arange(small.shape[axis]) + 0.5) * (picture.shape[axis] / small.shape[axis])).long()
        for axis in (0, 1)
    )
    each = (unpack_masks(masks.select(slice(k, k + 1))) for k in range(len(masks)))  # one by one
    parts = [mask[:, rows][:, :, columns] for mask in each]
    return small, torch.cat([torch.zeros(0, *small.shape[:2], dtype=torch.bool), *parts])


@torch.no_grad()
def describe(
    attributes: AttributesPart,
    pictures: Sequence[Tensor],
    masks: Sequence[PackedMasks],
    *,
    batch_size: int = 50,
) -> list[list[dict[str, Any]]]:
    """Say what the objects of pictures are and where; objects of several pictures share batches."""
    network = attributes.network
    device = next(network.parameters()).device
    pairs = (_within(p, m, LARGE) for p, m in zip(pictures, masks, strict=True))
    inputs = torch.cat([network.inputs(*pair) for pair in pairs])
    numbers = [network(part.to(device)).float().cpu() for part in torch.split(inputs, batch_size)]
    objects = decode_attributes(torch.cat(numbers)) if len(inputs) else []
    starts = torch.tensor([0, *map(len, masks)]).cumsum(0).tolist()
    return [objects[a:b] for a, b in pairwise(starts)]


@dataclass(frozen=True)
class Eyes:
    """Detector and attribute network of a model: pictures in, scenes out."""

    detector: DetectorPart
    attributes: AttributesPart
    settings: PerceptionConfig

    @classmethod
    def read(cls, folder: Path) -> Eyes:
        """Read both networks of a model folder.

        Raises:
            DataError, ConfigError, CheckpointError: a file is missing, damaged or fits not others.
        """
        settings = read_config(folder).perception
        return cls(read_detector(folder), read_attributes(folder), settings)

    def see(self, pictures: Sequence[Tensor]) -> list[Seen]:
        """Understand RGB pictures, uint8 [H, W, 3] each."""
        everything = detect(self.detector, pictures)
        kept = [keep_objects(found, self.settings) for found in everything]
        objects = describe(
            self.attributes,
            pictures,
            [found.masks for found in kept],
            batch_size=self.settings.batch_size,
        )
        categories = self.detector.config.categories
        if self.settings.category_labels:
            for found, described in zip(kept, objects, strict=True):
                for label, known in zip(found.labels.tolist(), described, strict=True):
                    known.update(attributes_of(label, categories))
        unsure = [count_unsure(*pair, self.settings) for pair in zip(everything, kept, strict=True)]
        return [Seen(*parts) for parts in zip(kept, objects, unsure, strict=True)]


def look_at(
    eyes: Eyes, files: Sequence[Path], *, batch_size: int = 8, workers: int = 1
) -> Iterator[Seen]:
    """Understand picture files in order, batch after batch; `workers` threads read ahead.

    Raises:
        DataError: a picture is missing or cannot be read, when the turn comes to its batch.
    """
    pictures = read_pictures(files, ahead=2 * batch_size, workers=workers)
    while batch := list(islice(pictures, batch_size)):
        yield from eyes.see(batch)
