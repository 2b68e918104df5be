"""The original's option files and argument lists."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyvqa.errors import ConfigError
from pyvqa.systems.murel.options import read_options, write_options


@pytest.mark.kit("murel", "options.json")
def test_options(case: Path, tmp_path: Path):
    content = json.loads(case.read_text())
    for name, text in content["files"].items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    rejected = 0
    for entry in content["cases"]:
        path = tmp_path / entry["file"]
        if "error" in entry or "abbrev" in entry["name"]:  # abbreviations: refused on purpose
            with pytest.raises(ConfigError, match=path.name):
                read_options(path, entry["args"])
            rejected += 1
            continue
        options = read_options(path, entry["args"])
        assert options == entry["options"], entry["name"]
        assert json.dumps(options) == json.dumps(entry["options"]), entry["name"]  # order, types
        assert write_options(options) == entry["saved_yaml"], entry["name"]
    assert rejected
