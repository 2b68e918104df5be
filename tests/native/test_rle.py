"""Run-length codecs against NumPy and pycocotools."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from pyvqa import _native

SIZES = [(1, 1), (1, 9), (9, 1), (5, 7), (33, 64), (320, 480)]


def blobs(height: int, width: int, seed: int) -> np.ndarray:
    """Draw a few rectangles and some noise."""
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.choice([0.0, 0.02, 0.5, 1.0])
    for _ in range(rng.integers(4)):
        top, left = rng.integers(height), rng.integers(width)
        bottom, right = top + rng.integers(1, height + 1), left + rng.integers(1, width + 1)
        mask[top:bottom, left:right] ^= True
    return mask


def coco_counts(mask: np.ndarray) -> bytes:
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("seed", range(8))
def test_coco_counts_are_pycocotools(size: tuple[int, int], seed: int) -> None:
    mask = blobs(*size, seed)
    counts = coco_counts(mask)
    assert _native.coco_rle_encode(mask) == counts
    assert _native.coco_rle_encode(mask.astype(np.uint8) * 200) == counts
    assert np.array_equal(_native.coco_rle_decode(counts, *size), mask)
    assert np.array_equal(_native.coco_rle_decode(counts.decode(), *size), mask)
    rle = {"size": list(size), "counts": counts}
    area, box = _native.coco_rle_measure(counts, *size)
    assert area == coco.area(rle)
    assert list(box) == coco.toBbox(rle).tolist()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**144 - 1))
def test_any_mask_survives_both_codecs(height: int, width: int, bits: int) -> None:
    flat = [bits >> k & 1 for k in range(height * width)]
    mask = np.array(flat, np.uint8).reshape(height, width)
    counts = _native.coco_rle_encode(mask)
    assert counts == coco_counts(mask)
    assert np.array_equal(_native.coco_rle_decode(counts, height, width), mask)
    text = _native.rle_encode_rows(mask)
    assert np.array_equal(_native.rle_decode_rows(text, height, width), mask)


@pytest.mark.parametrize("size", SIZES)
def test_row_text_lists_runs_from_zeros_on(size: tuple[int, int]) -> None:
    for seed in range(8):
        mask = blobs(*size, seed)
        flat = np.concatenate([[False], mask.ravel()])
        edges = np.flatnonzero(flat[1:] != flat[:-1])
        runs = np.diff(np.concatenate([[0], edges, [mask.size]]))
        text = ",".join(str(run) for run in runs)
        assert _native.rle_encode_rows(mask) == text
        assert np.array_equal(_native.rle_decode_rows(text, *size), mask)


def test_empty_masks() -> None:
    for size in [(0, 0), (0, 5), (5, 0)]:
        mask = np.zeros(size, bool)
        assert _native.rle_encode_rows(mask) == "0"
        assert _native.rle_decode_rows("0", *size).shape == size
        assert _native.coco_rle_decode(_native.coco_rle_encode(mask), *size).shape == size


def test_runs_of_length_zero_are_read() -> None:
    assert _native.rle_decode_rows("0,2,0,1,1", 2, 2).tolist() == [[1, 1], [1, 0]]


def test_masks_that_are_not_contiguous() -> None:
    mask = blobs(40, 60, 3)
    for view in (mask[::2, ::3], mask.T, mask[::-1]):
        assert _native.coco_rle_encode(view) == coco_counts(view)


BAD_ROWS = [
    ("", "expected a run length of a mask at character 0"),
    ("4,", "expected a run length of a mask at character 2"),
    ("x", "expected a run length of a mask at character 0"),
    ("4;8", "expected ',' between run lengths at character 1"),
    ("4, 8", "expected a run length of a mask at character 2"),
    ("5,6", "sum to 11 instead of its 12 pixels"),
    ("5,8", "sum to more than its 12 pixels"),
    ("13,-1", "sum to more than its 12 pixels"),
    ("4,-1,9", "negative run length"),
    ("9223372036854775807,9223372036854775807", "sum to more than its 12 pixels"),
    ("99999999999999999999", "beyond 64 bits"),
]


@pytest.mark.parametrize(("text", "message"), BAD_ROWS)
def test_bad_row_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _native.rle_decode_rows(text, 3, 4)


BAD_COUNTS = [
    ("", "sum to 0 instead of its 12 pixels"),
    ("l", "ends inside a run length"),
    ("\x1f", "character 0 of a COCO mask is not one of its alphabet"),
    ("4p", "character 1 of a COCO mask is not one of its alphabet"),
    ("O", "negative run length"),
    ("oooooooooooo", "too long"),
    ("=", "sum to more than its 12 pixels"),
    ("44", "sum to 8 instead of its 12 pixels"),
]


@pytest.mark.parametrize(("counts", "message"), BAD_COUNTS)
def test_bad_coco_counts_are_refused(counts: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _native.coco_rle_decode(counts, 3, 4)
    with pytest.raises(ValueError, match=message):
        _native.coco_rle_measure(counts, 3, 4)


def test_sizes_are_checked() -> None:
    with pytest.raises(ValueError, match="negative size"):
        _native.rle_decode_rows("0", -1, 4)
    with pytest.raises(ValueError, match="4294967296 x 4294967296 pixels is too large"):
        _native.coco_rle_decode("0", 2**32, 2**32)
    for mask in (np.zeros(3, bool), np.zeros((2, 2), np.int32), np.zeros((2, 2), np.int8)):
        with pytest.raises(ValueError, match="a mask must be bool or uint8"):
            _native.coco_rle_encode(mask)


@pytest.mark.fuzz
@pytest.mark.filterwarnings("ignore:__array__ implementation")
def test_changed_counts_are_read_as_pycocotools_reads_them_or_refused() -> None:
    rng = random.Random(11)
    outcomes = {"read": 0, "refused": 0}
    for seed in range(2000):
        counts = bytearray(coco_counts(blobs(3, 4, seed)))
        counts[rng.randrange(len(counts))] = rng.randrange(46, 84)
        try:
            mask = _native.coco_rle_decode(bytes(counts), 3, 4)
        except ValueError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert np.array_equal(mask, coco.decode({"size": [3, 4], "counts": bytes(counts)}))
    assert min(outcomes.values()) > 20
