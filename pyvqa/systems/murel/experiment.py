"""The folder of an experiment that MuRel's or BLOCK's own code has run (bootstrap.pytorch)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pyvqa.errors import CheckpointError, DataError
from pyvqa.files import read_json
from pyvqa.train.checkpoint import read_torch

_MODEL = re.compile(r"ckpt_(?P<name>.+)_model\.pth\.tar")


@dataclass(frozen=True)
class Experiment:
    """An experiment's checkpoints and logs.

    options.yaml
    ckpt_last_{model,optimizer,engine}.pth.tar, ckpt_best_<criterion>_...
    logs.json, logs_val_oe.json, logs_test.json, ...
    """

    folder: Path

    @classmethod
    def is_one(cls, folder: Path) -> bool:
        """Say whether a folder is an experiment's."""
        return (folder / "options.yaml").is_file() and not (folder / "config.yaml").is_file()

    def checkpoints(self) -> list[str]:
        """Name its checkpoints: `last`, and `best_<criterion>`."""
        matches = (_MODEL.fullmatch(path.name) for path in sorted(self.folder.iterdir()))
        return [match["name"] for match in matches if match]

    def model_file(self, name: str | None = None) -> tuple[str, Path]:
        """Find the weights of a checkpoint and its name; unnamed the best one, or else the last.

        Raises:
            CheckpointError: there is no such checkpoint.
        """
        names = self.checkpoints()
        chosen = name or next((n for n in names if n.startswith("best_")), "last")
        if chosen not in names:
            raise CheckpointError(
                f"{self.folder}: has no checkpoint {chosen!r}; it has: {', '.join(names) or 'none'}"
            )
        return chosen, self.folder / f"ckpt_{chosen}_model.pth.tar"

    def epoch(self, name: str) -> int | None:
        """Give the epoch in which a checkpoint was written, if the engine's file says so.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.folder / f"ckpt_{name}_engine.pth.tar"
        if not path.is_file():
            return None
        epoch = read_torch(path).get("epoch")
        if not isinstance(epoch, int):
            raise CheckpointError(f"{path}: holds no epoch; is it an engine's file?")
        return epoch

    def logs(self, name: str = "logs") -> dict[str, list[float]]:
        """Read a log: lists of values, one per epoch or batch; `name` as in `logs_val_oe`.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.folder / f"{name}.json"
        content = read_json(path, expect=dict)
        # Beside them, env_info and options are tables of lists.
        values = {key: value for key, value in content.items() if isinstance(value, list)}
        for key, value in values.items():
            if not all(isinstance(x, int | float) for x in value):
                raise DataError(f"{path}: {key} holds more than numbers; is it a log?")
        return values
