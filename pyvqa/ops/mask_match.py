"""Pairing masks by their overlap, suppressing masks, and the plain-torch twins of the mask ops."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pyvqa.ops.masks import Masks, PackedMasks, as_packed, mask_iou

MatchRule = Literal["first", "best", "greedy", "optimal"]
_RULES: tuple[MatchRule, ...] = ("first", "best", "greedy", "optimal")  # as in csrc/masks/match.h


def match_masks(
    overlap: Tensor | tuple[Masks, Masks], threshold: float, *, rule: MatchRule = "first"
) -> Tensor:
    """Give each of N masks its partner among M: int64 [N], -1 where there is none.

    `overlap` is a table [N, M], compared as float64, or two sets of masks whose IoU is taken. Only
    pairs above the threshold (strictly) count; NaN is above nothing.

    - "first": the first that counts in the order of the list, as NS-VQA pairs proposals with
      objects; several masks may share a partner.
    - "best": the one with the largest overlap, the first of equals; partners may be shared.
    - "greedy": one to one, from the largest overlap down; of equals the first row, then the first
      column.
    - "optimal": one to one with the largest sum of overlaps (Hungarian method); overlaps below 0
      weigh as 0 and those above 1e150 as 1e150.
    """
    if rule not in _RULES:
        raise ValueError(f"match_masks: rule must be one of {', '.join(_RULES)}, got {rule!r}")
    table = overlap if isinstance(overlap, Tensor) else mask_iou(*overlap)
    if table.dim() != 2:
        raise ValueError(f"match_masks: overlap must be [N, M], got {table.dim()} dimensions")
    result = torch.ops.pyvqa.match_masks(table.double(), threshold, _RULES.index(rule))
    return result  # type: ignore[no-any-return]


def mask_nms(
    masks: Masks, scores: Tensor, *, iou_threshold: float = 0.5, iomin_threshold: float = 0.5
) -> Tensor:
    """Drop masks that overlap with a better one: int64 [K], kept masks by falling score.

    A mask is dropped where its IoU or its intersection over the smaller area with one already kept
    is above the threshold (`mask_iou` says what empty masks give). Equal scores keep their order
    and NaN counts as the best. (NS-VQA, attr_net/tools/process_proposals.py)
    """
    packed = as_packed(masks, scores.device)
    if scores.dim() != 1 or scores.shape[0] != len(packed):
        raise ValueError(
            f"mask_nms: scores must be [{len(packed)}], one for each mask, got {list(scores.shape)}"
        )
    order = torch.argsort(scores, descending=True, stable=True)
    result = torch.ops.pyvqa.mask_nms(
        packed.bits, packed.extents, packed.width, order, iou_threshold, iomin_threshold
    )
    return result  # type: ignore[no-any-return]


def _fake_match(overlap: Tensor, threshold: float, rule: int) -> Tensor:
    return overlap.new_empty(overlap.shape[0], dtype=torch.int64)


def _fake_nms(
    bits: Tensor,
    extents: Tensor,
    width: int,
    order: Tensor,
    iou_threshold: float,
    iomin_threshold: float,
) -> Tensor:
    kept = torch.library.get_ctx().new_dynamic_size()
    return bits.new_empty(kept, dtype=torch.int64)


torch.library.register_fake("pyvqa::match_masks", _fake_match)
torch.library.register_fake("pyvqa::mask_nms", _fake_nms)


# ---- the definitions that the kernels are held to


def pack_masks_reference(masks: Tensor) -> PackedMasks:
    """`pack_masks` in plain torch."""
    count, height, width = masks.shape
    words = (width + 63) // 64
    ones = masks.new_zeros((count, height, words * 64), dtype=torch.int64)
    ones[:, :, :width] = masks != 0
    shifts = torch.arange(64, device=masks.device)
    bits = (ones.reshape(count, height, words, 64) << shifts).sum(3)
    return PackedMasks(bits, width, mask_extents_reference(masks))


def mask_extents_reference(masks: Tensor) -> Tensor:
    """Extents of dense masks in plain torch: int32 [N, 5]."""
    ones = masks != 0
    extents = torch.zeros((len(masks), 5), dtype=torch.int32, device=masks.device)
    for n, mask in enumerate(ones):
        rows, columns = mask.nonzero(as_tuple=True)
        if rows.numel():
            box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            extents[n, :4] = torch.stack(box)
            extents[n, 4] = rows.numel()
    return extents


def mask_runs_reference(masks: Tensor, by_rows: bool) -> tuple[Tensor, Tensor]:
    """Run lengths of dense masks in plain torch: runs int32, offsets int64 [N + 1]."""
    lines = masks if by_rows else masks.transpose(1, 2)
    found = []
    for line in (lines != 0).flatten(1):
        ends = torch.zeros(line.numel() + 1, dtype=torch.bool, device=masks.device)
        ends[0] = line[:1].any()
        ends[1:-1] = line[1:] != line[:-1]
        ends[-1] = True
        at = ends.nonzero()[:, 0]
        found.append(torch.diff(at, prepend=at.new_zeros(1)).int())
    lengths = torch.tensor([0, *(len(runs) for runs in found)], device=masks.device)
    runs = torch.cat(found) if found else torch.zeros(0, dtype=torch.int32, device=masks.device)
    return runs, lengths.cumsum(0)


def mask_iou_reference(a: Tensor, b: Tensor, *, iomin: bool = False) -> Tensor:
    """`mask_iou` of dense masks in plain torch: one matrix product, exact below 2^53 pixels."""
    first, second = (a != 0).flatten(1).double(), (b != 0).flatten(1).double()
    both = first @ second.T
    areas = first.sum(1)[:, None], second.sum(1)[None]
    if iomin:
        least = torch.minimum(*areas)
        return torch.where(least > 0, both / least, 1.0)
    return torch.where(both > 0, both / (areas[0] + areas[1] - both), 0.0)


def match_masks_reference(overlap: Tensor, threshold: float, rule: MatchRule) -> Tensor:
    """The rules but "optimal" in plain torch and Python."""
    counts = overlap > threshold
    if rule in ("first", "best"):
        masked = torch.where(counts, overlap if rule == "best" else 1.0, -torch.inf)
        if not overlap.shape[1]:
            return overlap.new_full((overlap.shape[0],), -1, dtype=torch.int64)
        best = (masked == masked.amax(1, keepdim=True)).int().argmax(1)
        return torch.where(counts.any(1), best, -1)
    matched = [-1] * overlap.shape[0]
    pairs = [(-float(overlap[i, j]), i, j) for i, j in counts.nonzero().tolist()]
    for _, i, j in sorted(pairs):
        if matched[i] < 0 and j not in matched:
            matched[i] = j
    return torch.tensor(matched, dtype=torch.int64)


def mask_nms_reference(
    masks: Tensor, scores: Tensor, iou_threshold: float, iomin_threshold: float
) -> Tensor:
    """`mask_nms` of dense masks in plain torch and Python."""
    drops = (mask_iou_reference(masks, masks) > iou_threshold) | (
        mask_iou_reference(masks, masks, iomin=True) > iomin_threshold
    )
    kept: list[int] = []
    for mask in torch.argsort(scores, descending=True, stable=True).tolist():
        if not any(drops[mask, other] for other in kept):
            kept.append(mask)
    return torch.tensor(kept, dtype=torch.int64)
