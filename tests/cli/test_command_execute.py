"""`pyvqa execute`: the answers file, the table, and files that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyvqa.cli import main as cli


def execute(*arguments: object) -> int:
    return cli.main(["execute", *map(str, arguments)])


def changed(source: Path, target: Path, change: Callable[[Any], object]) -> Path:
    content = json.loads(source.read_text())
    change(content)
    target.write_text(json.dumps(content))
    return target


def test_questions(world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "answers.json"
    files = ("--scenes", world_files.scenes, "--questions", world_files.questions)
    assert execute("--language", "clevr", *files, "--out", out) == 0
    asked = json.loads(world_files.questions.read_text())["questions"]
    assert json.loads(out.read_text()) == {
        "accuracy": 1.0,
        "answers": [{"question_index": q["question_index"], "answer": q["answer"]} for q in asked],
    }
    printed = capsys.readouterr().out
    assert "compare_attr" in printed
    assert f"{len(asked)} programs on 12 scenes: " in printed
    assert "100.00 %" in printed


def test_expressions(world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "answers.json"
    files = ("--scenes", world_files.scenes, "--questions", world_files.expressions)
    assert execute("--language", "clevr-ref", *files, "--out", out) == 0
    asked = json.loads(world_files.expressions.read_text())["refexps"]
    found = json.loads(out.read_text())
    assert found["accuracy"] == 1.0
    for entry, refexp in zip(found["answers"], asked, strict=True):
        gold = refexp["program"][-1]["_output"]
        assert entry == {
            "refexp_index": refexp["refexp_index"],
            "objects": sorted(gold if isinstance(gold, list) else [gold]),
            "status": "ok",
        }
    assert "one_hop.json" in capsys.readouterr().out


def test_traces(world_files: Any, tmp_path: Path) -> None:
    out = tmp_path / "answers.json"
    files = ("--scenes", world_files.scenes, "--questions", world_files.questions)
    assert execute(*files, "--out", out, "--trace") == 0
    asked = json.loads(world_files.questions.read_text())["questions"]
    for entry, question in zip(json.loads(out.read_text())["answers"], asked, strict=True):
        last = entry["trace"][-1]
        assert str(last["value"]) == question["answer"]
        assert last["function"].split("[")[0] == question["program"][-1]["function"]
        assert all(i < k for k, step in enumerate(entry["trace"]) for i in step["inputs"])
    refs = ("--scenes", world_files.scenes, "--questions", world_files.expressions)
    assert execute("--language", "clevr-ref", *refs, "--out", out, "--trace") == 0
    expressions = json.loads(world_files.expressions.read_text())["refexps"]
    for entry, expression in zip(json.loads(out.read_text())["answers"], expressions, strict=True):
        for step, node in zip(entry["trace"], expression["program"], strict=True):
            value, gold = step["value"], node["_output"]
            assert (sorted(value) if isinstance(value, list) else value) == gold


def test_wrong_answers_are_counted(
    world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["questions"] = content["questions"][:20]
        for question in content["questions"][:5]:
            question["answer"] = "7 cubes"

    file = changed(world_files.questions, tmp_path / "q.json", spoil)
    out = tmp_path / "a.json"
    assert execute("--scenes", world_files.scenes, "--questions", file, "--out", out) == 0
    assert json.loads(out.read_text())["accuracy"] == 0.75
    assert "75.00 %" in capsys.readouterr().out


def test_no_gold_answers(world_files: Any, tmp_path: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        for question in content["questions"]:
            del question["answer"]

    file = changed(world_files.questions, tmp_path / "q.json", strip)
    out = tmp_path / "a.json"
    assert execute("--scenes", world_files.scenes, "--questions", file, "--out", out) == 0
    assert json.loads(out.read_text())["accuracy"] is None


def test_an_invalid_expression_has_its_own_status(world_files: Any, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["refexps"] = content["refexps"][:1]
        content["refexps"][0]["program"] = [
            {"type": "scene", "inputs": [], "value_inputs": []},
            {"type": "unique", "inputs": [0], "value_inputs": []},
        ]

    file = changed(world_files.expressions, tmp_path / "r.json", spoil)
    out = tmp_path / "a.json"
    files = ("--scenes", world_files.scenes, "--questions", file)
    assert execute("--language", "clevr-ref", *files, "--out", out) == 0
    [entry] = json.loads(out.read_text())["answers"]
    assert (entry["objects"], entry["status"]) == ([], "invalid")


def test_a_program_that_ends_in_objects_has_no_answer(world_files: Any, tmp_path: Path) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["questions"] = content["questions"][:1]
        content["questions"][0]["program"] = [{"function": "scene", "inputs": []}]

    file = changed(world_files.questions, tmp_path / "q.json", spoil)
    out = tmp_path / "a.json"
    assert execute("--scenes", world_files.scenes, "--questions", file, "--out", out) == 0
    assert json.loads(out.read_text())["answers"][0]["answer"] is None


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_files_of_different_splits(
    world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def move(content: dict[str, Any]) -> None:
        content["questions"][30]["image_index"] = 4711

    file = changed(world_files.questions, tmp_path / "q.json", move)
    out = tmp_path / "a.json"
    assert execute("--scenes", world_files.scenes, "--questions", file, "--out", out) == 1
    assert "image_index 4711" in one_line(capsys)
    assert not out.exists()


def test_the_other_language(
    world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes = ("--scenes", world_files.scenes)
    assert execute(*scenes, "--questions", world_files.expressions) == 1
    assert "use --language clevr-ref" in one_line(capsys)
    wrong = ("--questions", world_files.questions, "--language", "clevr-ref")
    assert execute(*scenes, *wrong) == 1
    assert "use --language clevr" in one_line(capsys)


def test_questions_without_programs(
    world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def strip(content: dict[str, Any]) -> None:
        for question in content["questions"]:
            del question["program"]

    file = changed(world_files.questions, tmp_path / "q.json", strip)
    assert execute("--scenes", world_files.scenes, "--questions", file) == 1
    assert "no question has a program" in one_line(capsys)


def test_masks_that_are_needed_and_missing(
    world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(content: dict[str, Any]) -> None:
        content["refexps"][2]["program"] = [
            {"type": "scene", "inputs": [], "value_inputs": []},
            {"type": "filter_visible", "inputs": [0], "value_inputs": ["fully visible"]},
        ]

    file = changed(world_files.expressions, tmp_path / "r.json", ask)
    files = ("--scenes", world_files.scenes, "--questions", file)
    assert execute("--language", "clevr-ref", *files) == 1
    assert "expression 2 needs masks" in one_line(capsys)


def test_trace_needs_a_file(world_files: Any, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--scenes", world_files.scenes, "--questions", world_files.questions)
    assert execute(*files, "--trace") == 1
    assert "--out" in one_line(capsys)


def test_out_cannot_be_written(
    world_files: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").mkdir()
    files = ("--scenes", world_files.scenes, "--questions", world_files.questions)
    assert execute(*files, "--out", tmp_path / "taken") == 1
    assert "cannot be written" in one_line(capsys)
