"""Random calls of the mask functions: sizes, layouts, run lists and texts that need not fit."""

from __future__ import annotations

import random
from typing import Any

import torch
from op_inputs import explained, floats, integers, relaid
from torch import Tensor

from pyvqa import ops
from pyvqa.ops import PackedMasks

NAMES = ("masks", "mask_", "rles", "texts", "a mask", "overlap", "scores", "threshold", "runs")
NAMES += ("offsets", "order", "extents", "iscrowd", "rule", "measure", "bits")
EDGES = (0, 1, 2, 5, 31, 63, 64, 65, 70, 128, 130)
DTYPES = (torch.bool, torch.bool, torch.bool, torch.uint8, torch.uint8, torch.int64, torch.float32)


def edge(rng: random.Random) -> int:
    return rng.choice(EDGES) if rng.random() < 0.6 else rng.randint(0, 20)


def masks(rng: random.Random, size: tuple[int, int] | None = None) -> Tensor:
    """Noise or a rectangle, in any layout, now and then of a wrong type or rank."""
    height, width = size or (edge(rng), edge(rng))
    count = rng.randint(0, 4)
    torch.default_generator.manual_seed(rng.getrandbits(30))
    ones = torch.rand((count, height, width)) < rng.choice([0.0, 0.1, 0.6, 1.0])
    if height and width and rng.random() < 0.6:
        top, left = rng.randrange(height), rng.randrange(width)
        ones[:, top : top + edge(rng), left : left + edge(rng)] = rng.random() < 0.8
    given = relaid(rng, ones.to(rng.choice(DTYPES)))
    if rng.random() < 0.05:
        return given[0] if count else given.reshape(-1)
    if count and rng.random() < 0.05:
        return given[:1].expand(rng.randint(0, 3), -1, -1)
    return given


def packed(rng: random.Random, size: tuple[int, int] | None = None) -> PackedMasks:
    """Packed masks, at times with bits or extents of any value."""
    height, width = size or (edge(rng), edge(rng))
    words = (width + 63) // 64 + (rng.random() < 0.05)
    count = rng.randint(0, 4)
    bits = integers(rng, (count, height, words), torch.int64)
    kind = rng.random()
    extents = None if kind < 0.5 else integers(rng, (count, 5), torch.int32)
    return PackedMasks(bits, width if rng.random() < 0.95 else rng.choice([-1, 2**40]), extents)


def counts(rng: random.Random, pixels: int) -> Any:
    """Runs that fit, nearly fit, or any characters."""
    kind = rng.random()
    if kind < 0.4:
        return bytes(rng.randrange(48, 112) for _ in range(rng.randint(0, 12)))
    if kind < 0.5:
        return "".join(chr(rng.randrange(1, 300)) for _ in range(rng.randint(0, 6)))
    runs, left = [], pixels
    while left > 0 and len(runs) < 30:
        runs.append(rng.randint(0, min(left, 40)))
        left -= runs[-1]
    if kind < 0.9:
        return [*runs, left] if left else runs
    return [*runs, rng.choice([-1, 2**31, 2**64, left + 1, "x", None])]


def rle(rng: random.Random, size: tuple[int, int]) -> Any:
    height, width = size
    entry: Any = {"size": [height, width], "counts": counts(rng, height * width)}
    if rng.random() < 0.05:
        entry["size"] = rng.choice([[], [3], [-1, 4], [2**20, 2**20], [1.5, 2], None, "ab"])
    if rng.random() < 0.02:
        return rng.choice([None, 3, {}, {"size": [1, 2]}, b"12"])
    return entry


def rles(rng: random.Random, size: tuple[int, int] | None = None) -> list[Any]:
    """Texts that mostly fit: what the encoder gives, or what rle() draws."""
    size = size or (edge(rng), edge(rng))
    if rng.random() < 0.5:
        return [rle(rng, size) for _ in range(rng.randint(0, 3))]
    torch.default_generator.manual_seed(rng.getrandbits(30))
    ones = torch.rand((rng.randint(0, 3), *size)) < rng.choice([0.1, 0.9])
    return list(ops.encode_masks(ones))


def any_masks(rng: random.Random, size: tuple[int, int]) -> Any:
    return rng.choice([masks, packed, rles])(rng, size)


def call_pack(rng: random.Random) -> None:
    given = masks(rng)
    with explained(*NAMES):
        found = ops.pack_masks(given)
        assert torch.equal(ops.unpack_masks(found), given != 0)


def call_unpack(rng: random.Random) -> None:
    given = packed(rng)
    with explained(*NAMES):
        assert ops.unpack_masks(given).shape == (len(given), given.height, given.width)
        assert given.measured().extents is not None


