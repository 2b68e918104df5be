"""Scene and question files, packed and compiled."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa.errors import DataError
from pyvqa.ops import Kind, execute
from pyvqa.programs.questions import compile_programs, read_questions
from pyvqa.programs.scenes import read_scenes

Edit = Callable[[dict[str, Any]], object]


def edited(source: Path, target: Path, edit: Edit) -> Path:
    content = json.loads(source.read_text())
    edit(content)
    target.write_text(json.dumps(content))
    return target


def test_rows_follow_image_index_not_position(world_files: Any, tmp_path: Path) -> None:
    def renumber(content: dict[str, Any]) -> None:
        for scene, index in zip(content["scenes"], [900, 7, 55], strict=False):
            scene["image_index"] = index
        del content["scenes"][3:]

    scenes = read_scenes(edited(world_files.scenes, tmp_path / "s.json", renumber))
    assert scenes.rows([55, 900, 7, 55]).tolist() == [2, 0, 1, 2]
    with pytest.raises(DataError, match=r"entry 1 asks about image_index 8, .* \(3 scenes\)"):
        scenes.rows([55, 8])
    with pytest.raises(DataError, match="image_index 901"):
        scenes.rows([901])


def test_the_same_image_twice(world_files: Any, tmp_path: Path) -> None:
    file = edited(
        world_files.scenes,
        tmp_path / "s.json",
        lambda c: c["scenes"][1].update(image_index=0),
    )
    with pytest.raises(DataError, match=r"s\.json: image_index 0 stands in the file more than"):
        read_scenes(file)


def test_compressed_files(world_files: Any, tmp_path: Path) -> None:
    file = tmp_path / "scenes.json.gz"
    file.write_bytes(gzip.compress(world_files.scenes.read_bytes()))
    plain, packed = read_scenes(world_files.scenes), read_scenes(file)
    assert plain.packed.words.equal(packed.packed.words)
    assert plain.image_filename == packed.image_filename


def test_compiled_programs_give_the_answers_of_the_file(world_files: Any) -> None:
    scenes, questions = read_scenes(world_files.scenes), read_questions(world_files.questions)
    compiled = compile_programs(questions)
    found = execute(
        compiled.rows, compiled.table, scenes.rows(questions.image_index), scenes.packed
    )
    assert len(questions) > 100
    for kind, value, gold in zip(
        found.kind.tolist(), found.value.tolist(), questions.answers, strict=True
    ):
        assert kind in (Kind.INTEGER, Kind.STRING)
        assert (str(value) if kind == Kind.INTEGER else scenes.strings[value]) == gold


def test_unknown_function_names_the_program(world_files: Any, tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["questions"][3]["program"][0]["function"] = "sceen"

    file = edited(world_files.questions, tmp_path / "q.json", edit)
    with pytest.raises(DataError, match="program 3: unknown function 'sceen' at node 0"):
        compile_programs(read_questions(file))


def test_wrong_number_of_operands_is_an_error_value(world_files: Any, tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        content["questions"][0]["program"] = [
            {"function": "scene", "inputs": [], "value_inputs": []},
            {"function": "union", "inputs": [0], "value_inputs": []},
        ]

    questions = read_questions(edited(world_files.questions, tmp_path / "q.json", edit))
    scenes, compiled = read_scenes(world_files.scenes), compile_programs(questions)
    rows = scenes.rows(questions.image_index)
    assert execute(compiled.rows, compiled.table, rows, scenes.packed).kind[0] == Kind.ERROR


def test_a_file_without_scenes_or_questions(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('{"info": {}, "scenes": []}')
    (tmp_path / "q.json").write_text('{"info": {}, "questions": []}')
    scenes, questions = read_scenes(tmp_path / "s.json"), read_questions(tmp_path / "q.json")
    compiled = compile_programs(questions)
    found = execute(compiled.rows, compiled.table, scenes.rows(np.zeros(0, int)), scenes.packed)
    assert (len(scenes), len(questions), found.kind.shape) == (0, 0, (0,))


def test_unknown_language(world_files: Any) -> None:
    with pytest.raises(DataError, match="unknown language 'gqa'; known: clevr, clevr-ref"):
        read_scenes(world_files.scenes, "gqa")


def test_relations_are_needed_for_expressions(world_files: Any, tmp_path: Path) -> None:
    def edit(content: dict[str, Any]) -> None:
        for scene in content["scenes"]:
            del scene["relationships"]

    file = edited(world_files.scenes, tmp_path / "s.json", edit)
    read_scenes(file)  # questions relate by position
    with pytest.raises(DataError, match=r"s\.json: .*relationships"):
        read_scenes(file, "clevr-ref")
