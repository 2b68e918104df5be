"""The words of templates are exactly those that generated questions use."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyvqa.data.clevr_questions import split_words
from pyvqa.world.questions import QuestionGenerator
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import Templates, read_templates
from pyvqa.world.words import question_words


def seen_words(templates: Templates, scenes: int) -> set[str]:
    questions = QuestionGenerator(templates).generate(sample_scenes(9, 0, scenes).pack(), seed=5)
    return {word for text in questions.text for word in split_words(text)}


def test_own_templates_use_exactly_these_words() -> None:
    templates = read_templates()
    assert question_words(templates) == seen_words(templates, 1500)


def test_official_templates_use_exactly_these_words() -> None:
    real = os.environ.get("PYVQA_REAL")
    if not real:
        pytest.skip("PYVQA_REAL is not set")
    templates = read_templates(Path(real) / "templates" / "clevr")
    assert question_words(templates) == seen_words(templates, 1500)


def test_optional_parts_and_synonyms_are_written_out(tmp_path: Path) -> None:
    template = {
        "text": ["Is [also] another <C> <S>[s]<Z>; <R> it?"],
        "params": [
            {"name": "<Z>", "type": "Size"},
            {"name": "<C>", "type": "Color"},
            {"name": "<S>", "type": "Shape"},
            {"name": "<R>", "type": "Relation"},
        ],
        "nodes": [{"type": "scene", "inputs": []}, {"type": "count", "inputs": [0]}],
        "constraints": [],
    }
    synonyms = {"thing": ["item"], "cube": ["block"], "left": ["left of"], "large": ["huge"]}
    (tmp_path / "one_hop.json").write_text(json.dumps([template]))
    (tmp_path / "synonyms.json").write_text(json.dumps(synonyms))
    words = question_words(read_templates(tmp_path))
    assert {"Is", "also", "another", "a", "red", "left", "of", "front", ";", "it"} <= words
    assert {"item", "items", "block", "blocks", "itemhuge", "blockssmall"} <= words
    assert not words & {"", "thing", "things", "large", "cube", "it?"}
