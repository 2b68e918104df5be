"""Random scenes by CLEVR's placement rules, and their official records.

Source: clevr-dataset-gen image_generation/render_images.py; the rules themselves are in
csrc/world/placement.cpp. A scene depends on (seed, image index, attempt, settings) alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.errors import ConfigError
from pyvqa.programs.clevr import ATTRIBUTES, RELATIONS
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.world import camera

MARGIN = 0.2  # how far along a direction an object must lie to stand in that relation
_VISIBILITY = ("visibility", "scene_visibility")  # of objects, of scenes
CONDITIONS = ("any", "a", "b")  # colours of shapes: all, or CoGenT's A and B


@dataclass(frozen=True)
class SceneSettings:
    """How scenes are made."""

    least: int = 3  # objects in a scene
    most: int = 10
    condition: str = "any"
    width: int = camera.WIDTH  # of the picture that pixel_coords refer to
    height: int = camera.HEIGHT


@dataclass(frozen=True)
class WorldScenes:
    """S scenes with O objects in all, one scene after the other."""

    image_index: NDArray[np.int64]  # [S]
    counts: NDArray[np.int32]  # [S]
    camera: NDArray[np.float64]  # [S, 3] position
    lamps: NDArray[np.float64]  # [S, 3, 3] positions of key, fill and back
    grain: NDArray[np.int64]  # [S] seed of the picture's noise
    codes: NDArray[np.uint16]  # [O, 4] string codes: color, material, shape, size
    coordinates: NDArray[np.float64]  # [O, 3]
    rotation: NDArray[np.float64]  # [O]: 360 times a uniform number, to be used as radians
    pixel: NDArray[np.float64]  # [O, 3]: x and y rounded, depth
    relation_offsets: NDArray[np.int64]  # [4 * O + 1]: left, right, behind, front of each object
    relation_items: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.counts)

    def pack(self, occlusion: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None) -> Scenes:
        """Pack the scenes for the executor, with the relations of the records (margin included).

        `occlusion` [O] and [S], as `Masks.occlusion` finds it, allows `filter_visible`.
        """
        seen = {} if occlusion is None else dict(zip(_VISIBILITY, occlusion, strict=True))
        position = np.stack(
            [camera.along(self.coordinates, side) for side in ("right", "front")]
            + [self.coordinates[:, 2]],
            -1,
        )
        table = _native.scene_table(
            counts=self.counts,
            codes=self.codes,
            position=position,
            pixel=self.pixel,
            relation_offsets=self.relation_offsets,
            relation_items=self.relation_items,
            image_index=self.image_index,
            **seen,
        )
        return from_table(table, "clevr-ref")

    def records(
        self, split: str, prefix: str = "CLEVR", *, numbered: bool = False
    ) -> list[dict[str, Any]]:
        """Return the scenes as a CLEVR scene file has them.

        `numbered` adds each object's `idx`, counted from 1, as in CLEVR-Ref+.
        """
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        return [
            self._record(row, int(starts[row]), split, prefix, numbered) for row in range(len(self))
        ]

    def _record(
        self, row: int, start: int, split: str, prefix: str, numbered: bool
    ) -> dict[str, Any]:
        index, count = int(self.image_index[row]), int(self.counts[row])
        rows = range(start, start + count)
        return {
            "image_index": index,
            "image_filename": image_filename(prefix, split, index),
            "split": split,
            "directions": {name: list(vector) for name, vector in camera.DIRECTIONS.items()},
            "relationships": {
                name: [self._related(o, r) for o in rows] for r, name in enumerate(RELATIONS)
            },
            "objects": [
                self._object(o) | ({"idx": o - start + 1} if numbered else {}) for o in rows
            ],
        }

    def _related(self, row: int, relation: int) -> list[int]:
        begin, end = self.relation_offsets[4 * row + relation : 4 * row + relation + 2]
        items: list[int] = self.relation_items[begin:end].tolist()
        return items

    def _object(self, row: int) -> dict[str, Any]:
        values = {
            name: _native.KNOWN_STRINGS[code]
            for name, code in zip(ATTRIBUTES, self.codes[row].tolist(), strict=True)
        }
        x, y, depth = self.pixel[row].tolist()
        return values | {
            "rotation": float(self.rotation[row]),
            "3d_coords": self.coordinates[row].tolist(),
            "pixel_coords": [int(x), int(y), depth],
        }


def image_filename(prefix: str, split: str, index: int) -> str:
    """Return the name of a picture, e.g. CLEVR_val_000012.png."""
    return f"{prefix}_{split}_{index:06d}.png"


def sample_scenes(
    seed: int,
    first: int,
    count: int,
    settings: SceneSettings | None = None,
    *,
    attempts: NDArray[np.uint32] | None = None,
) -> WorldScenes:
    """Make the scenes of images first..first+count-1.

    `attempts` [count], zero by default: an image whose objects hide one another is placed anew by
    asking for it with the next attempt; its camera and number of objects stay.

    Raises ConfigError for settings out of range.
    """
    settings = settings or SceneSettings()
    check_scene_settings(seed, settings)
    index = np.arange(first, first + count, dtype=np.uint64)
    attempts = np.zeros(count, dtype=np.uint32) if attempts is None else attempts
    return place(seed, index, attempts, settings)


def place(
    seed: int, index: NDArray[np.uint64], attempts: NDArray[np.uint32], settings: SceneSettings
) -> WorldScenes:
    """Make the scenes of any images, each at its attempt."""
    made = _native.place_scenes(
        seed, index, attempts, settings.least, settings.most, settings.condition
    )
    counts, coordinates = made["counts"], made["coordinates"]
    position = np.asarray(camera.BASE_POSITION) + made["camera_jitter"]
    pixel = camera.project(
        coordinates, np.repeat(position, counts, axis=0), settings.width, settings.height
    )
    pixel[:, :2] = np.rint(pixel[:, :2])
    offsets, items = relations(counts, coordinates)
    return WorldScenes(
        image_index=index.astype(np.int64),
        counts=counts,
        camera=position,
        lamps=np.asarray(camera.LAMPS) + made["lamp_jitter"],
        grain=made["grain"],
        codes=made["codes"],
        coordinates=coordinates,
        rotation=made["rotation"],
        pixel=pixel,
        relation_offsets=offsets,
        relation_items=items,
    )


def check_scene_settings(seed: int, settings: SceneSettings) -> None:
    """Raise ConfigError for a seed or settings out of range."""
    if not 0 <= settings.least <= settings.most <= 10:
        raise ConfigError(
            f"objects per scene {settings.least}..{settings.most}: must lie within 0..10, ascending"
        )
    if settings.condition not in CONDITIONS:
        raise ConfigError(
            f"condition {settings.condition!r} is unknown; choose one of {', '.join(CONDITIONS)}"
        )
    if not 0 <= seed < 1 << 64:
        raise ConfigError(f"seed {seed}: must lie within 0..2^64-1")


def relations(
    counts: NDArray[np.int32], coordinates: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find which objects stand left, right, behind and in front of which, by more than the margin.

    `counts` [S] and `coordinates` [O, 3], scenes one after the other. Returns offsets [4 * O + 1]
    and ids: those in relation r to object o are items[offsets[4 * o + r] : offsets[4 * o + r + 1]].
    """
    scenes, most = len(counts), int(counts.max(initial=0))
    present = np.arange(most) < counts[:, None]  # [S, M]
    padded = np.zeros((scenes, most, 3))
    padded[present] = coordinates
    offset = padded[:, None, :, :] - padded[:, :, None, :]  # [S, from, to, 3]
    pairs = present[:, :, None] & present[:, None, :]
    related = np.stack([(camera.along(offset, name) > MARGIN) & pairs for name in RELATIONS], 2)
    rows = related[present]  # [O, 4, M]
    lengths = rows.sum(-1).ravel()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return offsets, np.nonzero(rows)[2].astype(np.int32)
