"""The mask ops as ops: registration, compilation, determinism, CUDA, instruction sets, errors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_host_cuda,
    check_instruction_sets,
    check_registration,
    run_python,
)
from ops.mask_samples import SIZES, layouts, random_masks
from pyvqa import _native, ops
from pyvqa.ops import PackedMasks

OPS = torch.ops.pyvqa


def arguments(count: int = 6, size: tuple[int, int] = (70, 130), seed: int = 3) -> dict[str, Any]:
    """Arguments of each op, by its name."""
    masks = random_masks(count, *size, seed=seed)
    bits, extents = OPS.pack_masks(masks)
    other = OPS.pack_masks(random_masks(count + 2, *size, seed=seed + 1))
    runs = OPS.mask_runs(masks, size[1], False)
    table = OPS.mask_iou(bits, extents, *other, size[1], None, False)
    crowd = torch.arange(count + 2) % 2 == 0
    order = torch.arange(count).flip(0)
    return {
        "pack_masks": (masks,),
        "unpack_masks": (bits, size[1]),
        "mask_extents": (bits, size[1]),
        "mask_runs": (masks, size[1], False),
        "masks_from_runs": (*runs, *size, False),
        "dense_masks_from_runs": (*runs, *size, False),
        "mask_iou": (bits, extents, *other, size[1], crowd, False),
        "mask_nms": (bits, extents, size[1], order, 0.5, 0.5),
        "match_masks": (table, 0.1, 3),
    }


NAMES = list(arguments(1))


@pytest.mark.parametrize("name", NAMES)
def test_opcheck(name: str) -> None:
    check_registration(getattr(OPS, name).default, arguments()[name])


def test_opcheck_of_other_arguments() -> None:
    given = arguments()
    check_registration(OPS.mask_runs.default, (given["unpack_masks"][0], 130, True))
    check_registration(OPS.masks_from_runs.default, (*given["masks_from_runs"][:4], True))
    check_registration(OPS.mask_iou.default, (*given["mask_iou"][:5], None, True))
    for rule in range(3):
        check_registration(OPS.match_masks.default, (given["match_masks"][0], 0.1, rule))
    for name, case in arguments(0).items():
        check_registration(getattr(OPS, name).default, case)


@pytest.mark.parametrize("name", NAMES)
def test_compiles_to_one_graph(name: str) -> None:
    op = getattr(OPS, name)
    check_compiles(lambda *a: op(*a), arguments()[name])


def test_public_functions_compile_to_one_graph() -> None:
    a, b = random_masks(5, 20, 70, seed=1), random_masks(4, 20, 70, seed=2)

    def step(a: Tensor, b: Tensor, scores: Tensor) -> tuple[Tensor, ...]:
        packed = ops.pack_masks(a)
        iou = ops.mask_iou(packed, b)
        again = ops.mask_iou(PackedMasks(packed.bits, packed.width), b, measure="iomin")
        pairs = ops.match_masks(iou, 0.2, rule="greedy")
        return iou, again, pairs, ops.unpack_masks(packed), ops.mask_nms(packed, scores)

    check_compiles(step, (a, b, torch.rand(5)))


@pytest.mark.parametrize("name", NAMES)
def test_deterministic(name: str) -> None:
    check_deterministic(getattr(OPS, name), arguments(40, (130, 200))[name])


def test_autocast_changes_nothing() -> None:
    masks, scores = random_masks(6, 40, 50), torch.rand(6)
    plain = ops.mask_iou(masks, masks), ops.mask_nms(masks, scores)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal((ops.mask_iou(masks, masks), ops.mask_nms(masks, scores)), plain)
        assert_equal(ops.match_masks(plain[0], 0.5), ops.match_masks((masks, masks), 0.5))


_PEAK = """
import re
from pathlib import Path
import torch
from pyvqa import ops
def memory(name):
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(name + r":\\s+(\\d+) kB", status)[1])
torch.set_num_threads(1)
masks = torch.zeros(300, 480, 640, dtype=torch.bool)
masks[:, 100:300, 50:400] = True
ops.mask_iou(masks[:2], masks[:2])
before = memory("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
iou = ops.mask_iou(masks, masks)
print(memory("VmHWM") - before - iou.numel() * 8, masks.numel() // 8)
"""


@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").is_file(), reason="the system does not tell peak memory"
)
def test_dense_masks_take_one_packed_copy() -> None:
    taken, packed = map(int, run_python(_PEAK).split())
    assert 0.9 * packed < taken < packed + 2**20


# ---- CUDA kernels on the host

SMALL = [size for size in SIZES if size[0] * size[1] <= 9000]


@pytest.mark.parametrize("size", SMALL)
@pytest.mark.parametrize("count", [0, 1, 4])
def test_cuda_kernels_equal_the_cpus(count: int, size: tuple[int, int]) -> None:
    for name, given in arguments(count, size, seed=sum(size)).items():
        check_host_cuda(name, given)


def test_cuda_kernels_in_every_layout_and_order() -> None:
    masks = random_masks(3, 45, 70, seed=8)
    packed = OPS.pack_masks(masks)
    for given in (*layouts(masks).values(), masks.expand(3, -1, -1)):
        check_host_cuda("pack_masks", (given,))
        check_host_cuda("mask_runs", (given, 70, True))
    check_host_cuda("mask_runs", (packed[0], 70, True))
    runs = OPS.mask_runs(masks, 70, True)
    check_host_cuda("masks_from_runs", (*runs, 45, 70, True))
    check_host_cuda("dense_masks_from_runs", (*runs, 45, 70, True))
    check_host_cuda("mask_iou", (*packed, *packed, 70, None, True))


def test_cuda_kernels_on_many_runs() -> None:
    masks = torch.arange(60 * 300).reshape(1, 60, 300) % 7 == 1
    for by_rows in (False, True):
        check_host_cuda("mask_runs", (masks, 300, by_rows))
        runs = OPS.mask_runs(masks, 300, by_rows)
        assert len(runs[0]) > 512  # several rounds of a block
        check_host_cuda("masks_from_runs", (*runs, 60, 300, by_rows))
        check_host_cuda("dense_masks_from_runs", (*runs, 60, 300, by_rows))


def test_cuda_kernels_on_lists_of_any_numbers() -> None:
    generator = torch.Generator().manual_seed(5)
    for by_rows in (False, True) * 4:
        runs = torch.randint(-30, 90, (30,), generator=generator, dtype=torch.int32)
        runs[::7] = torch.randint(-(2**31), 2**31, (5,), generator=generator, dtype=torch.int64)
        offsets = torch.randint(-10, 40, (6,), generator=generator)
        check_host_cuda("masks_from_runs", (runs, offsets, 20, 70, by_rows))
        check_host_cuda("dense_masks_from_runs", (runs, offsets, 20, 70, by_rows))


@pytest.mark.parametrize("rule", range(4))
def test_cuda_pairing_equals_the_cpus(rule: int) -> None:
    generator = torch.Generator().manual_seed(rule)
    for shape in ((0, 0), (0, 4), (4, 0), (1, 1), (3, 7), (9, 5), (40, 33), (5, 300), (300, 5)):
        for steps in (3, 1000):
            table = torch.randint(0, steps + 1, shape, generator=generator).double() / steps
            check_host_cuda("match_masks", (table, 0.2, rule))
    wild = torch.tensor([[float("nan"), 0.4, float("inf")], [1e300, -1.0, float("inf")]])
    check_host_cuda("match_masks", (wild.double(), -2.0, rule))


def test_cuda_suppression_with_orders_of_any_numbers() -> None:
    bits, extents = OPS.pack_masks(random_masks(7, 30, 70, seed=1))
    generator = torch.Generator().manual_seed(2)
    for thresholds in ((0.5, 0.5), (0.1, 1.0), (1.0, 1.0)):
        order = torch.randint(-2, 9, (70,), generator=generator)
        check_host_cuda("mask_nms", (bits, extents, 70, order, *thresholds))


@pytest.mark.cuda
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_cuda_tensors_give_what_cpu_tensors_give(name: str, size: tuple[int, int]) -> None:
    given = arguments(5, size)[name]
    op: Callable[..., Any] = getattr(OPS, name)
    found = op(*(t.cuda() if isinstance(t, Tensor) else t for t in given))
    expected = op(*given)
    if isinstance(expected, Tensor):
        found, expected = [found], [expected]
    assert_equal([t.cpu() for t in found], expected)


# ---- instruction sets

_DIGEST = """
import torch
from ops.helpers import digest
from ops.mask_samples import SIZES, ellipses, layouts, random_masks
from ops.test_masks_checks import NAMES, OPS, arguments
results = []
for seed, size in enumerate(SIZES):
    given = arguments(7, size, seed)
    results += [digest(getattr(OPS, name)(*given[name])) for name in NAMES]
    for masks in layouts(random_masks(5, *size, seed=seed)).values():
        results.append(digest(OPS.pack_masks(masks)))
        results.append(digest(OPS.mask_runs(masks, size[1], seed % 2 == 0)))
a, b = OPS.pack_masks(ellipses(20, 480, 640, 1)), OPS.pack_masks(ellipses(20, 480, 640, 2))
results.append(digest(OPS.mask_iou(*a, *b, 640, None, False)))
assert len(set(results)) > 50
print(*results)
"""


def test_instruction_sets_give_equal_results() -> None:
    tests = str(Path(__file__).parents[1])
    check_instruction_sets(f"import sys; sys.path.insert(0, {tests!r})\n{_DIGEST}")


# ---- errors: one message that says what is wrong

BITS, EXTENTS = OPS.pack_masks(torch.zeros(2, 4, 70, dtype=torch.bool))
RUNS, OFFSETS = torch.zeros(3, dtype=torch.int32), torch.zeros(2, dtype=torch.int64)
PACKED_ERROR = r"packed masks must be int64 \[N, H, words\], got 3 dimensions of Int"
BAD_CALLS: list[tuple[str, tuple[Any, ...], str]] = [
    ("pack_masks", (torch.zeros(2, 3),), r"bool or uint8 \[N, H, W\], got 2 dimensions of Float"),
    ("pack_masks", (torch.zeros(1, 1, 1, dtype=torch.int8),), r"got 3 dimensions of Char"),
    ("unpack_masks", (BITS.int(), 70), PACKED_ERROR),
    ("unpack_masks", (BITS, 64), "of 64 pixels a row must have 1 words a row, got 2"),
    ("unpack_masks", (BITS, -1), "a mask of 4 x -1 pixels has a negative size"),
    ("mask_extents", (BITS, 2**62), "a mask of 4 x 4611686018427387904 pixels is too large"),
    ("mask_runs", (torch.zeros(1, 2, 3, dtype=torch.bool), 4, False), "3 pixels wide, not 4"),
    ("mask_runs", (torch.zeros(1, 2, 3), 3, False), "masks must be bool or uint8"),
    ("mask_runs", (BITS[:, :0].expand(2, 0, 2).repeat(1, 1, 2**35), 2**42, True), "too large"),
    ("masks_from_runs", (RUNS.long(), OFFSETS, 2, 3, False), "runs must be a int32 vector"),
    ("masks_from_runs", (RUNS, OFFSETS.int(), 2, 3, False), "offsets must be a int64 vector"),
    ("dense_masks_from_runs", (RUNS, OFFSETS[:0], 2, 3, False), "at least one entry"),
    ("dense_masks_from_runs", (RUNS, OFFSETS, 2**20, 2**20, False), "is too large"),
    ("dense_masks_from_runs", (RUNS, OFFSETS, -2, 3, False), "has a negative size"),
    (
        "mask_iou",
        (BITS, EXTENTS, BITS[:, :3], EXTENTS, 70, None, False),
        "masks of 4 rows cannot be compared with masks of 3 rows",
    ),
    ("mask_iou", (BITS, EXTENTS[:1], BITS, EXTENTS, 70, None, False), r"extents .* int32 \[2, 5\]"),
    ("mask_iou", (BITS, EXTENTS.long(), BITS, EXTENTS, 70, None, False), "extents must be int32"),
    (
        "mask_iou",
        (BITS, EXTENTS, BITS, EXTENTS, 70, torch.zeros(3, dtype=torch.bool), False),
        r"iscrowd must be bool or uint8 \[2\]",
    ),
]


@pytest.mark.parametrize(("name", "given", "message"), BAD_CALLS)
def test_bad_tensors_are_explained(name: str, given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"{name}: .*{message}"):
        getattr(OPS, name)(*given)


def test_bad_arguments_of_the_public_functions_are_explained() -> None:
    masks = torch.zeros(2, 3, 4, dtype=torch.bool)
    with pytest.raises(TypeError, match=r"masks must be bool or uint8 .* got torch.float32"):
        ops.pack_masks(masks.float())
    with pytest.raises(ValueError, match=r"masks must be .* got 2 dimensions"):
        ops.encode_masks(masks[0])
    with pytest.raises(ValueError, match='measure must be "iou" or "iomin", got \'dice\''):
        ops.mask_iou(masks, masks, measure="dice")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="iscrowd goes with"):
        ops.mask_iou(masks, masks, iscrowd=torch.zeros(2).bool(), measure="iomin")
    with pytest.raises(TypeError, match=r"iscrowd must be bool or uint8 \[M\], got torch.float32"):
        ops.mask_iou(masks, masks, iscrowd=torch.zeros(2))
    with pytest.raises(ValueError, match="4 pixels wide cannot be compared with masks 3 pixels"):
        ops.mask_iou(masks, masks[:, :, :3])
    with pytest.raises(ValueError, match=r"masks of 3 x 4 pixels cannot be .* masks of 2 x 4"):
        ops.mask_iou(ops.encode_masks(masks), ops.encode_masks(masks[:, :2]))
    rles = ops.encode_masks(masks)
    with pytest.raises(ValueError, match=r"iscrowd must be bool or uint8 \[2\]"):
        ops.mask_iou(rles, rles, iscrowd=torch.zeros(3, dtype=torch.bool))


GOOD = {"size": [3, 4], "counts": b"<"}
BAD_RLES: list[tuple[Any, type[Exception], str]] = [
    ({"size": [3, 4], "counts": b"l"}, ValueError, "ends inside a run length"),
    ({"size": [3, 4], "counts": "\u00e9"}, ValueError, "character 0 .* is not one of its alphabet"),
    ({"size": [3, 4], "counts": "\ud800"}, ValueError, "is not valid Unicode"),
    ({"size": [3, 4], "counts": b"="}, ValueError, "sum to more than its 12 pixels"),
    ({"size": [3, 4], "counts": b""}, ValueError, "sum to 0 instead of its 12 pixels"),
    ({"size": [3, 4], "counts": [3, -1]}, ValueError, "a negative run length"),
    ({"size": [3, 4], "counts": [13]}, ValueError, "sum to more than its 12 pixels"),
    ({"size": [3, 4], "counts": [2**70]}, ValueError, "run lengths go beyond 64 bits"),
    ({"size": [3, 4], "counts": ["a"]}, TypeError, "run lengths must be integers"),
    ({"size": [3, 4], "counts": None}, TypeError, "counts of a mask must be bytes, str or a list"),
    ({"size": [3], "counts": b"<"}, ValueError, r"must be \[height, width\]"),
    ({"size": 3, "counts": b"<"}, ValueError, r"must be \[height, width\]"),
    ({"size": [3, 4.0], "counts": b"<"}, TypeError, "the numbers of a size must be integers"),
    ({"size": [2**70, 1], "counts": b"<"}, ValueError, "go beyond 64 bits"),
    ({"size": [-3, -4], "counts": b"<"}, ValueError, "negative size"),
    ({"size": [2**16, 2**16], "counts": b"<"}, ValueError, "65536 x 65536 pixels is too large"),
    ({"counts": b"<"}, ValueError, "must have a size and counts"),
    (b"<", TypeError, "must be a dict"),
]


@pytest.mark.parametrize(("bad", "error", "message"), BAD_RLES)
def test_bad_rles_are_named(bad: Any, error: type[Exception], message: str) -> None:
    rles = [GOOD, GOOD, bad, GOOD]
    calls: list[Callable[[Any], object]] = [
        ops.decode_masks,
        ops.pack_rles,
        ops.rle_area,
        ops.rle_boxes,
        ops.merge_rles,
        lambda rles: ops.mask_iou(rles, rles),
        lambda rles: ops.mask_nms(rles, torch.rand(4)),
    ]
    for call in calls:
        with pytest.raises(error, match=rf"rles\[2\]: .*{message}"):
            call(rles)


def test_sizes_must_agree_where_they_have_to() -> None:
    other = {"size": [4, 3], "counts": b"<"}
    message = r"rles\[1\]: a mask of 4 x 3 among masks of 3 x 4"
    for call in (ops.decode_masks, ops.pack_rles, ops.merge_rles):
        with pytest.raises(ValueError, match=message):
            call([GOOD, other])
    assert ops.rle_area([GOOD, other]).tolist() == [0, 0]
    with pytest.raises(ValueError, match="there are no masks to merge"):
        ops.merge_rles([])


def test_bad_row_texts_are_named() -> None:
    for bad, message in (("5,x", "at character 2"), ("5,6", "sum to 11 instead of its 12")):
        with pytest.raises(ValueError, match=rf"texts\[1\]: .*{message}"):
            ops.decode_rows(["12", bad], (3, 4))
    with pytest.raises(TypeError, match=r"texts\[0\]: row runs must be str or bytes"):
        ops.decode_rows([3], (3, 4))  # type: ignore[list-item]
    with pytest.raises(ValueError, match="65536 x 65536 pixels is too large"):
        ops.decode_rows(["0"], (2**16, 2**16))


def test_native_functions_check_their_arrays() -> None:
    runs, offsets = RUNS.numpy(), OFFSETS.numpy()
    for bad in ([0, 4], [-1, 2], [2, 1]):
        with pytest.raises(ValueError, match="offsets must rise and stay within the runs"):
            _native.write_rles(runs, bad, 3, 4)
        with pytest.raises(ValueError, match="offsets must rise and stay within the runs"):
            _native.iou_of_runs(runs, bad, runs, offsets, 3, 4, None, False)
    with pytest.raises(ValueError, match="runs and offsets must be vectors"):
        _native.write_row_texts(runs, [])
