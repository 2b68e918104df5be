"""Random factors of regions, and layouts of every kind."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyvqa.ops import PairLayout

LAYOUTS = {
    "block": PairLayout.of([4] * 5, 3, "each"),
    "uneven": PairLayout.of([7, 7, 7, 2], 2, "each"),
    "whole": PairLayout.of([5, 5, 3], 2, "whole"),
    "plain": PairLayout.of([3, 19], 1, "not"),
    "single": PairLayout.of([5], 1, "each"),
    "wide": PairLayout.of([40, 70], 5, "each"),
    "two": PairLayout.of([18, 18], 2, "each") + PairLayout.of([3, 3, 1], 4, "whole"),
    "empty chunk": PairLayout.of([3, 0, 2], 2, "each"),
}


class Case(NamedTuple):
    """The tensors of a call."""

    left: Tensor
    right: Tensor
    weight: Tensor
    bias: Tensor | None
    mask: Tensor | None
    layout: PairLayout

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
        return self[:5]

    def arguments(self, bfloat16: bool = False) -> tuple[object, ...]:
        """What `torch.ops.pyvqa.pairwise_max` takes."""
        layout = self.layout
        return (
            *self.tensors,
            list(layout.sizes),
            list(layout.ranks),
            list(layout.groups),
            bfloat16,
        )

    def to(self, dtype: torch.dtype) -> Case:
        def cast(t: Tensor | None) -> Tensor | None:
            return t if t is None or t.dtype == torch.bool else t.to(dtype)

        return Case(*map(cast, self.tensors), self.layout)  # type: ignore[arg-type]

    def with_gradients(self) -> Case:
        def leaf(t: Tensor | None) -> Tensor | None:
            return t if t is None or t.dtype == torch.bool else t.detach().clone().requires_grad_()

        return Case(*map(leaf, self.tensors), self.layout)  # type: ignore[arg-type]


def random_case(
    layout: str | PairLayout = "block",
    batch: int = 2,
    regions: int = 6,
    outputs: int = 24,
    *,
    dtype: torch.dtype = torch.float64,
    bias: bool = True,
    masked: bool = False,
    seed: int = 0,
) -> Case:
    """Normal factors and weights; about a third of the regions are masked."""
    generator = torch.Generator().manual_seed(seed)
    shape = LAYOUTS[layout] if isinstance(layout, str) else layout

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)

    return Case(
        normal(batch, regions, shape.factors),
        normal(batch, regions, shape.factors),
        normal(outputs, shape.features),
        normal(outputs) if bias else None,
        torch.rand(batch, regions, generator=generator) > 0.3 if masked else None,
        shape,
    )
