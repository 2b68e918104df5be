"""Reading template folders: order of families, and what is said about bad ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pyvqa.errors import DataError
from pyvqa.world.questions import QuestionGenerator, generate_expressions, generate_questions
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import read_templates

from . import engine
from .making import folder, node, template

COUNT = [node("scene", []), node("filter_count", [0], "Z", "C", "M", "S")]
GOOD = template("How many <Z> <C> <M> <S>s?", "Z C M S", COUNT)


def test_own_families_are_numbered_through_all_files() -> None:
    families = read_templates().families
    assert len(families) == 90
    starts = {}
    for number, family in enumerate(families):
        starts.setdefault(family.filename, number - family.index)
        assert number - family.index == starts[family.filename]
    assert starts == {
        "compare_integer.json": 0, "comparison.json": 9, "three_hop.json": 25,
        "single_and.json": 31, "same_relate.json": 36, "single_or.json": 64,
        "one_hop.json": 72, "two_hop.json": 78,
        "zero_hop.json": 84,
    }  # fmt: skip
    assert len(read_templates(None, "clevr-ref").families) == 26


def test_the_digest_tells_folders_apart(tmp_path: Path) -> None:
    first = folder(tmp_path / "a", GOOD)
    assert first.digest() == folder(tmp_path / "b", GOOD).digest()
    assert first.digest() != folder(tmp_path / "c", GOOD, GOOD).digest()
    assert first.digest() != folder(tmp_path / "d", GOOD, synonyms={"cube": ["box"]}).digest()


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_templates(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no template files"):
        read_templates(tmp_path)
    with pytest.raises(DataError, match="hold no templates"):
        folder(tmp_path)


def broken(**changes: Any) -> dict[str, Any]:
    return GOOD | changes


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (7, "must be a dictionary"),
        (broken(text="one"), "'text' must be a list of sentences"),
        (broken(text=[]), "'text' must be a list of sentences"),
        (broken(params={}), "'params' must be a list"),
        (broken(params=[{"name": "<Z>"}]), r"params\[0\]: 'type' must be a string"),
        (broken(nodes=None), "'nodes' must be a list"),
        (broken(nodes=[{"inputs": []}]), r"nodes\[0\]: 'type' must be a string"),
        (broken(nodes=[{"type": "scene"}]), r"nodes\[0\]: 'inputs' must be a list"),
        (broken(nodes=[{"type": "scene", "inputs": ["0"]}]), "must be positions of nodes"),
        (broken(nodes=[COUNT[0], node("relate", [0], "R")]), "'<R>' is not declared"),
        (broken(constraints=[{"type": "NULL", "params": []}]), "NULL takes 1 parameters, has 0"),
        (broken(constraints=[{"type": "NULL", "params": ["<Q>"]}]), "'<Q>' is not declared"),
        (broken(constraints=[{"type": "OUT_NEQ", "params": [0]}]), "OUT_NEQ takes 2"),
    ],
)
def test_bad_shapes_name_file_and_template(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"made\.json: template 1: (.*: )?.*{message}"):
        folder(tmp_path, GOOD, bad)


FOUR = ("Z", "C", "M", "S")


@pytest.mark.parametrize(
    ("nodes", "names", "constraints", "message"),
    [
        ([], "", [], "has no nodes"),
        ([node("scene", [])], "", [], "ends in scene, which gives no answer"),
        ([node("scene", []), node("filter", [0], *FOUR)], "Z C M S", [], "gives no answer"),
        ([node("scene", []), node("fly", [0])], "", [], "unknown function 'fly'"),
        ([node("scene", []), node("count", [])], "", [], "takes 1 inputs, has 0"),
        ([node("scene", []), node("count", [1])], "", [], "inputs must be earlier nodes"),
        ([node("scene", []), node("filter_count", [0], "Z", "Z2")], "Z Z2", [], "of one type"),
        ([node("scene", []), node("filter_count", [0], "R")], "R", [], "relation parameter"),
        ([node("scene", []), node("relate_filter_count", [0])], "", [], "relation parameter"),
        ([node("scene", []), node("filter_count", [], "Z")], "Z", [], "takes one input"),
        (COUNT, "Z C M S", [{"type": "ODD", "params": ["<Z>", "<C>"]}], "unknown constraint 'ODD'"),
        (COUNT, "Z C M S", [{"type": "OUT_NEQ", "params": [0, 9]}], "does not exist"),
        (COUNT, "Z C M S Z", [], "declared twice"),
        (
            [node("scene", []), node("filter_count", [0], "rORD_NUM", "ORD_DIR")],
            "rORD_NUM ORD_DIR",
            [],
            "belong to CLEVR-Ref",
        ),
    ],
)
def test_bad_programs_name_file_and_template(
    tmp_path: Path, nodes: Any, names: str, constraints: Any, message: str
) -> None:
    bad = template("x?", names, nodes, constraints)
    with pytest.raises(DataError, match=rf"made\.json, template 1: .*{message}"):
        QuestionGenerator(folder(tmp_path, GOOD, bad))


def test_unknown_parameter_types_and_too_long_programs(tmp_path: Path) -> None:
    odd = broken(params=[{"name": "<Z>", "type": "Taste"}])
    odd["nodes"] = [node("scene", []), node("filter_count", [0], "Z")]
    odd["text"] = ["x?"]
    with pytest.raises(DataError, match="unknown parameter type 'Taste'"):
        QuestionGenerator(folder(tmp_path / "a", odd))
    chain = [node("scene", []), *(node("filter_size", [i], "Z") for i in range(200))]
    long = template("x?", "Z", [*chain, node("exist", [200])])
    with pytest.raises(DataError, match="more than 100 nodes"):
        QuestionGenerator(folder(tmp_path / "b", long))


@pytest.mark.parametrize("content", ['{"cube": "box"}', '{"cube": []}', '{"cube": [1]}', "[]"])
def test_bad_synonyms_are_explained(tmp_path: Path, content: str) -> None:
    folder(tmp_path, GOOD)
    (tmp_path / "synonyms.json").write_text(content)
    with pytest.raises(DataError, match=r"synonyms\.json"):
        read_templates(tmp_path)


def test_truncated_files_are_explained(tmp_path: Path) -> None:
    text = json.dumps([GOOD])
    for end in range(0, len(text) - 1, 23):
        (tmp_path / "made.json").write_text(text[:end])
        with pytest.raises(DataError, match=r"made\.json"):
            read_templates(tmp_path)


def test_official_templates_give_true_questions() -> None:
    templates = read_templates(engine.real_folder() / "templates" / "clevr")
    world = sample_scenes(1, 0, 250)
    records = generate_questions(world.pack(), templates, seed=1)
    scenes = world.records("val")
    assert len(records) == 2500
    assert {r["question_family_index"] for r in records} == set(range(90))
    for record in records:
        assert engine.answer(record["program"], scenes[record["image_index"]]) == record["answer"]


def test_official_expressions_are_true() -> None:
    templates = read_templates(engine.real_folder() / "templates" / "clevr_ref", "clevr-ref")
    world = sample_scenes(1, 0, 250)
    scenes = world.records("val")
    records = generate_expressions(world.pack(), templates, seed=1)
    assert len({(r["template_filename"], r["refexp_family_index"]) for r in records}) == 26
    for record in records:
        results = engine.run(record["program"], scenes[record["image_index"]])
        assert results == [step["_output"] for step in record["program"]]


def shares(records: list[dict[str, Any]]) -> dict[str, float]:
    answers = [record["answer"] for record in records]
    return {answer: answers.count(answer) / len(answers) for answer in set(answers)}


def test_statistics_are_those_of_the_original_generator() -> None:
    """On genuine scenes, official templates: answers, lengths of programs and of sentences."""
    from pyvqa.programs.scenes import read_scenes

    real = engine.real_folder()
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    templates = read_templates(real / "templates" / "clevr")
    for name, split in (("clevr_original", "train"), ("clevr_rendered", "val")):
        path = real / name / "scenes" / f"CLEVR_{split}_scenes.json"
        ours += generate_questions(read_scenes(path), templates, seed=1, split=split)
        entries = real / name / "questions" / f"CLEVR_{split}_questions.json"
        theirs += json.loads(entries.read_text())["questions"]
    assert abs(len(ours) - len(theirs)) <= 5
    mine, original = shares(ours), shares(theirs)
    distance = sum(abs(mine.get(a, 0) - original.get(a, 0)) for a in mine | original) / 2
    assert distance < 0.08
    for length in (lambda r: len(r["program"]), lambda r: len(r["question"].split())):
        means = [sum(map(length, records)) / len(records) for records in (ours, theirs)]
        assert abs(means[0] - means[1]) < 0.04 * means[1]
