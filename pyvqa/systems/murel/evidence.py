"""How MuRel came to an answer: regions and links of every step (Cadene et al. 2019, section 4.4).

Both aggregations are maxima, so that each channel says where it comes from. With D channels,

    p_T[i]    share of the channels of the last step that region i supplied
    W_t[i,j]  share of the channels of region i in step t that neighbour j supplied
    p_(t-1) = r p_t + (1 - r) W_t^T p_t

where r is the share that the residual carries, a matter of choice: `RESIDUAL`. Where an aggregate
is no maximum, or there are no relations, p stays as it is and no links are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyvqa.data.region_store import Regions
from pyvqa.data.vqa_batch import VqaBatch, VqaItems
from pyvqa.errors import DataError
from pyvqa.evidence import Alternative, Answer, Canvas, Link, Region, Step
from pyvqa.systems.murel.folder import Model
from pyvqa.systems.murel.model.network import Answered, Reasoning
from pyvqa.systems.murel.scoring import run_network
from pyvqa.train.loader import to_device

RESIDUAL = 0.5
TOP_REGIONS = 6  # that a step shows
LEAST_LINK = 0.2  # share of a region's channels from which on a link is drawn
ALTERNATIVES = 4


class Contributions(NamedTuple):
    """What regions contributed to the answers of B questions."""

    regions: list[Tensor]  # after each step: [B, N], rows sum to 1
    links: list[Tensor | None]  # of each step: [B, N, N], rows of regions that are there sum to 1


def contributions(
    reasoning: Reasoning, counts: Tensor, residual: float = RESIDUAL
) -> Contributions:
    """Follow the maxima back from the answer to the regions, step by step.

    `counts` [B]: regions of each picture.
    """
    regions = reasoning.steps[-1].regions
    width = regions.shape[1]
    if reasoning.chosen is None:
        there = (torch.arange(width, device=counts.device) < counts[:, None]).float()
        share = there / counts.clamp(min=1)[:, None]
    else:
        share = _shares(reasoning.chosen, width)
    shares = [share]
    links: list[Tensor | None] = []
    for step in reversed(reasoning.steps):
        link = None if step.winner is None else _shares(step.winner, width)
        if link is not None:
            passed = torch.bmm(shares[0].unsqueeze(1), link).squeeze(1)
            shares.insert(0, residual * shares[0] + (1 - residual) * passed)
        else:
            shares.insert(0, shares[0])
        links.insert(0, link)
    return Contributions(shares[1:], links)


def _shares(winners: Tensor, count: int) -> Tensor:
    """Count how often each of `count` regions stands in the last dimension: [..., D] -> shares."""
    known = winners >= 0
    size = (*winners.shape[:-1], count)
    totals = torch.zeros(size, device=winners.device)
    totals.scatter_add_(-1, winners.clamp(min=0).long(), known.float())
    return totals / winners.shape[-1]


def explain_rows(model: Model, items: VqaItems, rows: Sequence[int]) -> list[Answer]:
    """Answer some questions of a split with their reasons; the pictures themselves are not shown.

    Raises:
        DataError: a store is damaged.
    """
    table = items.table
    answers = []
    for row in rows:
        batch = items.batch(np.array([row]))
        name = str(table.image_names[int(table.images[row])])
        expected = int(table.answer_texts[row])
        answers.append(
            explain_batch(
                model,
                batch,
                question=str(table.texts[row]),
                canvas=region_canvas(batch.regions, name),
                expected=str(table.strings[expected]) if expected >= 0 else None,
                category=str(table.type_names[t]) if (t := int(table.types[row])) >= 0 else "",
            )
        )
    return answers


@torch.no_grad()
def explain_batch(
    model: Model,
    batch: VqaBatch,
    *,
    question: str,
    canvas: Canvas,
    expected: str | None = None,
    category: str = "",
    warnings: tuple[str, ...] = (),
) -> Answer:
    """Answer the one question of a batch with its reasons, on a canvas with its regions."""
    moved = to_device(batch, next(model.network.parameters()).device)
    said: Answered = run_network(model.network, moved)
    likely, numbers = torch.softmax(said.logits[0].float(), 0).topk(
        min(1 + ALTERNATIVES, said.logits.shape[1])
    )
    names = [model.vocabulary.answers[k] for k in numbers.tolist()]
    chances = [round(value, 4) for value in likely.tolist()]
    words = [model.vocabulary.words[k] for k in batch.questions[0, : int(batch.lengths[0])]]
    steps = [_question_step(words, said.reasoning.words)]
    if said.reasoning.regions is not None:
        steps += _attention_steps(said.reasoning.regions[0], canvas)
    else:
        steps += _relation_steps(contributions(said.reasoning, moved.regions.counts), canvas)
    last = Step(
        words="choose the answer", name="answer", kind="word", value=names[0],
        inputs=(len(steps) - 1,),
    )  # fmt: skip
    others = zip(names[1:], chances[1:], strict=True)
    return Answer(
        text=names[0],
        question=question,
        score=chances[0],
        expected=expected,
        category=category,
        alternatives=tuple(Alternative(text=text, score=score) for text, score in others),
        canvas=canvas,
        steps=(*steps, last),
        warnings=warnings,
    )


def region_canvas(regions: Regions, title: str, image: str | None = None) -> Canvas:
    """Make the canvas of one picture, sized by its boxes in pixels and in shares.

    Raises:
        DataError: there is not one picture.
    """
    if len(regions.counts) != 1:
        raise DataError(f"{len(regions.counts)} pictures where one is shown")
    count = int(regions.counts[0])
    boxes, shares = regions.boxes[0, :count], regions.norm_boxes[0, :count]
    width, height = (_extent(boxes[:, axis::2], shares[:, axis::2]) for axis in (0, 1))
    listed = [
        Region(box=(x0, y0, x1, y1), label=f"region {k}")
        for k, (x0, y0, x1, y1) in enumerate(
            ([round(value, 1) for value in box] for box in boxes.tolist()), 1
        )
    ]
    return Canvas(
        kind="picture", width=width, height=height, title=title, image=image, regions=tuple(listed)
    )


def _extent(pixels: Tensor, shares: Tensor) -> float:
    """Give the picture's side from positions in pixels and in shares of it."""
    if not pixels.numel() or float(shares.max()) <= 0:
        return max(1.0, float(pixels.max()) if pixels.numel() else 1.0)
    place = int(shares.flatten().argmax())
    return max(1.0, round(float(pixels.flatten()[place] / shares.flatten()[place])))


