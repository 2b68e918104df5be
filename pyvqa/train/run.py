"""The run folder: everything a run writes, and the way back into it.

config.yaml          the resolved settings, enough to repeat the run
log.jsonl            what came out, line by line; the same bytes however often it was interrupted
timing.jsonl         seconds and speed, which are different every time
view.html            curves
checkpoints/         see `checkpoint`
best_<metric>/       model folder of the best validation so far
model/               model folder of the finished run
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from pyvqa.errors import ConfigError, DataError
from pyvqa.files import clean_leftovers, explain_write, write_text
from pyvqa.train.config import changed_keys, read_source, to_yaml


class Run:
    """A run folder, opened for the one process that writes to it.

    Ranks other than 0 open it with `writer=False`: they read checkpoints and write nothing.
    """

    def __init__(self, folder: Path, *, writer: bool) -> None:
        self.folder = folder
        self.writer = writer
        self.checkpoints = folder / "checkpoints"
        self._lock: IO[str] | None = None
        self._log: IO[bytes] | None = None
        self._timing: IO[str] | None = None

    @classmethod
    def open(cls, folder: str | Path, config: Any, *, writer: bool = True) -> Run:
        """Create a run folder, or enter one to continue it.

        Raises:
            ConfigError: the folder belongs to a run with other settings (they are named).
            DataError: another process is at work in it, or it cannot be written.
        """
        run = cls(Path(folder), writer=writer)
        if writer:
            run._enter(config)
        return run

    def close(self) -> None:
        """Close the logs and let others in."""
        for file in (self._log, self._timing, self._lock):
            if file is not None:
                file.close()
        self._log = self._timing = self._lock = None

    def start_log(self, offset: int) -> None:
        """Cut `log.jsonl` back to where a checkpoint left it, to continue from there."""
        if not self.writer:
            return
        path = self.folder / "log.jsonl"
        with explain_write(path):
            self._log = path.open("ab")
            size = self._log.seek(0, os.SEEK_END)
            if size < offset:
                raise DataError(
                    f"{path}: holds {size} bytes where the checkpoint knows {offset}; restore the "
                    "file, or start again in another folder"
                )
            self._log.truncate(offset)
            self._timing = (self.folder / "timing.jsonl").open("a", encoding="utf-8")

    def log(self, kind: str, step: int, epoch: int, values: Mapping[str, float]) -> None:
        """Append one line to `log.jsonl`; a value that is not finite becomes null."""
        if self._log is not None:
            finite = {k: v if math.isfinite(v) else None for k, v in values.items()}
            line = json.dumps({"kind": kind, "step": step, "epoch": epoch, **finite})
            with explain_write(self.folder / "log.jsonl"):
                self._log.write(line.encode("utf-8") + b"\n")
                self._log.flush()

    def log_time(self, step: int, values: Mapping[str, float | str]) -> None:
        """Append one line to `timing.jsonl`."""
        if self._timing is not None:
            with explain_write(self.folder / "timing.jsonl"):
                self._timing.write(json.dumps({"step": step, **values}) + "\n")
                self._timing.flush()

    def sync_log(self) -> int:
        """Force the log to disk; give its length in bytes, for the checkpoint."""
        if self._log is None:
            return 0
        with explain_write(self.folder / "log.jsonl"):
            self._log.flush()
            os.fsync(self._log.fileno())
        return self._log.tell()

    def _enter(self, config: Any) -> None:
        with explain_write(self.folder / "config.yaml"):
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock = (self.folder / ".lock").open("w", encoding="utf-8")
            try:
                # A record lock, because worker processes do not inherit it: it ends with this one.
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise DataError(
                    f"{self.folder}: another process is training in this folder; wait for it or "
                    "choose another --out"
                ) from error
            clean_leftovers(self.folder)
            clean_leftovers(self.checkpoints)
        stored = self.folder / "config.yaml"
        if not stored.is_file():
            write_text(stored, to_yaml(config))
            return
        changes = changed_keys(read_source(stored), config)
        if changes and not self._has_begun():
            write_text(stored, to_yaml(config))  # a start that failed before its first step
        elif changes:
            more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
            raise ConfigError(
                f"{stored}: this run has other settings ({'; '.join(changes[:3])}{more}); "
                "give the same ones to continue it, or another --out"
            )

    def _has_begun(self) -> bool:
        log = self.folder / "log.jsonl"
        return any(self.checkpoints.iterdir()) or (log.is_file() and log.stat().st_size > 0)


def model_folder(folder: str | Path) -> Path:
    """Find the model folder of a run: its best one if it has one, else that of its end.

    A folder that is no run folder (has no `checkpoints`) is given back as it is.

    Raises:
        DataError: the run has produced no model yet.
    """
    folder = Path(folder)
    if not (folder / "checkpoints").is_dir():
        return folder
    best = sorted(path for path in folder.glob("best_*") if path.suffix == "")
    for path in (*best, folder / "model"):
        if path.is_dir():
            return path
    raise DataError(f"{folder}: this run has no model yet; continue it with the command it began")
