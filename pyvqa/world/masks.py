"""Masks and boxes of the objects in pictures, in the forms of the official files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyvqa import _native

# The original demands so many visible pixels of every object, at 480 x 320.
MIN_PIXELS = 200
_REFERENCE = 480 * 320

Ids = NDArray[np.int16]  # object shown by each pixel, -1 for none


@dataclass(frozen=True)
class Masks:
    """What is seen of the O objects of S pictures."""

    ids: Ids  # [S, H, W]
    counts: NDArray[np.int32]  # [S]
    areas: NDArray[np.int64]  # [O] visible pixels

    @classmethod
    def of(cls, ids: Ids, counts: NDArray[np.int32]) -> Masks:
        """Count the pixels of every object."""
        return cls(ids, counts, visible_areas(ids, counts))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.ids.shape[1], self.ids.shape[2]

    def coco(self) -> list[str]:
        """Return the objects' masks [O] as COCO's compressed counts."""
        return [_native.coco_rle_encode(mask).decode() for mask in self._each()]

    def rows(self) -> list[str]:
        """Return the objects' masks [O] as CLEVR-Ref+'s run lengths."""
        return [_native.rle_encode_rows(mask) for mask in self._each()]

    def occlusion(
        self, boxes: NDArray[np.int64], depth: NDArray[np.float64]
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Find who hides whom, from whole boxes [O, 4] and depths [O].

        Returns each object's class [O] and each scene's [S], as the executor's scenes hold them.
        """
        classes, of_scene = [np.zeros(0, np.uint8)], []
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        for picture, (begin, end) in enumerate(itertools.pairwise(starts)):
            masks = self.ids[picture] == np.arange(end - begin, dtype=np.int16)[:, None, None]
            found, of_objects = _native.occlusion(masks, boxes[begin:end], depth[begin:end])
            of_scene.append(found)
            classes.append(of_objects)
        return np.concatenate(classes), np.array(of_scene, dtype=np.uint8)

    def _each(self) -> Iterator[NDArray[np.bool_]]:
        for picture, count in enumerate(self.counts.tolist()):
            for number in range(count):
                yield self.ids[picture] == number


def visible_areas(ids: Ids, counts: NDArray[np.int32]) -> NDArray[np.int64]:
    """Count the pixels of each object [O] in its picture's id image [S, H, W]."""
    found = [
        np.bincount(image.ravel().astype(np.int64) + 1, minlength=count + 1)[1:]
        for image, count in zip(ids, counts.tolist(), strict=True)
    ]
    return np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int64)


def least_area(size: tuple[int, int]) -> int:
    """Return how many pixels of an object must show in pictures of this height and width."""
    return -(-MIN_PIXELS * size[0] * size[1] // _REFERENCE)
