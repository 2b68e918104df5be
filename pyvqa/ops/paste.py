"""Pasting predicted masks into pictures (csrc/paste)."""

from __future__ import annotations

from typing import Any, Literal, overload

import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)
from pyvqa.ops.masks import PackedMasks, Rle, encode_masks

Rule = Literal["torchvision", "detectron"]
_LARGEST_SIDE = 2**24 - 1


@overload
def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
    rule: Rule = "torchvision",
    output: Literal["dense"] = "dense",
) -> Tensor: ...


@overload
def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
    rule: Rule = "torchvision",
    output: Literal["packed"],
) -> PackedMasks: ...


@overload
def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
    rule: Rule = "torchvision",
    output: Literal["rle"],
) -> list[Rle]: ...


def paste_masks(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
    rule: Rule = "torchvision",
    output: Literal["dense", "packed", "rle"] = "dense",
) -> Tensor | PackedMasks | list[Rle]:
    """Stretch masks [N, h, w] over boxes [N, 4] (x1, y1, x2, y2) and cut them at a threshold.

    The canvas is (height, width) pixels. `rule` is whose arithmetic decides, and where equals go:

    - "torchvision": `paste_masks_in_image(masks[:, None], boxes, size, padding=1) >= threshold`;
    - "detectron": `> threshold`, one formula for all box sizes.

    Both put a border of one zero pixel round the mask, grow the box by (w + 2) / w about its
    centre, round its ends toward zero, include both in it, and interpolate bilinearly in float32.
    Outside its box nothing is set, nor where a mask is NaN. A box that is not finite, that reaches
    farther than 2^30 pixels or that ends before it begins gives an empty mask.

    Returns bool [N, height, width] for "dense"; a `PackedMasks` (bits int64
    [N, height, ceil(width / 64)]) for "packed", without the dense masks ever being made; a list of
    N COCO run-length dictionaries for "rle".

    Not differentiable. Raises TypeError for other types than floats, ValueError for an unknown
    `rule` or `output`, RuntimeError when shapes do not fit together.
    """
    height, width = _canvas(size)
    packed = _is_packed(rule, output)
    _check_floats(masks, "masks")
    _check_floats(boxes, "boxes")
    pasted: Tensor = torch.ops.pyvqa.paste_masks(
        masks.detach().float(),
        boxes.detach() if boxes.dtype == torch.float64 else boxes.detach().float(),
        height,
        width,
        threshold,
        rule == "detectron",
        packed,
    )
    if not packed:
        return pasted
    result = PackedMasks(pasted, width)
    return result if output == "packed" else encode_masks(result)


def paste_masks_reference(
    masks: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    *,
    threshold: float = 0.5,
    rule: Rule = "torchvision",
) -> Tensor:
    """The same in plain torch, for boxes that are not much larger than the canvas.

    Equal to the kernels but for values within rounding of the threshold: torch's own last bit
    depends on the processor and, with "detectron", on the size of the box.
    """
    height, width = _canvas(size)
    values = masks.new_zeros((len(masks), height, width), dtype=torch.float32) - torch.inf
    bordered = torch.nn.functional.pad(masks.float(), (1, 1, 1, 1))
    growth = (masks.shape[-1] + 2) / masks.shape[-1]
    if boxes.dtype != torch.float64:
        boxes = boxes.float()
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * growth
    centre = (boxes[:, 2:] + boxes[:, :2]) * 0.5
    ends = torch.cat([centre - half, centre + half], dim=1)
    for n in range(len(masks)):
        if not bool((ends[n].abs() <= 2**30).all()):
            continue
        left, top, right, bottom = ends[n].long().tolist()
        y, x = (
            slice(max(top, 0), min(bottom + 1, height)),
            slice(max(left, 0), min(right + 1, width)),
        )
        if y.start >= y.stop or x.start >= x.stop:
            continue
        stretched = torch.nn.functional.interpolate(
            bordered[n, None, None], size=(bottom - top + 1, right - left + 1), mode="bilinear"
        )[0, 0]
        values[n, y, x] = stretched[y.start - top : y.stop - top, x.start - left : x.stop - left]
    return values > threshold if rule == "detectron" else values >= threshold


def _is_packed(rule: str, output: str) -> bool:
    if rule not in ("torchvision", "detectron"):
        raise ValueError(f"paste_masks: rule must be torchvision or detectron, got {rule!r}")
    if output not in ("dense", "packed", "rle"):
        raise ValueError(f"paste_masks: output must be dense, packed or rle, got {output!r}")
    return output != "dense"


def _canvas(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2:
        raise ValueError("paste_masks: size must be (height, width)")
    height, width = size
    for side in (height, width):
        if not isinstance(side, (int, torch.SymInt)):
            raise TypeError(f"paste_masks: size must hold integers, got {type(side).__name__}")
        if not 0 <= side <= _LARGEST_SIDE:
            raise ValueError(f"paste_masks: size must be 0 to {_LARGEST_SIDE} a side, got {side}")
    return height, width


def _check_floats(values: Tensor, name: str) -> None:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        found = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"paste_masks: {name} must be a tensor of floats, got {found}")


def _fake_paste_masks(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float,
    detectron: bool,
    packed: bool,
) -> Tensor:
    if packed:
        return masks.new_empty((masks.shape[0], height, (width + 63) // 64), dtype=torch.int64)
    return masks.new_empty((masks.shape[0], height, width), dtype=torch.bool)


def _vmap_paste_masks(
    info: Any, in_dims: tuple[int | None, ...], masks: Tensor, boxes: Tensor, *rest: Any
) -> tuple[Tensor, int]:
    """Paste the masks of all examples in one call."""
    parts = []
    for values, dim in zip((masks, boxes), in_dims, strict=False):
        batched = values.movedim(dim, 0) if dim is not None else values[None]
        parts.append(batched.expand(info.batch_size, *batched.shape[1:]))
    pasted = torch.ops.pyvqa.paste_masks(*(part.flatten(0, 1) for part in parts), *rest)
    return pasted.unflatten(0, (info.batch_size, parts[0].shape[1])), 0


torch.library.register_fake("pyvqa::paste_masks", _fake_paste_masks)
torch.library.register_vmap("pyvqa::paste_masks", _vmap_paste_masks)
