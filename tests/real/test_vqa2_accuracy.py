"""Genuine VQA v2 questions: four rules of answering score what the official code gives them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pyvqa.files import read_json
from pyvqa.metrics.vqa import HumanAnswers, vqa_accuracy

REAL = os.environ.get("PYVQA_REAL")
ROOT = Path(REAL or "") / "vqa2_subset"
pytestmark = pytest.mark.skipif(
    not (REAL and ROOT.is_dir()), reason="PYVQA_REAL has no vqa2_subset"
)

Entry = dict[str, Any]


@cache
def annotations(part: str) -> list[Entry]:
    entries: list[Entry] = read_json(ROOT / f"annotations_{part}.json.gz")["annotations"]
    return entries


@cache
def priors() -> dict[str, str]:
    """The most frequent answer of every question type; of equally frequent ones the first."""
    counts: dict[str, Counter[str]] = {}
    for entry in annotations("train"):
        kind = counts.setdefault(entry["question_type"], Counter())
        kind[entry["multiple_choice_answer"]] += 1
    return {kind: min(c, key=lambda a: (-c[a], a)) for kind, c in counts.items()}


RULES: dict[str, Callable[[Entry], str]] = {
    "always_yes": lambda entry: "yes",
    "third_human": lambda entry: entry["answers"][2]["answer"].upper() + ".",
    "third_human_article": lambda entry: "The " + entry["answers"][2]["answer"] + " !",
    "type_prior": lambda entry: priors().get(entry["question_type"], "yes"),
}


def cases() -> list[tuple[str, str]]:
    path = ROOT / "expected_accuracy.json"
    if not path.is_file():
        return [("val", rule) for rule in RULES]
    parts = json.loads(path.read_text())["parts"]
    return [(part, rule) for part in sorted(parts) for rule in sorted(parts[part])]


@pytest.mark.parametrize(("part", "rule"), cases())
def test_accuracy(part: str, rule: str) -> None:
    expected = json.loads((ROOT / "expected_accuracy.json").read_text())["parts"][part][rule]
    entries = annotations(part)
    found = vqa_accuracy(HumanAnswers.of(entries), [RULES[rule](entry) for entry in entries])
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("part", ["val", "test"])
def test_the_older_code_scores_genuine_answers_nearly_alike(part: str) -> None:
    entries = annotations(part)
    humans, said = HumanAnswers.of(entries), [entry["answers"][2]["answer"] for entry in entries]
    official, legacy = (vqa_accuracy(humans, said, f)["overall"] for f in ("official", "legacy"))
    assert 0 < abs(official - legacy) < 2
