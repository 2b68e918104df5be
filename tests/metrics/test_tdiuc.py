"""TDIUC's means over question types, from cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyvqa.errors import DataError
from pyvqa.metrics.tdiuc import OUTSIDE, tdiuc_scores
from pyvqa.metrics.topk import top_k_right


def test_means() -> None:
    # Of color, red (0) is found twice of three times and blue (1) never; of counting all.
    answers = np.array([0, 0, 0, 1, 2, 2])
    predictions = np.array([0, 0, 1, 0, 2, 2])
    scores = tdiuc_scores(answers, predictions, ["color"] * 4 + ["counting"] * 2)
    assert scores["accuracy"] == pytest.approx(100 * 4 / 6)
    assert scores["acc_mpt_a"] == pytest.approx((50 + 100) / 2)
    assert scores["acc_mpt_h"] == pytest.approx(2 / (1 / 50 + 1 / 100))
    color = 100 * (2 / 3 + 0) / 2
    assert scores["types_norm"] == pytest.approx({"color": color, "counting": 100})
    assert scores["acc_mpt_a_norm"] == pytest.approx((color + 100) / 2)
    assert scores["acc_mpt_h_norm"] == pytest.approx(2 / (1 / color + 1 / 100))
    assert scores["acc_mpt_a_norm_legacy"] == pytest.approx((50 + 100 + color + 100) / 4)
    corrected = 2 * scores["acc_mpt_a_norm_legacy"] - scores["acc_mpt_a"]
    assert corrected == pytest.approx(scores["acc_mpt_a_norm"])
    share, low, high, count = scores["types"]["color"]
    assert (share, count) == (50, 4)
    assert 15 < low < 50 < high < 85


def test_answers_outside_the_vocabulary_are_wrong_and_count_as_one() -> None:
    answers = np.array([OUTSIDE, OUTSIDE, 3])
    scores = tdiuc_scores(answers, np.array([OUTSIDE, 1, 3]), ["absurd"] * 3)
    assert scores["accuracy"] == pytest.approx(100 / 3)
    assert scores["types_norm"]["absurd"] == pytest.approx(50)


def test_refusals() -> None:
    with pytest.raises(DataError, match="no questions"):
        tdiuc_scores(np.array([]), np.array([]), [])
    with pytest.raises(DataError, match="1 predictions and 2 types for 2 questions"):
        tdiuc_scores(np.array([1, 2]), np.array([1]), ["a", "b"])


def test_top_k() -> None:
    logits = torch.tensor([[0.1, 0.9, 0.5], [0.9, 0.1, 0.5], [0.2, 0.3, 0.1]])
    targets = torch.tensor([2, 0, -1])
    assert top_k_right(logits, targets, 1).tolist() == [False, True, False]
    assert top_k_right(logits, targets, 2).tolist() == [True, True, False]
    assert top_k_right(logits, targets, 5).tolist() == [True, True, False]
