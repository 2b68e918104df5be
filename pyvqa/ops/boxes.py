"""Areas and overlaps of boxes, anchors and pyramid levels (csrc/boxes).

Boxes are corners x1, y1, x2, y2 in pixels unless `fmt` says otherwise. Two conventions are in use:
sides are x2 - x1 (torchvision, COCO), or, `inclusive`, x2 - x1 + 1: both corners are pixels of the
box (Detectron).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)

FORMATS = ("xyxy", "xywh", "cxcywh")
_WHOLE = (torch.float32, torch.float64)


def box_area(boxes: Tensor, fmt: str = "xyxy", *, inclusive: bool = False) -> Tensor:
    """Return the areas of boxes [..., 4] -> [...], negative for swapped corners.

    Half precision is computed and returned in float32, small integers in int32, as torchvision
    does. Plain torch: two subtractions and a product, which are nothing to fuse for N boxes.
    """
    _check_format("box_area", fmt, inclusive)
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"box_area: boxes must be [..., 4], got {tuple(boxes.shape)}")
    _check_numbers("box_area", boxes)
    if boxes.is_floating_point():
        boxes = boxes if boxes.dtype in _WHOLE else boxes.float()
    elif boxes.dtype not in (torch.int32, torch.int64):
        boxes = boxes.int()
    if fmt != "xyxy":
        return boxes[..., 2] * boxes[..., 3]
    one = int(inclusive)
    return (boxes[..., 2] - boxes[..., 0] + one) * (boxes[..., 3] - boxes[..., 1] + one)


def box_iou(
    boxes1: Tensor, boxes2: Tensor, fmt: str = "xyxy", *, inclusive: bool = False
) -> Tensor:
    """Return the intersection over union of every pair: [..., N, 4], [..., M, 4] -> [..., N, M].

    torchvision's function, arguments and results (to the bit in float32 and float64); `fmt` is
    xyxy, xywh or cxcywh, leading dimensions are broadcast. Half precision is computed and returned
    in float32. Integer boxes are counted exactly in int64 (torchvision's small types overflow) and
    divided in float32. NaN in a box makes all its results NaN; two boxes without area give 0 / 0,
    which is NaN too. One pass, no memory beyond the result; the same bits on every instruction
    set, device and number of threads. Differentiable: the gradient is summed in a fixed order;
    where two corners coincide each box gets half of it, and boxes that touch count as overlapping.
    Gradients of gradients raise.

    Raises TypeError, ValueError or RuntimeError for other dtypes, formats or shapes.
    """
    return _overlaps(boxes1, boxes2, fmt, inclusive, False)


def generalized_box_iou(boxes1: Tensor, boxes2: Tensor, *, inclusive: bool = False) -> Tensor:
    """Return the IoU less the share of the hull that neither box covers, for every pair.

    The measure of Rezatofighi et al., CVPR 2019, in [-1, 1]; everything else as `box_iou`.
    """
    return _overlaps(boxes1, boxes2, "xyxy", inclusive, True)


def cell_anchors(
    stride: float,
    sizes: Sequence[float],
    ratios: Sequence[float],
    *,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the anchors of the first cell of a feature map: [ratios * sizes, 4], ratio-major.

    Detectron's rounding: a stride x stride box gets each ratio (height / width) at equal area, its
    width and then its height rounded to whole pixels; this box, not the exact one, is scaled to the
    sizes. Corners are inclusive. Plain Python: a handful of numbers, made once.
    """
    if not stride > 0 or any(not value > 0 for value in (*sizes, *ratios)):
        raise ValueError("cell_anchors: stride, sizes and ratios must be positive")
    centre = (stride - 1) / 2
    anchors = []
    for ratio in ratios:
        width = round(math.sqrt(stride * stride / ratio))
        height = round(width * ratio)
        for size in sizes:
            x = (width * size / stride - 1) / 2
            y = (height * size / stride - 1) / 2
            anchors.append([centre - x, centre - y, centre + x, centre + y])
    return torch.tensor(anchors, dtype=torch.float64).to(dtype).reshape(-1, 4)


def anchor_grid(cells: Tensor, size: tuple[int, int], stride: float) -> Tensor:
    """Return the anchors of an h x w feature map: cells [A, 4] -> [h * w * A, 4].

    Ordered by row, column, anchor. Plain torch: one copy that is then shifted in place.
    """
    height, width = size
    if cells.dim() != 2 or cells.shape[1] != 4:
        raise ValueError(f"anchor_grid: cells must be [A, 4], got {tuple(cells.shape)}")
    if not cells.is_floating_point():
        raise TypeError(f"anchor_grid: cells must be floating point, got {cells.dtype}")
    if height < 0 or width < 0:
        raise ValueError(f"anchor_grid: a feature map cannot be {height} x {width}")
    grid = cells.repeat(height, width, 1, 1)
    x = torch.arange(width, device=cells.device, dtype=cells.dtype) * stride
    y = torch.arange(height, device=cells.device, dtype=cells.dtype) * stride
    grid[..., 0::2] += x[:, None, None]
    grid[..., 1::2] += y[:, None, None, None]
    return grid.view(-1, 4)


def assign_levels(
    boxes: Tensor,
    k_min: int,
    k_max: int,
    *,
    canonical_size: float = 224,
    canonical_level: int = 4,
    eps: float = 1e-6,
    inclusive: bool = False,
) -> Tensor:
    """Return each box's level of a feature pyramid as an index from level k_min: int64 [K].

    floor(canonical_level + log2(sqrt(area) / canonical_size)) in k_min..k_max (Lin et al., CVPR
    2017); `eps` is added to the logarithm as torchvision does, or, `inclusive`, under it as
    Detectron does. Boxes whose area is negative or NaN get the lowest level. Plain torch: a few
    operations on K numbers.
    """
    if k_min > k_max:
        raise ValueError(f"assign_levels: k_min {k_min} is above k_max {k_max}")
    scale = box_area(boxes, inclusive=inclusive).sqrt() / canonical_size
    level = torch.log2(scale + eps) if inclusive else torch.log2(scale) + eps
    level = torch.floor(canonical_level + level).nan_to_num(nan=float(k_min))
    return level.clamp(k_min, k_max).long() - k_min


# ---- plain torch


def box_iou_reference(boxes1: Tensor, boxes2: Tensor, *, inclusive: bool = False) -> Tensor:
    """The same as `box_iou` for corners, in plain torch: what the kernels are held to."""
    both, either, _ = _areas_reference(boxes1, boxes2, inclusive)
    return both / either


def generalized_box_iou_reference(
    boxes1: Tensor, boxes2: Tensor, *, inclusive: bool = False
) -> Tensor:
    """The same as `generalized_box_iou`, in plain torch."""
    both, either, hull = _areas_reference(boxes1, boxes2, inclusive)
    return both / either - (hull - either) / hull


def _areas_reference(a: Tensor, b: Tensor, inclusive: bool) -> tuple[Tensor, Tensor, Tensor]:
    def area(low: Tensor, high: Tensor, cut: bool = True) -> Tensor:
        sides = high - low + 1 if inclusive else high - low
        sides = torch.where(sides < 0, 0, sides) if cut else sides
        return sides[..., 0] * sides[..., 1]

    a, b = (t if t.dtype in _WHOLE else t.float() for t in (a, b))
    areas = [area(t[..., :2], t[..., 2:], cut=False) for t in (a, b)]
    a, b = a[..., :, None, :], b[..., None, :, :]
    both = area(torch.maximum(a, b)[..., :2], torch.minimum(a, b)[..., 2:])
    either = areas[0][..., :, None] + areas[1][..., None, :] - both
    return both, either, area(torch.minimum(a, b)[..., :2], torch.maximum(a, b)[..., 2:])


# ---- the op


def _check_format(op: str, fmt: str, inclusive: bool) -> None:
    if fmt not in FORMATS:
        raise ValueError(f"{op}: fmt must be one of {', '.join(FORMATS)}, got {fmt!r}")
    if inclusive and fmt != "xyxy":
        raise ValueError(f"{op}: inclusive is about corners, but fmt is {fmt!r}")


def _check_numbers(op: str, boxes: Tensor) -> None:
    if boxes.dtype is torch.bool or boxes.is_complex():
        raise TypeError(f"{op}: boxes must be numbers, got {boxes.dtype}")


def _overlaps(
    boxes1: Tensor, boxes2: Tensor, fmt: str, inclusive: bool, generalized: bool
) -> Tensor:
    if fmt != "xyxy":
        _check_format("box_iou", fmt, inclusive)
    if boxes1.dtype != boxes2.dtype or boxes1.dtype not in _WHOLE:
        dtype = _pair_dtype(boxes1, boxes2, fmt)
        boxes1, boxes2 = boxes1.to(dtype), boxes2.to(dtype)
    boxes1, boxes2, lead = batched(boxes1, boxes2)
    result: Tensor = torch.ops.pyvqa.box_iou(
        boxes1, boxes2, FORMATS.index(fmt), inclusive, generalized
    )
    return unbatched(result, lead)


def _pair_dtype(boxes1: Tensor, boxes2: Tensor, fmt: str) -> torch.dtype:
    _check_numbers("box_iou", boxes1)
    _check_numbers("box_iou", boxes2)
    dtype = torch.promote_types(boxes1.dtype, boxes2.dtype)
    if not dtype.is_floating_point:
        return torch.float32 if fmt == "cxcywh" else torch.int64
    return dtype if dtype in _WHOLE else torch.float32


def batched(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
    """Broadcast leading dimensions and make one of them: [rows, n] or [batch, rows, n].

    Returns both tensors and the leading dimensions, which `unbatched` restores.
    """
    ranks = first.dim(), second.dim()
    if max(ranks) <= 2 or min(ranks) < 2:  # the op has words for too few dimensions
        return first, second, ()
    lead = torch.broadcast_shapes(  # type: ignore[no-untyped-call]
        first.shape[:-2], second.shape[:-2]
    )
    first, second = (t.expand(*lead, *t.shape[-2:]) for t in (first, second))
    if len(lead) > 1:
        first, second = first.flatten(0, -3), second.flatten(0, -3)
    return first, second, tuple(lead)


def unbatched(result: Tensor, lead: tuple[int, ...]) -> Tensor:
    """Restore the leading dimensions that `batched` merged."""
    return result if len(lead) <= 1 else result.reshape(*lead, *result.shape[1:])


def register_vmap(name: str, tensors: int) -> None:
    """Give an op whose first `tensors` arguments are [rows, n] or [batch, rows, n] its vmap rule.

    The mapped dimension becomes part of the batch.
    """

    def rule(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        moved = [
            t.unsqueeze(0) if dim is None else t.movedim(dim, 0)
            for t, dim in zip(arguments[:tensors], in_dims, strict=False)
        ]
        moved = [t.expand(info.batch_size, *t.shape[1:]) for t in moved]
        lead = moved[0].shape[:-2]
        op: Callable[..., Any] = getattr(torch.ops.pyvqa, name)
        given = [t.flatten(0, -3) if len(lead) > 1 else t for t in moved]
        done = op(*given, *arguments[tensors:])
        if isinstance(done, Tensor):
            return done.reshape(*lead, *done.shape[1:]), 0
        return tuple(t.reshape(*lead, *t.shape[1:]) for t in done), (0,) * len(done)

    torch.library.register_vmap(f"pyvqa::{name}", rule)


def refuse_second_gradient(name: str) -> None:
    """Make the gradient of an op `<name>_backward` an error, instead of torch's silent zero."""

    def refuse(ctx: Any, *grads: Tensor) -> None:
        raise RuntimeError(f"{name}: gradients of gradients are not implemented")

    torch.library.register_autograd(f"pyvqa::{name}_backward", refuse)


def _fake_box_iou(
    boxes1: Tensor, boxes2: Tensor, format: int, inclusive: bool, generalized: bool
) -> Tensor:
    dtype = boxes1.dtype if boxes1.dtype.is_floating_point else torch.float32
    return boxes1.new_empty((*boxes1.shape[:-1], boxes2.shape[-2]), dtype=dtype)


def _fake_box_iou_backward(
    grad: Tensor, boxes1: Tensor, boxes2: Tensor, format: int, inclusive: bool, generalized: bool
) -> tuple[Tensor, Tensor]:
    return boxes1.new_empty(boxes1.shape), boxes2.new_empty(boxes2.shape)


def _box_iou_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    boxes1, boxes2, *ctx.options = inputs
    ctx.save_for_backward(boxes1, boxes2)


def _box_iou_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    to1, to2 = torch.ops.pyvqa.box_iou_backward(grad, *ctx.saved_tensors, *ctx.options)
    return to1, to2, None, None, None


torch.library.register_fake("pyvqa::box_iou", _fake_box_iou)
torch.library.register_fake("pyvqa::box_iou_backward", _fake_box_iou_backward)
torch.library.register_autograd("pyvqa::box_iou", _box_iou_gradient, setup_context=_box_iou_setup)
refuse_second_gradient("box_iou")
register_vmap("box_iou", 2)
register_vmap("box_iou_backward", 3)
