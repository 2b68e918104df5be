"""A wheel holds everything the package needs and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.e2e
@pytest.mark.slow
def test_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    [wheel] = tmp_path.glob("pyvqa-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "pyvqa"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in tracked if name not in names] == []
    built = {name for name in names if name.startswith("pyvqa/")} - set(tracked)
    assert {"pyvqa/_ops.so", "pyvqa/_build_info.py"} <= built
    assert all(name.endswith((".so", "_build_info.py")) for name in built), built
