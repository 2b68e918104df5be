"""Masks against pycocotools and against the usual matrix product.

100 masks against 100: rotated ellipses with a wavy edge, half axes 10 to 80 pixels. pycocotools has
its own layout (uint8 [H, W, N], columns contiguous), we get torch's. Equality first, then both in
turn. It prints a table:

    pytest benchmarks/ops/bench_masks.py -s
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import timing
import torch
from torch import Tensor

from pyvqa import ops

COUNT = 100
SIZES = [(320, 480), (480, 640)]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools
sized = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[1]}x{size[0]}")


class Case(NamedTuple):
    """Two sets of masks as each side takes them."""

    masks: tuple[Tensor, Tensor]  # bool [N, H, W]
    arrays: tuple[np.ndarray, np.ndarray]  # uint8 [H, W, N]
    rles: tuple[list[ops.Rle], list[ops.Rle]]
    name: str


def pycocotools() -> ModuleType:
    return pytest.importorskip("pycocotools._mask")


def ellipses(count: int, height: int, width: int, seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    masks = np.zeros((count, height, width), bool)
    for mask in masks:
        dx, dy = x - rng.uniform(0, width), y - rng.uniform(0, height)
        long, short = rng.uniform(10, 80, 2)
        turn, waves, phase = rng.uniform(0, np.pi), rng.integers(3, 9), rng.uniform(0, 2 * np.pi)
        u = (dx * np.cos(turn) + dy * np.sin(turn)) / long
        v = (dy * np.cos(turn) - dx * np.sin(turn)) / short
        mask[:] = np.hypot(u, v) < 1 + 0.1 * np.sin(waves * np.arctan2(v, u) + phase)
    return torch.from_numpy(masks)


@cache
def case(size: tuple[int, int]) -> Case:
    coco = pycocotools()
    masks = tuple(ellipses(COUNT, *size, seed) for seed in (1, 2))
    arrays = tuple(np.asfortranarray(m.permute(1, 2, 0).to(torch.uint8).numpy()) for m in masks)
    rles = tuple(coco.encode(array) for array in arrays)
    return Case(masks, arrays, rles, f"{COUNT} masks {size[1]}x{size[0]}")  # type: ignore[arg-type]


def compare(
    what: str,
    given: Case,
    ours: Callable[[], object],
    rival: Callable[[], object],
    target: float,
    benchmark: Any,
    rival_name: str = "pycocotools",
) -> None:
    row = timing.compare(
        what, given.name, ours=ours, rival=rival, rival_name=rival_name, target=target
    )
    benchmark.extra_info["ratio"] = row.ratio
    benchmark.pedantic(ours, rounds=5, warmup_rounds=1)


@sized
def test_iou_of_packed_masks(size: tuple[int, int], benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    a, b = (ops.pack_masks(masks) for masks in given.masks)
    crowd = [0] * COUNT
    expected = coco.iou(*given.rles, crowd)
    assert np.array_equal(ops.mask_iou(a, b).numpy(), expected)
    pairs = int((expected > 0).sum())
    compare(
        f"mask IoU, already encoded, {pairs:,} pairs meet",
        given,
        lambda: ops.mask_iou(a, b),
        lambda: coco.iou(*given.rles, crowd),
        10 if size == SIZES[0] else 8,
        benchmark,
    )


@sized
@pytest.mark.parametrize("count", [10, COUNT])
def test_iou_of_rles(size: tuple[int, int], count: int, benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    a, b = (rles[:count] for rles in given.rles)
    crowd = [0] * count
    assert np.array_equal(ops.mask_iou(a, b).numpy(), coco.iou(a, b, crowd))
    compare(
        f"mask IoU of run lengths, {count} x {count}",
        given,
        lambda: ops.mask_iou(a, b),
        lambda: coco.iou(a, b, crowd),
        1,
        benchmark,
    )


@sized
def test_iou_of_dense_masks(size: tuple[int, int], benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    crowd = [0] * COUNT

    def rival() -> np.ndarray:
        return coco.iou(*(coco.encode(array) for array in given.arrays), crowd)

    assert np.array_equal(ops.mask_iou(*given.masks).numpy(), rival())
    compare("dense masks to IoU", given, lambda: ops.mask_iou(*given.masks), rival, 10, benchmark)


def matrix_product_iou(a: Tensor, b: Tensor) -> Tensor:
    first, second = a.flatten(1).float(), b.flatten(1).float()
    both = first @ second.T
    return both / (first.sum(1)[:, None] + second.sum(1)[None] - both)


@sized
def test_iou_against_a_matrix_product(size: tuple[int, int], benchmark: Any) -> None:
    given = case(size)
    found = ops.mask_iou(*given.masks)
    torch.testing.assert_close(matrix_product_iou(*given.masks).double(), found, rtol=1e-6, atol=0)
    compare(
        "dense masks to IoU",
        given,
        lambda: ops.mask_iou(*given.masks),
        lambda: matrix_product_iou(*given.masks),
        60,
        benchmark,
        "float matrix product",
    )


@sized
def test_encode(size: tuple[int, int], benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    assert ops.encode_masks(given.masks[0]) == given.rles[0]
    compare(
        "encode to COCO texts",
        given,
        lambda: ops.encode_masks(given.masks[0]),
        lambda: coco.encode(given.arrays[0]),
        7,
        benchmark,
    )


@sized
def test_decode(size: tuple[int, int], benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    rles = given.rles[0]
    assert torch.equal(ops.decode_masks(rles), given.masks[0])
    compare(
        "decode COCO texts",
        given,
        lambda: ops.decode_masks(rles),
        lambda: coco.decode(rles),
        5,
        benchmark,
    )


@sized
def test_decode_to_bits(size: tuple[int, int], benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    rles = given.rles[0]
    assert torch.equal(ops.unpack_masks(ops.pack_rles(rles)), given.masks[0])
    compare(
        "decode COCO texts to packed bits",
        given,
        lambda: ops.pack_rles(rles),
        lambda: coco.decode(rles),
        20,
        benchmark,
    )


@sized
@pytest.mark.parametrize("what", ["area", "box"])
def test_measure(size: tuple[int, int], what: str, benchmark: Any) -> None:
    given, coco = case(size), pycocotools()
    rles = given.rles[0]
    ours, rival = (ops.rle_area, coco.area) if what == "area" else (ops.rle_boxes, coco.toBbox)
    assert np.array_equal(ours(rles).numpy(), rival(rles))
    compare(f"{what} of COCO texts", given, lambda: ours(rles), lambda: rival(rles), 1, benchmark)
