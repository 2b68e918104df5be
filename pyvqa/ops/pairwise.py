"""Fuse every region with every other and keep, of each output, the largest (csrc/pairwise).

What the pairs of a MuRel cell are made of, from what belongs to a single region:

    z[i, j] = sum over the ranks r of left[i, r] * right[j, r]      for every chunk of features
    y[i, j] = sign(z) * sqrt(|z| / sum |z|)                         the sum is one chunk's or all's
    out[i]  = bias + max over j of weight @ y[i, j]                 argmax[i] says which j it was

`left` and `right` [B, N, F] are the factors: whatever linear layers come before the product have
been applied to the regions already, i is the region that is updated and j its neighbour (i = j
included). `PairLayout` says how the F factors are cut into chunks and make up the K features of a
pair; several fusions whose outputs are added are one layout, one after the other, and their output
layers are one `weight` [D, K] side by side. Nothing of the size of the pairs is ever in memory.

A Block fusion of MuRel (chunks of sizes s, rank R) fits as follows: left = the merged projections
merge_linears0[c](linear0(x)[chunk c]) of all chunks behind one another, right = the same of
merge_linears1 and linear1, layout = PairLayout.of(sizes, R, "each"), weight and bias those of
linear_out. Coordinates and features together: concatenate both lefts and both rights, add the
layouts, concatenate the weights along dimension 1 and add the biases. A Mutan fusion is one chunk,
MLB one of rank 1.

Regions outside of `mask` [B, N] never win, give zeros and the argmax -1, and get no gradient. Of
equal values the first region wins; NaN wins over all, the first one first. float64 is computed in
float64, everything else in float32; with `bfloat16` the factors of the last product (features and
weight, 99 % of the work) are rounded to bfloat16 and summed in float32, in the forward only.
Results do not depend on the number of threads. 16-bit factors are widened first. The gradient
follows the regions that won: it costs a small part of the forward.

Source: Cadene et al., MuRel (CVPR 2019), section 3.2; Ben-younes et al., BLOCK (AAAI 2019).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

import pyvqa._core  # noqa: F401  (loads the kernels)

Normalised = Literal["each", "whole", "not"]
PLAIN = -1  # the group of chunks that are not normalised
MOST_CHUNKS = 512  # csrc/pairwise/pairwise.h
_REFERENCE_NUMBERS = 1 << 24  # that the reference holds at once for the outputs of its pairs


@dataclass(frozen=True)
class PairLayout:
    """How factors of regions make up the features of a pair, chunk after chunk.

    Chunk c has sizes[c] features, each the sum of ranks[c] products of factors; factor k of rank r
    stands at r * sizes[c] + k of the chunk. Neighbouring chunks with the same number in `groups`
    are normalised together; those of group -1 (PLAIN) are taken as they are.

    Raises ValueError if the lists do not fit together.
    """

    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    groups: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.sizes) == len(self.ranks) == len(self.groups):
            raise ValueError(
                f"pairwise: {len(self.sizes)} sizes, {len(self.ranks)} ranks and "
                f"{len(self.groups)} groups, but every chunk has one of each"
            )
        if not 1 <= len(self.sizes) <= MOST_CHUNKS:
            raise ValueError(f"pairwise: 1 to {MOST_CHUNKS} chunks, got {len(self.sizes)}")
        if min(self.sizes) < 0 or min(self.ranks) < 1:
            raise ValueError("pairwise: chunks have sizes of 0 or more and ranks of 1 or more")
        changes = [
            group
            for group, last in zip(self.groups, (None, *self.groups), strict=False)
            if group != last and group != PLAIN
        ]
        if len(set(changes)) != len(changes) or min(self.groups) < PLAIN:
            raise ValueError(
                "pairwise: a group's chunks must be neighbours, and its number 0 or more"
            )

    @classmethod
    def of(cls, sizes: Sequence[int], rank: int, normalised: Normalised) -> PairLayout:
        """Lay out a fusion: each chunk normalised alone, the whole together, or not at all."""
        count = len(sizes)
        groups = {"each": range(count), "whole": [0] * count, "not": [PLAIN] * count}
        if normalised not in groups:
            raise ValueError(f"pairwise: normalised must be one of {[*groups]}, got {normalised!r}")
        return cls(tuple(sizes), (rank,) * count, tuple(groups[normalised]))

    def __add__(self, other: PairLayout) -> PairLayout:
        """Put another fusion's chunks behind these."""
        first = max(self.groups) + 1
        groups = tuple(g if g == PLAIN else g + first for g in other.groups)
        return PairLayout(self.sizes + other.sizes, self.ranks + other.ranks, self.groups + groups)

    @property
    def factors(self) -> int:
        """F, the factors of a region."""
        return sum(s * r for s, r in zip(self.sizes, self.ranks, strict=True))

    @property
    def features(self) -> int:
        """K, the features of a pair."""
        return sum(self.sizes)


