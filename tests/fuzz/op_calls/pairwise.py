"""Random calls of the pairwise fusion: any layout of chunks, masks, special values, bad shapes."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from op_inputs import explained, floats, integers
from torch import Tensor

from pyvqa import ops

REGIONS = (0, 1, 1, 2, 3, 5, 13, 14)
SIZES = (0, 1, 1, 2, 3, 9, 17)
OUTPUTS = (0, 1, 2, 7, 33)
TYPES = (torch.float32,) * 4 + (torch.float64, torch.bfloat16, torch.float16)


def layout(rng: random.Random) -> ops.PairLayout:
    made = None
    for _ in range(rng.choice((1, 1, 2))):
        sizes = [rng.choice(SIZES) for _ in range(rng.randint(1, 4))]
        part = ops.PairLayout.of(sizes, rng.randint(1, 3), rng.choice(("each", "whole", "not")))
        made = part if made is None else made + part
    assert made is not None
    return made


def misfit(rng: random.Random, size: int) -> int:
    return size + 1 if rng.random() < 0.01 else size


def arguments(
    rng: random.Random, chosen: ops.PairLayout, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    batch, regions, outputs = rng.choice((0, 1, 1, 2)), rng.choice(REGIONS), rng.choice(OUTPUTS)
    scale = rng.choice((1.0, 1.0, 1e-20, 1e20))
    left = floats(rng, (batch, regions, misfit(rng, chosen.factors)), dtype, scale)
    right = floats(rng, (batch, misfit(rng, regions), chosen.factors), dtype, scale)
    weight = floats(rng, (outputs, misfit(rng, chosen.features)), dtype)
    bias = floats(rng, (misfit(rng, outputs),), dtype) if rng.random() < 0.5 else None
    mask = None
    if rng.random() < 0.4:
        mask = integers(rng, (batch, misfit(rng, regions)), torch.int64) > 5
        if rng.random() < 0.02:
            mask = mask.int()
    return left, right, weight, bias, mask


def rounded(rng: random.Random, dtype: torch.dtype) -> bool | None:
    return rng.choice((None, False, dtype != torch.float64 or rng.random() < 0.1))


def call_pairwise(rng: random.Random) -> None:
    chosen, dtype = layout(rng), rng.choice(TYPES)
    given = arguments(rng, chosen, dtype)
    with explained("pairwise: "):
        out, winners = ops.pairwise_max(*given, layout=chosen, bfloat16=rounded(rng, dtype))
        assert out.shape == winners.shape == (*given[0].shape[:2], len(given[2]))
        assert out.dtype == dtype
        if winners.numel():
            assert int(winners.max()) < given[0].shape[1]
            assert int(winners.min()) >= (0 if given[4] is None else -1)


def call_gradient(rng: random.Random) -> None:
    chosen, dtype = layout(rng), rng.choice(TYPES)
    left, right, weight, bias, mask = arguments(rng, chosen, dtype)
    leaves = [t.detach().requires_grad_() for t in (left, right, weight)]
    with explained("pairwise: "):
        out, _ = ops.pairwise_max(*leaves, bias, mask, layout=chosen, bfloat16=rounded(rng, dtype))
        found = torch.autograd.grad(out, leaves, floats(rng, out.shape, dtype))
        assert [g.shape for g in found] == [t.shape for t in leaves]


def call_foreign_winners(rng: random.Random) -> None:
    chosen = layout(rng)
    left, right, weight, _, _ = arguments(rng, chosen, torch.float32)
    shape = (*left.shape[:2], misfit(rng, len(weight)))
    with explained("pairwise: "):
        torch.ops.pyvqa.pairwise_max_backward(
            floats(rng, shape),
            left,
            right,
            weight,
            integers(rng, shape, torch.int32),
            chosen.sizes,
            chosen.ranks,
            chosen.groups,
        )


CALLS: dict[str, Callable[[random.Random], None]] = {
    "pairwise_max": call_pairwise,
    "pairwise_max_gradient": call_gradient,
    "pairwise_max_backward": call_foreign_winners,
}
EVERY = {"pairwise_max_gradient": 20}  # most of it is torch's autograd
