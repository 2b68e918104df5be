"""Non-maximum suppression of boxes (csrc/nms)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)

Order = Literal["score", "input"]

_nms = torch.ops.pyvqa.nms.default
_nms_padded = torch.ops.pyvqa.nms_padded.default


def _in_input_order(order: Order) -> bool:
    if order not in ("score", "input"):
        raise ValueError(f"order must be 'score' or 'input', got {order!r}")
    return order == "input"


def _as_groups(idxs: Tensor) -> Tensor:
    if idxs.dtype == torch.int64:
        return idxs
    if idxs.dtype.is_floating_point or idxs.dtype.is_complex:
        raise TypeError(f"idxs must be integers, got {idxs.dtype}")
    return idxs.to(torch.int64)


def nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    inclusive: bool = False,
    suppress_equal: bool = False,
    order: Order = "score",
) -> Tensor:
    """Keep the boxes that overlap no better one too much: [N, 4], [N] -> int64 [K].

    `boxes` are corners (x1, y1, x2, y2). Boxes are looked at from the highest score to the lowest,
    equal scores by index, scores that are not a number first (as `torch.sort` has them); one is
    dropped if its intersection over union with a box kept before exceeds `iou_threshold`. The
    result lists the kept boxes in that order, as `torchvision.ops.nms` does. Detectron's convention
    is `inclusive=True` (the last pixel belongs to a box: sizes x2 - x1 + 1), `suppress_equal=True`
    (reaching the threshold is enough) and `order="input"` (ascending indices).

    Overlaps are computed in the type of the boxes, half types in float32, with the same result on
    every device. Where an overlap is not a number (boxes with such coordinates, two boxes without
    area) it suppresses nothing.

    Raises RuntimeError when shapes, types or devices do not fit together.
    """
    by_input = _in_input_order(order)
    return _nms(  # type: ignore[no-any-return]
        boxes, scores, None, iou_threshold, inclusive, suppress_equal, by_input
    )


def batched_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor,
    iou_threshold: float,
    *,
    inclusive: bool = False,
    suppress_equal: bool = False,
    order: Order = "score",
) -> Tensor:
    """Apply `nms` to each group of boxes alone: [N, 4], [N], [N] -> int64 [K].

    Boxes belong together if their `idxs` (any integers: classes, levels, images) are equal. The
    result is ordered by score over all groups, or by index. Coordinates are used as they are.

    Raises TypeError when `idxs` are no integers, else as `nms`.
    """
    by_input = _in_input_order(order)
    return _nms(  # type: ignore[no-any-return]
        boxes, scores, _as_groups(idxs), iou_threshold, inclusive, suppress_equal, by_input
    )


def nms_padded(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    idxs: Tensor | None = None,
    inclusive: bool = False,
    suppress_equal: bool = False,
    order: Order = "score",
) -> tuple[Tensor, Tensor]:
    """Give what `nms` or, with `idxs`, `batched_nms` keeps in a fixed size.

    Returns `keep`, int64 [N], and `count`, int64 []: the first `count` entries of `keep` are the
    result, the others -1. On a CUDA device nothing waits for the device, so that the call can be
    captured in a graph; under `torch.vmap` it runs for one sample after the other.
    """
    by_input = _in_input_order(order)
    groups = None if idxs is None else _as_groups(idxs)
    return _nms_padded(  # type: ignore[no-any-return]
        boxes, scores, groups, iou_threshold, inclusive, suppress_equal, by_input
    )


def nms_reference(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    idxs: Tensor | None = None,
    inclusive: bool = False,
    suppress_equal: bool = False,
    order: Order = "score",
) -> Tensor:
    """Do the same in plain torch: the definition that the kernels are held to."""
    wide = boxes if boxes.dtype == torch.float64 else boxes.float()
    ranked = torch.sort(scores, stable=True, dim=0, descending=True).indices
    x1, y1, x2, y2 = wide[ranked].unbind(1)
    plus = 1 if inclusive else 0
    area = (x2 - x1 + plus) * (y2 - y1 + plus)
    width = torch.minimum(x2[:, None], x2) - torch.maximum(x1[:, None], x1) + plus
    height = torch.minimum(y2[:, None], y2) - torch.maximum(y1[:, None], y1) + plus
    both = width.clamp(min=0) * height.clamp(min=0)
    overlap = (both / (area[:, None] + area - both)).double()
    too_much = overlap >= iou_threshold if suppress_equal else overlap > iou_threshold
    if idxs is not None:
        too_much &= idxs[ranked][:, None] == idxs[ranked]
    dropped = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for rank in range(len(boxes)):
        if not dropped[rank]:
            dropped[rank + 1 :] |= too_much[rank, rank + 1 :]
    keep: Tensor = ranked[~dropped]
    return keep.sort().values if order == "input" else keep


def _fake_nms(boxes: Tensor, *_: Any) -> Tensor:
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(count, dtype=torch.int64)


def _fake_nms_padded(boxes: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    return (
        boxes.new_empty(boxes.shape[0], dtype=torch.int64),
        boxes.new_empty((), dtype=torch.int64),
    )


def _vmap_nms_padded(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> Any:
    """Run one sample after the other."""
    samples = [
        _nms_padded(
            *(
                a if dim is None else a.select(dim, i)
                for a, dim in zip(arguments, in_dims, strict=True)
            )
        )
        for i in range(info.batch_size)
    ]
    return tuple(torch.stack(parts) for parts in zip(*samples, strict=True)), (0, 0)


torch.library.register_fake("pyvqa::nms", _fake_nms)
torch.library.register_fake("pyvqa::nms_padded", _fake_nms_padded)
torch.library.register_vmap("pyvqa::nms_padded", _vmap_nms_padded)
