"""Genuine VQA v2 questions through `pyvqa prepare vqa2`, and back against their files."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pyvqa.cli import main as cli
from pyvqa.data.vqa_questions import VqaData
from pyvqa.data.vqa_text import split_mcb
from pyvqa.files import read_json
from pyvqa.metrics.vqa import HumanAnswers, vqa_accuracy

REAL = os.environ.get("PYVQA_REAL")
ROOT = Path(REAL or "") / "vqa2_subset"
pytestmark = pytest.mark.skipif(
    not (REAL and ROOT.is_dir()), reason="PYVQA_REAL has no vqa2_subset"
)

PARTS = {"train": 24_028, "val": 4_474, "test": 1_463}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> VqaData:
    out = tmp_path_factory.mktemp("vqa2") / "data"
    named = []
    for part in PARTS:
        named += ["--questions", f"{part}={ROOT}/questions_{part}.json.gz"]
        named += ["--annotations", f"{part}={ROOT}/annotations_{part}.json.gz"]
    assert cli.main(["prepare", "vqa2", *named, "--answers", "2000", "--out", str(out)]) == 0
    return VqaData(out)


def test_vocabulary(data: VqaData) -> None:
    annotations = read_json(ROOT / "annotations_train.json.gz")["annotations"]
    counts = Counter(entry["multiple_choice_answer"] for entry in annotations)
    answers = data.vocabulary.answers
    assert len(answers) == 2000
    assert list(answers) == sorted(answers, key=lambda a: (counts[a], a), reverse=True)
    assert min(counts[a] for a in answers) >= max(
        count for answer, count in counts.items() if answer not in answers
    )
    kept = sum(count for answer, count in counts.items() if answer in answers)
    assert len(data.split("train")) == kept < PARTS["train"]
    texts = read_json(ROOT / "questions_train.json.gz")["questions"]
    words = {word for entry in texts for word in split_mcb(entry["question"])}
    assert data.vocabulary.words == ("", *sorted(words), "UNK")


@pytest.mark.parametrize("part", ["val", "test"])
def test_questions_and_answers(data: VqaData, part: str) -> None:
    table = data.split(part)
    questions = read_json(ROOT / f"questions_{part}.json.gz")["questions"]
    annotations = read_json(ROOT / f"annotations_{part}.json.gz")["annotations"]
    assert len(table) == len(questions) == PARTS[part]
    assert table.question_ids.tolist() == [entry["question_id"] for entry in questions]
    assert list(table.texts) == [entry["question"] for entry in questions]
    by_id = {entry["question_id"]: entry for entry in annotations}
    answers = data.vocabulary.answer_numbers
    for k, number in enumerate(table.question_ids.tolist()):
        wanted = by_id[number]["multiple_choice_answer"]
        assert table.strings[table.answer_texts[k]] == wanted
        assert table.answers[k] == answers.get(wanted, -1)
    words, numbers = data.vocabulary.words, data.vocabulary.word_numbers
    for k in range(0, len(table), 97):
        found = [words[n] for n in table.words[table.word_offsets[k] : table.word_offsets[k + 1]]]
        cut = split_mcb(questions[k]["question"])
        assert found == [word if word in numbers else "UNK" for word in cut]


@pytest.mark.parametrize("part", ["val", "test"])
def test_the_packed_answers_score_as_the_file_does(data: VqaData, part: str) -> None:
    table = data.split(part)
    humans = HumanAnswers.of_ragged(
        table.question_ids,
        table.humans,
        table.human_offsets,
        strings=list(table.strings),
        types=np.asarray(table.types),
        type_names=list(table.type_names),
        answer_types=np.asarray(table.answer_types),
        answer_type_names=list(table.answer_type_names),
    )
    expected = read_json(ROOT / "expected_accuracy.json")["parts"][part]["always_yes"]
    found = vqa_accuracy(humans, ["yes"] * len(table))
    assert {key: found[key] for key in expected} == expected
