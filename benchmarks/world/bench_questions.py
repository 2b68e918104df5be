"""Questions about random scenes against the same rules stepped through in plain Python.

Equality first: both ask the same number of questions, every answer of either is what the other's
engine gives. Then questions a second, on one thread, each side's processor time.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import pyvqa.world
from pyvqa.programs.scenes import from_table
from pyvqa.world.questions import QuestionGenerator, question_records
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import read_templates
from pyvqa.world.verify import wrong_answers

from . import plain

SCENES = 1000
PLAIN_SCENES = 20


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def seconds(call: Any, repeat: int) -> tuple[float, Any]:
    """Least processor time of several calls, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeat):
        start = time.thread_time()
        result = call()
        best = min(best, time.thread_time() - start)
    return best, result


def plain_generator() -> plain.Generator:
    folder = Path(pyvqa.world.__file__).parent / "templates" / "clevr"
    families = [
        json.loads((folder / family.filename).read_text())[family.index]
        for family in read_templates().families
    ]
    return plain.Generator(families, json.loads((folder / "synonyms.json").read_text()), seed=1)


def as_node(node: dict[str, Any]) -> dict[str, Any]:
    return {
        "function": node["function"],
        "inputs": node["inputs"],
        "value": (node["value_inputs"] or [None])[0],
    }


def test_questions_a_second(record_property: Any) -> None:
    world = sample_scenes(1, 0, SCENES)
    scenes, records = world.pack(), world.records("val")
    generator, rival = QuestionGenerator(read_templates()), plain_generator()

    ours, questions = seconds(lambda: generator.generate(scenes, seed=1), repeat=3)
    theirs, asked = seconds(
        lambda: [q for scene in records[:PLAIN_SCENES] for q in rival.ask(scene, 10)], repeat=1
    )
    assert len(questions) == 10 * SCENES
    assert len(asked) == 10 * PLAIN_SCENES
    assert len(wrong_answers(questions, from_table(scenes.table, "clevr"))) == 0
    names = [(i, "") for i in range(SCENES)]
    words = {True: "yes", False: "no"}
    for record in question_records(questions, "val", names):
        program = [as_node(node) for node in record["program"]]
        found = plain.execute(program, records[record["image_index"]])[-1]
        assert (words[found] if isinstance(found, bool) else str(found)) == record["answer"]

    rate, rival_rate = len(questions) / ours, len(asked) / theirs
    record_property("questions_per_second", rate)
    ratio = rate / rival_rate
    print(f"\nquestions/s: {rate:,.0f}, plain Python {rival_rate:,.0f}, ratio {ratio:,.0f}")
    assert rate >= 5000
    assert ratio >= 20


def test_scenes_a_second() -> None:
    spent, scenes = seconds(lambda: sample_scenes(1, 0, 4000).pack(), repeat=3)
    print(f"\nscenes/s, sampled and packed: {len(scenes) / spent:,.0f}")
    assert len(scenes) / spent >= 2000


def test_expressions_a_second() -> None:
    scenes = sample_scenes(1, 0, SCENES).pack()
    generator = QuestionGenerator(read_templates(None, "clevr-ref"))
    spent, found = seconds(lambda: generator.generate(scenes, seed=1), repeat=3)
    assert len(wrong_answers(found, scenes)) == 0
    print(f"\nexpressions/s: {len(found) / spent:,.0f}")
    assert len(found) / spent >= 5000


def test_whole_blocks_a_second(tmp_path: Path) -> None:
    """Everything that `pyvqa synth clevr --no-images` does, disk included."""
    from pyvqa.world.write import Dataset, DatasetSettings

    dataset = Dataset(tmp_path, DatasetSettings("clevr", "val", SCENES), read_templates())
    spent, _ = seconds(lambda: dataset.make(0), repeat=1)
    print(f"\nquestions/s, made, verified and written: {10 * SCENES / spent:,.0f}")
    assert 10 * SCENES / spent >= 2500
