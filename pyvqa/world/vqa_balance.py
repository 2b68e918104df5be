"""How often each answer is given to each type of question, in the layouts of the VQA family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Counts = dict[str, dict[str, int]]  # question type -> answer -> how often


def true_answer(annotation: Mapping[str, Any]) -> str:
    """Return the answer of an annotation: the majority's, in TDIUC the only one."""
    answers = annotation["answers"]
    return str(annotation.get("multiple_choice_answer", answers[0]["answer"]))


def count_answers(annotations: Iterable[Mapping[str, Any]]) -> Counts:
    """Count the true answers of annotations by question type."""
    counts: dict[str, Counter[str]] = {}
    for entry in annotations:
        counts.setdefault(entry["question_type"], Counter())[true_answer(entry)] += 1
    return {kind: dict(of_type) for kind, of_type in counts.items()}


def add_counts(parts: Iterable[Counts]) -> Counts:
    """Add up the counts of several parts; sorted by name."""
    total: dict[str, Counter[str]] = {}
    for part in parts:
        for kind, answers in part.items():
            total.setdefault(kind, Counter()).update(answers)
    return {kind: dict(sorted(total[kind].items())) for kind in sorted(total)}


def vqa_report(counts: Counts) -> dict[str, Any]:
    """Summarise counts for a JSON file.

    `prior` is the share of questions that whoever gives each type's most frequent answer has right.
    """
    types: dict[str, dict[str, Any]] = {
        kind: {
            "questions": sum(answers.values()),
            "answers": answers,
            "largest_share": round(max(answers.values()) / sum(answers.values()), 4),
        }
        for kind, answers in counts.items()
    }
    questions = sum(one["questions"] for one in types.values())
    best = sum(max(answers.values()) for answers in counts.values())
    prior = round(best / questions, 4) if questions else 0.0
    return {"questions": questions, "prior": prior, "types": types}


VQA_TITLES = ("question type", "questions", "answers", "top answer", "its share")


def vqa_table(report: Mapping[str, Any]) -> list[Sequence[str]]:
    """Return a report as rows of `VQA_TITLES`, the most frequent types first, all of them last."""
    rows: list[Sequence[str]] = []
    kinds = report["types"].items()
    for kind, one in sorted(kinds, key=lambda pair: (-pair[1]["questions"], pair[0])):
        answers = one["answers"]
        top = max(answers, key=lambda answer: (answers[answer], answer))
        cells = (f"{one['questions']:,}", f"{len(answers)}", top)
        rows.append((kind, *cells, f"{100 * one['largest_share']:.1f} %"))
    distinct = {answer for one in report["types"].values() for answer in one["answers"]}
    total = (f"{report['questions']:,}", f"{len(distinct)}", "-")
    return [*rows, ("all", *total, f"{100 * report['prior']:.1f} %")]
