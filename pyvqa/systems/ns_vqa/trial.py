"""A model's eyes tried on pictures of the built-in world, whose objects are known."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa.ops import Rle, match_masks
from pyvqa.programs.clevr import ATTRIBUTES
from pyvqa.programs.scenes import Scenes
from pyvqa.systems.ns_vqa.answer import scenes_from_json
from pyvqa.systems.ns_vqa.perception import Eyes, Seen
from pyvqa.world import camera
from pyvqa.world.masks import Masks
from pyvqa.world.scenes import WorldScenes
from pyvqa.world.staging import Quality, stage

OVERLAP = 0.5  # mask IoU from which a thing seen is an object of the scene


@dataclass(frozen=True)
class Trial:
    """S pictures, what was seen in them and how much of it is so."""

    pictures: list[Tensor]  # uint8 [H, W, 3]
    seen: list[Seen]
    scenes: Scenes  # S, as seen
    objects: int  # there are
    claimed: int  # were seen
    found: int  # of the objects there are
    right: dict[str, int]  # by attribute, of the objects found
    render_seconds: float
    see_seconds: float

    def shares(self) -> list[tuple[str, float, int]]:
        """Return what was measured: name, share in 0..1, out of how many."""
        rows = [
            ("objects found", self.found / max(1, self.objects), self.objects),
            ("objects seen that are there", self.found / max(1, self.claimed), self.claimed),
        ]
        rows += [(f"{n} right", self.right[n] / max(1, self.found), self.found) for n in ATTRIBUTES]
        return rows


def try_eyes(
    eyes: Eyes,
    world: WorldScenes,
    *,
    batch_size: int = 4,
    advance: Callable[[], None] = lambda: None,
) -> Trial:
    """Render scenes, look at them and compare; `advance` is called after each batch."""
    staged, records = stage(world), world.records("world")
    pictures: list[Tensor] = []
    seen: list[Seen] = []
    claimed = found = 0
    right = dict.fromkeys(ATTRIBUTES, 0)
    seconds = [0.0, 0.0]
    for first in range(0, len(world), batch_size):
        last = min(first + batch_size, len(world))
        started = time.perf_counter()
        made = staged.part(first, last).render(Quality(camera.WIDTH, camera.HEIGHT))
        rendered = time.perf_counter()
        pictures += list(made.picture)
        seen += eyes.see(pictures[first:])
        seconds[0] += rendered - started
        seconds[1] += time.perf_counter() - rendered
        for ids, known, there in zip(
            made.ids.numpy(), seen[first:], records[first:last], strict=True
        ):
            pairs = _pairs(known, ids, len(there["objects"]))
            claimed, found = claimed + len(known.objects), found + len(pairs)
            for one, other in pairs:
                for name in ATTRIBUTES:
                    right[name] += known.objects[one][name] == there["objects"][other][name]
        advance()
    scenes = scenes_from_json(
        [
            {"image_index": i, "image_filename": record["image_filename"], "objects": s.objects}
            for i, (record, s) in enumerate(zip(records, seen, strict=True))
        ]
    )
    objects = int(np.asarray(world.counts).sum())
    return Trial(pictures, seen, scenes, objects, claimed, found, right, *seconds)


def _pairs(seen: Seen, ids: NDArray[Any], count: int) -> list[tuple[int, int]]:
    """Pair what was seen with the `count` objects that `ids` [H, W] shows, one to one."""
    height, width = ids.shape
    counts = Masks.of(ids[None], np.array([count], dtype=np.int32)).coco()
    there = [Rle(size=[height, width], counts=text) for text in counts]
    if not len(seen.found.masks) or not there:
        return []
    partner = match_masks((seen.found.masks, there), OVERLAP, rule="greedy")
    taken = torch.nonzero(partner >= 0).squeeze(1).tolist()
    return [(one, int(partner[one])) for one in taken]
