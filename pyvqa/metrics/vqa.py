"""VQA accuracy: each answer is worth what ten people's answers make it worth.

Per question, the mean over the people of min(1, others who gave this answer / 3). Two flavours:
`official` is the current GT-Vision-Lab/VQA code, `legacy` the older copy that BLOCK and MuRel carry
(block external/VQA): people's answers there keep their articles and contractions, so that many a
right prediction does not match them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa.errors import ConfigError, DataError
from pyvqa.metrics.intervals import wilson
from pyvqa.metrics.vqa_text import plain_answer, strip_breaks, strip_marks

FLAVOURS = ("official", "legacy")


@dataclass(frozen=True)
class HumanAnswers:
    """What people answered to N questions; texts stand once in `strings`, tables hold numbers."""

    question_ids: NDArray[np.int64]  # [N]
    answers: NDArray[np.int32]  # [N, W] into strings; -1 fills up where fewer people answered
    strings: Sequence[str]
    types: NDArray[np.int32]  # [N] into type_names
    type_names: Sequence[str]
    answer_types: NDArray[np.int32]  # [N] into answer_type_names
    answer_type_names: Sequence[str]

    def __len__(self) -> int:
        return len(self.question_ids)

    @classmethod
    def of(cls, annotations: Iterable[Mapping[str, Any]]) -> HumanAnswers:
        """Take entries of an official annotation file."""
        entries = list(annotations)
        strings, types, answer_types = _Numbers(), _Numbers(), _Numbers()
        given = [[strings[a["answer"]] for a in entry["answers"]] for entry in entries]
        answers = np.full((len(given), max(map(len, given), default=1)), -1, dtype=np.int32)
        for row, numbers in zip(answers, given, strict=True):
            row[: len(numbers)] = numbers
        return cls(
            np.array([entry["question_id"] for entry in entries], dtype=np.int64),
            answers,
            list(strings),
            np.array([types[entry["question_type"]] for entry in entries], dtype=np.int32),
            list(types),
            np.array([answer_types[entry["answer_type"]] for entry in entries], dtype=np.int32),
            list(answer_types),
        )

    @classmethod
    def of_ragged(
        cls,
        question_ids: NDArray[np.int64],
        answers: NDArray[np.int32],
        offsets: NDArray[np.int64],
        **rest: Any,
    ) -> HumanAnswers:
        """Take answers that stand one after the other, question k's from `offsets[k]` on."""
        counts = np.diff(offsets)
        table = np.full((len(counts), int(counts.max(initial=1))), -1, dtype=np.int32)
        table[np.arange(table.shape[1]) < counts[:, None]] = answers
        return cls(np.asarray(question_ids, dtype=np.int64), table, **rest)


class _Numbers(dict[str, int]):
    """Number texts in the order in which they come."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return self[text]


def question_scores(
    humans: HumanAnswers, predictions: Sequence[str], flavour: str = "official"
) -> NDArray[np.float64]:
    """Score one prediction for each question, in the order of `humans`: [N] within [0, 1].

    Raises:
        ConfigError: an unknown flavour.
    """
    if flavour not in FLAVOURS:
        raise ConfigError(f"flavour {flavour!r}: one of {', '.join(FLAVOURS)}")
    legacy = flavour == "legacy"
    given = humans.answers >= 0
    forms = _Forms()
    # What is compared where people agree, and what where they do not.
    plain = forms.table(humans.strings, str if legacy else strip_breaks)[humans.answers]
    agree = ((plain == plain[:, :1]) | ~given).all(1)
    told = forms.table(humans.strings, strip_marks if legacy else plain_answer)[humans.answers]
    told = np.where(agree[:, None], plain, told)
    distinct = _Numbers()
    numbers = np.array([distinct[text] for text in predictions], dtype=np.int64)
    full = forms.table(list(distinct), plain_answer)[numbers]
    simple = full if legacy else forms.table(list(distinct), strip_breaks)[numbers]
    said = np.where(agree, simple, full)
    return _pattern_scores((told == said[:, None]) & given, given)


class _Forms:
    """Number the forms of answers, equal forms alike."""

    def __init__(self) -> None:
        self._numbers = _Numbers()

    def table(self, texts: Sequence[str], rule: Callable[[str], str]) -> NDArray[np.int64]:
        """Give the number of the form of every text, one more (for -1) at the end."""
        numbers = [self._numbers[rule(text)] for text in texts]
        return np.array([*numbers, -1], dtype=np.int64)


def _pattern_scores(matches: NDArray[np.bool_], given: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Score each pattern of matching people once, as the original adds it up."""
    key = np.concatenate([np.packbits(matches, axis=1), np.packbits(given, axis=1)], axis=1)
    _, first, place = np.unique(key, axis=0, return_index=True, return_inverse=True)
    scores = [_score(matches[k][given[k]].tolist()) for k in first.tolist()]
    return np.array(scores, dtype=np.float64)[place.reshape(-1)]


