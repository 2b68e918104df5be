"""The paper's table on an official CLEVR folder (ns-vqa reason/tools/run_test.py).

Scenes are what was seen in the pictures, or those of a file. What was seen is also held against
what is there, and every wrong answer is put down to the stage that it comes from (diagnosis.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyvqa.data.clevr_folder import SplitPictures, official_file, split_pictures
from pyvqa.data.clevr_questions import encode_programs, global_families
from pyvqa.data.pictures import read_picture
from pyvqa.errors import DataError
from pyvqa.evidence import Answer, Canvas
from pyvqa.metrics.clevr import Gold, Predictions, clevr_scores, guess
from pyvqa.metrics.scenes import confusions, scene_scores
from pyvqa.programs.clevr import QUESTION_TYPES
from pyvqa.programs.questions import read_questions
from pyvqa.programs.scenes import Scenes, read_scenes
from pyvqa.systems.ns_vqa.answer import NsVqa, answer_question
from pyvqa.systems.ns_vqa.config import DetectorConfig
from pyvqa.systems.ns_vqa.diagnosis import Cause, ReadScenes, diagnose, tally
from pyvqa.systems.ns_vqa.evidence import picture_canvas
from pyvqa.systems.ns_vqa.reasoning import Executor
from pyvqa.systems.ns_vqa.seeing import SeenPicture, pack_seen
from pyvqa.systems.ns_vqa.truth import (
    detection_scores,
    objects_of,
    pair_objects,
    read_truth,
    shared_words,
)

GROUND_TRUTH = "ground-truth"
PICTURES = "pictures"


class Looked(NamedTuple):
    """What a model saw in the pictures of a split."""

    pictures: Sequence[SeenPicture]
    detector: DetectorConfig


class Questions(NamedTuple):
    """The first N questions of a split."""

    path: Path
    table: Any  # _native.QuestionTable, perhaps of more questions
    texts: list[str]
    answers: list[str | None]

    @property
    def image_index(self) -> Any:
        """The picture of each question: int64 [N]."""
        return self.table.image_index[: len(self.texts)]

    @property
    def has_gold(self) -> bool:
        """Whether the right answers are known, of all."""
        return all(answer is not None for answer in self.answers)


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave, ready to be written and printed."""

    result: dict[str, Any]  # the same, however often and fast it is computed
    speed: dict[str, float]  # seconds of this time
    answers: list[dict[str, Any]]  # in file order
    rows: list[tuple[str, int, float | None]]  # name, questions, share of right answers
    errors: list[dict[str, Any]] | None  # wrong answers and their causes, where these are known
    explained: list[Answer]


def read_split(root: Path, split: str, limit: int = 0) -> Questions:
    """Read the questions of a split, or the first `limit` of them.

    Raises:
        DataError: the file is missing, malformed or empty.
    """
    path = official_file(root, "questions", split)
    table = read_questions(path)
    texts = table.questions[: limit or None]
    if not texts:
        raise DataError(f"{path}: holds no questions")
    return Questions(path, table, texts, table.answers[: len(texts)])


def pictures_of(root: Path, split: str, questions: Questions) -> SplitPictures:
    """Find the pictures of a split; where not all questions are used, those asked about.

    Raises:
        DataError: a picture is missing, or questions and pictures do not belong together.
    """
    found = split_pictures(root, split)
    paths = dict(zip(found.image_index, found.paths, strict=True))
    names = questions.table.image_filename
    asked = np.unique(questions.image_index, return_index=True)
    for index, entry in zip(*(values.tolist() for values in asked), strict=True):
        if index not in paths or names[entry] not in (None, "", paths[index].name):
            about = paths[index].name if index in paths else "no picture of the split"
            raise DataError(
                f"{questions.path}: question {entry} is about image_index {index} "
                f"({names[entry]}), which is {about}; questions, scenes and pictures must be of "
                "the same split"
            )
    if len(questions.texts) == len(questions.table):
        return found
    wanted = set(asked[0].tolist())
    kept = [k for k, index in enumerate(found.image_index) if index in wanted]
    return SplitPictures([found.image_index[k] for k in kept], [found.paths[k] for k in kept])


