"""Official VQA files: found under every name, joined by id, explained when broken."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.vqa_cases import entries, write_pair, write_vqa2
from pyvqa.data.vqa_files import (
    find_files,
    find_genome,
    read_genome,
    read_ids,
    read_questions,
)
from pyvqa.data.vqa_text import split_mcb, split_naive, split_nltk
from pyvqa.errors import DataError


@pytest.mark.parametrize("folder", ["", "raw/annotations", "Questions"])
@pytest.mark.parametrize("prefix", ["v2_", ""])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_found(tmp_path: Path, folder: str, prefix: str, suffix: str) -> None:
    write_vqa2(tmp_path / "made")
    place = tmp_path / "root" / folder
    place.mkdir(parents=True)
    for file in (tmp_path / "made").iterdir():
        content = file.read_bytes()
        target = place / (prefix + file.name.removeprefix("v2_") + suffix)
        target.write_bytes(gzip.compress(content) if suffix else content)
    found = find_files(tmp_path / "root", "vqa2")
    assert list(found) == ["train", "val", "test", "test-dev"]
    assert found["train"][1] is not None
    assert found["test"][1] is None
    assert len(read_questions(*found["val"])) == 20
    assert len(read_ids(found["test-dev"][0])) == 4


def test_annotations_are_joined_by_id(tmp_path: Path) -> None:
    questions, annotations = entries(30, 0)
    write_pair(tmp_path, "train2014", (questions, annotations[::-1]))
    part = read_questions(*find_files(tmp_path, "vqa2")["train"])
    assert part.ids == list(range(30))
    assert part.answers == [entry["multiple_choice_answer"] for entry in annotations]
    assert part.humans[3] == [answer["answer"] for answer in annotations[3]["answers"]]
    assert part.images[0] == "COCO_train2014_000000000100.jpg"
    assert part.types[5] == annotations[5]["question_type"]


def test_more_annotations_than_questions(tmp_path: Path) -> None:
    questions, annotations = entries(9, 0)
    write_pair(tmp_path, "train2014", (questions[2:5], annotations))
    part = read_questions(*find_files(tmp_path, "vqa2")["train"])
    assert part.ids == [2, 3, 4]
    assert part.answers == [entry["multiple_choice_answer"] for entry in annotations[2:5]]


def test_visual_genome(tmp_path: Path) -> None:
    pair = {"qa_id": 5, "image_id": 61, "question": "Where?", "answer": "On the Table."}
    (tmp_path / "raw/json").mkdir(parents=True)
    file = tmp_path / "raw/json/question_answers.json"
    file.write_text(json.dumps([{"id": 61, "qas": [pair]}, {"id": 62, "qas": []}]))
    part = read_genome(find_genome(tmp_path), split_mcb)
    assert (part.ids, part.images, part.answers) == ([5], ["61"], ["on the table"])
    assert part.humans == [["on the table"]]
    file.write_text(json.dumps([{"id": 61, "qas": [pair, pair]}]))
    with pytest.raises(DataError, match=r"qa_id 5 stands twice"):
        read_genome(file, split_mcb)
    with pytest.raises(DataError, match=r"question_answers\.json\.zip"):
        find_genome(tmp_path / "nowhere")


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_files(tmp_path / "nowhere", "vqa2")
    with pytest.raises(DataError, match=r"train2014_questions.json.*pyvqa synth tdiuc"):
        find_files(tmp_path, "tdiuc")


def damaged(change: Callable[[list[Any], list[Any]], object]) -> tuple[list[Any], list[Any]]:
    questions, annotations = entries(6, 0)
    change(questions, annotations)
    return questions, annotations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, a: a.pop(2), r"no annotation for 1 of 6 questions, the first is question 2"),
        (lambda q, a: q.append(q[1]), r"question_id 1 stands twice \(entries 1 and 6"),
        (lambda q, a: a.append(a[4]), r"question_id 4 stands twice"),
        (lambda q, a: q[3].pop("image_id"), r"questions\[3\] \(id 3\) needs"),
        (lambda q, a: q[3].update(question=7), r"questions\[3\] \(id 3\) needs a text"),
        (lambda q, a: q[3].update(question_id="3"), r"entry 3 has no whole number"),
        (lambda q, a: q.__setitem__(0, "question"), r"questions\[0\] is not a dictionary"),
        (lambda q, a: a[0].update(answers=[]), r"question 0: `answers` is not"),
        (lambda q, a: a[0].update(answers=[{"text": "yes"}]), r"question 0: `answers` is not"),
        (lambda q, a: a[0].pop("multiple_choice_answer"), r"lacks the text 'multiple_choice"),
        (lambda q, a: a[5].update(question_type=None), r"question 5: lacks the text 'question_t"),
        (lambda q, a: a[5].update(answer_type=1), r"question 5: `answer_type`"),
        (lambda q, a: q[0].update(coco_split="../.."), r"question 0: neither `coco_split`"),
    ],
)
def test_broken_files_are_explained(tmp_path: Path, change: Any, message: str) -> None:
    write_pair(tmp_path, "train2014", damaged(change))
    with pytest.raises(DataError, match=message):
        read_questions(*find_files(tmp_path, "vqa2")["train"])


def test_a_bare_list_needs_coco_split(tmp_path: Path) -> None:
    questions, annotations = entries(3, 0)
    for kind, content in (("questions", questions), ("annotations", annotations)):
        (tmp_path / f"vqacp_v2_train_{kind}.json").write_text(json.dumps(content))
    files = find_files(tmp_path, "vqacp2")["train"]
    with pytest.raises(DataError, match="coco_split"):
        read_questions(*files)
    for question in questions:
        question["coco_split"] = "val2014"
    (tmp_path / "vqacp_v2_train_questions.json").write_text(json.dumps(questions))
    assert read_questions(*files).images[0] == "COCO_val2014_000000000100.jpg"


def test_tokenisers_differ() -> None:
    text = "What's the T-shirt's colour, 3.5?"
    assert split_mcb(text) == ["whats", "the", "t", "shirts", "colour", "35"]
    assert split_naive(text)[:4] == ["What", "'", "s", "the"]
    assert split_nltk(text) == "what 's the t-shirt 's colour , 3.5 ?".split()
