"""No file of the MuRel kit lies idle: each is the case of a test, or read by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

KIT = Path(os.environ.get("PYVQA_PARITY", "")) / "murel"


@pytest.mark.skipif(not KIT.is_absolute() or not KIT.is_dir(), reason="PYVQA_PARITY has no murel")
def test_every_file_is_used(tmp_path: Path) -> None:
    report = tmp_path / "used.json"
    tests = [str(path) for path in sorted(HERE.glob("test_murel_*.py")) if path != Path(__file__)]
    environment = {
        "KIT_USE_FOLDER": str(KIT),
        "KIT_USE_REPORT": str(report),
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "kit_use", "-p", "no:cacheprovider",
         *tests],
        env={**os.environ, **environment},
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    files = {str(p.relative_to(KIT)) for p in KIT.rglob("*") if p.is_file()}
    documentation = {name for name in files if name.endswith(".md")}
    assert files - documentation - set(json.loads(report.read_text())) == set()
