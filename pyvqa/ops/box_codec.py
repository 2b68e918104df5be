"""Boxes as offsets from proposals, back again, and into the image (csrc/boxes).

The offsets of R-CNN (Girshick et al., CVPR 2014): shifts of the centre in sides of the proposal and
logarithms of size ratios. `inclusive` is Detectron's convention (pyvqa/ops/boxes.py). Half
precision is computed in float32 and rounded once at the end; inputs of two types give the wider
one, so that half-precision offsets of float32 proposals make float32 boxes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyvqa.ops.boxes import batched, refuse_second_gradient, register_vmap, unbatched

CLIP = math.log(1000 / 16)  # the largest logarithm of a size ratio that is decoded
Weights = tuple[float, float, float, float]
_ONES = (1.0, 1.0, 1.0, 1.0)


def encode_boxes(
    boxes: Tensor, proposals: Tensor, *, weights: Weights = _ONES, inclusive: bool = False
) -> Tensor:
    """Return the offsets that lead from proposals to boxes: [..., N, 4] both -> [..., N, 4].

    dx, dy, dw, dh times `weights`; leading dimensions are broadcast. A side of 0 gives infinities,
    a negative ratio of sides or NaN gives NaN. One pass, differentiable.
    """
    dtype, boxes, proposals = _prepared("encode_boxes", "boxes", boxes, proposals)
    boxes, proposals, lead = batched(boxes, proposals)
    done = torch.ops.pyvqa.encode_boxes(
        boxes, proposals, *_four("encode_boxes", weights), inclusive
    )
    return unbatched(done, lead).to(dtype)


def decode_boxes(
    deltas: Tensor,
    proposals: Tensor,
    *,
    weights: Weights = _ONES,
    inclusive: bool = False,
    clip: float = CLIP,
) -> Tensor:
    """Return the boxes that offsets lead to: [..., N, 4 C], [..., N, 4] -> [..., N, 4 C].

    Each proposal has C boxes, one per class where regression is by class. Offsets are divided by
    `weights`; logarithms of size ratios above `clip` count as `clip` and have no gradient. NaN
    stays NaN. One pass, differentiable; leading dimensions are broadcast.
    """
    dtype, deltas, proposals = _prepared("decode_boxes", "deltas", deltas, proposals)
    deltas, proposals, lead = batched(deltas, proposals)
    done = torch.ops.pyvqa.decode_boxes(
        deltas, proposals, *_four("decode_boxes", weights), inclusive, float(clip)
    )
    return unbatched(done, lead).to(dtype)


def clip_boxes(boxes: Tensor, size: tuple[float, float], *, inclusive: bool = False) -> Tensor:
    """Move corners into an image of (height, width): [..., 4 C] -> [..., 4 C].

    x goes into [0, width], y into [0, height]; `inclusive`: width - 1 and height - 1. NaN stays
    NaN. One pass, differentiable: corners that were moved get no gradient.
    """
    height, width = (float(side) - int(inclusive) for side in size)
    if not (height >= 0 and width >= 0):
        raise ValueError(f"clip_boxes: an image cannot be {size[0]} x {size[1]}")
    dtype = _floating("clip_boxes", "boxes", boxes)
    rows = boxes.to(_computed(dtype))
    if rows.dim() == 1:
        rows = rows[None]
    rows, _, lead = batched(rows, rows)
    done: Tensor = torch.ops.pyvqa.clip_boxes(rows, width, height)
    done = unbatched(done, lead).to(dtype)
    return done[0] if boxes.dim() == 1 else done


# ---- plain torch


def encode_boxes_reference(
    boxes: Tensor, proposals: Tensor, *, weights: Weights = _ONES, inclusive: bool = False
) -> Tensor:
    """The same as `encode_boxes`, in plain torch: what the kernels are held to."""
    size, centre = _sides_reference(boxes, int(inclusive))
    from_size, from_centre = _sides_reference(proposals, int(inclusive))
    by = boxes.new_tensor(weights)
    shift = by[:2] * (centre - from_centre) / from_size
    return torch.cat([shift, by[2:] * torch.log(size / from_size)], -1)


def decode_boxes_reference(
    deltas: Tensor,
    proposals: Tensor,
    *,
    weights: Weights = _ONES,
    inclusive: bool = False,
    clip: float = CLIP,
) -> Tensor:
    """The same as `decode_boxes`, in plain torch."""
    size, centre = (t.unsqueeze(-2) for t in _sides_reference(proposals, int(inclusive)))
    offsets = _groups(deltas, 4) / deltas.new_tensor(weights)
    middle, growth = offsets[..., :2] * size + centre, offsets[..., 2:]
    half = 0.5 * (torch.exp(torch.where(growth > clip, clip, growth)) * size)
    return torch.cat([middle - half, middle + half - int(inclusive)], -1).flatten(-2)


def clip_boxes_reference(
    boxes: Tensor, size: tuple[float, float], *, inclusive: bool = False
) -> Tensor:
    """The same as `clip_boxes`, in plain torch."""
    height, width = (side - int(inclusive) for side in size)
    pairs = _groups(boxes, 2)
    most = boxes.new_tensor([width, height])
    above = torch.where(pairs < 0, 0, pairs)
    return torch.where(above > most, most, above).flatten(-2)


def _groups(rows: Tensor, size: int) -> Tensor:
    return rows.reshape(*rows.shape[:-1], rows.shape[-1] // size, size)


def _sides_reference(boxes: Tensor, one: int) -> tuple[Tensor, Tensor]:
    size = boxes[..., 2:] - boxes[..., :2] + one
    return size, boxes[..., :2] + 0.5 * size


# ---- the ops


def _floating(op: str, name: str, tensor: Tensor) -> torch.dtype:
    if not tensor.is_floating_point():
        raise TypeError(f"{op}: {name} must be floating point, got {tensor.dtype}")
    return tensor.dtype


def _computed(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _prepared(
    op: str, name: str, boxes: Tensor, proposals: Tensor
) -> tuple[torch.dtype, Tensor, Tensor]:
    """The dtype of the result, and both tensors in the dtype that they are computed in."""
    dtype = _floating(op, name, boxes)
    if _floating(op, "proposals", proposals) != dtype:
        dtype = torch.promote_types(dtype, proposals.dtype)
    return dtype, boxes.to(_computed(dtype)), proposals.to(_computed(dtype))


def _four(op: str, weights: Weights) -> tuple[float, ...]:
    if len(weights) != 4:
        raise ValueError(f"{op}: weights must be four numbers, got {len(weights)}")
    return tuple(map(float, weights))


def _fake_like_first(boxes: Tensor, *_: Any) -> Tensor:
    return boxes.new_empty(boxes.shape)


def _fake_backward(
    grad: Tensor, boxes: Tensor, proposals: Tensor, *_: Any
) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(boxes.shape), proposals.new_empty(proposals.shape)


def _codec_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    boxes, proposals, *ctx.options = inputs
    ctx.save_for_backward(boxes, proposals)


def _encode_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    done = torch.ops.pyvqa.encode_boxes_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (*done, *(None for _ in ctx.options))


def _decode_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    done = torch.ops.pyvqa.decode_boxes_backward(grad, *ctx.saved_tensors, *ctx.options)
    return (*done, *(None for _ in ctx.options))


def _clip_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    boxes, *ctx.limits = inputs
    ctx.save_for_backward(boxes)


def _clip_gradient(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    (boxes,) = ctx.saved_tensors
    pairs = _groups(boxes, 2)
    width, height = ctx.limits
    within = torch.stack([pairs[..., 0] <= width, pairs[..., 1] <= height], -1) & (pairs >= 0)
    return torch.where(within.flatten(-2), grad, 0), None, None


for _name, _fake in (
    ("encode_boxes", _fake_like_first),
    ("decode_boxes", _fake_like_first),
    ("clip_boxes", _fake_like_first),
    ("encode_boxes_backward", _fake_backward),
    ("decode_boxes_backward", _fake_backward),
):
    torch.library.register_fake(f"pyvqa::{_name}", _fake)
for _name, _tensors in (
    ("encode_boxes", 2),
    ("decode_boxes", 2),
    ("clip_boxes", 1),
    ("encode_boxes_backward", 3),
    ("decode_boxes_backward", 3),
):
    register_vmap(_name, _tensors)
torch.library.register_autograd("pyvqa::encode_boxes", _encode_gradient, setup_context=_codec_setup)
torch.library.register_autograd("pyvqa::decode_boxes", _decode_gradient, setup_context=_codec_setup)
torch.library.register_autograd("pyvqa::clip_boxes", _clip_gradient, setup_context=_clip_setup)
refuse_second_gradient("encode_boxes")
refuse_second_gradient("decode_boxes")
