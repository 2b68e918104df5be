"""Binary masks: packed bits, run lengths (COCO's and CLEVR-Ref+'s) and overlaps (csrc/masks).

The central format is `PackedMasks`, one bit a pixel. Run lengths live in Python as texts, so the
functions that take or give them run on the host and cannot be compiled into a graph; everything
between tensors can. Results are the same on every device, instruction set and number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypedDict

import numpy as np
import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)
from pyvqa import _native

_WORD = 64  # pixels in a word


class Rle(TypedDict):
    """A mask as COCO stores it: compressed run lengths over its columns, zeros first."""

    size: list[int]  # [height, width]
    counts: bytes | str  # read also as a list of run lengths


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """N masks of one size as bits, not to be written to.

    Pixel (y, x) of mask n is bit x % 64 of word [n, y, x // 64]; bits beyond the width are 0.
    """

    bits: Tensor  # int64 [N, H, ceil(W / 64)]
    width: int
    # int32 [N, 5]: left, top, right, bottom (both exclusive) of the ones and their number; found
    # from the bits where it is not given
    extents: Tensor | None = None

    def __len__(self) -> int:
        return self.bits.shape[0]

    @property
    def height(self) -> int:
        return self.bits.shape[1]

    def to(self, device: torch.device | str) -> PackedMasks:
        """Return the masks on `device`."""
        extents = None if self.extents is None else self.extents.to(device)
        return PackedMasks(self.bits.to(device), self.width, extents)

    def select(self, index: Tensor | slice) -> PackedMasks:
        """Return some of the masks: a slice, numbers, or a boolean for each."""
        extents = None if self.extents is None else self.extents[index]
        return PackedMasks(self.bits[index], self.width, extents)

    def measured(self) -> PackedMasks:
        """Return the masks with their extents, so that they are found once."""
        if self.extents is not None:
            return self
        return replace(self, extents=torch.ops.pyvqa.mask_extents(self.bits, self.width))


Masks: TypeAlias = "Tensor | PackedMasks | Sequence[Rle]"


def _dense(masks: Tensor) -> Tensor:
    if masks.dtype not in (torch.bool, torch.uint8):
        raise TypeError(f"masks must be bool or uint8 [N, H, W], got {masks.dtype}")
    if masks.dim() != 3:
        raise ValueError(f"masks must be bool or uint8 [N, H, W], got {masks.dim()} dimensions")
    return masks


def pack_masks(masks: Tensor) -> PackedMasks:
    """Pack bool or uint8 masks [N, H, W] into bits; any byte but 0 is a one.

    Any strides are taken as they are: rows or columns may be the contiguous ones.
    """
    bits, extents = torch.ops.pyvqa.pack_masks(_dense(masks))
    return PackedMasks(bits, masks.shape[2], extents)


def unpack_masks(masks: PackedMasks) -> Tensor:
    """Write packed masks out as bool [N, H, W]."""
    return torch.ops.pyvqa.unpack_masks(masks.bits, masks.width)  # type: ignore[no-any-return]


# ---- run lengths


def _run_lists(masks: Tensor | PackedMasks, by_rows: bool) -> tuple[Tensor, Tensor, int, int]:
    if isinstance(masks, PackedMasks):
        source, width = masks.bits, masks.width
    else:
        source, width = _dense(masks), masks.shape[2]
    runs, offsets = torch.ops.pyvqa.mask_runs(source, width, by_rows)
    return runs.cpu(), offsets.cpu(), source.shape[1], width


def _read(rles: Sequence[Rle]) -> tuple[Tensor, Tensor, int, int]:
    runs, offsets, height, width = _native.read_rles(list(rles))
    return torch.from_numpy(runs), torch.from_numpy(offsets), height, width


def encode_masks(masks: Tensor | PackedMasks) -> list[Rle]:
    """Encode masks [N, H, W] as COCO run lengths, with `counts` as bytes.

    The same text as `pycocotools.mask.encode` gives; `counts.decode()` suits JSON.
    """
    runs, offsets, height, width = _run_lists(masks, by_rows=False)
    rles: list[Rle] = _native.write_rles(runs.numpy(), offsets.numpy(), height, width)
    return rles


def decode_masks(rles: Sequence[Rle]) -> Tensor:
    """Decode COCO run lengths of one size into bool masks [N, H, W].

    Raises ValueError that names the entry and what is wrong with it. No list, no size: [0, 0, 0].
    """
    result = torch.ops.pyvqa.dense_masks_from_runs(*_read(rles), False)
    return result  # type: ignore[no-any-return]


def pack_rles(rles: Sequence[Rle]) -> PackedMasks:
    """Decode COCO run lengths of one size into packed masks; errors as in `decode_masks`."""
    lists = _read(rles)
    bits, extents = torch.ops.pyvqa.masks_from_runs(*lists, False)
    return PackedMasks(bits, lists[3], extents)


def rle_area(rles: Sequence[Rle]) -> Tensor:
    """Count the ones of each mask: int64 [N]. Sizes may differ; nothing is decoded."""
    return torch.from_numpy(_native.rle_areas(list(rles)))


def rle_boxes(rles: Sequence[Rle]) -> Tensor:
    """Find the smallest box around each mask: x, y, width, height as COCO has it, float64 [N, 4].

    A mask without ones has a box of zeros. Sizes may differ; nothing is decoded.
    """
    return torch.from_numpy(_native.rle_boxes(list(rles)))


def merge_rles(rles: Sequence[Rle], *, intersect: bool = False) -> Rle:
    """Unite masks of one size, or intersect them; at least one is needed."""
    merged: Rle = _native.merge_rles(list(rles), intersect)
    return merged


def encode_rows(masks: Tensor | PackedMasks) -> list[str]:
    """Encode masks [N, H, W] as CLEVR-Ref+ does: "n0,n1,..." over the rows, zeros first."""
    runs, offsets, _, _ = _run_lists(masks, by_rows=True)
    texts: list[str] = _native.write_row_texts(runs.numpy(), offsets.numpy())
    return texts


def decode_rows(texts: Sequence[str], size: tuple[int, int]) -> Tensor:
    """Decode CLEVR-Ref+ run lengths of masks of `size` (H, W) into bool [N, H, W].

    Raises ValueError that names the entry and what is wrong with it.
    """
    height, width = size
    runs, offsets = _native.read_row_texts(list(texts), height, width)
    result = torch.ops.pyvqa.dense_masks_from_runs(
        torch.from_numpy(runs), torch.from_numpy(offsets), height, width, True
    )
    return result  # type: ignore[no-any-return]


# ---- overlaps


def as_packed(masks: Masks, device: torch.device | None = None) -> PackedMasks:
    """Return masks of any kind as packed ones with extents, run lengths on `device`."""
    if isinstance(masks, PackedMasks):
        return masks.measured()
    if isinstance(masks, Tensor):
        return pack_masks(masks)
    packed = pack_rles(masks)
    return packed if device is None else packed.to(device)


def _device(masks: Masks) -> torch.device | None:
    if isinstance(masks, PackedMasks):
        return masks.bits.device
    return masks.device if isinstance(masks, Tensor) else None


def _iou_of_rles(a: Sequence[Rle], b: Sequence[Rle], iscrowd: Tensor | None, iomin: bool) -> Tensor:
    first = _read(a)
    second = first if b is a else _read(b)
    if not len(a) or not len(b):
        return torch.zeros((len(a), len(b)), dtype=torch.float64)
    if first[2:] != second[2:]:
        raise ValueError(
            f"mask_iou: masks of {first[2]} x {first[3]} pixels cannot be compared with masks of "
            f"{second[2]} x {second[3]}"
        )
    iscrowd = None if iscrowd is None else iscrowd.cpu()
    crowd = None if iscrowd is None else iscrowd.numpy().astype(np.bool_)
    lists = [t.numpy() for t in (*first[:2], *second[:2])]
    walked = _native.iou_of_runs(*lists, *first[2:], crowd, iomin)
    if walked is not None:
        return torch.from_numpy(walked)
    packed = [torch.ops.pyvqa.masks_from_runs(*first, False)]
    packed.append(packed[0] if b is a else torch.ops.pyvqa.masks_from_runs(*second, False))
    result = torch.ops.pyvqa.mask_iou(*packed[0], *packed[1], first[3], iscrowd, iomin)
    return result  # type: ignore[no-any-return]


def mask_iou(
    a: Masks,
    b: Masks,
    *,
    iscrowd: Tensor | None = None,
    measure: Literal["iou", "iomin"] = "iou",
) -> Tensor:
    """Overlap of every mask of `a` [N] with every one of `b` [M]: float64 [N, M].

    Each side is dense (bool or uint8 [N, H, W]), `PackedMasks` or a list of COCO run lengths;
    dense masks are packed once. Intersections are exact.

    "iou" is intersection over union, equal to pycocotools' to the last bit; two empty masks give
    0, so they pair under no threshold >= 0 (NS-VQA divides 0 by 0, which compares false as well).
    Where `iscrowd` (bool or uint8 [M]) holds, the union is replaced by the area of `a`'s mask.
    "iomin" is intersection over the smaller area, 1 as soon as one of the masks is empty (NS-VQA,
    attr_net/tools/process_proposals.py).
    """
    if measure not in ("iou", "iomin"):
        raise ValueError(f'mask_iou: measure must be "iou" or "iomin", got {measure!r}')
    if iscrowd is not None and iscrowd.dtype not in (torch.bool, torch.uint8):
        raise TypeError(f"mask_iou: iscrowd must be bool or uint8 [M], got {iscrowd.dtype}")
    iomin = measure == "iomin"
    if iomin and iscrowd is not None:
        raise ValueError('mask_iou: iscrowd goes with measure="iou" only')
    device_a, device_b = _device(a), _device(b)
    if device_a is None and device_b is None:
        return _iou_of_rles(a, b, iscrowd, iomin)  # type: ignore[arg-type]
    first = as_packed(a, device_b)
    second = first if b is a else as_packed(b, device_a)
    if len(first) and len(second) and first.width != second.width:
        raise ValueError(
            f"mask_iou: masks {first.width} pixels wide cannot be compared with masks "
            f"{second.width} pixels wide"
        )
    if not len(first) or not len(second):  # a list without masks has no size either
        return first.bits.new_zeros((len(first), len(second)), dtype=torch.float64)
    result = torch.ops.pyvqa.mask_iou(
        first.bits, first.extents, second.bits, second.extents, first.width, iscrowd, iomin
    )
    return result  # type: ignore[no-any-return]


# ---- fake kernels


def _words(width: int) -> int:
    return (width + _WORD - 1) // _WORD


def _fake_pack(masks: Tensor) -> tuple[Tensor, Tensor]:
    count, height, width = masks.shape
    bits = masks.new_empty((count, height, _words(width)), dtype=torch.int64)
    return bits, masks.new_empty((count, 5), dtype=torch.int32)


def _fake_unpack(bits: Tensor, width: int) -> Tensor:
    return bits.new_empty((*bits.shape[:2], width), dtype=torch.bool)


def _fake_extents(bits: Tensor, width: int) -> Tensor:
    return bits.new_empty((bits.shape[0], 5), dtype=torch.int32)


def _fake_runs(masks: Tensor, width: int, by_rows: bool) -> tuple[Tensor, Tensor]:
    total = torch.library.get_ctx().new_dynamic_size()
    runs = masks.new_empty(total, dtype=torch.int32)
    return runs, masks.new_empty(masks.shape[0] + 1, dtype=torch.int64)


def _fake_from_runs(
    runs: Tensor, offsets: Tensor, height: int, width: int, by_rows: bool
) -> tuple[Tensor, Tensor]:
    count = offsets.shape[0] - 1
    bits = runs.new_empty((count, height, _words(width)), dtype=torch.int64)
    return bits, runs.new_empty((count, 5), dtype=torch.int32)


def _fake_dense_from_runs(
    runs: Tensor, offsets: Tensor, height: int, width: int, by_rows: bool
) -> Tensor:
    return runs.new_empty((offsets.shape[0] - 1, height, width), dtype=torch.bool)


def _fake_iou(
    a: Tensor,
    a_extents: Tensor,
    b: Tensor,
    b_extents: Tensor,
    width: int,
    iscrowd: Tensor | None,
    iomin: bool,
) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[0]), dtype=torch.float64)


torch.library.register_fake("pyvqa::pack_masks", _fake_pack)
torch.library.register_fake("pyvqa::unpack_masks", _fake_unpack)
torch.library.register_fake("pyvqa::mask_extents", _fake_extents)
torch.library.register_fake("pyvqa::mask_runs", _fake_runs)
torch.library.register_fake("pyvqa::masks_from_runs", _fake_from_runs)
torch.library.register_fake("pyvqa::dense_masks_from_runs", _fake_dense_from_runs)
torch.library.register_fake("pyvqa::mask_iou", _fake_iou)
