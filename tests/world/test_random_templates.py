"""Random templates: each is either refused with a reason, or all of its questions are true."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pyvqa.errors import DataError
from pyvqa.world.questions import (
    GeneratorSettings,
    QuestionGenerator,
    expression_records,
    question_records,
)
from pyvqa.world.scenes import sample_scenes

from . import engine
from .making import folder, node

# node type -> types of its inputs, type of its result
KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "scene": ((), "set"),
    "filter": (("set",), "set"),
    "filter_unique": (("set",), "object"),
    "filter_count": (("set",), "number"),
    "filter_exist": (("set",), "truth"),
    "relate_filter": (("object",), "set"),
    "relate_filter_unique": (("object",), "object"),
    "relate_filter_count": (("object",), "number"),
    "relate_filter_exist": (("object",), "truth"),
    "unique": (("set",), "object"),
    "relate": (("object",), "set"),
    "count": (("set",), "number"),
    "exist": (("set",), "truth"),
    "union": (("set", "set"), "set"),
    "intersect": (("set", "set"), "set"),
    "same_size": (("object",), "set"),
    "same_color": (("object",), "set"),
    "query_shape": (("object",), "shape"),
    "equal_shape": (("shape", "shape"), "truth"),
    "equal_integer": (("number", "number"), "truth"),
    "less_than": (("number", "number"), "truth"),
    "filter_size": (("set",), "set"),
    "filter_color": (("set",), "set"),
}
TYPES = {"Z": "Size", "C": "Color", "M": "Material", "S": "Shape", "R": "Relation"}


def side_inputs(draw: random.Random, kind: str, fresh: list[str]) -> list[str]:
    if kind == "relate":
        letters = "R"
    elif kind in ("filter_size", "filter_color"):
        letters = "Z" if kind == "filter_size" else "C"
    elif "filter" in kind:
        letters = ("R" if kind.startswith("relate") else "") + "ZCMS"
    else:
        return []
    names = []
    for letter in letters:
        reuse = [n for n in fresh if n[0] == letter and n not in names]
        if reuse and draw.random() < 0.15:
            names.append(draw.choice(reuse))
        elif draw.random() < 0.93:
            names.append(f"{letter}{len(fresh)}")
            fresh.append(names[-1])
    return names


def random_template(draw: random.Random) -> dict[str, Any]:
    fresh: list[str] = []
    nodes, results = [node("scene", [])], ["set"]
    for _ in range(draw.randint(2, 7)):
        careful = draw.random() < 0.97  # else types do not fit
        fitting = [k for k, (takes, _) in KINDS.items() if set(takes) <= set(results)]
        kind = draw.choice(fitting if careful else list(KINDS))
        takes, gives = KINDS[kind]
        choices = [[i for i, r in enumerate(results) if r == t or not careful] for t in takes]
        inputs = [draw.choice(one) for one in choices]
        nodes.append(node(kind, inputs, *side_inputs(draw, kind, fresh)))
        results.append(gives)
    if draw.random() < 0.02:
        nodes.append(node("nonsense", [0]))
    constraints = []
    for _ in range(draw.choice((0, 0, 1, 2))):
        kind = draw.choice(("NULL", "NEQ", "OUT_NEQ"))
        if kind == "OUT_NEQ":
            params: list[Any] = [draw.randrange(len(nodes)), draw.randrange(len(nodes))]
        elif fresh:
            params = [f"<{draw.choice(fresh)}>" for _ in range(1 if kind == "NULL" else 2)]
        else:
            continue
        constraints.append({"type": kind, "params": params})
    return {
        "text": [" ".join(["What"] + [f"[<{n}>]" for n in fresh]) + "?"],
        "params": [{"name": f"<{n}>", "type": TYPES[n[0]]} for n in fresh],
        "nodes": nodes,
        "constraints": constraints,
    }


def test_random_templates(tmp_path: Path) -> None:
    draw = random.Random(20)
    world = sample_scenes(3, 0, 12)
    scenes, records = world.pack(), world.records("val")
    names = [(i, f"{i}.png") for i in range(len(world))]
    refused = asked = 0
    settings = GeneratorSettings(max_visits=2000)
    for _ in range(800):
        templates = folder(tmp_path, random_template(draw))
        try:
            generator = QuestionGenerator(templates, settings)
        except DataError:
            refused += 1
            continue
        found = generator.generate(scenes, seed=1)
        for record in question_records(found, "val", names):
            scene = records[record["image_index"]]
            assert engine.answer(record["program"], scene) == record["answer"]
            asked += 1
    assert refused > 30
    assert asked > 500


def test_random_templates_of_expressions(tmp_path: Path) -> None:
    """Sets that must be empty are found by the same search: none of them may be wrong either."""
    draw = random.Random(21)
    world = sample_scenes(3, 0, 12)
    scenes, records = world.pack(), world.records("val")
    settings = GeneratorSettings(max_visits=2000, false_premise=2)
    names = [(i, f"{i}.png") for i in range(len(world))]
    found = {True: 0, False: 0}
    for _ in range(800):
        template = random_template(draw)
        ends = template["nodes"][-1]["type"]
        if not ends.startswith("nonsense") and KINDS[ends][1] == "set":
            template["nodes"].append(node("count", [len(template["nodes"]) - 1]))
        templates = folder(tmp_path, template, language="clevr-ref")
        try:
            generator = QuestionGenerator(templates, settings)
        except DataError:
            continue
        for record in expression_records(generator.generate(scenes, seed=1), "val", names):
            results = engine.run(record["program"], records[record["image_index"]])
            for result, step in zip(results, record["program"], strict=True):
                if isinstance(result, list) or step["type"] == "unique":
                    assert result == step["_output"]
            found[results[-1] == []] += 1
    assert found[True] > 300
    assert found[False] > 300


def test_a_result_used_over_and_over_is_refused(tmp_path: Path) -> None:
    """In prefix form such a program would double with every node."""
    doubled = [node("intersect", [i, i]) for i in range(60)]
    template = {
        "text": ["What?"],
        "params": [],
        "nodes": [node("scene", []), *doubled, node("count", [60])],
        "constraints": [],
    }
    with pytest.raises(DataError, match="more than 1000 functions in prefix form"):
        QuestionGenerator(folder(tmp_path, template))
