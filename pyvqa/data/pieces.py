"""The finished pieces of a long work, in a folder of their own that goes when the work is done.

A piece is a folder that is wholly there or not at all, so whoever takes up an interrupted work
makes only what is missing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from pyvqa.errors import ConfigError
from pyvqa.files import atomic_folder, explain_write, read_json, write_json


def remove_half_written(paths: Iterable[Path]) -> None:
    """Remove what a killed process left of files that are written whole or not at all."""
    for path in paths:
        for half_written in path.parent.glob(f"{path.name}.tmp-*"):
            half_written.unlink()


class Pieces:
    """Pieces of several kinds, each numbered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = folder / "settings.json"
        self._ended = folder.with_name(f"{folder.name}.ended")

    def begin(self, settings: dict[str, Any], finished: dict[str, Any] | None) -> None:
        """Note what decides the result, or make sure that it is what it was before.

        `finished` holds the settings of a result that is there already.

        Raises ConfigError where other settings made what is there.
        """
        shutil.rmtree(self._ended, ignore_errors=True)  # a kill may have left it
        found = read_json(self._state, expect=dict) if self._state.exists() else finished
        if found is None:
            with explain_write(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self._state, settings)
        elif found != settings:
            differing = ", ".join(sorted(k for k in settings if found.get(k) != settings[k]))
            raise ConfigError(
                f"{self.folder.parent}: holds what was made with other settings ({differing}); "
                f"choose another --out, or remove {self.folder.name} and the files to start anew"
            )

    def end(self) -> None:
        """Remove the pieces: the result is published.

        All at once, so that a kill in between leaves no part that looks like a finished one.
        """
        os.replace(self.folder, self._ended)
        shutil.rmtree(self._ended)

    def path(self, kind: str, number: int) -> Path:
        """Return the folder of a piece."""
        return self.folder / f"{kind}-{number}"

    def new(self, kind: str, number: int) -> AbstractContextManager[Path]:
        """Give a folder to fill, which becomes the piece on leaving."""
        return atomic_folder(self.path(kind, number))

    def finished(self, kind: str) -> set[int]:
        """Return the numbers of the pieces of a kind that are there."""
        folders = self.folder.glob(f"{kind}-*")
        numbers = (folder.name[len(kind) + 1 :] for folder in folders)
        return {int(number) for number in numbers if number.isdecimal()}

    def move_files(self, kind: str, number: int, names: Iterable[str], target: Path) -> None:
        """Move a piece's files into their final folder; those moved before are left alone."""
        source = self.path(kind, number)
        with explain_write(target):
            target.mkdir(parents=True, exist_ok=True)
            for name in names:
                if (source / name).exists():
                    os.replace(source / name, target / name)
