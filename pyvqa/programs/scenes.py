"""Scene files, packed for the executor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.errors import DataError
from pyvqa.files import read_bytes
from pyvqa.ops.execute import PackedScenes
from pyvqa.programs import clevr

LANGUAGES = ("clevr", "clevr-ref")


@dataclass(frozen=True)
class Scenes:
    """The S scenes of a file: as flat arrays, and packed for `pyvqa.ops.execute`."""

    packed: PackedScenes
    table: Any  # _native.SceneTable: counts, codes, position, pixel, ... as NumPy arrays
    image_index: NDArray[np.int64]  # [S]
    image_filename: list[str]
    strings: list[str]  # the string of every string code of this file

    def __len__(self) -> int:
        return len(self.packed)

    def rows(self, image_index: NDArray[np.int64] | Sequence[int]) -> torch.Tensor:
        """Return the row of each image index: int64 [B].

        Raises DataError naming the first index that has no scene.
        """
        wanted = np.asarray(image_index, dtype=np.int64)
        order = np.argsort(self.image_index, kind="stable")
        ascending = self.image_index[order]
        found = np.searchsorted(ascending, wanted)
        missing = found == len(ascending)
        missing[~missing] = ascending[found[~missing]] != wanted[~missing]
        if missing.any():
            where = int(np.argmax(missing))
            raise DataError(
                f"entry {where} asks about image_index {wanted[where]}, but the scene file has no "
                f"such scene ({len(ascending)} scenes); both files must be of the same split"
            )
        return torch.from_numpy(order[found])


def from_table(table: Any, language: str = "clevr") -> Scenes:
    """Pack a native scene table: CLEVR relates by position, CLEVR-Ref+ by the stored relationships.

    Raises DataError for two scenes with one image index, or relationships that are missing.
    """
    if language not in LANGUAGES:
        raise DataError(f"unknown language '{language}'; known: {', '.join(LANGUAGES)}")
    image_index = np.asarray(table.image_index, dtype=np.int64)
    values, counts = np.unique(image_index, return_counts=True)
    if len(values) < len(image_index):
        twice = values[np.argmax(counts)]
        raise DataError(f"image_index {twice} stands in the file more than once")
    try:
        words, offsets, width = _native.pack_scenes(
            table, "positions" if language == "clevr" else "stored"
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    packed = PackedScenes(torch.from_numpy(words), torch.from_numpy(offsets), width)
    strings = clevr.answer_strings(table.strings)
    return Scenes(packed, table, image_index, list(table.image_filename), strings)


def read_scenes(path: str | Path, language: str = "clevr") -> Scenes:
    """Read an official, generator-made or parsed scene file (.json or .json.gz) and pack it.

    For CLEVR-Ref+ the scenes' masks are decoded too, for `filter_visible`.

    Raises DataError naming file, scene and place of what is wrong.
    """
    content = read_bytes(path)
    try:
        table = _native.read_scenes(content, language == "clevr-ref")
        return from_table(table, language)
    except (ValueError, DataError) as error:
        raise DataError(f"{path}: {error}") from error
