"""Finding the reference kits: PYVQA_PARITY names a folder with one sub-folder per system.

A test marked `@pytest.mark.kit(system, pattern)` with an argument `case` runs once for every file
of the kit that matches; without the folder, or without such files, it is skipped and says so.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "kit(system, pattern): run for each matching kit file")


def _matching(system: str, pattern: str) -> tuple[list[Path], str]:
    """List a kit's files that match, and the reason when there are none."""
    root = os.environ.get("PYVQA_PARITY")
    if not root:
        return [], "PYVQA_PARITY is not set"
    folder = Path(root) / system
    if not folder.is_dir():
        return [], f"{folder} does not exist"
    return sorted(folder.glob(pattern)), f"{folder} holds no {pattern}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("kit")
    if marker is None:
        return
    files, reason = _matching(*marker.args)
    if files:
        metafunc.parametrize("case", files, ids=[file.name for file in files])
    else:
        skipped = pytest.param(None, marks=pytest.mark.skip(reason=reason), id="absent")
        metafunc.parametrize("case", [skipped])
