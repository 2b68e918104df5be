"""MuRel as first published: every pair laid out and fused by itself, in plain torch.

The definition that faster ways are held to, and their rival in the benchmarks
(murel/models/networks/{pairwise,murel_cell,murel_net}.py,
block/models/networks/fusions/fusions.py).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.nn.fusions import Block, Fusion
from pyvqa.systems.murel.model.aggregate import pool_regions, reduce_regions
from pyvqa.systems.murel.model.cell import MurelCell
from pyvqa.systems.murel.model.network import MurelNet, scaled
from pyvqa.systems.murel.model.pairwise import Pairwise, Related


def relate_pairs(
    module: Pairwise, x: Tensor, coordinates: Tensor, valid: Tensor | None = None
) -> Related:
    """Relate regions [B, N, D] with boxes [B, N, 4], one pair after the other.

    The same as `module(x, module.prepare(coordinates), valid)` but for the rounding.
    """
    relation = relations(module, x.detach() if module.detach_inputs else x, coordinates)
    others = None if valid is None else valid.unsqueeze(1)
    related, winner = reduce_regions(relation, module.aggregate, others)
    winner = None if winner is None else winner.int()
    if valid is not None:
        absent = ~valid.unsqueeze(-1)
        related = related.masked_fill(absent, 0.0)
        winner = None if winner is None else winner.masked_fill(absent, -1)
    return Related(related + x if module.residual else related, winner)


def relations(module: Pairwise, x: Tensor, coordinates: Tensor) -> Tensor:
    """Give r_ij of every pair, region i first: [B, N, N, D]."""
    count = x.shape[1]
    total = x.new_zeros(())
    for fusion, rows in ((module.coordinates, coordinates), (module.features, x)):
        if fusion is not None:
            first = rows[:, :, None].expand(-1, -1, count, -1).reshape(-1, rows.shape[2])
            second = rows[:, None].expand(-1, count, -1, -1).reshape(-1, rows.shape[2])
            total = total + _fuse(fusion, first, second)
    return total.view(-1, count, count, total.shape[-1])


def answer_by_pairs(
    network: MurelNet, tokens: Tensor, lengths: Tensor, regions: Tensor, coordinates: Tensor
) -> Tensor:
    """Answer as `network` does, the question laid out for every region and regions for every pair.

    The question's encoder is the network's own. Random numbers are drawn in the same order, so
    that dropout silences the same entries. Gives the logits [B, answers].
    """
    question = network.question(tokens, lengths).vector
    regions, count = scaled(regions, network.scale), regions.shape[1]
    rows = question[:, None].expand(-1, count, -1).reshape(-1, question.shape[1])
    for step in range(network.steps):
        cell: MurelCell = network.cells[step % len(network.cells)]  # type: ignore[assignment]
        fused = _fuse(cell.fusion, rows, regions.reshape(-1, regions.shape[2]))
        out = fused.view(-1, count, fused.shape[1])
        if cell.pairwise is not None:
            out = relate_pairs(cell.pairwise, out, coordinates).regions
        regions = out + regions if cell.residual else out
    pooled, _ = pool_regions(regions, network.aggregate, None)
    return _fuse(network.classify, question, pooled)


def _fuse(fusion: Fusion, x0: Tensor, x1: Tensor) -> Tensor:
    return block(fusion, x0, x1) if isinstance(fusion, Block) else fusion(x0, x1)


def block(fusion: Block, x0: Tensor, x1: Tensor) -> Tensor:
    """Fuse rows [P, D0] and [P, D1] by a Block fusion, every step an operation of its own."""
    p = fusion.dropout_input
    a = F.dropout(F.linear(x0, fusion.linear0.weight, fusion.linear0.bias), p, fusion.training)
    b = F.dropout(F.linear(x1, fusion.linear1.weight, fusion.linear1.bias), p, fusion.training)
    chunks = []
    pieces = zip(*(torch.split_with_sizes(x, fusion.sizes, 1) for x in (a, b)), strict=True)
    for c, (ac, bc) in enumerate(pieces):
        product = fusion.merge_linears0[c](ac) * fusion.merge_linears1[c](bc)
        chunks.append(product.view(-1, fusion.rank, ac.shape[1]).sum(1))
        if fusion.pos_norm == "before_cat":
            chunks[-1] = _root(chunks[-1])
    z = torch.cat(chunks, 1)
    if fusion.pos_norm == "after_cat":
        z = _root(z)
    z = F.dropout(z, fusion.dropout_pre_lin, fusion.training)
    y = F.linear(z, fusion.linear_out.weight, fusion.linear_out.bias)
    return F.dropout(y, fusion.dropout_output, fusion.training)


def _root(z: Tensor) -> Tensor:
    return F.normalize(torch.sqrt(F.relu(z)) - torch.sqrt(F.relu(-z)), p=2.0, dim=1)
