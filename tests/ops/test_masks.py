"""Packed masks, run lengths and overlaps against plain torch and pycocotools."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from pycocotools import _mask as coco
from torch import Tensor

from ops.helpers import assert_equal, strided
from ops.mask_samples import SIZES, ellipses, layouts, random_masks
from pyvqa import _native, ops
from pyvqa.ops import PackedMasks
from pyvqa.ops.mask_match import (
    mask_extents_reference,
    mask_iou_reference,
    mask_runs_reference,
    pack_masks_reference,
)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def fortran(masks: Tensor) -> np.ndarray:
    """The layout that pycocotools takes: uint8 [H, W, N], columns contiguous."""
    return np.asfortranarray(masks.permute(1, 2, 0).to(torch.uint8).numpy())


def assert_packed(found: PackedMasks, expected: PackedMasks) -> None:
    assert found.width == expected.width
    assert_equal(found.bits, expected.bits)
    assert_equal(found.measured().extents, expected.measured().extents)


# ---- packing


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 7])
def test_packs_as_the_reference_does_in_every_layout(count: int, size: tuple[int, int]) -> None:
    masks = random_masks(count, *size, seed=sum(size))
    expected = pack_masks_reference(masks)
    for name, given in layouts(masks).items():
        packed = ops.pack_masks(given)
        assert_packed(packed, expected)
        assert packed.height == size[0], name
        assert len(packed) == count
    assert_equal(ops.unpack_masks(expected), masks)
    bare = PackedMasks(expected.bits, size[1])
    assert_equal(bare.measured().extents, mask_extents_reference(masks))


def test_expanded_masks() -> None:
    mask = random_masks(1, 40, 90, seed=5)
    assert_packed(
        ops.pack_masks(mask.expand(6, -1, -1)), pack_masks_reference(mask.repeat(6, 1, 1))
    )
    row = mask[:, :1].expand(1, 30, 90)
    assert_packed(ops.pack_masks(row), pack_masks_reference(row.clone()))
    column = mask[:, :, :1].expand(1, 40, 70)
    assert_packed(ops.pack_masks(column), pack_masks_reference(column.clone()))


def test_any_byte_but_zero_is_a_one() -> None:
    masks = torch.arange(256, dtype=torch.uint8).reshape(1, 4, 64)
    for given in (masks, masks.transpose(1, 2), masks.view(torch.bool)):
        assert_equal(ops.pack_masks(given).bits, pack_masks_reference(given != 0).bits)


def test_packed_masks_can_be_strided_and_selected() -> None:
    masks = random_masks(9, 50, 70, seed=2)
    packed = ops.pack_masks(masks)
    assert_equal(ops.unpack_masks(PackedMasks(strided(packed.bits), 70)), masks)
    assert_packed(packed.select(slice(2, 5)), ops.pack_masks(masks[2:5]))
    index = torch.tensor([8, 0, 0])
    assert_packed(packed.select(index), ops.pack_masks(masks[index]))
    keep = torch.arange(9) % 2 == 0
    assert_packed(PackedMasks(packed.bits, 70).select(keep), ops.pack_masks(masks[keep]))
    assert_packed(packed.to("cpu"), packed)
    assert packed.measured() is packed


# ---- run lengths


@pytest.mark.parametrize("size", SIZES)
def test_runs_are_the_references_and_come_back(size: tuple[int, int]) -> None:
    masks = random_masks(12, *size, seed=size[0] * 7 + size[1])
    packed = ops.pack_masks(masks)
    for by_rows in (False, True):
        expected = mask_runs_reference(masks, by_rows)
        for given in (*layouts(masks).values(), packed.bits, strided(packed.bits)):
            assert_equal(torch.ops.pyvqa.mask_runs(given, size[1], by_rows), expected)
        back = torch.ops.pyvqa.masks_from_runs(*expected, *size, by_rows)
        assert_packed(PackedMasks(back[0], size[1], back[1]), packed)
        dense = torch.ops.pyvqa.dense_masks_from_runs(*expected, *size, by_rows)
        assert_equal(dense, masks)


@pytest.mark.parametrize("size", [size for size in SIZES if min(size) > 0])
def test_codec_is_pycocotools(size: tuple[int, int]) -> None:
    masks = random_masks(15, *size, seed=size[0] * 3 + size[1])
    rles = coco.encode(fortran(masks))
    for given in layouts(masks).values():
        assert ops.encode_masks(given) == rles
    packed = ops.pack_masks(masks)
    assert ops.encode_masks(packed) == rles
    assert_equal(ops.decode_masks(rles), masks)
    assert_packed(ops.pack_rles(rles), packed)
    assert np.array_equal(ops.rle_area(rles).numpy(), coco.area(rles))
    assert np.array_equal(ops.rle_boxes(rles).numpy(), coco.toBbox(rles))
    texts = [{"size": r["size"], "counts": r["counts"].decode()} for r in rles]
    assert_equal(ops.decode_masks(texts), masks)
    for intersect in (False, True):
        for n in (1, 2, 5):
            merged = ops.merge_rles(rles[:n], intersect=intersect)
            assert merged == coco.merge(rles[:n], intersect)
            joined = masks[:n].all(0) if intersect else masks[:n].any(0)
            assert_equal(ops.decode_masks([merged])[0], joined)


def test_uncompressed_counts_are_read() -> None:
    masks = random_masks(5, 20, 30, seed=4)
    runs, offsets = mask_runs_reference(masks, by_rows=False)
    lists = [runs[a:b].tolist() for a, b in itertools.pairwise(offsets)]
    assert_equal(ops.decode_masks([{"size": [20, 30], "counts": c} for c in lists]), masks)


def test_row_texts_come_back() -> None:
    for size in SIZES:
        masks = random_masks(6, *size, seed=1)
        texts = ops.encode_rows(masks)
        runs, offsets = mask_runs_reference(masks, by_rows=True)
        for n, text in enumerate(texts):
            assert text == ",".join(map(str, runs[offsets[n] : offsets[n + 1]].tolist()))
        assert ops.encode_rows(ops.pack_masks(masks)) == texts
        assert_equal(ops.decode_rows(texts, size), masks)


def test_runs_of_length_zero_and_one_large_mask() -> None:
    assert ops.decode_rows(["0,2,0,1,1"], (2, 2)).tolist() == [[[True, True], [True, False]]]
    large = {"size": [46340, 46340], "counts": [0, 46340 * 46340]}
    assert ops.rle_area([large]).tolist() == [46340 * 46340]
    assert ops.rle_boxes([large]).tolist() == [[0, 0, 46340, 46340]]
    assert ops.mask_iou([large], [large]).tolist() == [[1.0]]  # walks along the runs
    assert ops.decode_masks([ops.merge_rles([large, large])][:0]).shape == (0, 0, 0)
    assert ops.merge_rles([large, large], intersect=True)["size"] == [46340, 46340]


def test_no_masks() -> None:
    assert ops.encode_masks(torch.zeros(0, 3, 4, dtype=torch.bool)) == []
    assert ops.encode_rows(torch.zeros(0, 3, 4, dtype=torch.bool)) == []
    assert ops.decode_rows([], (3, 4)).shape == (0, 3, 4)
    assert ops.decode_masks([]).shape == (0, 0, 0)
    assert len(ops.pack_rles([])) == 0
    assert ops.rle_area([]).shape == (0,)
    assert ops.rle_boxes([]).shape == (0, 4)


def test_lines_without_pixels_cost_nothing() -> None:
    for size in ((0, 2**31 - 1), (2**31 - 1, 0)):
        masks = torch.zeros(3, *size, dtype=torch.bool)
        assert ops.encode_masks(masks) == [{"size": list(size), "counts": b"0"}] * 3
        assert ops.encode_rows(masks) == ["0"] * 3
        assert ops.decode_masks(ops.encode_masks(masks)).shape == (3, *size)
        assert ops.mask_iou(masks, masks).tolist() == [[0.0] * 3] * 3


@pytest.mark.parametrize("by_rows", [False, True])
def test_lists_of_any_numbers_give_masks(by_rows: bool) -> None:
    """The ops take run lists that no text gives: below zero, too short, too long, offsets wild."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(200):
        size = torch.randint(0, 70, (2,), generator=generator).tolist()
        runs = torch.randint(-30, 90, (30,), generator=generator, dtype=torch.int32)
        runs[torch.randint(0, 30, (2,), generator=generator)] = 2**31 - 1
        runs[torch.randint(0, 30, (2,), generator=generator)] = -(2**31)
        offsets = torch.randint(-10, 40, (6,), generator=generator)
        offsets[0] = int(torch.randint(-(2**62), 2**62, (1,), generator=generator))
        bits, extents = torch.ops.pyvqa.masks_from_runs(runs, offsets, *size, by_rows)
        dense = torch.ops.pyvqa.dense_masks_from_runs(runs, offsets, *size, by_rows)
        assert_equal(dense, _painted(runs.tolist(), offsets.tolist(), size, by_rows))
        assert_packed(PackedMasks(bits, size[1], extents), ops.pack_masks(dense))


