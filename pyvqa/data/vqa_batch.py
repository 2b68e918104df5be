"""From tables to tensors: batches of questions with their pictures' regions and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa.data.region_store import Regions, RegionStore
from pyvqa.data.vqa_questions import QuestionTable, VqaVocabulary
from pyvqa.errors import DataError


@dataclass(frozen=True)
class VqaBatch:
    """B questions."""

    rows: Tensor  # [B] int64: which of the split
    ids: Tensor  # [B] int64: of the questions
    questions: Tensor  # [B, T] int64 word numbers, 0 is padding
    lengths: Tensor  # [B] int64, at least 1
    regions: Regions  # of their pictures: features [B, N, D], boxes, norm_boxes, counts
    answers: Tensor  # [B] int64 target; -1 where there is none in the vocabulary


@lru_cache(maxsize=4)
def answer_draws(items: int, seed: int, epoch: int) -> NDArray[np.float64]:
    """Give one number in [0, 1) for each item of an epoch: [items], not to be written to.

    Item k's number depends on (seed, epoch, k) alone: not on the order of the data, the number of
    worker processes or the other items.
    """
    key = np.random.SeedSequence([seed % 2**64, epoch])
    draws = np.random.Generator(np.random.Philox(key)).random(items)
    draws.setflags(write=False)
    return draws


def sample_answers(
    table: QuestionTable, rows: NDArray[np.int64], draws: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Draw one of each question's human answers, as likely as people gave it: [B] numbers.

    `draws` [B] holds a number in [0, 1) for each of `rows`; NumPy's `choice` makes the same of
    them (block datasets/vqa_utils.py). A question without human answers in the vocabulary keeps
    its one answer.
    """
    begins, ends = table.choice_offsets[rows], table.choice_offsets[rows + 1]
    widest = int((ends - begins).max(initial=0))
    if widest == 0:
        return table.answers[rows].astype(np.int64)
    places = begins[:, None] + np.arange(widest)
    valid = places < ends[:, None]
    counts = np.where(valid, table.choice_counts[np.where(valid, places, 0)], 0).astype(np.float64)
    total = counts.sum(1, keepdims=True)
    share = np.cumsum(counts / np.maximum(total, 1), axis=1)
    share /= np.where(total > 0, share[:, -1:], 1)
    chosen = np.minimum((share <= draws[:, None]).sum(1), widest - 1)
    drawn = table.choices[np.minimum(begins + chosen, max(0, len(table.choices) - 1))]
    return np.where(ends > begins, drawn, table.answers[rows]).astype(np.int64)


def answer_scores(table: QuestionTable, rows: NDArray[np.int64], answers: int) -> Tensor:
    """Give what each answer of the vocabulary would score: [B, answers] float32.

    Of ten people, k gave the answer: it scores 0, 0.3, 0.6, 0.9 and from k = 4 on 1 (the official
    accuracy). Targets of a binary cross entropy.
    """
    scores = torch.zeros(len(rows), answers)
    for k, row in enumerate(rows.tolist()):
        begin, end = int(table.choice_offsets[row]), int(table.choice_offsets[row + 1])
        people = int(table.human_offsets[row + 1] - table.human_offsets[row])
        count = torch.from_numpy(table.choice_counts[begin:end].astype(np.float32))
        others = count * ((count - 1) / 3).clamp(max=1)
        score = (others + (people - count) * (count / 3).clamp(max=1)) / max(1, people)
        scores[k, torch.from_numpy(table.choices[begin:end].astype(np.int64))] = score
    return scores


class VqaItems:
    """A split with its pictures: cuts out batches."""

    def __init__(
        self, table: QuestionTable, vocabulary: VqaVocabulary, store: RegionStore, where: str = ""
    ) -> None:
        """Find the features of every picture.

        Raises:
            DataError: the split is empty, or pictures have no features (says how many).
        """
        if not len(table):
            raise DataError(f"{where or 'the split'}: holds no questions")
        self.table, self.vocabulary, self.store = table, vocabulary, store
        self._pictures = store.rows_of(list(table.image_names))

    def __len__(self) -> int:
        return len(self.table)

    def batch(
        self,
        rows: Sequence[int] | NDArray[np.int64],
        draws: NDArray[np.float64] | None = None,
        *,
        unknown_answer: int = -1,
    ) -> VqaBatch:
        """Cut out the questions `rows` [B].

        With `draws` [items] (see `answer_draws`) the targets are drawn from the human answers,
        else they are the one answer. `unknown_answer` is the target where the vocabulary lacks it;
        the original's was the last class, and guessing that class then counted as right.

        Raises:
            DataError: features are not finite or the store is damaged.
        """
        chosen = np.asarray(rows, dtype=np.int64)
        table = self.table
        questions, lengths = self._questions(chosen)
        if draws is None:
            answers = table.answers[chosen].astype(np.int64)
        else:
            answers = sample_answers(table, chosen, draws[chosen])
        answers = np.where(answers < 0, unknown_answer, answers)
        return VqaBatch(
            rows=torch.from_numpy(chosen.copy()),
            ids=torch.from_numpy(table.question_ids[chosen].astype(np.int64)),
            questions=questions,
            lengths=lengths,
            regions=self.store.read(self._pictures[table.images[chosen]]),
            answers=torch.from_numpy(answers),
        )

    def _questions(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Pad the questions' words with zeros; a question without words is one unknown word."""
        begins, ends = self.table.word_offsets[rows], self.table.word_offsets[rows + 1]
        lengths = np.asarray(ends - begins, dtype=np.int64)
        questions = np.zeros((len(rows), max(1, int(lengths.max(initial=1)))), dtype=np.int64)
        questions[lengths == 0, 0] = self.vocabulary.unknown
        for k, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
            questions[k, : end - begin] = self.table.words[begin:end]
        return torch.from_numpy(questions), torch.from_numpy(np.maximum(lengths, 1))
