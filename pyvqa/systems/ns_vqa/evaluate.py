"""The paper's table on an official CLEVR folder (ns-vqa reason/tools/run_test.py)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pyvqa.data.clevr_folder import official_file
from pyvqa.data.clevr_questions import encode_programs, global_families
from pyvqa.errors import DataError
from pyvqa.evidence import Answer
from pyvqa.metrics.clevr import Gold, clevr_scores, guess
from pyvqa.programs.clevr import QUESTION_TYPES
from pyvqa.programs.questions import read_questions
from pyvqa.programs.scenes import read_scenes
from pyvqa.systems.ns_vqa.answer import NsVqa, answer_question
from pyvqa.systems.ns_vqa.reasoning import Executor

GROUND_TRUTH = "ground-truth"


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave, ready to be written and printed."""

    result: dict[str, Any]
    answers: list[dict[str, Any]]  # in file order
    rows: list[tuple[str, int, float | None]]  # name, questions, share of right answers
    explained: list[Answer]


def evaluate(
    model: NsVqa,
    root: Path,
    split: str,
    *,
    scenes: str = GROUND_TRUTH,
    guess_seed: int | None = None,
    grammar: bool = False,
    batch_size: int = 256,
    limit: int = 0,
    explain: int = 0,
) -> Evaluation:
    """Parse and execute every question of a split, on its own scenes or those of a file.

    `guess_seed` turns on the original's guessing where a program fails; the first `explain`
    questions are answered once more with their steps.

    Raises:
        DataError: a file is missing or malformed, or questions and scenes do not belong together.
    """
    question_file = official_file(root, "questions", split)
    scene_file = official_file(root, "scenes", split) if scenes == GROUND_TRUTH else Path(scenes)
    table, scene_set = read_questions(question_file), read_scenes(scene_file)
    texts = table.questions[: limit or None]
    if not texts:
        raise DataError(f"{question_file}: holds no questions")
    try:
        rows = scene_set.rows(table.image_index[: len(texts)])
    except DataError as error:
        raise DataError(f"{question_file} on {scene_file}: {error}") from error
    started = time.perf_counter()
    programs = model.write_programs(texts, batch_size=batch_size, grammar=grammar)
    parsed = time.perf_counter()
    executor = Executor.of(scene_set, model.vocabulary)
    predictions = executor.run(programs, rows)
    executed = time.perf_counter()
    answers = predictions.texts
    if guess_seed is not None:
        answers = guess(predictions, executor.functions, guess_seed)
    result: dict[str, Any] = {"accuracy": None, "questions": len(texts)}
    gold_answers = table.answers[: len(texts)]
    if all(answer is not None for answer in gold_answers):
        gold = _gold(table, model, gold_answers)
        result = clevr_scores(predictions, gold, executor.functions, answers)
        if guess_seed is not None:
            plain = clevr_scores(predictions, gold, executor.functions)
            result["accuracy_without_guessing"] = plain["accuracy"]
    result |= {
        "split": split,
        "scenes": scenes,
        "guess_seed": guess_seed,
        "grammar": grammar,
        "parse_seconds": round(parsed - started, 3),
        "execute_seconds": round(executed - parsed, 4),
    }
    entries = [
        {"question_index": int(index), "answer": answer}
        for index, answer in zip(table.question_index, answers, strict=False)
    ]
    explained = [
        answer_question(model, scene_set, text, row=int(row), grammar=grammar)
        for text, row in zip(texts[:explain], rows, strict=False)
    ]
    return Evaluation(result, entries, _rows(result), explained)


def _gold(table: Any, model: NsVqa, answers: Sequence[str]) -> Gold:
    """Collect what the question file knows; functions outside the vocabulary become `<UNK>`."""
    programs = encode_programs(table, model.vocabulary.functions, encode_unknown=True)
    families = global_families(table)
    count = len(answers)
    return Gold(
        answers,
        None if programs is None else torch.from_numpy(programs[:count]).long(),
        None if families is None else torch.from_numpy(families[:count]),
    )


def _rows(result: dict[str, Any]) -> list[tuple[str, int, float | None]]:
    counts = result.get("counts")
    if counts is None:
        return [("all", result["questions"], None)]
    rows = [(t, counts[f"{t}_tot"], result[f"{t}_acc"]) for t in QUESTION_TYPES]
    rows.append(("all", counts["total"], result["accuracy"]))
    rows.append(("programs", counts["total"], result["program_acc"]))
    if result["guess_seed"] is not None:
        rows.append(("without guessing", counts["total"], result["accuracy_without_guessing"]))
    else:
        chance = result["expected_accuracy_with_guessing"]
        rows.append(("expected with guessing", counts["total"], chance))
    return rows
