"""Small files of the built-in world in the official layouts, made once for all tests."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

import pytest

# Commands that tests start elsewhere must find the same package as the tests do.
if "PYTHONPATH" in os.environ:
    places = os.environ["PYTHONPATH"].split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(str(Path(place).resolve()) for place in places)


class WorldFiles(NamedTuple):
    """Twelve scenes with questions and expressions about them."""

    scenes: Path
    questions: Path
    expressions: Path


@pytest.fixture(scope="session")
def world_files(tmp_path_factory: pytest.TempPathFactory) -> WorldFiles:
    from pyvqa.world.questions import generate_expressions, generate_questions
    from pyvqa.world.scenes import sample_scenes

    world = sample_scenes(3, 0, 12)
    scenes = world.pack()
    folder = tmp_path_factory.mktemp("world")
    contents = {
        "scenes": world.records("val", numbered=True),
        "questions": generate_questions(scenes, seed=3),
        "refexps": generate_expressions(scenes, seed=3),
    }
    for name, entries in contents.items():
        (folder / f"{name}.json").write_text(json.dumps({"info": {}, name: entries}))
    return WorldFiles(*(folder / f"{name}.json" for name in contents))
