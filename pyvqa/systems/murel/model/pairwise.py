"""Pairwise relations: every region takes from every other one what they have in common.

Cadene et al. 2019, "MuRel", eq. 3-5 (murel/models/networks/pairwise.py):

    r_ij = F_coord(c_i, c_j) + F_feat(x_i, x_j)    e_i = aggregate over j of r_ij
    out_i = e_i + x_i

The original lays out all N^2 pairs of vectors and fuses each by itself. Here only what must be done
per pair is: each region is projected once for either side, pairs arise by broadcasting, the two
output layers are one product of concatenated weights, and biases (and for sums the layers
themselves) come after the aggregation. That changes nothing but the rounding.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyvqa._core import cuda_missing
from pyvqa.nn.fusions import Fusion
from pyvqa.nn.fusions.base import apply_layer, rows_linear
from pyvqa.nn.product import compute_dtype
from pyvqa.ops import pairwise_max
from pyvqa.systems.murel.model.aggregate import LINEAR, reduce_regions

# Pairs that are worked on at once: their relations are the largest thing in memory.
PAIRS_AT_ONCE = 8192


class Sides(NamedTuple):
    """Something of each region, prepared for being the first and the second of a pair."""

    first: Tensor  # [B, N, K]
    second: Tensor  # [B, N, K]


class Related(NamedTuple):
    """What came of a pairwise step."""

    regions: Tensor  # [B, N, D]
    # [B, N, D] int32: the neighbour that supplied each channel, -1 for a region that is not there;
    # for max alone.
    winner: Tensor | None


Part = tuple[Fusion, Sides]


class Pairwise(nn.Module):
    """The pairwise module.

    Args:
        coordinates: fusion of two boxes (4, 4 -> D), or none.
        features: fusion of two regions (D, D -> D), or none.
        aggregate: one of `model.aggregate.AGGREGATES`.
        residual: add the regions themselves.
        detach_inputs: send no gradient into the regions through the pairs, only through the
            residual, as the code of the paper's time did.

    Raises:
        ValueError: both fusions are missing.
    """

    def __init__(
        self,
        coordinates: Fusion | None,
        features: Fusion | None,
        *,
        aggregate: str = "max",
        residual: bool = True,
        detach_inputs: bool = False,
    ) -> None:
        super().__init__()
        if coordinates is None and features is None:
            raise ValueError("a pairwise module needs a fusion of coordinates or of features")
        self.coordinates, self.features = coordinates, features
        self.aggregate, self.residual = aggregate, residual
        self.detach_inputs = detach_inputs

    def prepare(self, coordinates: Tensor) -> Sides | None:
        """Prepare boxes [B, N, 4]; they are the same in every step of a shared cell."""
        return None if self.coordinates is None else _sides(self.coordinates, coordinates)

    def forward(self, x: Tensor, boxes: Sides | None, valid: Tensor | None = None) -> Related:
        """Relate regions [B, N, D], with what `prepare` made of their boxes.

        `valid` [B, N] says which regions are there: the others supply nothing and come out as 0
        beside their residual.
        """
        parts = self._parts(x, boxes)
        layouts = [fusion.pair_layout for fusion, _ in parts]
        if self.aggregate == "max" and None not in layouts and _has_kernel(x):
            related, winner = _by_kernel(parts, valid)
        else:
            related, winner = self._by_blocks(parts, valid)
        if self.residual:
            related = related + x
        return Related(related, winner)

    def by_blocks(self, x: Tensor, boxes: Sides | None, valid: Tensor | None = None) -> Related:
        """Do the same as `forward` in plain torch, whatever the kernel could do."""
        related, winner = self._by_blocks(self._parts(x, boxes), valid)
        return Related(related + x if self.residual else related, winner)

    def _parts(self, x: Tensor, boxes: Sides | None) -> list[Part]:
        parts = [] if boxes is None or self.coordinates is None else [(self.coordinates, boxes)]
        if self.features is not None:
            inputs = x.detach() if self.detach_inputs else x
            parts.append((self.features, _sides(self.features, inputs)))
        return parts

    def _by_blocks(self, parts: list[Part], valid: Tensor | None) -> Related:
        """Relate all regions to all, some of them at a time."""
        batch, count = parts[0][1].first.shape[:2]
        others = None if valid is None else valid.unsqueeze(1)
        step = max(1, PAIRS_AT_ONCE // max(1, batch * count))
        blocks = [
            self._relate(parts, slice(start, start + step), others)
            for start in range(0, max(1, count), step)
        ]
        related = torch.cat([block.regions for block in blocks], 1)
        winners = [block.winner for block in blocks if block.winner is not None]
        winner = torch.cat(winners, 1).int() if winners else None
        if valid is not None:
            absent = ~valid.unsqueeze(-1)
            related = related.masked_fill(absent, 0.0)
            winner = None if winner is None else winner.masked_fill(absent, -1)
        return Related(related, winner)

    def _relate(self, parts: list[Part], rows: slice, valid: Tensor | None) -> Related:
        """Work on the pairs (i, j) of some i and all j."""
        joints = [
            fusion.joint(sides.first[:, rows].unsqueeze(2), sides.second.unsqueeze(1))
            for fusion, sides in parts
        ]
        fusions = [fusion for fusion, _ in parts]
        if not all(fusion.ends_linear for fusion in fusions):
            pairs = zip(fusions, joints, strict=True)
            relations = sum(f.finish(apply_layer(f.output, joint)) for f, joint in pairs)
            return Related(*reduce_regions(relations, self.aggregate, valid))  # type: ignore[arg-type]
        weight = torch.cat([fusion.output.weight for fusion in fusions], 1)
        bias = sum(fusion.output.bias for fusion in fusions)
        joint = torch.cat(joints, -1)
        if self.aggregate in LINEAR:
            count = _count(self.aggregate, joint, valid)
            summed, _ = reduce_regions(joint, self.aggregate, valid)
            return Related(rows_linear(summed, weight, None) + bias * count, None)
        if self.aggregate != "max":
            relations = rows_linear(joint, weight, bias)  # type: ignore[arg-type]
            return Related(*reduce_regions(relations, self.aggregate, valid))
        best, winner = reduce_regions(rows_linear(joint, weight, None), "max", valid)
        return Related(best + bias, winner)


def _has_kernel(x: Tensor) -> bool:
    return x.device.type == "cpu" or (x.is_cuda and cuda_missing() is None)


def _by_kernel(parts: list[Part], valid: Tensor | None) -> Related:
    """Relate all regions to all by the one kernel that never lays out the pairs."""
    left, right = (
        torch.cat([fusion.factors(sides[side], side) for fusion, sides in parts], -1)
        for side in (0, 1)
    )
    fusions = [fusion for fusion, _ in parts]
    layouts = [layout for fusion in fusions if (layout := fusion.pair_layout) is not None]
    rounded = compute_dtype(left) == torch.bfloat16
    related, winner = pairwise_max(
        left,
        right,
        torch.cat([fusion.output.weight for fusion in fusions], 1),
        torch.stack([fusion.output.bias for fusion in fusions]).sum(0),
        valid,
        layout=layouts[0] if len(layouts) == 1 else layouts[0] + layouts[1],
        bfloat16=rounded,
    )
    return Related(related, winner)


def _sides(fusion: Fusion, x: Tensor) -> Sides:
    return Sides(fusion.prepare(x, 0), fusion.prepare(x, 1))


def _count(how: str, joint: Tensor, valid: Tensor | None) -> Tensor | int:
    """Say how many biases an aggregate holds: for a mean one, for a sum one per region."""
    if how == "mean":
        return 1
    if valid is None:
        return joint.shape[-2]
    return valid.sum(-1, keepdim=True)