def call_encode(rng: random.Random) -> None:
    given: Any = masks(rng) if rng.random() < 0.6 else packed(rng)
    with explained(*NAMES):
        texts = ops.encode_masks(given)
        dense = ops.unpack_masks(given) if isinstance(given, PackedMasks) else given != 0
        assert not texts or torch.equal(ops.decode_masks(texts), dense)
        rows = ops.encode_rows(given)
        assert torch.equal(ops.decode_rows(rows, (dense.shape[1], dense.shape[2])), dense)


def call_decode(rng: random.Random) -> None:
    given = rles(rng)
    with explained(*NAMES):
        dense = ops.decode_masks(given)
        assert torch.equal(ops.unpack_masks(ops.pack_rles(given)), dense)
        assert torch.equal(ops.rle_area(given), dense.flatten(1).sum(1))


def call_measure(rng: random.Random) -> None:
    given = rles(rng)
    with explained(*NAMES):
        ops.rle_area(given)
        ops.rle_boxes(given)
        if given:
            ops.merge_rles(given, intersect=rng.random() < 0.5)


def call_row_texts(rng: random.Random) -> None:
    size = (edge(rng), edge(rng))
    texts = [
        ",".join(str(rng.choice([0, 1, 5, 40, 300, -1, 2**70])) for _ in range(rng.randint(0, 6)))
        if rng.random() < 0.7
        else "".join(rng.choice("0123456789,,- x") for _ in range(rng.randint(0, 8)))
        for _ in range(rng.randint(0, 3))
    ]
    with explained(*NAMES):
        ops.decode_rows(texts, size if rng.random() < 0.95 else (-1, 2**40))


def call_run_lists(rng: random.Random) -> None:
    runs = integers(rng, (rng.randint(0, 40),), torch.int32)
    offsets = integers(rng, (rng.randint(0, 4),), torch.int64)
    height, width = edge(rng), edge(rng)
    if rng.random() < 0.03:
        height = rng.choice([-1, 2**31, 2**62])
    with explained(*NAMES):
        by_rows = rng.random() < 0.5
        bits, extents = torch.ops.pyvqa.masks_from_runs(runs, offsets, height, width, by_rows)
        dense = torch.ops.pyvqa.dense_masks_from_runs(runs, offsets, height, width, by_rows)
        assert torch.equal(ops.unpack_masks(PackedMasks(bits, width, extents)), dense)


def call_iou(rng: random.Random) -> None:
    size = (edge(rng), edge(rng))
    a, b = any_masks(rng, size), any_masks(rng, size)
    crowd = None if rng.random() < 0.6 else torch.arange(rng.randint(0, 4)) % 2 == 0
    measure: Any = rng.choice(["iou", "iou", "iomin", "dice"])
    with explained(*NAMES):
        ops.mask_iou(a, b, iscrowd=crowd, measure=measure)


def call_match(rng: random.Random) -> None:
    shape = [rng.randint(0, 6) for _ in range(2 if rng.random() < 0.95 else rng.choice([1, 3]))]
    dtype = rng.choice([torch.float32, torch.float64, torch.float16])
    overlap = floats(rng, shape, dtype)
    threshold = rng.choice([0.0, 0.5, -1.0, float("nan"), float("inf"), -float("inf")])
    rule: Any = rng.choice(["first", "best", "greedy", "optimal", "optimal", "none"])
    with explained(*NAMES):
        matched = ops.match_masks(overlap, threshold, rule=rule)
        assert matched.shape == (shape[0],)
        assert not matched.numel() or -1 <= int(matched.min()) <= int(matched.max()) < shape[1]


def call_nms(rng: random.Random) -> None:
    given = any_masks(rng, (edge(rng), edge(rng)))
    scores = floats(rng, (len(given) if rng.random() < 0.9 else rng.randint(0, 4),))
    with explained(*NAMES):
        keep = ops.mask_nms(given, scores, iou_threshold=rng.random(), iomin_threshold=0.5)
        assert len(set(keep.tolist())) == len(keep)


def call_nms_in_any_order(rng: random.Random) -> None:
    given = packed(rng)
    order = integers(rng, (rng.randint(0, 8),), torch.int64)
    extents = integers(rng, (len(given), 5), torch.int32)
    with explained(*NAMES):
        torch.ops.pyvqa.mask_nms(given.bits, extents, given.width, order, 0.5, rng.random())


CALLS = {
    "pack": call_pack,
    "unpack": call_unpack,
    "encode": call_encode,
    "decode": call_decode,
    "measure": call_measure,
    "row_texts": call_row_texts,
    "run_lists": call_run_lists,
    "iou": call_iou,
    "match": call_match,
    "nms": call_nms,
    "nms_in_any_order": call_nms_in_any_order,
}