def _painted(runs: list[int], offsets: list[int], size: list[int], by_rows: bool) -> Tensor:
    """The definition: runs below zero are empty, the rest is cut at the end of the mask."""
    height, width = size
    masks = torch.zeros((len(offsets) - 1, height * width), dtype=torch.bool)
    for mask, first, last in zip(masks, offsets[:-1], offsets[1:], strict=True):
        at, begin = 0, min(max(first, 0), len(runs))
        for k, run in enumerate(runs[begin : max(begin, min(last, len(runs)))]):
            mask[at : at + max(run, 0)] = k % 2 == 1
            at += max(run, 0)
    if by_rows:
        return masks.reshape(len(masks), height, width)
    return masks.reshape(len(masks), width, height).transpose(1, 2).contiguous()


# ---- overlaps


@pytest.mark.parametrize("size", SIZES)
def test_iou_is_the_references_for_every_kind_of_input(size: tuple[int, int]) -> None:
    a, b = random_masks(9, *size, seed=1), random_masks(6, *size, seed=2)
    b[:2] = a[:2]
    a[3], b[3] = False, False
    kinds_a = [a, ops.pack_masks(a), ops.encode_masks(a), *layouts(a).values()]
    kinds_b = [b, PackedMasks(ops.pack_masks(b).bits, size[1]), ops.encode_masks(b)]
    for measure in ("iou", "iomin"):
        expected = mask_iou_reference(a, b, iomin=measure == "iomin")
        for first in kinds_a:
            for second in kinds_b:
                assert_equal(ops.mask_iou(first, second, measure=measure), expected)