def _question_step(words: Sequence[str], weights: Tensor | None) -> Step:
    """Tell what the question's glimpses attend to."""
    if weights is None:
        return Step(words="read the question", name="question", value=" ".join(words))
    told = []
    most = 3 if weights.shape[1] <= 2 else 2
    for glimpse in weights[0, :, : len(words)]:
        order = glimpse.argsort(descending=True)[:most].tolist()
        told.append(", ".join(f"{words[k]} {100 * float(glimpse[k]):.0f} %" for k in order))
    return Step(words="read the question", name="question", value="; ".join(told))


def _attention_steps(weights: Tensor, canvas: Canvas) -> list[Step]:
    """Show where each glimpse of the baseline looks: weights [G, N]."""
    shown = [_top(glimpse, len(canvas.regions)) for glimpse in weights]
    return [
        Step(
            words=f"look at regions, glimpse {number}",
            name="attention",
            inputs=(0,),
            value=_first(regions, canvas),
            regions=regions,
        )
        for number, regions in enumerate(shown, 1)
    ]


def _relation_steps(found: Contributions, canvas: Canvas) -> list[Step]:
    count = len(canvas.regions)
    steps = []
    for number, (share, link) in enumerate(zip(found.regions, found.links, strict=True)):
        regions = _top(share[0], count)
        links: list[Link] = []
        if link is not None:
            for region in regions:
                i = int(region.item or 0)
                row = link[0, i, :count]
                strong = (row >= LEAST_LINK).nonzero().flatten().tolist()
                links += [Link(i=i, j=j, weight=round(float(row[j]), 4)) for j in strong]
        steps.append(
            Step(
                words=f"relate the regions, step {number + 1}",
                name="relate",
                inputs=(number,),
                value=_first(regions, canvas),
                regions=regions,
                links=tuple(links),
            )
        )
    return steps


def _first(regions: Sequence[Region], canvas: Canvas) -> str:
    """Name the region that counts most, with its share."""
    if not regions or regions[0].item is None:
        return ""
    return f"{canvas.regions[regions[0].item].label} {regions[0].attributes['share']}"


def _top(share: Tensor, count: int) -> tuple[Region, ...]:
    """Show the regions with the largest shares; the colour is relative to the largest."""
    share = share[:count]
    most = float(share.max()) if count else 0.0
    order = share.argsort(descending=True)[:TOP_REGIONS].tolist()
    return tuple(
        Region(
            item=k,
            weight=round(float(share[k]) / most, 4),
            attributes={"share": f"{100 * float(share[k]):.1f} %"},
        )
        for k in order
        if float(share[k]) > 0
    )
