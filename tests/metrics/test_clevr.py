"""Scores of answered CLEVR questions, from small cases counted by hand."""

from __future__ import annotations

import pytest
import torch

from pyvqa.metrics.clevr import (
    Gold,
    Predictions,
    clevr_scores,
    guess,
    possible_answers,
    program_is_right,
)
from pyvqa.ops.execute import Kind, Reason

NAMES = ["<NULL>", "<START>", "<END>", "<UNK>", "count", "exist", "equal_color", "less_than"]
NAMES += ["query_shape", "scene", "same_size"]
COUNT, EXIST, EQUAL, LESS, SHAPE, SCENE, SAME = range(4, 11)


def predictions(rows: list[list[int]], texts: list[str], reason: Reason = Reason.EMPTY_SET):
    failed = torch.tensor([text == "error" for text in texts])
    kind = torch.where(failed, int(Kind.ERROR), int(Kind.STRING)).to(torch.uint8)
    value = torch.where(failed, int(reason), 0).int()
    return Predictions(torch.tensor(rows), kind, value, texts)


@pytest.mark.parametrize(
    ("function", "answers"),
    [
        ("count", tuple(str(n) for n in range(11))),
        ("exist", ("yes", "no")),
        ("equal_integer", ("yes", "no")),
        ("same_color", ("yes", "no")),
        ("query_shape", ("cube", "cylinder", "sphere")),
        ("scene", ()),
        ("<NULL>", ()),
        ("query_weight", ()),
    ],
)
def test_possible_answers(function, answers):
    assert possible_answers(function) == answers


def test_programs_are_compared_up_to_the_end():
    gold = torch.tensor(
        [[1, 4, 9, 2, 0], [1, 4, 9, 2, 0], [1, 5, 9, 2, 0], [1, 4, 9, 9, 2], [0] * 5]
    )
    rows = torch.tensor([[4, 9, 2, 8], [4, 9, 9, 2], [4, 9, 2, 0], [4, 9, 9, 2], [2, 0, 0, 0]])
    assert program_is_right(rows, gold, 2).tolist() == [True, False, False, True, False]
    assert program_is_right(rows[:, :3], gold, 2).tolist() == [True, False, False, False, False]


def test_scores():
    rows = [[COUNT, SCENE, 2], [EXIST, SCENE, 2], [SHAPE, SCENE, 2], [LESS, SCENE, SCENE]]
    texts = ["3", "error", "cube", "error"]
    gold = Gold(
        ["3", "yes", "sphere", "no"],
        torch.tensor(
            [[1, COUNT, SCENE, 2], [1, EXIST, SCENE, 2], [1, SHAPE, SCENE, 2], [1, LESS, SCENE, 2]]
        ),
        torch.tensor([0, 1, 1, 2]),
    )
    scores = clevr_scores(predictions(rows, texts), gold, NAMES)
    assert scores["count_acc"] == 1.0
    assert scores["exist_acc"] == 0.0
    assert scores["compare_num_acc"] == 0.0
    assert scores["compare_attr_acc"] is None
    assert scores["query_acc"] == 0.0
    assert scores["overall_acc"] == scores["accuracy"] == 0.25
    assert scores["program_acc"] == 0.75
    assert scores["counts"]["correct_prog"] == 3
    assert scores["errors"] == {"empty_set": 2}
    # "exist" would be guessed right half the time; the last row has no <END>: no guess.
    assert scores["expected_accuracy_with_guessing"] == pytest.approx(1.5 / 4)
    assert scores["expected_with_guessing"]["exist"] == 0.5
    assert scores["expected_with_guessing"]["compare_num"] == 0.0
    assert scores["by_family"]["1"] == {"questions": 2, "accuracy": 0.0}
    assert scores["by_program_length"] == {"2": {"questions": 4, "accuracy": 0.25}}


def test_guesses_fit_the_root_and_the_seed():
    rows = (
        [[SHAPE, SCENE, 2]] * 300
        + [[EQUAL, SCENE, 2]] * 300
        + [[SHAPE, SCENE, SCENE], [SCENE, 2, 0]]
    )
    tried = predictions(rows, ["error"] * 602)
    texts = guess(tried, NAMES, seed=4)
    assert set(texts[:300]) == {"cube", "cylinder", "sphere"}
    assert set(texts[300:600]) == {"yes", "no"}
    assert texts[600:] == ["error", "error"]
    assert guess(tried, NAMES, seed=4) == texts != guess(tried, NAMES, seed=5)
    kept = predictions([[COUNT, SCENE, 2]], ["7"])
    assert guess(kept, NAMES, seed=1) == ["7"]


def test_without_programs_there_are_no_types():
    scores = clevr_scores(predictions([[COUNT, SCENE, 2]], ["3"]), Gold(["3"]), NAMES)
    assert scores["accuracy"] == 1.0
    assert scores["program_acc"] is None
    assert scores["count_acc"] is None
    assert scores["by_family"] == scores["by_program_length"] == {}


def test_no_questions_at_all():
    none = Predictions(torch.zeros(0, 3).long(), torch.zeros(0).byte(), torch.zeros(0).int(), [])
    scores = clevr_scores(none, Gold([], torch.zeros(0, 4).long(), torch.zeros(0).long()), NAMES)
    assert scores["accuracy"] is None
    assert scores["counts"]["total"] == 0
