"""MuRel's data: splits with their features, shuffled or in order, and what people answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyvqa.data.region_store import RegionStore, ZeroRegions, open_regions
from pyvqa.data.vqa_batch import VqaBatch, VqaItems, answer_draws
from pyvqa.data.vqa_questions import QuestionTable, VqaData
from pyvqa.metrics.vqa import HumanAnswers
from pyvqa.train.order import batches_in_epoch, epoch_order, global_batch, share


def open_store(features: Sequence[str | Path], width: int) -> RegionStore:
    """Open the feature stores, `width` numbers a region; without any, all features are zero.

    Raises:
        DataError: a file is no store, or of another width.
    """
    return open_regions(features, width) if features else ZeroRegions(width)


def load_items(data: VqaData, split: str, store: RegionStore) -> VqaItems:
    """Open a split; raises DataError where it is missing or its pictures have no features."""
    return VqaItems(data.split(split), data.vocabulary, store, f"{data.folder}: {split}")


class Shuffled:
    """Batches of a split in a new order every epoch (see `pyvqa.train.stage.Source`)."""

    def __init__(
        self, items: VqaItems, batch_size: int, seed: int, *, sample_answers: bool
    ) -> None:
        """With `sample_answers`, each epoch draws a target anew from a question's human answers."""
        self.items, self.batch_size, self.seed = items, batch_size, seed
        self.sample_answers = sample_answers

    def __len__(self) -> int:
        return batches_in_epoch(len(self.items), self.batch_size)

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> VqaBatch:
        """Give one share of a global batch."""
        order = epoch_order(len(self.items), self.seed, epoch)
        mine = share(global_batch(order, index, self.batch_size), rank, ranks)
        draws = answer_draws(len(self.items), self.seed, epoch) if self.sample_answers else None
        return self.items.batch(mine, draws)


def in_order(items: VqaItems, batch_size: int, count: int | None = None) -> Iterator[VqaBatch]:
    """Go through a split once, in its own order, or through its first `count` questions."""
    end = len(items) if count is None else min(count, len(items))
    for begin in range(0, end, batch_size):
        yield items.batch(np.arange(begin, min(begin + batch_size, end)))


def human_answers(table: QuestionTable, count: int | None = None) -> HumanAnswers:
    """Give what people answered, for the official accuracy; the split must be labelled.

    Of the first `count` questions, or of all.
    """
    humans = HumanAnswers.of_ragged(
        table.question_ids,
        table.humans,
        table.human_offsets,
        strings=list(table.strings),
        types=np.asarray(table.types),
        type_names=list(table.type_names),
        answer_types=np.asarray(table.answer_types),
        answer_type_names=list(table.answer_type_names),
    )
    if count is None:
        return humans
    columns = ("question_ids", "answers", "types", "answer_types")
    return replace(humans, **{name: getattr(humans, name)[:count] for name in columns})