@pytest.mark.parametrize("size", [(320, 480), (480, 640)])
def test_iou_is_pycocotools_to_the_last_bit(size: tuple[int, int]) -> None:
    a, b = ellipses(30, *size, seed=1), ellipses(25, *size, seed=2)
    a[5], b[6] = False, False
    b[7] = a[7]
    rles_a, rles_b = coco.encode(fortran(a)), coco.encode(fortran(b))
    for crowd in (torch.zeros(25, dtype=torch.bool), torch.arange(25) % 3 == 0):
        expected = coco.iou(rles_a, rles_b, crowd.tolist())
        for first, second in ((a, b), (rles_a, rles_b), (rles_a[:3], rles_b), (rles_a, b)):
            found = ops.mask_iou(first, second, iscrowd=crowd)
            assert np.array_equal(found.numpy(), expected[: len(first)])
            assert_equal(ops.mask_iou(first, second, iscrowd=crowd.to(torch.uint8)), found)


def test_walking_along_runs_and_comparing_bits_agree() -> None:
    a, b = ellipses(40, 200, 300, seed=3), random_masks(40, 200, 300, seed=4)
    few = [ops.encode_masks(a[:2]), ops.encode_masks(b[:2])]
    many = [ops.encode_masks(a), ops.encode_masks(b)]
    lists = [t.numpy() for rles in (few, many) for r in rles for t in _runs_of(r)]
    assert _native.iou_of_runs(*lists[:4], 200, 300, None, False) is not None
    assert _native.iou_of_runs(*lists[4:], 200, 300, None, False) is None
    for measure in ("iou", "iomin"):
        expected = mask_iou_reference(a, b, iomin=measure == "iomin")
        assert_equal(ops.mask_iou(*many, measure=measure), expected)
        assert_equal(ops.mask_iou(*few, measure=measure), expected[:2, :2].contiguous())


def _runs_of(rles: list[ops.Rle]) -> tuple[Tensor, Tensor]:
    return mask_runs_reference(ops.decode_masks(rles), by_rows=False)


def test_iou_of_no_masks() -> None:
    some, none = random_masks(3, 5, 70), torch.zeros(0, 5, 70, dtype=torch.bool)
    for left, right, shape in ((some, none, (3, 0)), (none, some, (0, 3)), (none, none, (0, 0))):
        for first in (left, ops.pack_masks(left), ops.encode_masks(left)):
            for second in (right, ops.pack_masks(right), ops.encode_masks(right)):
                found = ops.mask_iou(first, second)
                assert found.shape == shape
                assert found.dtype == torch.float64


def test_wrong_extents_read_nothing_outside() -> None:
    masks = ops.pack_masks(random_masks(4, 20, 70, seed=9))
    generator = torch.Generator().manual_seed(1)
    for scale in (100, 2**31 - 1):
        for _ in range(100):
            wild = torch.randint(-scale, scale, (4, 5), generator=generator, dtype=torch.int32)
            found = torch.ops.pyvqa.mask_iou(masks.bits, wild, masks.bits, wild, 70, None, False)
            assert found.shape == (4, 4)
            order = torch.randint(-2, 6, (7,), generator=generator)
            kept = torch.ops.pyvqa.mask_nms(masks.bits, wild, 70, order, 0.5, 0.5)
            assert set(kept.tolist()) <= set(range(4))
