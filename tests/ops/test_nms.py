"""Suppression of boxes against its plain definition, against torchvision and on all kernels."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from host_cuda.compiling import ROOT
from torch import Tensor

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_instruction_sets,
    check_registration,
    strided,
)
from pyvqa import ops
from pyvqa.ops.nms import nms_reference

COUNTS = (0, 1, 2, 7, 64, 65, 200)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
THRESHOLDS = (0.5, 0.7, 1 / 3, 0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, 1e300)
STRANGE = (math.nan, math.inf, -math.inf, 3e38, -3e38, 1e30, 0.0, -0.0, 1e-40)


def draw(
    count: int, seed: int = 0, *, span: float = 60, whole: bool = False
) -> tuple[Tensor, Tensor]:
    """Boxes that overlap a lot, with scores of which many are equal."""
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * span
    size = torch.rand(count, 2, generator=generator) * 30
    boxes = torch.cat([corner, corner + size], 1)
    scores = (torch.rand(count, generator=generator) * 20).round() / 20
    return boxes.round() if whole else boxes, scores


def draw_idxs(count: int, seed: int = 1) -> Tensor:
    return torch.randint(-2, 3, (count,), generator=torch.Generator().manual_seed(seed))


def make_strange(boxes: Tensor, scores: Tensor, seed: int) -> None:
    """Replace a quarter of the coordinates and some scores, in place."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor(STRANGE, dtype=boxes.dtype)
    where = torch.rand(boxes.shape, generator=generator) < 0.25
    which = torch.randint(0, len(values), boxes.shape, generator=generator)
    boxes[where] = values[which[where]]
    scores[::5] = values[which[::5, 0]].to(scores.dtype)


def check_all_options(
    boxes: Tensor, scores: Tensor, threshold: float, idxs: Tensor | None = None
) -> None:
    for inclusive in (False, True):
        for suppress_equal in (False, True):
            for order in ("score", "input"):
                options: dict[str, Any] = {
                    "inclusive": inclusive,
                    "suppress_equal": suppress_equal,
                    "order": order,
                }
                expected = nms_reference(boxes, scores, threshold, idxs=idxs, **options)
                if idxs is None:
                    found = ops.nms(boxes, scores, threshold, **options)
                else:
                    found = ops.batched_nms(boxes, scores, idxs, threshold, **options)
                assert_equal(found, expected)
                keep, count = ops.nms_padded(boxes, scores, threshold, idxs=idxs, **options)
                assert (keep.shape, count.shape) == (scores.shape, ())
                assert_equal(keep[: int(count)], expected)
                assert bool((keep[int(count) :] == -1).all())


# ---- results


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", COUNTS)
def test_matches_reference(count: int, dtype: torch.dtype) -> None:
    for seed, threshold in enumerate((0.5, 0.3, 0.8)):
        boxes, scores = draw(count, seed, whole=seed == 1)
        check_all_options(boxes.to(dtype), scores.to(dtype), threshold)
        check_all_options(boxes.to(dtype), scores.to(dtype), threshold, draw_idxs(count))


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_every_threshold_has_a_meaning(threshold: float) -> None:
    boxes, scores = draw(90, whole=True)
    boxes[20:40] = boxes[:20]  # overlaps of exactly 1
    check_all_options(boxes, scores, threshold)
    check_all_options(boxes.double(), scores, threshold, draw_idxs(90))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(6))
def test_strange_numbers_have_a_defined_result(seed: int, dtype: torch.dtype) -> None:
    boxes, scores = draw(150, seed)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    make_strange(boxes, scores, seed)
    for threshold in (0.5, 0.0, -1.0, 1.0):
        check_all_options(boxes, scores, threshold)
        check_all_options(boxes, scores, threshold, draw_idxs(150))


