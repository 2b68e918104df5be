"""VQA accuracy: the fast evaluation against one written word for word, and what it refuses."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metrics import plain_vqa
from pyvqa.errors import ConfigError, DataError
from pyvqa.metrics.intervals import wilson
from pyvqa.metrics.vqa import HumanAnswers, in_order, question_scores, vqa_accuracy
from pyvqa.metrics.vqa_text import plain_answer, strip_marks

WORDS = [
    "yes",
    "no",
    "Two",
    "2",
    "a dog",
    "dog",
    "Dog.",
    "1,000",
    "hot-dog",
    "dont",
    "don't",
    "",
    " ",
]
texts = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.sampled_from("aA1 .,;'-?\n\t\u0663é" + string.digits[:3]), max_size=8),
)
questions = st.lists(
    st.tuples(
        st.lists(texts, min_size=1, max_size=12),
        texts,
        st.sampled_from(["what", "is the"]),
        st.sampled_from(["other", "yes/no"]),
    ),
    max_size=8,
)


def annotation(number: int, answers: list[str], kind: str = "what", answer: str = "other") -> Any:
    people = [{"answer": text, "answer_id": k + 1} for k, text in enumerate(answers)]
    entry = {"question_id": number, "answers": people}
    return entry | {"question_type": kind, "answer_type": answer}


@settings(max_examples=150, deadline=None)
@given(questions, st.sampled_from(["official", "legacy"]))
def test_equals_the_plain_version(drawn: Any, flavour: str) -> None:
    entries = [annotation(k, q[0], q[2], q[3]) for k, q in enumerate(drawn)]
    said = [q[1] for q in drawn]
    scores = question_scores(HumanAnswers.of(entries), said, flavour).tolist()
    assert scores == [plain_vqa.question_score(q[0], q[1], flavour) for q in drawn]
    if drawn:
        expected = plain_vqa.accuracy(entries, dict(enumerate(said)), flavour)
        found = vqa_accuracy(HumanAnswers.of(entries), said, flavour)
        assert {key: found[key] for key in expected} == expected


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(plain_vqa.PUNCTUATION + "ab1 .'\n"), max_size=80))
def test_text_rules_equal_the_plain_ones(text: str) -> None:
    assert strip_marks(text) == plain_vqa.without_punctuation(text)
    plain = plain_vqa.with_digits(plain_vqa.without_punctuation(plain_vqa.stripped(text)))
    assert plain_answer(text) == plain


@pytest.mark.parametrize(
    ("agreeing", "score"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_worth_of_agreement(agreeing: int, score: float) -> None:
    people = ["cat"] * agreeing + ["dog"] * (10 - agreeing)
    found = question_scores(HumanAnswers.of([annotation(1, people)]), ["cat"])
    assert found[0] == pytest.approx(score)


def test_rules_differ_where_people_agree() -> None:
    agree = HumanAnswers.of([annotation(1, ["two"] * 10)])
    assert vqa_accuracy(agree, ["Two."], "official")["overall"] == 0.0  # compared as they stand
    assert vqa_accuracy(agree, ["two"], "official")["overall"] == 100.0
    assert vqa_accuracy(agree, ["two"], "legacy")["overall"] == 0.0  # read as 2, people as two


def test_summaries_carry_intervals() -> None:
    entries = [annotation(k, ["cat"] * 10, "what" if k % 2 else "who") for k in range(40)]
    found = vqa_accuracy(HumanAnswers.of(entries), ["cat"] * 20 + ["dog"] * 20)
    assert found["overall"] == 50.0
    low, high = found["interval"]
    assert 34 < low < 36
    assert 64 < high < 66
    assert found["types"]["who"][3] == 20
    assert found["perQuestionType"] == {"who": 50.0, "what": 50.0}


def test_wilson() -> None:
    assert wilson(0.5, 0) == (0.0, 1.0)
    assert wilson(0.0, 10)[0] == 0.0
    assert wilson(1.0, 10)[1] == 1.0
    # Newcombe 1998, table I: 81 of 263.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_predictions_are_brought_into_order() -> None:
    humans = HumanAnswers.of([annotation(k, [str(k)] * 10) for k in (5, 3, 9)])
    part, said = in_order(humans, {9: "9", 5: "5"}, "results.json", subset=True)
    assert part.question_ids.tolist() == [5, 9]
    assert said == ["5", "9"]
    assert vqa_accuracy(part, said)["overall"] == 100.0
    with pytest.raises(DataError, match=r"results.json: 1 of 3 questions have no answer.*is 3"):
        in_order(humans, {9: "9", 5: "5"}, "results.json")
    with pytest.raises(DataError, match=r"2 of 3 answers are for questions.*first is 7"):
        in_order(humans, {5: "5", 7: "x", 8: "y"}, "results.json")


def test_unknown_flavour() -> None:
    with pytest.raises(ConfigError, match="official, legacy"):
        vqa_accuracy(HumanAnswers.of([]), [], "new")


def test_nothing_to_score() -> None:
    assert vqa_accuracy(HumanAnswers.of([]), [])["questions"] == 0
