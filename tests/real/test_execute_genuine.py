"""Genuine CLEVR scenes: every question and every expression of the folder must come out right.

PYVQA_REAL names a folder that holds, at any depth, `questions/CLEVR_*_questions.json` beside
`scenes/CLEVR_*_scenes.json`, and `refexps/*_refexps.json` beside `scenes/*_scenes.json`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyvqa.cli import main as cli
from pyvqa.programs.questions import read_questions
from pyvqa.programs.run import run_file
from pyvqa.programs.scenes import read_scenes

ROOT = os.environ.get("PYVQA_REAL")


def cases() -> list[pytest.param]:
    """(language, scenes, questions) of every pair of files."""
    found = []
    for folder, kind, language in (
        ("questions", "questions", "clevr"),
        ("refexps", "refexps", "clevr-ref"),
    ):
        for asked in sorted(Path(ROOT or "/nowhere").rglob(f"{folder}/*_{kind}.json")):
            name = asked.name.replace(f"_{kind}", "_scenes")
            scenes = asked.parent.parent / "scenes" / name
            if scenes.is_file():
                label = f"{asked.parent.parent.name}-{kind}"
                found.append(pytest.param(language, scenes, asked, id=label))
    if not found:
        reason = "PYVQA_REAL is not set" if ROOT is None else f"{ROOT} holds no CLEVR questions"
        found.append(pytest.param("", Path(), Path(), marks=pytest.mark.skip(reason=reason)))
    return found


@pytest.mark.parametrize(("language", "scenes", "asked"), cases())
def test_everything_is_answered_right(
    language: str, scenes: Path, asked: Path, tmp_path: Path
) -> None:
    out = tmp_path / "answers.json"
    files = ["--scenes", str(scenes), "--questions", str(asked), "--out", str(out)]
    assert cli.main(["execute", "--language", language, *files]) == 0
    found = json.loads(out.read_text())
    assert found["accuracy"] == 1.0
    entries = json.loads(asked.read_text())["questions" if language == "clevr" else "refexps"]
    assert len(found["answers"]) == len(entries) > 0
    for answer, entry in zip(found["answers"], entries, strict=True):
        if language == "clevr":
            assert answer["answer"] == entry["answer"]
        else:
            gold = entry["program"][-1]["_output"]
            assert answer["objects"] == sorted(gold if isinstance(gold, list) else [gold])
            assert answer["status"] == "ok"


@pytest.mark.parametrize(("language", "scenes", "asked"), cases())
def test_every_step_is_explained(language: str, scenes: Path, asked: Path) -> None:
    """The last step of every trace is the answer, and no step fails."""
    table = read_questions(asked)
    result = run_file(read_scenes(scenes, language), table, language, trace=True)
    for entry in result.entries:
        assert all(step["kind"] != "error" for step in entry["trace"])
        last = entry["trace"][-1]["value"]
        if language == "clevr":
            assert str(last) == entry["answer"]
        else:
            assert sorted(last if isinstance(last, list) else [last]) == entry["objects"]
