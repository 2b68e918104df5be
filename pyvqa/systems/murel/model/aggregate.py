"""Reductions over regions, with regions left out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# What takes many regions to one; only max tells which region supplied each channel.
AGGREGATES = ("max", "mean", "sum", "min", "prod", "std", "var", "logsumexp")

# Those under which a linear layer may as well come afterwards.
LINEAR = ("mean", "sum")


def several(how: str) -> list[str]:
    """Take apart what stands for several reductions side by side, such as `max+mean`."""
    return how.split("+")


def pool_regions(values: Tensor, how: str, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Reduce [B, N, D] over N by each of `several`, one behind the other: -> [B, K D].

    Also gives the winning region of each channel of the maximum, if that is among them.
    """
    parts = [reduce_regions(values, one, valid) for one in several(how)]
    winners = [winner for _, winner in parts if winner is not None]
    return torch.cat([part for part, _ in parts], -1), winners[0] if winners else None


def reduce_regions(values: Tensor, how: str, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Reduce [..., N, D] over N -> [..., D], and the winning region of each channel for max.

    `valid` [..., N] (broadcasting) says which regions count; where none does, the result is 0. Of
    equal values the first one wins.
    """
    if not values.shape[-2]:
        nothing = values.sum(-2)
        return nothing, nothing.long().fill_(-1) if how == "max" else None
    if how == "max":
        if valid is not None:
            values = values.masked_fill(~valid.unsqueeze(-1), -torch.inf)
        best, winner = values.max(-2)
        return _empty_to_zero(best, valid), winner
    if valid is None:
        return _PLAIN[how](values), None
    return _masked(values, how, valid.unsqueeze(-1)), None


_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda x: x.mean(-2),
    "sum": lambda x: x.sum(-2),
    "min": lambda x: x.amin(-2),
    "prod": lambda x: x.prod(-2),
    "std": lambda x: x.std(-2),
    "var": lambda x: x.var(-2),
    "logsumexp": lambda x: x.logsumexp(-2),
}


def _masked(values: Tensor, how: str, valid: Tensor) -> Tensor:
    count = valid.sum(-2)
    if how in ("mean", "sum"):
        total = values.masked_fill(~valid, 0.0).sum(-2)
        return total / count.clamp(min=1) if how == "mean" else total
    if how in ("std", "var"):
        mean = values.masked_fill(~valid, 0.0).sum(-2, keepdim=True) / count.unsqueeze(-2).clamp(1)
        squares = (values - mean).square().masked_fill(~valid, 0.0).sum(-2)
        variance = squares / (count - 1).clamp(min=1)
        return variance if how == "var" else variance.sqrt()
    fill = {"min": torch.inf, "prod": 1.0, "logsumexp": -torch.inf}[how]
    return _empty_to_zero(_PLAIN[how](values.masked_fill(~valid, fill)), valid.squeeze(-1))


def _empty_to_zero(reduced: Tensor, valid: Tensor | None) -> Tensor:
    if valid is None:
        return reduced
    return reduced.masked_fill(~valid.any(-1, keepdim=True), 0.0)
