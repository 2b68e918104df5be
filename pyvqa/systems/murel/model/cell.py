"""The MuRel cell: a question meets every region, and then the regions meet each other.

Cadene et al. 2019, "MuRel", eq. 1-2 and 6 (murel/models/networks/murel_cell.py).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from pyvqa.nn.fusions import Fusion
from pyvqa.systems.murel.model.pairwise import Pairwise, Related, Sides


class Given(NamedTuple):
    """What stays the same in every step of a cell."""

    question: Tensor  # [B, 1, K] prepared for the fusion
    boxes: Sides | None


class MurelCell(nn.Module):
    """One step of reasoning.

        f_i = fusion(q, m_i)    g = pairwise(f, boxes)    out_i = g_i + m_i

    Args:
        fusion: question and region -> region.
        pairwise: relations between regions, or none.
        residual: add the regions that came in.
    """

    def __init__(self, fusion: Fusion, pairwise: Pairwise | None, *, residual: bool = True) -> None:
        super().__init__()
        self.fusion, self.pairwise = fusion, pairwise
        self.residual = residual

    def prepare(self, question: Tensor, coordinates: Tensor) -> Given:
        """Do what depends on the question [B, Q] and the boxes [B, N, 4] alone."""
        boxes = None if self.pairwise is None else self.pairwise.prepare(coordinates)
        return Given(self.fusion.prepare(question.unsqueeze(1), 0), boxes)

    def forward(self, regions: Tensor, given: Given, valid: Tensor | None = None) -> Related:
        """Take regions [B, N, D] one step further."""
        fused = self.fusion.fuse(given.question, self.fusion.prepare(regions, 1))
        related = Related(fused, None)
        if self.pairwise is not None:
            related = self.pairwise(fused, given.boxes, valid)
        if self.residual:
            related = related._replace(regions=related.regions + regions)
        return related
