"""VQA accuracy written down word for word, question by question: what the fast one is held to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pyvqa.metrics.vqa_text import CONTRACTIONS, NUMBERS

PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'


def without_punctuation(text: str) -> str:
    result = text
    for mark in PUNCTUATION:
        if mark + " " in text or " " + mark in text or re.search(r"\d,\d", text):
            result = result.replace(mark, "")
        else:
            result = result.replace(mark, " ")
    return re.sub(r"\.(?!\d)", "", result, count=32)


def with_digits(text: str) -> str:
    words = []
    for word in text.lower().split():
        word = NUMBERS.get(word, word)
        if word not in ("a", "an", "the"):
            words.append(CONTRACTIONS.get(word, word))
    return " ".join(words)


def stripped(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def question_score(answers: Sequence[str], prediction: str, flavour: str) -> float:
    prediction = stripped(prediction)
    if flavour == "legacy":
        if len(set(answers)) > 1:
            answers = [without_punctuation(answer) for answer in answers]
        prediction = with_digits(without_punctuation(prediction))
    else:
        answers = [stripped(answer) for answer in answers]
        if len(set(answers)) > 1:
            answers = [with_digits(without_punctuation(answer)) for answer in answers]
            prediction = with_digits(without_punctuation(prediction))
    worth = []
    for person in range(len(answers)):
        others = [answer for k, answer in enumerate(answers) if k != person]
        agreeing = [answer for answer in others if answer == prediction]
        worth.append(min(1, len(agreeing) / 3))
    return sum(worth) / len(worth)


def accuracy(
    annotations: Sequence[Mapping[str, Any]], results: Mapping[int, str], flavour: str = "official"
) -> dict[str, Any]:
    """Score predictions, given by question id, against entries of an annotation file."""
    scores: dict[str, list[float]] = {"overall": []}
    for entry in annotations:
        answers = [answer["answer"] for answer in entry["answers"]]
        score = question_score(answers, results[entry["question_id"]], flavour)
        keys = ["overall", "q:" + entry["question_type"], "a:" + entry["answer_type"]]
        for key in keys:
            scores.setdefault(key, []).append(score)
    percent = {key: round(100 * sum(part) / len(part), 2) for key, part in scores.items()}
    return {
        "overall": percent.pop("overall"),
        "perQuestionType": {k[2:]: v for k, v in percent.items() if k.startswith("q:")},
        "perAnswerType": {k[2:]: v for k, v in percent.items() if k.startswith("a:")},
    }
