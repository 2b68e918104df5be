"""Small data sets with pictures, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyvqa.world.layouts import LAYOUTS
from pyvqa.world.questions import GeneratorSettings
from pyvqa.world.scenes import SceneSettings
from pyvqa.world.staging import Quality
from pyvqa.world.template_files import read_templates
from pyvqa.world.write import Dataset, DatasetSettings

WIDTH, HEIGHT = 96, 64
SCENES = 70  # two blocks, of which the second is short; three runs of pictures


def dataset(out: Path, form: str = "clevr", **changes: Any) -> Dataset:
    """Open a data set of small, quick pictures."""
    settings: dict[str, Any] = {
        "format": form,
        "split": "val",
        "scenes": SCENES,
        "scene": SceneSettings(width=WIDTH, height=HEIGHT),
        "questions": GeneratorSettings(block=50),
        "pictures": Quality(WIDTH, HEIGHT, samples=1),
    }
    language = LAYOUTS[form].language
    templates = read_templates(None, language) if language else None
    return Dataset(out, DatasetSettings(**(settings | changes)), templates)


def content(out: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}