def test_options_are_the_two_conventions() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4], [0, 0, 9, 4.5]])
    scores = torch.tensor([0.1, 0.9, 0.5])
    # Sizes of 10 x 10 and 10 x 5 pixels: exactly half.
    assert ops.nms(boxes[:2], scores[:2], 0.5, inclusive=True).tolist() == [1, 0]
    assert ops.nms(boxes[:2], scores[:2], 0.5, inclusive=True, order="input").tolist() == [0, 1]
    assert ops.nms(boxes[:2], scores[:2], 0.5, inclusive=True, suppress_equal=True).tolist() == [1]
    # 81 and 40.5: exactly half without the last pixel.
    assert ops.nms(boxes[::2], scores[::2], 0.5).tolist() == [1, 0]
    assert ops.nms(boxes[::2], scores[::2], 0.5, suppress_equal=True).tolist() == [1]


def test_order_of_scores() -> None:
    """Descending; NaN first; ties, both zeros among them, by index."""
    inf, nan = math.inf, math.nan
    scores = torch.tensor([0.0, -0.0, 1.0, nan, -inf, inf, 0.0, -1.0, -nan, 1.0, 1e-45, -1e-45])
    boxes = torch.arange(12.0)[:, None] * 10 + torch.tensor([0.0, 0, 1, 1])
    expected = [3, 8, 5, 2, 9, 10, 0, 1, 6, 11, 7, 4]
    for dtype in (torch.float32, torch.float64):
        assert ops.nms(boxes, scores.to(dtype), 0.5).tolist() == expected
        assert torch.sort(scores.to(dtype), descending=True, stable=True).indices.tolist() == (
            expected
        )


def test_double_scores_are_told_apart() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9]] * 300)
    scores = torch.full((300,), 0.5, dtype=torch.float64)
    scores[177] += 2.0**-50
    assert ops.nms(boxes, scores, 0.5).tolist() == [177]
    assert ops.nms(boxes, scores.float(), 0.5).tolist() == [0]


# ---- groups


def test_groups_are_alone() -> None:
    boxes, scores = draw(400, span=30)
    scores = torch.rand(400, generator=torch.Generator().manual_seed(2))
    idxs = draw_idxs(400)
    keep = ops.batched_nms(boxes, scores, idxs, 0.4)
    expected = []
    for value in idxs.unique():
        members = (idxs == value).nonzero()[:, 0]
        expected.append(members[ops.nms(boxes[members], scores[members], 0.4)])
    together = torch.cat(expected)
    assert_equal(keep, together[scores[together].argsort(descending=True)])


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]
)
def test_groups_of_any_integer_type(dtype: torch.dtype) -> None:
    boxes, scores = draw(100, span=20)
    idxs = draw_idxs(100).to(dtype)
    assert_equal(
        ops.batched_nms(boxes, scores, idxs, 0.5), nms_reference(boxes, scores, 0.5, idxs=idxs)
    )


def test_groups_of_any_value() -> None:
    boxes, scores = draw(300, span=20)
    values = [-(2**63), -(2**63) + 1, -(2**32), -1, 0, 1, 2**32, 2**32 + 1, 2**62, 2**63 - 1]
    idxs = torch.tensor(values * 30)
    check_all_options(boxes, scores, 0.5, idxs)
    check_all_options(boxes, scores, 0.5, idxs[30:60].repeat(10) % 3 + 2**40)
    check_all_options(boxes, scores, 0.5, torch.arange(300) * 2**50)


