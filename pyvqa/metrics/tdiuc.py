"""TDIUC's accuracies: over all questions, and mean over question types (Kafle and Kanan 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa.errors import DataError
from pyvqa.metrics.intervals import wilson

OUTSIDE = -1  # an answer that the vocabulary lacks: never right
_TINY = 1e-10  # keeps harmonic means defined where a type has nothing right


def tdiuc_scores(
    answers: NDArray[np.int64], predictions: NDArray[np.int64], types: Sequence[str]
) -> dict[str, Any]:
    """Score N predicted answer numbers against true ones (`OUTSIDE` where not in the vocabulary).

    All in percent: `accuracy` over all questions; `acc_mpt_a` and `acc_mpt_h`, the arithmetic and
    harmonic mean over types; `acc_mpt_a_norm` and `acc_mpt_h_norm`, where a type counts the mean
    over its distinct true answers. The two ending in `_legacy` are what BLOCK and MuRel log and
    publish as `norm`: means over the plain *and* the normalised values, because a list is not
    emptied in between (block metrics/vqa_accuracies.py). `types` holds, for each type, its
    accuracy, the ends of its 95 % interval (Wilson's) and its questions; `types_norm` the
    normalised accuracies.

    Raises:
        DataError: there is nothing to score, or lengths differ.
    """
    if not len(answers) == len(predictions) == len(types):
        raise DataError(
            f"{len(predictions)} predictions and {len(types)} types for {len(answers)} questions"
        )
    if not len(answers):
        raise DataError("there are no questions to score")
    right = (predictions == answers) & (answers != OUTSIDE)
    kinds = np.asarray(types)
    names = list(dict.fromkeys(types))
    plain, normal, details = [], [], {}
    for name in names:
        mask = kinds == name
        share, count = float(right[mask].mean()), int(mask.sum())
        plain.append(100 * share)
        normal.append(100 * _per_answer(answers[mask], right[mask]))
        low, high = wilson(share, count)
        details[name] = (100 * share, 100 * low, 100 * high, count)
    low, high = wilson(float(right.mean()), len(right))
    return {
        "accuracy": 100 * float(right.mean()),
        "interval": (100 * low, 100 * high),
        "questions": len(right),
        "acc_mpt_a": _arithmetic(plain),
        "acc_mpt_h": _harmonic(plain),
        "acc_mpt_a_norm": _arithmetic(normal),
        "acc_mpt_h_norm": _harmonic(normal),
        "acc_mpt_a_norm_legacy": _arithmetic(plain + normal),
        "acc_mpt_h_norm_legacy": _harmonic(plain + normal),
        "types": details,
        "types_norm": dict(zip(names, normal, strict=True)),
    }


def _per_answer(answers: NDArray[np.int64], right: NDArray[np.bool_]) -> float:
    """Average over distinct true answers how often each is found."""
    _, place = np.unique(answers, return_inverse=True)
    return float((np.bincount(place, weights=right) / np.bincount(place)).mean())


def _arithmetic(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _harmonic(values: Sequence[float]) -> float:
    return len(values) / sum(1 / (value + _TINY) for value in values)