def pairwise_max(
    left: Tensor,
    right: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    layout: PairLayout,
    bfloat16: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the largest outputs of each region's pairs [B, N, D] and whose they are, int32.

    `left` and `right` are [B, N, F], `weight` [D, K], `bias` [D], `mask` bool [B, N]; see above.
    The outputs have the type of `left`. `bfloat16` rounds the factors of the last product; None
    does so if `left` is of 16 bits. Differentiable in all but the mask.

    Raises RuntimeError when shapes or types do not fit together, ValueError for bfloat16 products
    of float64.
    """
    kind = left.dtype
    narrow = kind in (torch.bfloat16, torch.float16)
    rounded = narrow if bfloat16 is None else bfloat16
    if rounded and kind == torch.float64:
        raise ValueError("pairwise: float64 factors have no bfloat16 product")
    wide = torch.float32 if narrow else kind
    out, argmax = torch.ops.pyvqa.pairwise_max(
        left.to(wide),
        right.to(wide),
        weight.to(wide),
        None if bias is None else bias.to(wide),
        mask,
        layout.sizes,
        layout.ranks,
        layout.groups,
        rounded,
    )
    return out.to(kind), argmax


def pair_features(left: Tensor, right: Tensor, layout: PairLayout) -> Tensor:
    """Return the features of all pairs in plain torch: [..., N, F], [..., M, F] -> [..., N, M, K].

    What other aggregations than the largest start from.
    """
    parts = []
    start = 0
    for chunks, normalised in _groups(layout):
        products = []
        for size, rank in chunks:
            end = start + size * rank
            a = left[..., start:end].reshape(*left.shape[:-1], rank, size)
            b = right[..., start:end].reshape(*right.shape[:-1], rank, size)
            products.append(torch.einsum("...irk,...jrk->...ijk", a, b))
            start = end
        z = torch.cat(products, dim=-1)
        if normalised:
            z = functional.normalize(z.relu().sqrt() - (-z).relu().sqrt(), dim=-1)
        parts.append(z)
    return torch.cat(parts, dim=-1)


def pairwise_max_reference(
    left: Tensor,
    right: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    layout: PairLayout,
    bfloat16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Do the same in plain torch, some regions at a time: the definition of the kernels."""
    batch, regions = left.shape[:2]
    outputs, winners = [left[:, :0, :1].expand(-1, -1, len(weight))], []
    step = max(1, _REFERENCE_NUMBERS // max(1, batch * regions * len(weight)))
    for first in range(0, regions, step):
        features = pair_features(left[:, first : first + step], right, layout)
        product = _rounded(features, bfloat16) @ _rounded(weight, bfloat16).mT
        if mask is not None:
            product = product.masked_fill(~mask[:, None, :, None], -torch.inf)
        values, winner = product.max(dim=2)
        outputs.append(values)
        winners.append(winner.int())
    out = torch.cat(outputs, dim=1)
    argmax = torch.cat(winners, dim=1) if winners else out.int()
    if bias is not None:
        out = out + bias
    if mask is not None:
        out = torch.where(mask[..., None], out, 0)
        argmax = torch.where(mask[..., None], argmax, -1)
    return out, argmax


def _groups(layout: PairLayout) -> Iterator[tuple[list[tuple[int, int]], bool]]:
    """Sizes and ranks of the chunks of each group, and whether it is normalised."""
    chunks: list[tuple[int, int]] = []
    last = layout.groups[0]
    for size, rank, group in zip(layout.sizes, layout.ranks, layout.groups, strict=True):
        if chunks and group != last:
            yield chunks, last != PLAIN
            chunks = []
        chunks.append((size, rank))
        last = group
    yield chunks, last != PLAIN


def _rounded(values: Tensor, bfloat16: bool) -> Tensor:
    """Round to bfloat16 as if nothing had happened to the gradient."""
    if not bfloat16:
        return values
    return values + (values.bfloat16().to(values.dtype) - values).detach()


# ---- registration


def _fake(
    left: Tensor,
    right: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    mask: Tensor | None,
    sizes: list[int],
    ranks: list[int],
    groups: list[int],
    bfloat16: bool,
) -> tuple[Tensor, Tensor]:
    shape = (left.shape[0], left.shape[1], weight.shape[0])
    return left.new_empty(shape), left.new_empty(shape, dtype=torch.int32)


def _fake_backward(
    grad: Tensor,
    left: Tensor,
    right: Tensor,
    weight: Tensor,
    argmax: Tensor,
    sizes: list[int],
    ranks: list[int],
    groups: list[int],
) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(t.new_empty(t.shape) for t in (left, right, weight))  # type: ignore[return-value]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    left, right, weight, bias, mask, *ctx.layout, _ = inputs
    argmax = output[1]
    ctx.mark_non_differentiable(argmax)
    ctx.save_for_backward(left, right, weight, argmax)
    ctx.has_bias, ctx.has_mask = bias is not None, mask is not None


def _backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    left, right, weight, argmax = ctx.saved_tensors
    grads = torch.ops.pyvqa.pairwise_max_backward(grad, left, right, weight, argmax, *ctx.layout)
    bias = None
    if ctx.has_bias:
        bias = (torch.where(argmax >= 0, grad, 0) if ctx.has_mask else grad).sum((0, 1))
    return (*grads, bias, *[None] * 5)


torch.library.register_fake("pyvqa::pairwise_max", _fake)
torch.library.register_fake("pyvqa::pairwise_max_backward", _fake_backward)
torch.library.register_autograd("pyvqa::pairwise_max", _backward, setup_context=_setup)
