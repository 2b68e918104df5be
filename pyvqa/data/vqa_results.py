"""Result files as the VQA evaluation servers take them, and logits for later ensembles.

OpenEnded_mscoco_<subset>_model_results.json    [{"question_id": ..., "answer": ...}, ...]
aid_to_ans.json                                 the answers in the order of their numbers
logits.h5                                       question_id [N], logits [N, A] float16, answers
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from pyvqa.data.vqa_questions import QuestionTable
from pyvqa.errors import DataError
from pyvqa.files import atomic_write, read_json, write_json

TEST_DEV = "test-dev2015"


def result_name(subset: str) -> str:
    """Name the result file of a subset such as val2014 or test2015."""
    return f"OpenEnded_mscoco_{subset}_model_results.json"


def write_results(
    folder: str | Path,
    subset: str,
    table: QuestionTable,
    predictions: Sequence[str],
    answers: Sequence[str],
) -> list[Path]:
    """Write the predictions for a split, in its order, and the answer list.

    Where some questions are part of test-dev, these are written once more in a file of their own.
    Returns the result files.

    Raises:
        DataError: as many predictions as questions are needed; a file cannot be written.
    """
    ids = table.question_ids.tolist()
    if len(predictions) != len(ids):
        raise DataError(f"{len(predictions):,} predictions for {len(ids):,} questions")
    entries = [
        {"question_id": number, "answer": text}
        for number, text in zip(ids, predictions, strict=True)
    ]
    files = {subset: entries}
    dev = [entry for entry, flag in zip(entries, table.test_dev.tolist(), strict=True) if flag]
    if dev:
        files[TEST_DEV] = dev
    folder = Path(folder)
    written = []
    for name, content in files.items():
        written.append(folder / result_name(name))
        write_json(written[-1], content, indent=None)
    write_json(folder / "aid_to_ans.json", list(answers), indent=None)
    return written


def read_results(path: str | Path) -> dict[int, str]:
    """Read a result file: question id -> answer.

    Raises:
        DataError: not such a file, or a question is answered twice.
    """
    results: dict[int, str] = {}
    for k, entry in enumerate(read_json(path, expect=list)):
        number = entry.get("question_id") if isinstance(entry, dict) else None
        if type(number) is not int or not isinstance(entry.get("answer"), str):
            raise DataError(
                f"{path}: entry {k} is not {{question_id: whole number, answer: text}}; is it a "
                "result file?"
            )
        if number in results:
            raise DataError(f"{path}: question {number} is answered twice (entry {k})")
        results[number] = entry["answer"]
    return results


def write_logits(
    path: str | Path,
    question_ids: NDArray[np.int64],
    logits: Iterable[NDArray[np.float32]],
    answers: Sequence[str],
) -> None:
    """Write what a network said to N questions, batch by batch, in half precision."""
    with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
        file["question_id"] = question_ids
        file["answers"] = np.array([answer.encode() for answer in answers] or [b""])
        kept = file.create_dataset("logits", (len(question_ids), len(answers)), "f2")
        row = 0
        for batch in logits:
            kept[row : row + len(batch)] = batch
            row += len(batch)
        if row != len(question_ids):
            raise DataError(f"{path}: logits of {row:,} questions where {len(question_ids):,} are")
