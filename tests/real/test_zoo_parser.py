"""The shipped parser on genuine CLEVR scenes and questions from the official templates."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

import pyvqa
from pyvqa.programs.scenes import read_scenes
from pyvqa.systems.ns_vqa.evaluate import evaluate
from pyvqa.systems.ns_vqa.reasoning import Executor
from pyvqa.world.questions import QuestionGenerator
from pyvqa.world.template_files import read_templates

REAL = os.environ.get("PYVQA_REAL")
pytestmark = pytest.mark.skipif(not REAL, reason="PYVQA_REAL is not set")
ROOT = Path(REAL or "")


@pytest.mark.parametrize(
    ("folder", "split"), [("clevr_original", "train"), ("clevr_rendered", "val")]
)
def test_genuine_questions_are_answered(folder: str, split: str) -> None:
    if not (ROOT / folder).is_dir():
        pytest.skip(f"{ROOT / folder} does not exist")
    result = evaluate(pyvqa.load("ns-vqa-clevr"), ROOT / folder, split).result
    assert result["questions"] > 1000
    assert result["accuracy"] >= 0.998


@pytest.mark.parametrize("split", ["train", "val"])
def test_new_official_questions_about_genuine_scenes_are_answered(split: str) -> None:
    path = ROOT / "clevr_original" / "scenes" / f"CLEVR_{split}_scenes_without_images.json"
    templates = ROOT / "templates" / "clevr"
    if not path.is_file() or not templates.is_dir():
        pytest.skip(f"{path} or {templates} does not exist")
    scenes, model = read_scenes(path), pyvqa.load("ns-vqa-clevr")
    questions = QuestionGenerator(read_templates(templates)).generate(scenes, seed=77)
    programs = model.write_programs(questions.text)
    rows = torch.from_numpy(questions.scene).long()
    answers = Executor.of(scenes, model.vocabulary).run(programs, rows).texts
    right = [got == want for got, want in zip(answers, questions.answers(), strict=True)]
    assert len(right) > 2000
    assert sum(right) >= 0.998 * len(right)
