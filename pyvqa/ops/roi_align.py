"""RoIAlign on one map or all levels of a pyramid (csrc/roi_align).

What all functions here share: boxes are x1, y1, x2, y2 in pixels of the image and are multiplied by
the scale of their map. A box is cut into output_size bins; each bin is the mean of a grid of
samples, each interpolated between four pixels of the map. `sampling_ratio` is the grid's side, 0
or less takes as many samples as the bin has pixels (rounded up, at most 2**22). `aligned` shifts
boxes by half a pixel, so that pixels are squares around whole numbers; without it boxes are at
least one pixel large. Samples more than a pixel outside of the map count as zeros. These are
torchvision's rules.

A region that names no image of the batch (or no level), or whose coordinates are not finite, gives
zeros and no gradient: nothing raises per region, on any device.

float32, float64, bfloat16 and float16 maps are taken as they are, under autocast too; 16-bit ones
are summed in float32. Maps of any strides are read in place; if all of them are channels-last, so
is the result. Results do not depend on the number of threads. Boxes get no gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)

Boxes = Tensor | Sequence[Tensor]


def roi_align(
    input: Tensor,
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Pool regions of a map [B, C, H, W] to one size: [K, C, h, w].

    `boxes` is [K, 5] (image in the batch, x1, y1, x2, y2) or a list of B tensors [k, 4];
    `output_size` is h, w or one number for both. The arguments are torchvision's.

    Raises RuntimeError when shapes or types do not fit together, TypeError and ValueError for
    boxes or an output size of another kind.
    """
    height, width = _pair(output_size)
    rois = _rois(boxes, input)
    result = torch.ops.pyvqa.roi_align(
        [input], rois, None, [float(spatial_scale)], height, width, sampling_ratio, aligned
    )
    return result  # type: ignore[no-any-return]


