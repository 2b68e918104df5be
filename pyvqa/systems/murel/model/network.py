"""The MuRel network: a question, a few steps of a cell over the regions, an answer.

Cadene et al. 2019, "MuRel", section 3 (murel/models/networks/murel_net.py).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from pyvqa.nn.fusions import Fusion
from pyvqa.nn.question import QuestionEncoder
from pyvqa.systems.murel.model.aggregate import pool_regions
from pyvqa.systems.murel.model.cell import MurelCell
from pyvqa.systems.murel.model.pairwise import Related


class Reasoning(NamedTuple):
    """How a network came to its answers."""

    words: Tensor | None  # [B, G, T] what the question's glimpses attend to
    steps: list[Related]  # after each step: regions, and which neighbour won each channel
    chosen: Tensor | None  # [B, D] region that supplied each channel in the end; for max alone
    regions: Tensor | None  # [B, G, N] attention of the baseline's glimpses


class Answered(NamedTuple):
    """Scores of all answers, and how they came about."""

    logits: Tensor  # [B, answers]
    reasoning: Reasoning


def scaled(regions: Tensor, scale: float) -> Tensor:
    """Multiply regions by a factor, if it is one."""
    return regions if scale == 1.0 else regions * scale


class MurelNet(nn.Module):
    """The MuRel network.

    Args:
        question: encoder of the question.
        cells: one cell for all steps, or one for each.
        steps: number of steps.
        aggregate: takes all regions to one vector; several may stand side by side, `max+mean`.
        classify: question and that vector -> answers.
        scale: regions are multiplied by this first.

    Raises:
        ValueError: the number of cells is neither 1 nor that of the steps.
    """

    def __init__(
        self,
        question: QuestionEncoder,
        cells: list[MurelCell],
        classify: Fusion,
        *,
        steps: int,
        aggregate: str = "max",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if len(cells) not in (1, steps):
            raise ValueError(f"{len(cells)} cells for {steps} steps; 1 or one for each is needed")
        self.question = question
        self.cells = nn.ModuleList(cells)
        self.classify = classify
        self.steps, self.aggregate, self.scale = steps, aggregate, scale

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        regions: Tensor,
        coordinates: Tensor,
        valid: Tensor | None = None,
    ) -> Answered:
        """Answer questions [B, T] of lengths [B] about regions [B, N, D].

        Coordinates [B, N, 4] are boxes x1, y1, x2, y2 in units of the picture's width and height.
        `valid` [B, N] says which regions are there; without it, all.
        """
        encoded = self.question(tokens, lengths)
        regions = scaled(regions, self.scale)
        done: list[Related] = []
        for step in range(self.steps):
            cell: MurelCell = self.cells[step % len(self.cells)]  # type: ignore[assignment]
            if step < len(self.cells):
                given = cell.prepare(encoded.vector, coordinates)
            done.append(cell(done[-1].regions if done else regions, given, valid))
        pooled, chosen = pool_regions(done[-1].regions, self.aggregate, valid)
        logits = self.classify(encoded.vector, pooled)
        return Answered(logits, Reasoning(encoded.words, done, chosen, None))
