"""Print the table of comparisons when the benchmarks are done; `--table FILE` also writes it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import rivals
import timing


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--table", type=Path, help="write the table of comparisons to this file")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not timing.ROWS:
        return
    text = timing.table(rivals.versions())
    terminalreporter.write("\n" + text)
    target = terminalreporter.config.getoption("--table")
    if target is not None:
        target.write_text(text)