def evaluate(
    model: NsVqa,
    root: Path,
    split: str,
    *,
    scenes: str = GROUND_TRUTH,
    looked: Looked | None = None,
    guess_seed: int | None = None,
    grammar: bool = False,
    batch_size: int = 256,
    limit: int = 0,
    explain: int = 0,
    errors_first: bool = False,
) -> Evaluation:
    """Parse and execute every question of a split, on what was seen or the scenes of a file.

    `looked`, if given, stands for `scenes`. `guess_seed` turns on the original's guessing where a
    program fails; the first `explain` questions are answered once more with their steps, with
    `errors_first` those answered wrong before the others.

    Raises:
        DataError: a file is missing or malformed, or questions and scenes do not belong together.
    """
    questions = read_split(root, split, limit)
    scene_set, rows = _scenes(root, split, questions, scenes, looked)
    predictions, speed = _predict(
        model, questions, scene_set, rows, grammar=grammar, batch_size=batch_size
    )
    answers = predictions.texts
    if guess_seed is not None:
        answers = guess(predictions, model.functions, guess_seed)
    gold = _gold(questions, model) if questions.has_gold else None
    result = {
        **_scores(predictions, gold, model.functions, answers, guessed=guess_seed is not None),
        "split": split,
        "scenes": scenes if looked is None else PICTURES,
        "guess_seed": guess_seed,
        "grammar": grammar,
    }
    errors = None
    if looked is not None:
        found, read = _judge_pictures(root, split, looked, scene_set)
        result |= found
        if read is not None and gold is not None:
            causes = diagnose(predictions, gold, rows, read, model.vocabulary)
            result["wrong_answers"] = {"total": len(causes), **tally(causes)}
            errors = _errors(causes, questions, predictions, looked.pictures, rows)
    entries = [
        {"question_index": int(index), "answer": answer}
        for index, answer in zip(questions.table.question_index, answers, strict=False)
    ]
    chosen = _chosen(questions, answers, explain, errors_first=errors_first)
    explained = list(
        _explained(model, questions, scene_set, rows[chosen].tolist(), chosen, looked, grammar)
    )
    return Evaluation(result, speed, entries, _rows(result), errors, explained)


def _predict(
    model: NsVqa,
    questions: Questions,
    scenes: Scenes,
    rows: Tensor,
    *,
    grammar: bool,
    batch_size: int,
) -> tuple[Predictions, dict[str, float]]:
    """Parse and execute questions, each on the scene in its row; also tell how long it took."""
    started = time.perf_counter()
    programs = model.write_programs(questions.texts, batch_size=batch_size, grammar=grammar)
    parsed = time.perf_counter()
    predictions = Executor.of(scenes, model.vocabulary).run(programs, rows)
    executed = time.perf_counter()
    speed = {
        "questions": len(questions.texts),
        "parse_seconds": round(parsed - started, 3),
        "execute_seconds": round(executed - parsed, 4),
    }
    return predictions, speed


def _scores(
    predictions: Predictions,
    gold: Gold | None,
    functions: Sequence[str],
    answers: Sequence[str],
    *,
    guessed: bool,
) -> dict[str, Any]:
    if gold is None:
        return {"accuracy": None, "questions": len(answers)}
    scores = clevr_scores(predictions, gold, functions, answers)
    if guessed:
        plain = clevr_scores(predictions, gold, functions)
        scores["accuracy_without_guessing"] = plain["accuracy"]
    return scores


