"""Scenes whose every object can be seen: the original's rule, on images of object numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pyvqa.errors import ConfigError
from pyvqa.world.masks import Masks, least_area, visible_areas
from pyvqa.world.scenes import (
    SceneSettings,
    WorldScenes,
    check_scene_settings,
    place,
    sample_scenes,
)
from pyvqa.world.staging import stage

_MOST_ATTEMPTS = 2000
_AT_ONCE = 32  # pictures; bounds the memory
_SMALLEST, _LARGEST = 16, 4096  # pixels of a side


def check_size(width: int, height: int) -> None:
    """Raise ConfigError for pictures that are too small or too large to be made."""
    if not all(_SMALLEST <= side <= _LARGEST for side in (width, height)):
        raise ConfigError(
            f"pictures of {width}x{height}: each side must lie within {_SMALLEST}..{_LARGEST}"
        )


def sample_visible_scenes(
    seed: int, first: int, count: int, settings: SceneSettings | None = None
) -> tuple[WorldScenes, NDArray[np.uint32], Masks]:
    """Make the scenes of images first..first+count-1 so that every object can be seen.

    As in the original, each object must show 200 pixels at 480 x 320, and as large a share of other
    sizes; else the image's objects are placed anew. Returns the scenes, the attempt that each took
    ([count], for `sample_scenes`) and their masks.

    Raises ConfigError for settings out of range, among them sizes that leave objects no room.
    """
    settings = settings or SceneSettings()
    check_scene_settings(seed, settings)
    size = settings.height, settings.width
    check_size(settings.width, settings.height)
    index = np.arange(first, first + count, dtype=np.uint64)
    attempts = np.zeros(count, dtype=np.uint32)
    ids = np.empty((count, *size), dtype=np.int16)
    waiting = np.arange(count)
    while len(waiting):
        hidden = [
            rows[_show(place(seed, index[rows], attempts[rows], settings), size, ids, rows)]
            for rows in np.array_split(waiting, -(-len(waiting) // _AT_ONCE))
        ]
        waiting = np.concatenate(hidden)
        attempts[waiting] += 1
        if len(waiting) and attempts.max() == _MOST_ATTEMPTS:
            raise ConfigError(
                f"image {first + int(attempts.argmax())}: no scene of {_MOST_ATTEMPTS} shows all "
                f"its objects at {settings.width}x{settings.height}; choose another size, or fewer "
                "objects"
            )
    scenes = sample_scenes(seed, first, count, settings, attempts=attempts)
    return scenes, attempts, Masks.of(ids, scenes.counts)


def _show(
    scenes: WorldScenes, size: tuple[int, int], ids: NDArray[np.int16], rows: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Fill in the id images of these rows; say which scenes hide an object."""
    found = stage(scenes).ids(size).numpy()
    ids[rows] = found
    scene = np.repeat(np.arange(len(rows)), scenes.counts)
    small = visible_areas(found, scenes.counts) < least_area(size)
    return np.bincount(scene[small], minlength=len(rows)) > 0
