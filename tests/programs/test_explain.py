"""Traces in words, and scenes as plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from pyvqa import _native
from pyvqa.evidence import Answer, Canvas, from_json, to_json
from pyvqa.ops import Kind, execute_trace
from pyvqa.programs import clevr
from pyvqa.programs.explain import explain, object_label, plan, prefix_outcomes, set_members
from pyvqa.programs.run import compile_programs, traces
from pyvqa.programs.scenes import Scenes, from_table

TOKENS = ["<NULL>", "<START>", "<END>", "<UNK>", *clevr.FUNCTIONS]
IDS = {token: number for number, token in enumerate(TOKENS)}
THINGS = ["small red metal cube", "large red rubber sphere", "large blue metal sphere"]
PLACES = [(-2.0, 1.0), (0.0, 0.0), (3.0, -1.0)]


@pytest.fixture
def scenes() -> Scenes:
    codes = []
    for thing in THINGS:
        size, color, material, shape = thing.split()
        codes.append([_native.KNOWN_STRINGS.index(v) for v in (color, material, shape, size)])
    table = _native.scene_table(
        counts=np.array([3], dtype=np.int32),
        codes=np.array(codes, dtype=np.uint16),
        position=np.array([(x, y, 0.7) for x, y in PLACES]),
        image_filename=["a.png"],
    )
    return from_table(table)


def told(scenes: Scenes, *tokens: str) -> list[tuple[str, str, str]]:
    """(words, kind, value) of every step of a prefix program."""
    rows = torch.tensor([[IDS[token] for token in (*tokens, "<END>")]])
    trace = execute_trace(rows, clevr.instruction_table(TOKENS), torch.tensor([0]), scenes.packed)
    steps = explain(prefix_outcomes(tokens, trace, 0), scenes, 0)
    return [(step.words, step.kind, step.value) for step in steps]


def test_a_program_in_words(scenes: Scenes) -> None:
    program = ("query_shape", "unique", "filter_size[large]", "relate[right]", "unique")
    assert told(scenes, *program, "filter_material[rubber]", "scene") == [
        ("Start with all objects", "set", "3 objects"),
        ("Keep the rubber ones", "set", "1 object"),
        ("Take the only one", "object", "large red rubber sphere"),
        ("Look right of the large red rubber sphere", "set", "1 object"),
        ("Keep the large ones", "set", "1 object"),
        ("Take the only one", "object", "large blue metal sphere"),
        ("What shape is the large blue metal sphere?", "word", "sphere"),
    ]


def test_two_branches_join(scenes: Scenes) -> None:
    reds = ("count", "filter_color[red]", "scene")
    cubes = ("count", "filter_shape[cube]", "scene")
    assert told(scenes, "greater_than", *reds, *cubes)[-1] == (
        "Is 2 greater than 1?",
        "word",
        "yes",
    )
    assert told(scenes, "union", *reds[1:], *cubes[1:])[-1][2] == "2 objects"


@pytest.mark.parametrize(
    ("tokens", "words", "reason"),
    [
        (("unique", "filter_color[cyan]", "scene"), "Take the only one", "no such object"),
        (("count", "unique", "scene"), "Count them", "does not fit"),
        (("exist",), "Is there any?", "does not fit"),
        (("scene", "scene", "scene"), "Start with all objects", "a third time"),
    ],
)
def test_the_step_that_fails_is_told(
    scenes: Scenes, tokens: tuple[str, ...], words: str, reason: str
) -> None:
    last = told(scenes, *tokens)[-1]
    assert last[:2] == (words, "error")
    assert reason in last[2]


def test_regions_links_and_inputs_are_valid_evidence(scenes: Scenes) -> None:
    tokens = ("relate[left]", "unique", "filter_shape[sphere]", "same_color", "unique", "scene")
    rows = torch.tensor([[IDS[token] for token in (*tokens, "<END>")]])
    trace = execute_trace(rows, clevr.instruction_table(TOKENS), torch.tensor([0]), scenes.packed)
    steps = explain(prefix_outcomes(tokens, trace, 0), scenes, 0)
    answer = Answer(text="", canvas=plan(scenes, 0), steps=steps)
    assert from_json(to_json(answer)) == answer
    same, left = steps[2], steps[5]
    assert [(link.i, link.j) for link in same.links] == [(0, 1)]
    assert [region.item for region in left.regions] == [0, None]
    assert left.regions[1].box == (0.0, 0.0, 240.0, 480.0)  # everything left of the middle
    assert [step.inputs for step in steps] == [(), (0,), (1,), (2,), (3,), (4,)]
    picture = Canvas(kind="picture", width=9, height=9, regions=plan(scenes, 0).regions)
    pictured = explain(prefix_outcomes(tokens, trace, 0), scenes, 0, picture)
    # left and right of a picture are not those of the scene: only the objects are shown
    assert [region.item for region in pictured[5].regions] == [0]
    assert [step.words for step in pictured] == [step.words for step in steps]


def test_every_function_has_words(scenes: Scenes) -> None:
    for name in clevr.FUNCTIONS:
        assert not told(scenes, name)[0][0].startswith("Skip"), name
    assert told(scenes, "count", "<UNK>", "scene")[1][0] == "Skip <UNK>"


def test_plan_keeps_places_and_sizes(scenes: Scenes) -> None:
    canvas = plan(scenes, 0)
    boxes = [region.box or (0, 0, 0, 0) for region in canvas.regions]
    centres = [((x0 + x1) / 2 - 240, (y0 + y1) / 2 - 240) for x0, y0, x1, y1 in boxes]
    unit = (boxes[1][2] - boxes[1][0]) / 1.4  # a large object is 1.4 units wide
    for centre, place in zip(centres, PLACES, strict=True):
        assert centre == pytest.approx((place[0] * unit, place[1] * unit), abs=0.2)
    assert boxes[0][2] - boxes[0][0] == pytest.approx(0.7 * unit, abs=0.2)
    assert all(0 <= c <= 480 for box in boxes for c in box)
    assert (canvas.title, canvas.regions[0].label) == ("a.png", THINGS[0])
    assert object_label(scenes, 0, 2) == THINGS[2]


def test_set_members_are_in_the_order_of_the_machine() -> None:
    words = np.array([[0b1000, 0b1], [0b101, 0]], dtype=np.int64)
    assert set_members(words) == (3, 64, 0, 2)


def test_expressions_are_explained_node_by_node(world_files: Any) -> None:
    from pyvqa.programs.questions import read_questions
    from pyvqa.programs.scenes import read_scenes

    scenes = read_scenes(world_files.scenes, "clevr-ref")
    questions = read_questions(world_files.expressions)
    compiled = compile_programs(questions, "clevr-ref")
    rows = scenes.rows(questions.image_index)
    for row, outcomes in zip(
        rows.tolist(), traces(scenes, questions, compiled, rows, "clevr-ref"), strict=True
    ):
        steps = explain(outcomes, scenes, row)
        assert outcomes[-1].kind in (Kind.SET, Kind.OBJECT)
        assert not [step.words for step in steps if step.words.startswith("Skip")]
        from_json(to_json(Answer(text="", canvas=plan(scenes, row), steps=steps)))
