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
    index, size = _checked(seed, first, count, settings)
    ids = np.empty((count, *size), dtype=np.int16)
    attempts = _find(seed, index, settings, ids)
    scenes = sample_scenes(seed, first, count, settings, attempts=attempts)
    return scenes, attempts, Masks.of(ids, scenes.counts)


def visible_attempts(
    seed: int, first: int, count: int, settings: SceneSettings | None = None
) -> NDArray[np.uint32]:
    """Return the attempts [count] of `sample_visible_scenes`, without keeping any mask."""
    settings = settings or SceneSettings()
    index, _ = _checked(seed, first, count, settings)
    parts = np.array_split(index, max(1, -(-count // _AT_ONCE)))
    return np.concatenate([_find(seed, part, settings, None) for part in parts])


def _checked(
    seed: int, first: int, count: int, settings: SceneSettings
) -> tuple[NDArray[np.uint64], tuple[int, int]]:
    check_scene_settings(seed, settings)
    check_size(settings.width, settings.height)
    index = np.arange(first, first + count, dtype=np.uint64)
    return index, (settings.height, settings.width)


def _find(
    seed: int, index: NDArray[np.uint64], settings: SceneSettings, ids: NDArray[np.int16] | None
) -> NDArray[np.uint32]:
    """Find the first attempt of every image that hides no object; fill in its id image."""
    attempts = np.zeros(len(index), dtype=np.uint32)
    waiting = np.arange(len(index))
    while len(waiting):
        hidden = []
        for rows in np.array_split(waiting, -(-len(waiting) // _AT_ONCE)):
            scenes = place(seed, index[rows], attempts[rows], settings)
            found = stage(scenes).ids((settings.height, settings.width)).numpy()
            if ids is not None:
                ids[rows] = found
            hidden.append(rows[_hides(found, scenes)])
        waiting = np.concatenate(hidden)
        attempts[waiting] += 1
        if len(waiting) and attempts.max() == _MOST_ATTEMPTS:
            raise ConfigError(
                f"image {index[attempts.argmax()]}: no scene of {_MOST_ATTEMPTS} shows all its "
                f"objects at {settings.width}x{settings.height}; choose another size, or fewer "
                "objects"
            )
    return attempts


def _hides(ids: NDArray[np.int16], scenes: WorldScenes) -> NDArray[np.bool_]:
    """Say which scenes show too little of an object."""
    small = visible_areas(ids, scenes.counts) < least_area((ids.shape[1], ids.shape[2]))
    scene = np.repeat(np.arange(len(scenes)), scenes.counts)
    return np.bincount(scene[small], minlength=len(scenes)) > 0
