"""Fusions by a low-rank or full bilinear product: BLOCK, MUTAN, Tucker.

BLOCK and its relatives: Ben-younes et al. 2019, "BLOCK: Bilinear Superdiagonal Fusion", eq. 3-8;
MUTAN: Ben-younes et al. 2017, "MUTAN", eq. 6-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pyvqa.nn.fusions.base import (
    Fusion,
    apply_layer,
    joint_rows,
    root_,
    root_normalise,
    root_slope,
    share,
)
from pyvqa.nn.product import compute_dtype, product
from pyvqa.ops import PairLayout
from pyvqa.ops.pairwise import Normalised

# How sums of products are normalised: not at all, each chunk for itself, or all together.
NORMS = ("none", "chunk", "all")


def chunk_sizes(width: int, chunks: int) -> list[int]:
    """Cut a width into chunks of ceil(width / chunks), the last one taking the rest.

    Where not even that is left for the last, as many chunks as needed give up one, from the back.

    Raises:
        ValueError: there are more chunks than the width has entries.
    """
    if not 1 <= chunks <= width:
        raise ValueError(f"{chunks} chunks of a width of {width}; 1 to {width} are possible")
    size = -(-width // chunks)
    rest = width - size * (chunks - 1)
    if rest >= 0:  # 0 as well: the original then has a last chunk of nothing
        return [size] * (chunks - 1) + [rest]
    missing = size - rest
    return [size] * (chunks - missing) + [size - 1] * missing


def _affine(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    y = product(x.flatten(0, -2).to(dtype), weight.to(dtype)).to(x.dtype).add_(bias)
    return y.view(*x.shape[:-1], weight.shape[0])


def _factors_slope(dz: Tensor, other: Tensor, rows: torch.Size) -> Tensor:
    """Give the gradient [*rows, R, s] of one side's factors from dz [..., s] and the other side's.

    A side that was repeated by broadcasting gets the sum over its repetitions.
    """
    if dz.shape[:-1] == rows == other.shape[:-2]:
        return dz.unsqueeze(-2) * other
    terms = [
        (dz * other[..., r, :]).sum_to_size(*rows, dz.shape[-1]) for r in range(other.shape[-2])
    ]
    return torch.stack(terms, -2)


class _RankProduct(torch.autograd.Function):
    """z_c[k] = sum_r (M0_c a_c + m0_c)[r s + k] (M1_c b_c + m1_c)[r s + k], normalised.

    forward(a [..., K], b [..., K], chunk sizes, rank, norm, weights M0_c, m0_c for all chunks c,
    then M1_c, m1_c) -> [..., K]. The factors, R times as large as a and b, are made again for the
    backward instead of being kept.
    """

    @staticmethod
    def forward(
        ctx: Any,
        a: Tensor,
        b: Tensor,
        sizes: list[int],
        rank: int,
        norm: str,
        *weights: Tensor,
    ) -> Tensor:
        dtype = compute_dtype(a)
        rows = joint_rows(a, b)
        result = a.new_empty(*rows, a.shape[-1])
        totals = []
        for c, (z, u, v) in enumerate(_chunks(result, a, b, sizes, rank, dtype, weights)):
            torch.mul(u[..., 0, :], v[..., 0, :], out=z)
            for r in range(1, rank):
                z.addcmul_(u[..., r, :], v[..., r, :])
            if norm == "chunk":
                totals.append(root_(z))
            elif norm == "all" and c == len(sizes) - 1:
                totals.append(root_(result))
        ctx.settings = sizes, rank, norm, dtype
        ctx.save_for_backward(a, b, *weights, *([result, *totals] if totals else []))
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        sizes, rank, norm, dtype = ctx.settings
        count = 4 * len(sizes)
        a, b, *rest = ctx.saved_tensors
        weights, kept = rest[:count], rest[count:]
        if norm == "all":
            dy = root_slope(kept[0], dy, kept[1])
        da, db = torch.empty_like(a), torch.empty_like(b)
        dweights: list[Tensor] = [dy] * count
        parts = _chunks(dy, a, b, sizes, rank, dtype, weights)
        slices = [torch.split_with_sizes(x, sizes, -1) for x in (a, b, da, db)]
        for c, (dz, u, v) in enumerate(parts):
            if norm == "chunk":
                y = torch.split_with_sizes(kept[0], sizes, -1)[c]
                dz = root_slope(y, dz, kept[1 + c])
            for side, (own, other) in enumerate(((u, v), (v, u))):
                at = 2 * (side * len(sizes) + c)
                rows = _factors_slope(dz, other, own.shape[:-2]).flatten(-2).flatten(0, -2)
                x, dx = slices[side][c], slices[side + 2][c]
                low, inputs = rows.to(dtype), x.flatten(0, -2).to(dtype)
                dx.copy_(product(low, weights[at].to(dtype).t()).view_as(x))
                dweights[at] = product(low.t(), inputs.t()).to(weights[at].dtype)
                dweights[at + 1] = rows.sum(0)
        return da, db, None, None, None, *dweights


def _chunks(
    z: Tensor,
    a: Tensor,
    b: Tensor,
    sizes: Sequence[int],
    rank: int,
    dtype: torch.dtype,
    weights: Sequence[Tensor],
) -> Any:
    """Go through the chunks: the part of z, and the factors [..., R, s] of both sides."""
    half = 2 * len(sizes)
    parts = (torch.split_with_sizes(x, list(sizes), -1) for x in (z, a, b))
    for c, (zc, ac, bc) in enumerate(zip(*parts, strict=True)):
        u = _affine(ac, weights[2 * c], weights[2 * c + 1], dtype)
        v = _affine(bc, weights[half + 2 * c], weights[half + 2 * c + 1], dtype)
        shape = (rank, ac.shape[-1])
        yield zc, torch.unflatten(u, -1, shape), torch.unflatten(v, -1, shape)


def rank_product(
    a: Tensor,
    b: Tensor,
    left: Sequence[nn.Linear],
    right: Sequence[nn.Linear],
    rank: int,
    norm: str,
) -> Tensor:
    """Bring a and b [..., K] together by one rank-R product per chunk -> [..., K].

    `left` and `right` hold a layer s -> s R for each chunk; norm is one of `NORMS`.
    """
    sizes = [layer.in_features for layer in left]
    weights = [w for layer in (*left, *right) for w in (layer.weight, layer.bias)]
    result: Tensor = _RankProduct.apply(a, b, sizes, rank, norm, *weights)  # type: ignore[no-untyped-call]
    return result


class _Projected(Fusion):
    """A fusion that first takes both vectors to the same width mm."""

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1600,
        shared: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_lin: float = 0.0,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__(input_dims, output_dim, dropout_output=dropout_output)
        if shared and input_dims[0] != input_dims[1]:
            raise ValueError(f"shared: both inputs must have one width, not {tuple(input_dims)}")
        if mm_dim < 1:
            raise ValueError(f"mm_dim is {mm_dim}; it must be positive")
        self.dropout_input = share("dropout_input", dropout_input)
        self.dropout_pre_lin = share("dropout_pre_lin", dropout_pre_lin)
        self.linear0 = nn.Linear(self.input_dims[0], mm_dim)
        self.linear1 = self.linear0 if shared else nn.Linear(self.input_dims[1], mm_dim)

    def prepare(self, x: Tensor, side: int) -> Tensor:
        return apply_layer(self.linear1 if side else self.linear0, x)

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        z = self.bring_together(*self.drop_both(left, right, self.dropout_input))
        return self.drop(z, self.dropout_pre_lin)

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        """Join the two projections, [..., mm] each -> [..., mm]."""
        raise NotImplementedError


class _Chunked(_Projected):
    """A fusion of chunk with chunk; `norms` names where the square root is taken."""

    def __init__(self, *args: Any, chunks: int, pos_norm: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        if pos_norm not in ("before_cat", "after_cat"):
            raise ValueError(f"pos_norm is {pos_norm!r}; it must be before_cat or after_cat")
        self.pos_norm = pos_norm
        self.sizes = chunk_sizes(self.linear0.out_features, chunks)


class Block(_Chunked):
    """BLOCK: a bilinear product that is block-diagonal, each block of rank R (eq. 5-8).

    a = W0 x0, b = W1 x1 in chunks; z_c = sum_r (M0_cr a_c) * (M1_cr b_c); signed root and unit
    length for each chunk (before_cat) or all (after_cat); y = W z.
    """

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1600,
        chunks: int = 20,
        rank: int = 15,
        shared: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_lin: float = 0.0,
        dropout_output: float = 0.0,
        pos_norm: str = "before_cat",
    ) -> None:
        super().__init__(
            input_dims,
            output_dim,
            mm_dim=mm_dim,
            chunks=chunks,
            shared=shared,
            dropout_input=dropout_input,
            dropout_pre_lin=dropout_pre_lin,
            dropout_output=dropout_output,
            pos_norm=pos_norm,
        )
        self.rank = _rank(rank)
        self.merge_linears0 = nn.ModuleList(nn.Linear(s, s * rank) for s in self.sizes)
        self.merge_linears1 = (
            self.merge_linears0
            if shared
            else nn.ModuleList(nn.Linear(s, s * rank) for s in self.sizes)
        )
        self.linear_out = nn.Linear(mm_dim, output_dim)

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        left, right = list(self.merge_linears0), list(self.merge_linears1)
        norm = "chunk" if self.pos_norm == "before_cat" else "all"
        return rank_product(a, b, left, right, self.rank, norm)  # type: ignore[arg-type]

    def layout(self) -> PairLayout:
        normalised: Normalised = "each" if self.pos_norm == "before_cat" else "whole"
        return PairLayout.of(self.sizes, self.rank, normalised)

    def factors(self, prepared: Tensor, side: int) -> Tensor:
        chunks = torch.split_with_sizes(prepared, self.sizes, -1)
        layers = self.merge_linears1 if side else self.merge_linears0
        parts = zip(layers, chunks, strict=True)
        return torch.cat([apply_layer(layer, chunk) for layer, chunk in parts], -1)  # type: ignore[arg-type]


class BlockTucker(_Chunked):
    """BLOCK with full blocks: z_c = a_c T_c b_c, one tensor s x s x s per chunk (eq. 3)."""

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1600,
        chunks: int = 20,
        shared: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_lin: float = 0.0,
        dropout_output: float = 0.0,
        pos_norm: str = "before_cat",
    ) -> None:
        super().__init__(
            input_dims,
            output_dim,
            mm_dim=mm_dim,
            chunks=chunks,
            shared=shared,
            dropout_input=dropout_input,
            dropout_pre_lin=dropout_pre_lin,
            dropout_output=dropout_output,
            pos_norm=pos_norm,
        )
        self.bilinears = nn.ModuleList(nn.Bilinear(s, s, s) for s in self.sizes)
        self.linear_out = nn.Linear(mm_dim, output_dim)

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        parts = (torch.split_with_sizes(x, self.sizes, -1) for x in (a, b))
        chunks = [_bilinear(*part) for part in zip(self.bilinears, *parts, strict=True)]
        if self.pos_norm == "before_cat":
            return torch.cat([root_normalise(z) for z in chunks], -1)
        return root_normalise(torch.cat(chunks, -1))


class Mutan(_Projected):
    """MUTAN: one bilinear product of rank R over the whole width (eq. 6-8)."""

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1600,
        rank: int = 15,
        shared: bool = False,
        normalize: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_lin: float = 0.0,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__(
            input_dims,
            output_dim,
            mm_dim=mm_dim,
            shared=shared,
            dropout_input=dropout_input,
            dropout_pre_lin=dropout_pre_lin,
            dropout_output=dropout_output,
        )
        self.rank, self.normalize, self.width = _rank(rank), normalize, mm_dim
        self.merge_linear0 = nn.Linear(mm_dim, mm_dim * rank)
        self.merge_linear1 = self.merge_linear0 if shared else nn.Linear(mm_dim, mm_dim * rank)
        self.linear_out = nn.Linear(mm_dim, output_dim)

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        norm = "all" if self.normalize else "none"
        return rank_product(a, b, [self.merge_linear0], [self.merge_linear1], self.rank, norm)

    def layout(self) -> PairLayout:
        return PairLayout.of([self.width], self.rank, "whole" if self.normalize else "not")

    def factors(self, prepared: Tensor, side: int) -> Tensor:
        return apply_layer(self.merge_linear1 if side else self.merge_linear0, prepared)


class Tucker(_Projected):
    """A Tucker decomposition: z = a T b with one full tensor mm x mm x mm.

    The original never shares the two projections, whatever it is told; neither does this one.
    """

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1600,
        normalize: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_lin: float = 0.0,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__(
            input_dims,
            output_dim,
            mm_dim=mm_dim,
            dropout_input=dropout_input,
            dropout_pre_lin=dropout_pre_lin,
            dropout_output=dropout_output,
        )
        self.normalize = normalize
        self.bilinear = nn.Bilinear(mm_dim, mm_dim, mm_dim)
        self.linear_out = nn.Linear(mm_dim, output_dim)

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        z = _bilinear(self.bilinear, a, b)
        return root_normalise(z) if self.normalize else z


def _bilinear(layer: nn.Module, a: Tensor, b: Tensor) -> Tensor:
    """Apply a bilinear layer to [..., I] and [..., J] whose leading sizes broadcast."""
    rows = joint_rows(a, b)
    a, b = a.expand(*rows, a.shape[-1]), b.expand(*rows, b.shape[-1])
    return F.bilinear(a, b, layer.weight, layer.bias)  # type: ignore[arg-type]


def _rank(rank: int) -> int:
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be positive")
    return rank
