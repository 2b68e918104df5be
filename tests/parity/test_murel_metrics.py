"""VQA and TDIUC accuracies against numbers made by the original evaluation codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pyvqa.data.vqa_files import read_questions
from pyvqa.data.vqa_process import Choices, process
from pyvqa.data.vqa_results import read_results
from pyvqa.metrics import vqa_text
from pyvqa.metrics.tdiuc import tdiuc_scores
from pyvqa.metrics.topk import top_k_right
from pyvqa.metrics.vqa import HumanAnswers, in_order, question_scores, vqa_accuracy
from pyvqa.systems.murel.data import human_answers

FLAVOURS = {"gt_vision_lab": "official", "block_vendored": "legacy"}


@pytest.mark.kit("murel", "vqa_eval_expected.json")
@pytest.mark.parametrize("code", sorted(FLAVOURS))
def test_vqa_accuracy(case: Path, code: str) -> None:
    expected = json.loads(case.read_text())[code]
    annotations = json.loads(case.with_name("vqa_eval_annotations.json").read_text())["annotations"]
    entries = json.loads(case.with_name("vqa_eval_results.json").read_text())
    results = {entry["question_id"]: entry["answer"] for entry in entries}
    humans, predictions = in_order(HumanAnswers.of(annotations), results, "results")
    scores = question_scores(humans, predictions, FLAVOURS[code])
    ours = zip(humans.question_ids.tolist(), scores.tolist(), strict=True)
    assert {str(k): round(100 * score, 2) for k, score in ours} == expected["evalQA"]
    found = vqa_accuracy(humans, predictions, FLAVOURS[code])
    for key, value in expected["accuracy"].items():
        assert found[key] == value, key


@pytest.mark.kit("murel", "vqa_eval_expected.json")
@pytest.mark.parametrize("code", sorted(FLAVOURS))
def test_vqa_accuracy_of_prepared_files(case: Path, code: str) -> None:
    """The same numbers from the question and annotation files through the packed tables."""
    files = [case.with_name(f"vqa_eval_{kind}.json") for kind in ("questions", "annotations")]
    questions = read_questions(*files)
    table = process({"train": questions}, Choices(answers=len(questions))).splits["train"]
    results = read_results(case.with_name("vqa_eval_results.json"))
    humans, predictions = in_order(human_answers(table), results, "results")
    found = vqa_accuracy(humans, predictions, FLAVOURS[code])
    for key, value in json.loads(case.read_text())[code]["accuracy"].items():
        assert found[key] == value, key


@pytest.mark.kit("murel", "vqa_eval_expected.json")
@pytest.mark.parametrize("code", sorted(FLAVOURS))
def test_text_rules(case: Path, code: str) -> None:
    expected = json.loads(case.read_text())[code]
    for text, marks, words in expected["normaliser"]:
        assert vqa_text.strip_marks(vqa_text.strip_breaks(text)) == marks
        assert vqa_text.plain_answer(text) == words
    assert set(vqa_text.MARKS) == set(expected["punct"])
    assert expected["manualMap"] == vqa_text.NUMBERS
    # Entries with capitals are never found, entries that map to themselves change nothing.
    works = {k: v for k, v in expected["contractions"].items() if k == k.lower() and k != v}
    assert works == vqa_text.CONTRACTIONS


@pytest.mark.kit("murel", "tdiuc_metrics.json")
def test_tdiuc(case: Path) -> None:
    expected = json.loads(case.read_text())
    known = {answer: k for k, answer in enumerate(expected["answers"])}
    records = expected["records"]
    answers = np.array([known.get(r["answer"], -1) for r in records])
    assert int((answers < 0).sum()) == expected["gt_answers_not_in_vocabulary"]
    predictions = np.array([r["pred_id"] for r in records])
    scores = tdiuc_scores(answers, predictions, [r["question_type"] for r in records])
    near = {"rel": 1e-9, "abs": 1e-12}
    for key, value in expected["upstream_logged"].items():
        name = key.removeprefix("eval_epoch.tdiuc.")
        group, _, kind = name.partition(".")
        found = {
            "perQuestionType": lambda kind=kind: scores["types"][kind][0],
            "perQuestionType_norm": lambda kind=kind: scores["types_norm"][kind],
            "acc_mpt_a_norm": lambda: scores["acc_mpt_a_norm_legacy"],
            "acc_mpt_h_norm": lambda: scores["acc_mpt_h_norm_legacy"],
        }.get(group, lambda name=name: scores[name])()
        assert found == pytest.approx(value, **near), key
    for name, value in expected["official"].items():
        kind, _, norm = name.partition("_mpt")
        found = scores[f"acc_mpt_{kind[0]}{norm}"]
        assert found == pytest.approx(value, **near), name


@pytest.mark.kit("murel", "tdiuc_logits.npz")
def test_top_k(case: Path) -> None:
    logits = torch.from_numpy(np.load(case)["logits"])
    expected = json.loads(case.with_name("tdiuc_metrics.json").read_text())
    # The original gives answers outside the vocabulary the last class.
    targets = torch.tensor([r["answer_id"] for r in expected["records"]])
    predicted = [r["pred_id"] for r in expected["records"]]
    assert logits.argmax(1).tolist() == predicted
    for k in (1, 5):
        right = top_k_right(logits, targets, k)
        exact = 100 * float(right.double().mean())
        assert exact == pytest.approx(expected[f"accuracy_top{k}_exact"])
        means = [float(part.double().mean()) for part in right.split(expected["batch_size"])]
        legacy = 100 * sum(means) / len(means)
        assert legacy == pytest.approx(expected[f"accuracy_top{k}_engine_mean_of_batches"])
    known = {answer: k for k, answer in enumerate(expected["answers"])}
    honest = torch.tensor([known.get(r["answer"], -1) for r in expected["records"]])
    share = 100 * float(top_k_right(logits, honest, 1).double().mean())
    assert share == pytest.approx(expected["upstream_logged"]["eval_epoch.tdiuc.accuracy"])
