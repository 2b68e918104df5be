"""Answer a split of prepared questions: scores, result files and how some answers came about.

murel's `run` with `dataset.eval_split` (bootstrap.pytorch run.py, block metrics/vqa_accuracies.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa.data.vqa_batch import VqaItems
from pyvqa.data.vqa_questions import QuestionTable, VqaData
from pyvqa.data.vqa_results import read_results, write_logits
from pyvqa.errors import DataError
from pyvqa.evidence import Answer
from pyvqa.metrics.vqa import in_order
from pyvqa.systems.murel.data import human_answers, load_items, open_store
from pyvqa.systems.murel.evidence import explain_rows
from pyvqa.systems.murel.folder import Model
from pyvqa.systems.murel.scoring import Predictions, Tally, answered, score_texts, scores


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation gave, ready to be written and printed."""

    result: dict[str, Any]
    table: QuestionTable  # of the questions that were answered: ids and test-dev flags
    texts: list[str]  # the answers
    vocabulary: tuple[str, ...]  # all answers by number
    subset: str  # official name, e.g. val2014
    explained: list[Answer]


def evaluate(
    model: Model,
    data: VqaData,
    split: str,
    features: Sequence[str | Path],
    *,
    batch_size: int = 256,
    limit: int = 0,
    flavour: str = "official",
    logits: Path | None = None,
    explain: int = 0,
    errors_first: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> Evaluation:
    """Answer a split, or its first `limit` questions; score it where its answers are known.

    Without `features` all of them are zero. `logits`: a file to write them to. The first `explain`
    questions, with `errors_first` those answered wrong before the others, are answered once more
    with their reasons. `advance` hears of every batch how many questions it had.

    Raises:
        DataError: a file is missing, damaged, or of another data set than the model.
    """
    model.vocabulary.require_same(data.vocabulary, "the model", data.folder)
    items = load_items(data, split, open_store(features, model.config.region_dim))
    count = min(limit, len(items)) if limit else len(items)
    found = _answer(model, items, batch_size, count, logits, advance)
    table = items.table
    part = replace(table, question_ids=table.question_ids[:count], test_dev=table.test_dev[:count])
    return Evaluation(
        result=_result(model, items, found, flavour)
        | {"split": split, "features": [Path(path).name for path in features]},
        table=part,
        texts=[model.vocabulary.answers[k] for k in found.answers.tolist()],
        vocabulary=model.vocabulary.answers,
        subset=data.subset(split),
        explained=explain_rows(model, items, _chosen(found, explain, errors_first)),
    )


def evaluate_results(
    data: VqaData, split: str, results: Path, flavour: str = "official"
) -> dict[str, Any]:
    """Score a result file, of whatever origin, on a labelled split (see `scoring.scores`).

    An answer is the right one when it is the same text. There is no loss and no top 5.

    Raises:
        DataError: not a result file, or one of other questions; the answers are not known.
    """
    table = data.split(split)
    if not table.labelled:
        raise DataError(f"{data.folder}: {split} has no answers to score {results} by")
    humans, texts = in_order(human_answers(table), read_results(results), str(results))
    return score_texts(table, data.vocabulary, humans, texts, flavour) | {"split": split}


def _answer(
    model: Model,
    items: VqaItems,
    batch_size: int,
    count: int,
    logits: Path | None,
    advance: Callable[[int], None],
) -> Predictions:
    tally = Tally()

    def said() -> Iterator[NDArray[np.float32]]:
        for batch, answer in answered(model.network, items, batch_size, count):
            tally.add(batch, answer.logits)
            advance(len(batch.ids))
            yield answer.logits.float().cpu().numpy()

    if logits is None:
        for _ in said():
            pass
    else:
        ids = np.asarray(items.table.question_ids[:count])
        write_logits(logits, ids, said(), model.vocabulary.answers)
    return tally.done()


def _result(model: Model, items: VqaItems, found: Predictions, flavour: str) -> dict[str, Any]:
    if items.table.labelled:
        return scores(items.table, model.vocabulary, found, flavour)
    return {"questions": len(found.answers), "accuracy_top1": None}


def _chosen(found: Predictions, explain: int, errors_first: bool) -> list[int]:
    rows = np.arange(len(found.answers))
    if errors_first:
        rows = rows[np.argsort(found.right[1], kind="stable")]
    return [int(row) for row in rows[:explain]]
