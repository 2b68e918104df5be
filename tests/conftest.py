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


@pytest.fixture(scope="session")
def sighted_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Model folders with the shipped parser and small eyes with random weights.

    `nothing` finds no object anywhere, `everything` finds as many as there may be.
    """
    import torch

    from pyvqa.systems.ns_vqa import folder as folders
    from pyvqa.systems.ns_vqa.build import build_attributes, build_detector
    from pyvqa.systems.ns_vqa.config import AttributesConfig, DetectorConfig, PerceptionConfig

    torch.manual_seed(0)
    light = DetectorConfig(
        depth=10,
        widths=[8, 8, 16, 16],
        stride_first=False,
        frozen_norm=False,
        frozen_stages=0,
        pyramid_width=16,
        head_width=32,
        mask_width=8,
        rules="modern",
        pixels="imagenet",
        short_side=64,
        score=0.0,
    )
    settings = AttributesConfig(depth=10, widths=[8] * 4, size=64)
    parts = {
        "parser": folders.ParserPart(*folders.read_parser(folders.find_model("ns-vqa-clevr"))),
        "detector": folders.DetectorPart(build_detector(light), light),
        "attributes": folders.AttributesPart(build_attributes(settings), settings),
    }
    places = {}
    for name, perception in (
        ("nothing", PerceptionConfig()),
        ("everything", PerceptionConfig(score=0.0, suppression=False)),
    ):
        places[name] = tmp_path_factory.mktemp(name)
        folders.write_model(places[name], "", perception=perception, **parts)
    for name in parts:
        places[name] = tmp_path_factory.mktemp(name)
        folders.write_model(places[name], "", **{name: parts[name]})
    return places
