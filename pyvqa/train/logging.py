"""What a run says while it goes: one line of progress, on stderr."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

logger = logging.getLogger("pyvqa")

# Seconds between lines when stderr is a file or a pipe.
LINE_EVERY = 30.0


def show_messages(level: int = logging.INFO) -> None:
    """Let the package's messages appear on stderr, bare, unless logging is set up already."""
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(level)


class Progress:
    """Show how far a run is: a moving line on a terminal, else one line every half minute."""

    def __init__(self, step: int, total: int, *, unit: str = "step", shown: bool = True) -> None:
        self._step = self._first = self._told = step
        self._total = total
        self._unit = unit
        self._shown = shown
        self._start = self._last_line = time.monotonic()
        self._text = ""
        terminal = shown and sys.stderr.isatty()
        self._bar: tqdm[Any] | None = None
        if terminal:
            self._bar = tqdm(total=total, initial=step, unit=unit, dynamic_ncols=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._shown and self._step > self._told:
            self._line()

    def note(self, metrics: Mapping[str, float]) -> None:
        """Show these numbers from now on."""
        self._text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._text, refresh=False)

    def advance(self, steps: int = 1) -> None:
        """Count steps."""
        self._step += steps
        if self._bar is not None:
            self._bar.update(steps)
        elif self._shown and time.monotonic() - self._last_line >= LINE_EVERY:
            self._line()

    def _line(self) -> None:
        self._last_line, self._told = time.monotonic(), self._step
        speed = (self._step - self._first) / max(1e-9, self._last_line - self._start)
        left = (self._total - self._step) / max(1e-9, speed)
        logger.info(
            "%s %d of %d, %.3g %ss/s, %s left%s",
            self._unit, self._step, self._total, speed, self._unit, _duration(left),
            f": {self._text}" * bool(self._text),
        )  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, whole = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}"