def _scenes(
    root: Path, split: str, questions: Questions, scenes: str, looked: Looked | None
) -> tuple[Scenes, Tensor]:
    """Give the scenes that questions are answered on, and the row of each question."""
    if looked is not None:
        where, found = "what was seen", pack_seen(looked.pictures)
    else:
        is_truth = scenes == GROUND_TRUTH
        where = str(official_file(root, "scenes", split)) if is_truth else scenes
        found = read_scenes(where)
    try:
        return found, found.rows(questions.image_index)
    except DataError as error:
        raise DataError(f"{questions.path} on {where}: {error}") from error


def _judge_pictures(
    root: Path, split: str, looked: Looked, scene_set: Scenes
) -> tuple[dict[str, Any], ReadScenes | None]:
    """Hold what was seen against what is there, if that is known."""
    found: dict[str, Any] = {"pictures": len(looked.pictures), "objects": None, "coco": None}
    truth = read_truth(root, split, looked.pictures)
    if truth is None:
        return found, None
    words = shared_words(scene_set, truth.scenes)
    seen = objects_of(scene_set, np.arange(len(scene_set)), words)
    true = objects_of(truth.scenes, truth.rows, words)
    pairs = pair_objects(looked.pictures, seen, truth, true)
    found["objects"] = {
        "paired_by": "position" if truth.instances is None else "mask",
        **scene_scores(seen, true, pairs),
        "confusions": confusions(seen, true, pairs, words),
    }
    if truth.instances is not None:
        found["coco"] = {
            "instances": truth.instances.path.name,
            **detection_scores(
                looked.pictures,
                truth.instances,
                categories=looked.detector.categories,
                inclusive=looked.detector.rules == "detectron",
            ),
        }
    return found, ReadScenes(seen, true, pairs, words)


def _errors(
    causes: Sequence[Cause],
    questions: Questions,
    predictions: Predictions,
    pictures: Sequence[SeenPicture],
    rows: Tensor,
) -> list[dict[str, Any]]:
    return [
        {
            "question_index": int(questions.table.question_index[cause.question]),
            "image_filename": pictures[int(rows[cause.question])].path.name,
            "question": questions.texts[cause.question],
            "answer": predictions.texts[cause.question],
            "expected": questions.answers[cause.question],
            "stage": cause.stage,
            "kind": cause.kind,
        }
        for cause in causes
    ]


def _chosen(
    questions: Questions, answers: Sequence[str], count: int, *, errors_first: bool
) -> list[int]:
    """Choose the questions to explain."""
    order = range(len(answers))
    if not errors_first:
        return list(order[:count])
    if not questions.has_gold:
        raise DataError(f"{questions.path}: states no answers, so it is not known which are wrong")
    return sorted(order, key=lambda k: answers[k] == questions.answers[k])[:count]


def _explained(
    model: NsVqa,
    questions: Questions,
    scenes: Scenes,
    rows: Sequence[int],
    chosen: Sequence[int],
    looked: Looked | None,
    grammar: bool,
) -> Iterator[Answer]:
    """Answer the chosen questions with their steps, on the picture where one was looked at.

    The answers are those that were counted; `answer_seen` would hold doubtful ones back.
    """
    canvases: dict[int, Canvas] = {}
    for number, row in zip(chosen, rows, strict=True):
        if looked is not None and row not in canvases:
            seen = looked.pictures[row]
            canvases[row] = picture_canvas(read_picture(seen.path), seen.seen(), seen.path.name)
        answer = answer_question(
            model,
            scenes,
            questions.texts[number],
            row=row,
            grammar=grammar,
            canvas=canvases.get(row),
        )
        yield replace(answer, expected=questions.answers[number])


def _gold(questions: Questions, model: NsVqa) -> Gold:
    """Collect what the question file knows; functions outside the vocabulary become `<UNK>`."""
    programs = encode_programs(questions.table, model.vocabulary.functions, encode_unknown=True)
    families = global_families(questions.table)
    count = len(questions.texts)
    return Gold(
        [answer or "" for answer in questions.answers],
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
