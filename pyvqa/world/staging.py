"""From scenes to what the render op takes: geometry, materials, cameras, lamps.

Source of the colours: clevr-dataset-gen image_generation/data/properties.json; the original hands
them to its renderer as linear values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa import _native
from pyvqa.ops.render import (
    GRAIN,
    TRAINING_QUALITY,
    Rendering,
    RenderObjects,
    object_ids,
    render,
)
from pyvqa.ops.render import projected_boxes as mesh_boxes
from pyvqa.world.scenes import WorldScenes

RGB = {
    "gray": (87, 87, 87),
    "red": (173, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 105, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
RADIUS = {"large": 0.7, "small": 0.35}
SHAPES = ("cube", "cylinder", "sphere")  # in the order of the op's numbers
MATERIALS = ("rubber", "metal")


@dataclass(frozen=True)
class Quality:
    """How pictures are made."""

    width: int
    height: int
    samples: int = TRAINING_QUALITY  # rays a pixel
    grain: float = GRAIN

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, as the op takes them."""
        return self.height, self.width


@dataclass(frozen=True)
class Staging:
    """What S pictures show, one after the other."""

    objects: RenderObjects  # O in all
    cameras: Tensor  # float64 [S, 3]
    lamps: Tensor  # float64 [S, 3, 3]: key, fill, back
    seeds: Tensor  # int64 [S] of the noise

    def __len__(self) -> int:
        return len(self.cameras)

    def part(self, first: int, last: int) -> Staging:
        """Return the pictures first..last-1."""
        offsets = self.objects.offsets[first : last + 1]
        rows = slice(int(offsets[0]), int(offsets[-1]))
        objects = RenderObjects(
            self.objects.geometry[rows],
            self.objects.kinds[rows],
            self.objects.colors[rows],
            offsets - offsets[0],
        )
        pictures = slice(first, last)
        return Staging(objects, self.cameras[pictures], self.lamps[pictures], self.seeds[pictures])

    def render(self, quality: Quality) -> Rendering:
        """Make the pictures with their maps."""
        return render(
            self.objects,
            self.cameras,
            self.lamps,
            size=quality.size,
            samples=quality.samples,
            seeds=self.seeds,
            grain=quality.grain,
        )

    def ids(self, size: tuple[int, int]) -> Tensor:
        """Find the object that each pixel's centre shows: int16 [S, H, W], -1 for none."""
        return object_ids(self.objects, self.cameras, size=size)

    def whole_boxes(self, size: tuple[int, int]) -> NDArray[np.int64]:
        """Return x, y, width, height of whole objects, hidden parts included: [O, 4]."""
        return np.asarray(mesh_boxes(self.objects, self.cameras, size=size).numpy())


def stage_objects(
    codes: NDArray[np.uint16],
    coordinates: NDArray[np.float64],
    rotation: NDArray[np.float64],
    counts: Sequence[int] | NDArray[np.int32],
) -> RenderObjects:
    """Describe objects by string codes [O, 4] (color, material, shape, size), centres and turns."""
    radius = _LOOKUP["size"][codes[:, 3], None]
    kinds = np.stack([_LOOKUP["shape"][codes[:, 2]], _LOOKUP["material"][codes[:, 1]]], 1)
    return RenderObjects(
        torch.from_numpy(np.concatenate([coordinates, radius, rotation[:, None]], 1)),
        torch.from_numpy(kinds.astype(np.uint8)),
        torch.from_numpy((_COLORS[codes[:, 0]] / 255.0).astype(np.float32)),
        torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
    )


def stage(scenes: WorldScenes) -> Staging:
    """Put the built-in world's scenes on stage."""
    return Staging(
        stage_objects(scenes.codes, scenes.coordinates, scenes.rotation, scenes.counts),
        torch.from_numpy(scenes.camera),
        torch.from_numpy(scenes.lamps),
        torch.from_numpy(scenes.grain),
    )


def _lookup(values: dict[str, float]) -> NDArray[np.float64]:
    return np.array([values.get(name, 0) for name in _native.KNOWN_STRINGS], dtype=np.float64)


_LOOKUP = {
    "size": _lookup(RADIUS),
    "shape": _lookup({name: k for k, name in enumerate(SHAPES)}),
    "material": _lookup({name: k for k, name in enumerate(MATERIALS)}),
}
_COLORS = np.array([RGB.get(name, (0, 0, 0)) for name in _native.KNOWN_STRINGS], dtype=np.float64)