def multiscale_roi_align(
    features: Sequence[Tensor],
    boxes: Boxes,
    output_size: int | Sequence[int],
    spatial_scales: Sequence[float],
    levels: Tensor,
    *,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Tensor:
    """Pool each region from its level of a pyramid: [K, C, h, w] in the order of the boxes.

    `features` are up to 16 maps [B, C, H_l, W_l], `spatial_scales` their scales, `levels` [K]
    integers that say which of them a region is taken from. Boxes as in `roi_align`.
    """
    height, width = _pair(output_size)
    features = list(features)
    result = torch.ops.pyvqa.roi_align(
        features,
        _rois(boxes, features[0] if features else None),
        _levels(levels),
        [float(scale) for scale in spatial_scales],
        height,
        width,
        sampling_ratio,
        aligned,
    )
    return result  # type: ignore[no-any-return]


def roi_align_backward_(
    grads: Sequence[Tensor],
    grad_output: Tensor,
    boxes: Boxes,
    spatial_scales: Sequence[float],
    levels: Tensor | None = None,
    *,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> None:
    """Add the gradient of a pooling to `grads`, one [B, C, H_l, W_l] for each level, in place.

    `grad_output` [K, C, h, w] is the gradient of what `multiscale_roi_align` (or, with one level
    and no `levels`, `roi_align`) gave for the same boxes, scales and options. Nothing else is
    allocated for float32 and float64; 16-bit gradients are summed in float32 before they are added.
    """
    grads = list(grads)
    torch.ops.pyvqa.roi_align_backward_(
        grads,
        grad_output,
        _rois(boxes, grads[0] if grads else None),
        None if levels is None else _levels(levels),
        [float(scale) for scale in spatial_scales],
        sampling_ratio,
        aligned,
    )


def multiscale_roi_align_reference(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: tuple[int, int],
    scales: Sequence[float],
    levels: Tensor | None = None,
    *,
    sampling_ratio: int = 2,
    aligned: bool = False,
) -> Tensor:
    """Do the same in plain torch, summed in float64: the definition the kernels are held to."""
    coordinates = torch.float64 if features[0].dtype == torch.float64 else torch.float32
    images, channels = features[0].shape[:2]
    pooled = []
    for k, roi in enumerate(rois.to(coordinates)):
        level = 0 if levels is None else int(levels[k])
        known = 0 <= level < len(features) and -1 < float(roi[0]) < images
        scale = torch.tensor(scales[level] if known else 1.0).to(coordinates)
        corners = roi[1:] * scale - (0.5 if aligned else 0.0)
        sizes = corners[2:] - corners[:2]
        if not known or not bool(torch.isfinite(torch.cat([corners, sizes])).all()):
            pooled.append(features[0].new_zeros(channels, *output_size, dtype=torch.float64))
            continue
        pixels = features[level][int(roi[0])].double()
        args = (sampling_ratio, aligned)
        rows = _bin_weights(corners[1], sizes[1], output_size[0], pixels.shape[1], *args)
        columns = _bin_weights(corners[0], sizes[0], output_size[1], pixels.shape[2], *args)
        pooled.append(torch.einsum("iy,cyx,jx->cij", rows, pixels, columns))
    if not pooled:
        return features[0].new_zeros(0, channels, *output_size)
    return torch.stack(pooled).to(features[0].dtype)


def _bin_weights(
    start: Tensor, size: Tensor, bins: int, pixels: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Weights [bins, pixels] of the pixels along one axis of a region."""
    if not aligned:
        size = size.clamp(min=1)
    step = size / bins
    count = sampling_ratio if sampling_ratio > 0 else int(step.ceil().clamp(0, 2**22))
    weights = torch.zeros(bins, pixels, dtype=torch.float64)
    if count == 0 or pixels == 0:
        return weights
    inside = (torch.arange(count).to(size) + 0.5) * step / count
    place = start + torch.arange(bins).to(size)[:, None] * step + inside
    valid = ((place >= -1) & (place <= pixels)).double() / count
    place = place.clamp(0, pixels)
    low = place.floor().long().clamp(max=pixels - 1)
    high = (low + 1).clamp(max=pixels - 1)
    beyond = torch.where(low < pixels - 1, place - low, 0.0).double()
    weights.scatter_add_(1, low, valid * (1 - beyond))
    return weights.scatter_add_(1, high, valid * beyond)


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    if isinstance(size, (int, torch.SymInt)):
        return size, size
    if isinstance(size, Sequence) and len(size) == 2:
        return size[0], size[1]
    raise ValueError(f"roi_align: output_size must be a number or two, got {size!r}")


def _rois(boxes: Boxes, features: Tensor | None) -> Tensor:
    """Boxes as [K, 5]; lists get the number of their image in front."""
    if isinstance(boxes, Tensor):
        return boxes
    parts = list(boxes)
    if not all(isinstance(part, Tensor) and part.ndim == 2 for part in parts):
        raise TypeError("roi_align: boxes must be a tensor [K, 5] or a list of tensors [k, 4]")
    if any(part.shape[1] != 4 or not part.is_floating_point() for part in parts):
        raise ValueError("roi_align: boxes of an image must be [k, 4] of floating point")
    if features is None or features.ndim != 4 or features.shape[0] != len(parts):
        raise ValueError(f"roi_align: boxes of {len(parts)} images, but features of another number")
    if not parts:
        return features.new_zeros(0, 5)
    # A 16-bit type counts images only to 256 or 2048.
    wide = torch.float64 if parts[0].dtype == torch.float64 else torch.float32
    numbered = [
        torch.cat([part.new_full((part.shape[0], 1), image, dtype=wide), part.to(wide)], dim=1)
        for image, part in enumerate(parts)
    ]
    return torch.cat(numbered)


def _levels(levels: Tensor) -> Tensor:
    if not isinstance(levels, Tensor) or levels.is_floating_point() or levels.is_complex():
        raise TypeError("roi_align: levels must be a tensor of integers")
    return levels.long()


# ---- registration


def _is_channels_last(features: Sequence[Tensor]) -> bool:
    """Say whether the channels of a pixel lie side by side, as csrc/roi_align decides it."""
    return all(f.shape[1] > 1 and f.stride(1) == 1 and not f.is_contiguous() for f in features)


def _layout(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def _fake(
    features: list[Tensor],
    rois: Tensor,
    levels: Tensor | None,
    scales: list[float],
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    return torch.empty(
        (rois.shape[0], features[0].shape[1], height, width),
        dtype=features[0].dtype,
        device=features[0].device,
        memory_format=_layout(_is_channels_last(features)),
    )


def _fake_backward(
    grad: Tensor,
    rois: Tensor,
    levels: Tensor | None,
    scales: list[float],
    sizes: list[int],
    sampling_ratio: int,
    aligned: bool,
    channels_last: bool,
) -> list[Tensor]:
    return [
        torch.empty(
            (sizes[0], sizes[1], sizes[i], sizes[i + 1]),
            dtype=grad.dtype,
            device=grad.device,
            memory_format=_layout(channels_last),
        )
        for i in range(2, len(sizes), 2)
    ]


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, levels, ctx.scales, _, _, ctx.sampling_ratio, ctx.aligned = inputs
    ctx.save_for_backward(rois, levels)
    ctx.sizes = [*features[0].shape[:2], *(n for f in features for n in f.shape[2:])]
    ctx.channels_last = _is_channels_last(features)


def _backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    grads = torch.ops.pyvqa.roi_align_backward(
        grad,
        *ctx.saved_tensors,
        ctx.scales,
        ctx.sizes,
        ctx.sampling_ratio,
        ctx.aligned,
        ctx.channels_last,
    )
    return (grads, *[None] * 7)


def _setup_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    grad, rois, levels, ctx.scales, ctx.sizes, ctx.sampling_ratio, ctx.aligned, _ = inputs
    ctx.save_for_backward(rois, levels)
    ctx.bins = grad.shape[2:]


def _backward_of_backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    """The pooling is linear: the gradient of its gradient is the pooling itself."""
    pooled = torch.ops.pyvqa.roi_align(
        grads, *ctx.saved_tensors, ctx.scales, *ctx.bins, ctx.sampling_ratio, ctx.aligned
    )
    return (pooled, *[None] * 7)


def _batched(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _stacked_regions(
    rois: Tensor, levels: Tensor | None, dims: tuple[Any, ...], size: int, images: int
) -> tuple[Tensor, Tensor | None]:
    """Regions of `size` batches as those of one: images count on, unknown ones stay unknown."""
    rois = _batched(rois, dims[0], size)
    image = rois[..., 0]
    first = torch.arange(size, device=rois.device, dtype=rois.dtype)[:, None] * images
    known = (image > -1) & (image < images)
    image = torch.where(known, image.trunc() + first, -1.0)
    rois = torch.cat([image[..., None], rois[..., 1:]], dim=-1).flatten(0, 1)
    return rois, None if levels is None else _batched(levels, dims[1], size).flatten()


def _vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
    features, rois, levels, *rest = args
    dims, size = in_dims[0], info.batch_size
    features = [_batched(f, d, size) for f, d in zip(features, dims, strict=True)]
    if in_dims[1] is None and in_dims[2] is None:  # the same regions: more channels
        folded = [f.movedim(0, 1).flatten(1, 2) for f in features]
        pooled = torch.ops.pyvqa.roi_align(folded, rois, levels, *rest)
        return pooled.unflatten(1, (size, features[0].shape[2])), 1
    rois, levels = _stacked_regions(rois, levels, in_dims[1:3], size, features[0].shape[1])
    pooled = torch.ops.pyvqa.roi_align([f.flatten(0, 1) for f in features], rois, levels, *rest)
    return pooled.unflatten(0, (size, -1)), 0


def _vmap_backward(
    info: Any, in_dims: tuple[Any, ...], *args: Any
) -> tuple[list[Tensor], list[int]]:
    grad, rois, levels, scales, sizes, *rest = args
    images, channels, *sides = sizes
    size = info.batch_size
    grad = _batched(grad, in_dims[0], size)
    levels_of_grad = len(sides) // 2
    if in_dims[1] is None and in_dims[2] is None:
        folded = grad.movedim(0, 1).flatten(1, 2)
        sizes = [images, channels * size, *sides]
        grads = torch.ops.pyvqa.roi_align_backward(folded, rois, levels, scales, sizes, *rest)
        return [g.unflatten(1, (size, channels)) for g in grads], [1] * levels_of_grad
    rois, levels = _stacked_regions(rois, levels, in_dims[1:3], size, images)
    sizes = [images * size, channels, *sides]
    grads = torch.ops.pyvqa.roi_align_backward(
        grad.flatten(0, 1), rois, levels, scales, sizes, *rest
    )
    return [g.unflatten(0, (size, images)) for g in grads], [0] * levels_of_grad


torch.library.register_fake("pyvqa::roi_align", _fake)
torch.library.register_fake("pyvqa::roi_align_backward", _fake_backward)
torch.library.register_fake("pyvqa::roi_align_backward_", lambda *arguments: None)
torch.library.register_autograd("pyvqa::roi_align", _backward, setup_context=_setup)
torch.library.register_autograd(
    "pyvqa::roi_align_backward", _backward_of_backward, setup_context=_setup_backward
)
torch.library.register_vmap("pyvqa::roi_align", _vmap)
torch.library.register_vmap("pyvqa::roi_align_backward", _vmap_backward)
