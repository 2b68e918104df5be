"""Let a network answer a whole split, and score what it says (murel and block `metrics`)."""

from __future__ import annotations

from collections.abc import Callable
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
from pyvqa.metrics.vqa import vqa_accuracy
from pyvqa.systems.murel.build import Network
from pyvqa.systems.murel.data import human_answers, in_order
from pyvqa.systems.murel.model.network import Answered
from pyvqa.train.loader import to_device

TOP = (1, 5)  # among how many answers the right one is looked for


@dataclass(frozen=True)
class Predictions:
    """What a network said to N questions."""

    rows: NDArray[np.int64]  # [N] of the split
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
def predict(
    network: Network,
    items: VqaItems,
    batch_size: int,
    *,
    limit: int = 0,
    seen: Callable[[Tensor], None] | None = None,
) -> Predictions:
    """Answer a split in its own order, or its first `limit` questions.

    `seen` is given the logits of each batch, [B, answers] float32 in main memory. The network must
    be in evaluation mode.

    Raises:
        DataError: features are not finite or a store is damaged.
    """
    device = next(network.parameters()).device
    best, losses = [], []
    right: dict[int, list[Tensor]] = {k: [] for k in TOP}
    count = min(limit, len(items)) if limit else len(items)
    for batch in in_order(items, batch_size, count):
        moved = to_device(batch, device)
        logits = run_network(network, moved).logits.float()
        best.append(logits.argmax(1).cpu())
        for k in TOP:
            right[k].append(top_k_right(logits, moved.answers, k).cpu())
        loss = F.cross_entropy(logits, moved.answers.clamp(min=0), reduction="none")
        losses.append(loss.masked_fill(moved.answers < 0, torch.nan).double().cpu())
        if seen is not None:
            seen(logits.cpu())
    return Predictions(
        np.arange(count),
        torch.cat(best).numpy(),
        {k: torch.cat(parts).numpy() for k, parts in right.items()},
        torch.cat(losses).numpy(),
    )


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
    count = len(found.rows)
    share = float(found.right[1].mean())
    low, high = wilson(share, count)
    known = found.losses[np.isfinite(found.losses)]
    names = list(table.type_names)
    return {
        "questions": count,
        "outside_vocabulary": int((table.answers[found.rows] < 0).sum()),
        "loss": float(known.mean()) if len(known) else None,
        **{f"accuracy_top{k}": 100 * float(right.mean()) for k, right in found.right.items()},
        "interval": (100 * low, 100 * high),
        "by_type": tdiuc_scores(
            table.answers[found.rows].astype(np.int64),
            found.answers,
            [names[t] if t >= 0 else "" for t in table.types[found.rows].tolist()],
        ),
        "vqa": _official(table, vocabulary, found, flavour),
    }


def _official(
    table: QuestionTable, vocabulary: VqaVocabulary, found: Predictions, flavour: str
) -> dict[str, Any] | None:
    people = np.diff(table.human_offsets)
    if not len(people) or int(people.min()) < 2:
        return None
    texts = [vocabulary.answers[number] for number in found.answers.tolist()]
    return vqa_accuracy(human_answers(table, found.rows), texts, flavour)
