"""Progress: a line now and then where there is no terminal, a moving one where there is."""

from __future__ import annotations

import logging
import sys

import pytest

from pyvqa.train import logging as progress_module
from pyvqa.train.logging import Progress


def _lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_one_line_at_the_end_of_a_short_run(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pyvqa"), Progress(0, 5) as progress:
        for _ in range(5):
            progress.advance()
        progress.note({"loss": 0.123456})
    (line,) = _lines(caplog)
    assert line.startswith("step 5 of 5, ")
    assert line.endswith("0:00:00 left: loss 0.1235")


def test_lines_come_at_intervals(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 100000, 7))
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: float(next(clock)))
    with caplog.at_level(logging.INFO, "pyvqa"), Progress(10, 1010) as progress:
        for _ in range(20):
            progress.advance()
    lines = _lines(caplog)
    assert [line.split()[1] for line in lines] == ["15", "20", "25", "30"]
    assert lines[0] == "step 15 of 1010, 0.119 steps/s, 2:19:18 left"


def test_other_ranks_and_finished_runs_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "pyvqa"):
        with Progress(0, 3, shown=False) as progress:
            progress.advance()
        with Progress(3, 3):
            pass
    assert _lines(caplog) == []


def test_a_terminal_gets_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Progress(0, 2) as progress:
        progress.note({"loss": 0.5})
        progress.advance()
        progress.advance()
    assert "2/2" in capsys.readouterr().err
