"""What pyproject.toml leaves out must not reach into the package."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_exclusions_are_anchored_at_the_root() -> None:
    # scikit-build-core holds sdist.exclude against every file of the wheel, at any depth.
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(r"^sdist\.exclude = \[(.*?)\]", text, re.MULTILINE | re.DOTALL)
    assert found is not None
    patterns = re.findall(r'"([^"]+)"', found.group(1))
    assert patterns
    assert [p for p in patterns if not p.startswith("/") or p.startswith("/pyvqa")] == []