def _score(matches: Sequence[bool]) -> float:
    total = sum(matches)
    worth = [min(1.0, (total - match) / 3) for match in matches]
    return sum(worth) / len(worth) if worth else 0.0


def vqa_accuracy(
    humans: HumanAnswers, predictions: Sequence[str], flavour: str = "official"
) -> dict[str, Any]:
    """Give the accuracies of the official evaluation, in percent with two decimals.

    `overall`, `perQuestionType`, `perAnswerType` as in the original; `interval` the 95 % interval
    (Wilson's) of the overall accuracy, `types` and `answer_types` name -> (accuracy, low, high,
    questions).

    Raises:
        ConfigError: an unknown flavour.
    """
    scores = question_scores(humans, predictions, flavour)
    types = _grouped(scores, humans.types, humans.type_names)
    answer_types = _grouped(scores, humans.answer_types, humans.answer_type_names)
    overall, low, high, _ = _summary(scores.tolist())
    return {
        "flavour": flavour,
        "overall": overall,
        "perQuestionType": {name: summary[0] for name, summary in types.items()},
        "perAnswerType": {name: summary[0] for name, summary in answer_types.items()},
        "questions": len(scores),
        "interval": (low, high),
        "types": types,
        "answer_types": answer_types,
    }


Summary = tuple[float, float, float, int]


def _summary(scores: Sequence[float]) -> Summary:
    # Python's sum, in order, so that the second decimal is the original's even on the border.
    share = sum(scores) / len(scores) if scores else 0.0
    low, high = wilson(min(1.0, share), len(scores))
    return round(100 * share, 2), round(100 * low, 2), round(100 * high, 2), len(scores)


def _grouped(
    scores: NDArray[np.float64], groups: NDArray[np.int32], names: Sequence[str]
) -> dict[str, Summary]:
    found = {name: scores[groups == k] for k, name in enumerate(names)}
    return {name: _summary(part.tolist()) for name, part in found.items() if len(part)}


def in_order(
    humans: HumanAnswers, results: Mapping[int, str], where: str, *, subset: bool = False
) -> tuple[HumanAnswers, list[str]]:
    """Bring predictions, given by question id, into the order of the questions.

    With `subset`, questions without a prediction are left out; both are returned.

    Raises:
        DataError: a prediction for an unknown question, or (without `subset`) a question without
            prediction; says how many.
    """
    ids = humans.question_ids.tolist()
    known = set(ids)
    strange = [number for number in results if number not in known]
    if strange:
        raise DataError(
            f"{where}: {len(strange):,} of {len(results):,} answers are for questions that this "
            f"split does not have, the first is {strange[0]}; is it the result of another split?"
        )
    rows = [k for k, number in enumerate(ids) if number in results]
    if len(rows) < len(ids) and not subset:
        first = next(number for number in ids if number not in results)
        raise DataError(
            f"{where}: {len(ids) - len(rows):,} of {len(ids):,} questions have no answer, the "
            f"first is {first}; ask for a subset if that is meant"
        )
    part = HumanAnswers(
        humans.question_ids[rows],
        humans.answers[rows],
        humans.strings,
        humans.types[rows],
        humans.type_names,
        humans.answer_types[rows],
        humans.answer_type_names,
    )
    return part, [results[ids[k]] for k in rows]
