"""A pytest plugin that notes which files of a reference kit the passing tests have used.

`KIT_USE_FOLDER` names the kit; the list goes to the file that `KIT_USE_REPORT` names. A file counts
when a test that passed has it as its case, or when it was opened by Python meanwhile.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_OPENED: list[str] = []
_USED: set[str] = set()


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | os.PathLike):
        _OPENED.append(os.fspath(arguments[0]))


def pytest_configure() -> None:
    sys.addaudithook(_note)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: Any = yield
    if report.when == "call":
        if report.passed:
            parameters = getattr(item, "callspec", None)
            case = parameters.params.get("case") if parameters else None
            _USED.update(map(str, [*_OPENED, *([case] if case else [])]))
        _OPENED.clear()
    return report  # type: ignore[return-value]


def pytest_sessionfinish() -> None:
    folder = Path(os.environ["KIT_USE_FOLDER"]).resolve()
    used = {Path(name).resolve() for name in _USED}
    within = sorted(str(p.relative_to(folder)) for p in used if p.is_relative_to(folder))
    Path(os.environ["KIT_USE_REPORT"]).write_text(json.dumps(within))
