"""Eyes for tests: light networks, and a stand-in that sees what is there, or almost."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyvqa.data.pictures import read_picture
from pyvqa.ops import pack_masks
from pyvqa.ops.masks import decode_masks
from pyvqa.programs.scenes import read_scenes
from pyvqa.systems.ns_vqa.build import build_attributes, build_detector
from pyvqa.systems.ns_vqa.config import AttributesConfig, DetectorConfig, PerceptionConfig
from pyvqa.systems.ns_vqa.folder import AttributesPart, DetectorPart
from pyvqa.systems.ns_vqa.model.detector import class_of
from pyvqa.systems.ns_vqa.perception import Eyes, Found, Seen


@dataclass
class Thing:
    """An object of a picture."""

    known: dict[str, Any]
    mask: Tensor  # bool [H, W]
    score: float = 0.99


Things = list[Thing]


def light_parts() -> tuple[DetectorPart, AttributesPart]:
    """Networks as small as can be, of chance weights; the detector takes anything for objects."""
    torch.manual_seed(0)
    widths = [8, 8, 16, 16]
    detector = DetectorConfig(
        depth=10, widths=widths, stride_first=False, frozen_norm=False, frozen_stages=0,
        pyramid_width=16, head_width=32, mask_width=8, rules="modern", pixels="imagenet",
        short_side=64, score=0.0, detections=6, test_proposals=20,
    )  # fmt: skip
    attributes = AttributesConfig(depth=10, widths=widths, size=32)
    return (
        DetectorPart(build_detector(detector).eval(), detector),
        AttributesPart(build_attributes(attributes).eval(), attributes),
    )


@dataclass(frozen=True)
class PerfectEyes(Eyes):
    """See the things of a folder's truth, by the pixels of its pictures."""

    things: dict[bytes, Things]

    def see(self, pictures: Sequence[Tensor]) -> list[Seen]:
        return [_seen(self.things[picture.numpy().tobytes()], picture) for picture in pictures]


def _seen(things: Things, picture: Tensor) -> Seen:
    masks = torch.zeros((len(things), *picture.shape[:2]), dtype=torch.bool)
    boxes = torch.zeros(len(things), 4)
    for row, thing in enumerate(things):
        masks[row] = thing.mask
        y, x = thing.mask.nonzero(as_tuple=True)
        if len(y):
            boxes[row] = torch.stack((x.min(), y.min(), x.max() + 1, y.max() + 1)).float()
    labels = torch.tensor([class_of(thing.known) for thing in things], dtype=torch.int64)
    scores = torch.tensor([thing.score for thing in things])
    found = Found(boxes, scores.view(-1), labels.view(-1), pack_masks(masks))
    return Seen(found, [dict(thing.known) for thing in things])


def perfect_eyes(
    root: Path, split: str, spoil: Callable[[int, Things], Things] = lambda _, things: things
) -> PerfectEyes:
    """Look into a folder's truth; `spoil` may change what is seen in picture k."""
    scenes = read_scenes(root / f"scenes/CLEVR_{split}_scenes.json")
    instances = json.loads((root / f"instances_{split}.json").read_text())
    annotations = iter(instances["annotations"])
    codes, places = iter(scenes.table.codes.tolist()), iter(scenes.table.position.tolist())
    found = {}
    for row, (name, count) in enumerate(
        zip(scenes.image_filename, scenes.table.counts.tolist(), strict=True)
    ):
        things = []
        for _ in range(count):
            words = [scenes.strings[code] for code in next(codes)]
            known = dict(zip(("color", "material", "shape", "size"), words, strict=True))
            place = torch.tensor(next(places), dtype=torch.float32).tolist()
            mask = decode_masks([next(annotations)["segmentation"]])[0]
            things.append(Thing({**known, "position": place}, mask))
        picture = read_picture(root / f"images/{split}" / name)
        found[picture.numpy().tobytes()] = spoil(row, things)
    return PerfectEyes(*light_parts(), PerceptionConfig(), found)
