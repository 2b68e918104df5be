"""How well CLEVR questions are answered: by type, by family, by length, with and without guessing.

The first seven numbers are those of ns-vqa reason/tools/run_test.py, with null where the original
would divide by zero.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyvqa.ops.execute import Kind, Reason
from pyvqa.programs.clevr import MAX_COUNT, QUESTION_TYPES, VALUES, question_type

END = "<END>"


@dataclass(frozen=True)
class Predictions:
    """N programs written by a parser, and what they gave."""

    programs: Tensor  # int64 [N, S] tokens, without `<START>`
    kind: Tensor  # uint8 [N], `pyvqa.ops.execute.Kind`
    value: Tensor  # int32 [N]
    texts: list[str]  # the answers; "error" where execution failed


@dataclass(frozen=True)
class Gold:
    """What is known about N questions."""

    answers: Sequence[str]
    programs: Tensor | None = None  # int64 [N, L] framed rows
    families: Tensor | None = None  # int64 [N]


def answer_texts(kind: Tensor, value: Tensor, strings: Sequence[str]) -> list[str]:
    """Give each result as the original's text: [N], [N] and the string of every string code.

    Sets and objects give a text that is no answer.
    """
    fixed = {Kind.ERROR: "error", Kind.NONE: "None", Kind.OBJECT: "<object>", Kind.SET: "<set>"}
    texts = []
    for k, v in zip(kind.tolist(), value.tolist(), strict=True):
        if k == Kind.INTEGER:
            texts.append(str(v))
        elif k == Kind.STRING:
            texts.append(strings[v])
        elif k == Kind.BOOLEAN:
            texts.append("yes" if v else "no")
        else:
            texts.append(fixed[Kind(k)])
    return texts


def possible_answers(function: str) -> tuple[str, ...]:
    """List the answers of programs with this root; empty for a function that is no root."""
    if function == "count":
        return tuple(str(n) for n in range(MAX_COUNT + 1))
    if function in ("exist", "less_than", "greater_than") or function.startswith(
        ("equal_", "same_")
    ):
        return ("yes", "no")
    return VALUES.get(function.removeprefix("query_"), ()) if function.startswith("query_") else ()


def guess(predictions: Predictions, functions: Sequence[str], seed: int) -> list[str]:
    """Replace each failed answer by a random one that fits the root (ns-vqa clevr_executor.py).

    Only programs with an `<END>` are guessed for.
    """
    generator = random.Random(seed)
    texts = list(predictions.texts)
    for k, options in enumerate(_guessable(predictions, functions)):
        if options:
            texts[k] = generator.choice(options)
    return texts


def _guessable(predictions: Predictions, functions: Sequence[str]) -> list[tuple[str, ...]]:
    """Say between which answers a guess would choose, nothing where none is made."""
    failed = predictions.kind == Kind.ERROR
    ended = (predictions.programs == functions.index(END)).any(1)
    roots = predictions.programs[:, 0].tolist() if predictions.programs.shape[1] else []
    return [
        possible_answers(functions[root]) if may else ()
        for root, may in zip(roots, (failed & ended).tolist(), strict=True)
    ]


def program_is_right(predicted: Tensor, gold: Tensor, end: int) -> Tensor:
    """Compare written rows [N, S] with framed gold rows [N, L] up to the gold `<END>`: bool [N].

    Rows of gold without `<END>` (questions without a program) are never right.
    """
    target = gold[:, 1:]
    width = max(predicted.shape[1], target.shape[1])
    predicted, target = (
        torch.nn.functional.pad(rows, (0, width - rows.shape[1]), value=-1)
        for rows in (predicted.long(), target.long())
    )
    is_end = target == end
    before_end = is_end.cumsum(1) - is_end.long() == 0
    return ((predicted == target) | ~before_end).all(1) & is_end.any(1)


def clevr_scores(
    predictions: Predictions,
    gold: Gold,
    functions: Sequence[str],
    answers: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Score predictions; `functions` names the tokens, `answers` replaces the texts (guesses).

    Returns JSON-ready numbers; fractions are null where nothing was counted.
    """
    texts = predictions.texts if answers is None else answers
    right = torch.tensor(
        [a == b for a, b in zip(texts, gold.answers, strict=True)], dtype=torch.bool
    )
    chance = _right_by_guessing(predictions, gold, functions)
    types = _types(gold, functions)
    scores: dict[str, Any] = {}
    for name in QUESTION_TYPES:
        mask = torch.tensor([t == name for t in types], dtype=torch.bool)
        scores[f"{name}_acc"] = _mean(right[mask])
    programs = None
    if gold.programs is not None:
        programs = program_is_right(predictions.programs, gold.programs, functions.index(END))
    scores["program_acc"] = None if programs is None else _mean(programs)
    scores["overall_acc"] = _mean(right)
    scores["accuracy"] = scores["overall_acc"]
    scores["questions"] = len(texts)
    scores["counts"] = _counts(types, right, programs)
    scores["expected_with_guessing"] = {
        name: float(
            chance[torch.tensor([name in (t, "all") for t in types], dtype=torch.bool)].sum()
        )
        for name in (*QUESTION_TYPES, "all")
    }
    scores["expected_accuracy_with_guessing"] = _mean(chance)
    scores["errors"] = _errors(predictions)
    scores["by_family"] = _grouped(gold.families, right)
    scores["by_program_length"] = _grouped(_lengths(gold, functions), right)
    return scores


def _types(gold: Gold, functions: Sequence[str]) -> list[str | None]:
    if gold.programs is None or gold.programs.shape[1] < 2:
        return [None] * len(gold.answers)
    return [question_type(functions[root]) for root in gold.programs[:, 1].tolist()]


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if values.numel() else None


def _counts(types: Sequence[str | None], right: Tensor, programs: Tensor | None) -> dict[str, int]:
    """Count right answers and questions of each type under the original's names."""
    counts = {}
    for name in QUESTION_TYPES:
        mask = torch.tensor([t == name for t in types], dtype=torch.bool)
        counts[name], counts[f"{name}_tot"] = int(right[mask].sum()), int(mask.sum())
    counts["correct_ans"] = int(right.sum())
    counts["correct_prog"] = 0 if programs is None else int(programs.sum())
    counts["total"] = len(types)
    return counts


def _right_by_guessing(predictions: Predictions, gold: Gold, functions: Sequence[str]) -> Tensor:
    """Give each question's probability of being right if failures are guessed, float64 [N]."""
    chances = []
    options = _guessable(predictions, functions)
    for text, answer, possible in zip(predictions.texts, gold.answers, options, strict=True):
        chances.append((answer in possible) / len(possible) if possible else float(text == answer))
    return torch.tensor(chances, dtype=torch.float64)


def _errors(predictions: Predictions) -> dict[str, int]:
    """Count failures by reason."""
    failed = predictions.value[predictions.kind == Kind.ERROR]
    values, counts = torch.unique(failed, return_counts=True)
    return {
        Reason(int(value)).name.lower(): int(count)
        for value, count in zip(values, counts, strict=True)
    }


def _lengths(gold: Gold, functions: Sequence[str]) -> Tensor | None:
    """Count the functions of each gold program, [N]."""
    if gold.programs is None:
        return None
    return (gold.programs > functions.index("<UNK>")).sum(1)


def _grouped(groups: Tensor | None, right: Tensor) -> dict[str, dict[str, float]]:
    """Give number and accuracy of each group of questions."""
    if groups is None:
        return {}
    return {
        str(int(group)): {
            "questions": int((groups == group).sum()),
            "accuracy": float(right[groups == group].double().mean()),
        }
        for group in torch.unique(groups)
    }