def test_far_apart_coordinates_lose_nothing() -> None:
    """Groups are no offsets: a huge box elsewhere does not blur the small ones."""
    boxes = torch.tensor([[0.0, 0, 1e9, 1e9], [0, 0, 10, 10], [0, 0, 10, 5.1], [0, 0, 10, 4.9]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    assert ops.batched_nms(boxes, scores, torch.tensor([0, 1, 1, 1]), 0.5).tolist() == [0, 1, 3]


# ---- inputs


def test_layouts_change_nothing() -> None:
    boxes, scores = draw(150)
    idxs = draw_idxs(150)
    expected = ops.batched_nms(boxes, scores, idxs, 0.5)
    rows = torch.cat([boxes, scores[:, None]], 1)
    assert_equal(ops.batched_nms(rows[:, :4], rows[:, 4], idxs, 0.5), expected)
    assert_equal(ops.batched_nms(boxes.T.contiguous().T, scores, idxs, 0.5), expected)
    assert_equal(ops.batched_nms(strided(boxes), strided(scores), strided(idxs), 0.5), expected)
    assert ops.nms(boxes[:1].expand(9, 4), scores[:1].expand(9), 0.5).tolist() == [0]


def test_types_may_differ() -> None:
    boxes, scores = draw(80)
    expected = ops.nms(boxes, scores, 0.5)
    assert_equal(ops.nms(boxes, scores.double(), 0.5), expected)
    assert_equal(ops.nms(boxes.double(), scores, 0.5), nms_reference(boxes.double(), scores, 0.5))
    halves = boxes.half()
    assert_equal(ops.nms(halves, scores, 0.5), ops.nms(halves.float(), scores, 0.5))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_computes_in_float32(dtype: torch.dtype) -> None:
    boxes, scores = draw(150)
    boxes, scores = boxes.to(dtype), scores.to(dtype)
    expected = ops.nms(boxes.float(), scores.float(), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(ops.nms(boxes, scores, 0.5), expected)
        assert_equal(ops.nms(boxes.float(), scores, 0.5), expected)
        padded, _ = ops.nms_padded(boxes, scores, 0.5)
    assert_equal(padded[: len(expected)], expected)


def _arguments(**changes: Any) -> tuple[Any, ...]:
    boxes, scores = draw(5)
    arguments = {"boxes": boxes, "scores": scores, "idxs": draw_idxs(5)}
    return (*(arguments | changes).values(), 0.5, False, False, False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": torch.zeros(5)}, r"nms: boxes must be \[N, 4\], got 1 dimensions and 5 elem"),
        ({"boxes": torch.zeros(5, 5)}, r"nms: boxes must be \[N, 4\], got 2 dimensions"),
        ({"boxes": torch.zeros(5, 4).int()}, "nms: boxes must be float16, .* got Int"),
        ({"scores": torch.zeros(4)}, r"nms: scores must be \[5\], one for each box, got 1 dim"),
        ({"scores": torch.zeros(5, 1)}, r"nms: scores must be \[5\], .* got 2 dimensions"),
        ({"scores": torch.zeros(5).long()}, "nms: scores must be float16, .* got Long"),
        ({"idxs": torch.zeros(6).long()}, r"nms: idxs must be \[5\], .* and 6 elements"),
        ({"idxs": torch.zeros(5).int()}, "nms: idxs must be int64, got Int"),
    ],
)
def test_bad_input_is_explained(changes: dict[str, Tensor], message: str) -> None:
    for op in (torch.ops.pyvqa.nms, torch.ops.pyvqa.nms_padded):
        with pytest.raises(RuntimeError, match=message):
            op(*_arguments(**changes))


def test_bad_options_are_explained() -> None:
    boxes, scores = draw(5)
    with pytest.raises(ValueError, match="order must be 'score' or 'input', got 'index'"):
        ops.nms(boxes, scores, 0.5, order="index")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"idxs must be integers, got torch\.float32"):
        ops.batched_nms(boxes, scores, scores, 0.5)


# ---- what every op has to pass

ARGUMENTS = {
    "plain": (*draw(40), None, 0.5, False, False, False),
    "groups": (*draw(40), draw_idxs(40), 0.5, True, True, True),
    "nothing": (*draw(0), None, 0.5, False, False, False),
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("name", ["nms", "nms_padded"])
def test_opcheck(name: str, arguments: tuple[Any, ...]) -> None:
    check_registration(getattr(torch.ops.pyvqa, name).default, arguments)


def test_public_functions_compile_to_one_graph() -> None:
    boxes, scores = draw(60)
    idxs = draw_idxs(60)
    check_compiles(lambda b, s: b[ops.nms(b, s, 0.5)], (boxes, scores))
    check_compiles(lambda b, s, i: s[ops.batched_nms(b, s, i, 0.5)], (boxes, scores, idxs))
    check_compiles(lambda b, s, i: ops.nms_padded(b, s, 0.5, idxs=i), (boxes, scores, idxs))
    check_compiles(lambda b, s: ops.nms_padded(b, s, 0.5, order="input"), (boxes, scores))


def test_vmap_runs_each_sample() -> None:
    boxes = torch.stack([draw(50, seed)[0] for seed in range(3)])
    scores = torch.stack([draw(50, seed)[1] for seed in range(3)])
    idxs = draw_idxs(50)
    keep, count = torch.vmap(lambda b, s: ops.nms_padded(b, s, 0.5))(boxes, scores)
    for i in range(3):
        assert_equal((keep[i], count[i]), ops.nms_padded(boxes[i], scores[i], 0.5))
    keep, count = torch.vmap(lambda b: ops.nms_padded(b, scores[0], 0.5, idxs=idxs), 2)(
        boxes.permute(1, 2, 0)
    )
    for i in range(3):
        assert_equal((keep[i], count[i]), ops.nms_padded(boxes[i], scores[0], 0.5, idxs=idxs))


def test_deterministic() -> None:
    boxes, scores = draw(20000, span=2000)
    idxs = torch.randint(0, 60, (20000,), generator=torch.Generator().manual_seed(3))
    check_deterministic(torch.ops.pyvqa.nms, (boxes, scores, None, 0.5, False, False, False))
    check_deterministic(torch.ops.pyvqa.nms, (boxes, scores, idxs, 0.5, False, False, False))
    check_deterministic(torch.ops.pyvqa.nms_padded, (boxes, scores, idxs, 0.5, True, True, True))


# A fresh interpreter does not know the folder of the tests.
FIND_TESTS = f"import sys\nsys.path.insert(0, {str(ROOT / 'tests')!r})\n"

_EVERY_SIZE = """
import torch
from ops.helpers import digest
from ops.test_nms import draw, draw_idxs, make_strange
results = []
for count, span in ((1, 9), (37, 20), (500, 60), (9000, 900)):
    for dtype in (torch.float32, torch.float64):
        boxes, scores = (t.to(dtype) for t in draw(count, span=span))
        for strange in (False, True):
            if strange:
                make_strange(boxes, scores, count)
            for idxs in (None, draw_idxs(count)):
                for flags in ((False, False, False), (True, True, True)):
                    for threshold in (0.5, 0.1, 0.0):
                        keep, count_kept = torch.ops.pyvqa.nms_padded(
                            boxes, scores, idxs, threshold, *flags)
                        results += [keep, count_kept[None]]
print(digest(*results))
"""


def test_instruction_sets_agree() -> None:
    check_instruction_sets(FIND_TESTS + _EVERY_SIZE)


# ---- other libraries


@pytest.fixture(scope="module")
def torchvision_ops() -> Any:
    """torchvision.ops, where its compiled ops work: it often imports beside a foreign torch."""
    found = pytest.importorskip("torchvision.ops", exc_type=ImportError)
    try:
        found.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (RuntimeError, AttributeError) as error:
        pytest.skip(f"torchvision has no working ops: {error}")
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [*COUNTS, 6000])
def test_equals_torchvision(torchvision_ops: Any, count: int, dtype: torch.dtype) -> None:
    for seed, threshold in enumerate((0.5, 0.0, 0.7, 1.0)):
        boxes, scores = (t.to(dtype) for t in draw(count, seed, span=60 if count < 999 else 900))
        assert_equal(
            ops.nms(boxes, scores, threshold), torchvision_ops.nms(boxes, scores, threshold)
        )
        make_strange(boxes, scores, seed)
        assert_equal(
            ops.nms(boxes, scores, threshold), torchvision_ops.nms(boxes, scores, threshold)
        )


def test_batched_equals_torchvision(torchvision_ops: Any) -> None:
    boxes, _ = draw(5000, span=300)
    scores = torch.randperm(5000, generator=torch.Generator().manual_seed(4)) / 5000  # no ties
    idxs = draw_idxs(5000)
    assert_equal(
        ops.batched_nms(boxes, scores, idxs, 0.5),
        torchvision_ops.batched_nms(boxes, scores, idxs, 0.5),
    )
