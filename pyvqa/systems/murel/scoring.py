"""Let a network answer a whole split, and score what it says (murel and block `metrics`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from pyvqa.data.vqa_batch import VqaBatch, VqaItems
from pyvqa.data.vqa_questions import QuestionTable, VqaVocabulary
from pyvqa.metrics.intervals import wilson
from pyvqa.metrics.tdiuc import tdiuc_scores
from pyvqa.metrics.topk import top_k_right
from pyvqa.metrics.vqa import HumanAnswers, vqa_accuracy
from pyvqa.systems.murel.build import Network
from pyvqa.systems.murel.data import human_answers, in_order
from pyvqa.systems.murel.model.network import Answered
from pyvqa.train.loader import to_device

TOP = (1, 5)  # among how many answers the right one is looked for
_NO_NUMBER = -2  # of an answer that the vocabulary lacks; never equal to a true one's


@dataclass(frozen=True)
class Predictions:
    """What a network said to the first N questions of a split."""

    answers: NDArray[np.int64]  # [N] most likely one
    right: dict[int, NDArray[np.bool_]]  # k -> [N]: the target is among the k most likely
    losses: NDArray[np.float64]  # [N] cross entropy; nan where the vocabulary lacks the target


def run_network(network: Network, batch: VqaBatch) -> Answered:
    """Answer a batch."""
    regions = batch.regions
    return network(  # type: ignore[no-any-return]
        batch.questions, batch.lengths, regions.features, regions.norm_boxes, regions.valid
    )


@torch.no_grad()
def answered(
    network: Network, items: VqaItems, batch_size: int, count: int
) -> Iterator[tuple[VqaBatch, Answered]]:
    """Answer the first `count` questions of a split in its own order, batch by batch.

    Batches are where the network is, which must be in evaluation mode.

    Raises:
        DataError: features are not finite or a store is damaged.
    """
    device = next(network.parameters()).device
    for batch in in_order(items, batch_size, count):
        moved = to_device(batch, device)
        yield moved, run_network(network, moved)


class Tally:
    """Count what is said, batch by batch."""

    def __init__(self) -> None:
        self._best: list[Tensor] = []
        self._right: dict[int, list[Tensor]] = {k: [] for k in TOP}
        self._losses: list[Tensor] = []

    def add(self, batch: VqaBatch, logits: Tensor) -> None:
        """Take in the logits [B, answers] of a batch."""
        logits, targets = logits.float(), batch.answers
        self._best.append(logits.argmax(1).cpu())
        for k in TOP:
            self._right[k].append(top_k_right(logits, targets, k).cpu())
        loss = F.cross_entropy(logits, targets.clamp(min=0), reduction="none")
        self._losses.append(loss.masked_fill(targets < 0, torch.nan).double().cpu())

    def done(self) -> Predictions:
        """Give the predictions for all questions so far."""
        return Predictions(
            torch.cat(self._best).numpy(),
            {k: torch.cat(parts).numpy() for k, parts in self._right.items()},
            torch.cat(self._losses).numpy(),
        )


def predict(network: Network, items: VqaItems, batch_size: int, *, limit: int = 0) -> Predictions:
    """Answer a split, or its first `limit` questions (see `answered`)."""
    tally = Tally()
    for batch, said in answered(network, items, batch_size, limit or len(items)):
        tally.add(batch, said.logits)
    return tally.done()


def scores(
    table: QuestionTable,
    vocabulary: VqaVocabulary,
    found: Predictions,
    flavour: str = "official",
) -> dict[str, Any]:
    """Score predictions for a labelled split; accuracies are percentages.

    `accuracy_top1` and `accuracy_top5` against the one answer, with the 95 % interval of the first;
    `loss` over questions whose answer is in the vocabulary; `by_type` what `tdiuc_scores` gives;
    `vqa` what `vqa_accuracy` gives, where several people answered each question, else None.
    """
    count = len(found.answers)
    answers = table.answers[:count].astype(np.int64)
    share = float(found.right[1].mean())
    low, high = wilson(share, count)
    known = found.losses[np.isfinite(found.losses)]
    return {
        "questions": count,
        "outside_vocabulary": int((answers < 0).sum()),
        "loss": float(known.mean()) if len(known) else None,
        **{f"accuracy_top{k}": 100 * float(right.mean()) for k, right in found.right.items()},
        "interval": (100 * low, 100 * high),
        "by_type": tdiuc_scores(answers, found.answers, _types(table, count)),
        "vqa": _official(table, vocabulary, found, flavour),
    }


def score_texts(
    table: QuestionTable,
    vocabulary: VqaVocabulary,
    humans: HumanAnswers,
    texts: Sequence[str],
    flavour: str,
) -> dict[str, Any]:
    """Score an answer text for each question of a labelled split, as far as `scores` does."""
    right = np.array(
        [
            text == table.strings[k]
            for text, k in zip(texts, table.answer_texts.tolist(), strict=True)
        ]
    )
    numbers = [vocabulary.answer_numbers.get(text, _NO_NUMBER) for text in texts]
    answers = table.answers.astype(np.int64)
    share = float(right.mean())
    low, high = wilson(share, len(texts))
    several = int(np.diff(table.human_offsets).min()) > 1
    return {
        "questions": len(texts),
        "outside_vocabulary": int((answers < 0).sum()),
        "accuracy_top1": 100 * share,
        "interval": (100 * low, 100 * high),
        "by_type": tdiuc_scores(answers, np.array(numbers), _types(table, len(texts))),
        "vqa": vqa_accuracy(humans, texts, flavour) if several else None,
    }


def _types(table: QuestionTable, count: int) -> list[str]:
    names = list(table.type_names)
    return [names[t] if t >= 0 else "" for t in table.types[:count].tolist()]


def _official(
    table: QuestionTable, vocabulary: VqaVocabulary, found: Predictions, flavour: str
) -> dict[str, Any] | None:
    people = np.diff(table.human_offsets)
    if not len(people) or int(people.min()) < 2:
        return None
    texts = [vocabulary.answers[number] for number in found.answers.tolist()]
    return vqa_accuracy(human_answers(table, len(texts)), texts, flavour)
