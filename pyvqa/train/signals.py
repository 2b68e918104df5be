"""Ctrl-C and SIGTERM as a wish to pause, not as an accident."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


class Interruption(BaseException):
    """Raised out of long work that a signal may cut short (see `Signals.interruptible`).

    Not an `Exception`, so that a stage's own handlers let it through.
    """


class Signals:
    """Catch the first SIGINT or SIGTERM and remember it; the second one acts as usual.

    `received` is 0 until then. Outside the main thread, where Python delivers no signals, it stays
    0 and handlers are left alone.
    """

    def __init__(self) -> None:
        self.received = 0
        self._interruptible = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @contextmanager
    def interruptible(self, allowed: bool) -> Iterator[None]:
        """Let a signal raise `Interruption` inside this block, whose work must be repeatable."""
        self._interruptible = allowed
        try:
            if allowed and self.received:
                raise Interruption
            yield
        finally:
            self._interruptible = False

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        self.received = number
        if self._interruptible:
            raise Interruption


def ignore_in_worker() -> None:
    """Leave the signals of the process group to the main process; it ends the workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
