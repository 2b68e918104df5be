"""Box areas, overlaps, anchors and levels: definition, conventions, gradients, edges, bad input."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_gradients,
    check_host_cuda,
    check_instruction_sets,
    check_registration,
    strided,
)
from ops.random_boxes import need_torchvision, some_boxes, wild_boxes
from pyvqa import ops
from pyvqa.ops.boxes import box_iou_reference, generalized_box_iou_reference

SIZES = [(0, 0), (0, 5), (5, 0), (1, 1), (1, 17), (7, 5), (33, 64), (3, 1030)]
FUNCTIONS = {
    "iou": (ops.box_iou, box_iou_reference),
    "giou": (ops.generalized_box_iou, generalized_box_iou_reference),
}
measured = pytest.mark.parametrize("name", FUNCTIONS)
both_conventions = pytest.mark.parametrize("inclusive", [False, True], ids=["plain", "inclusive"])


def iou_arguments(
    n: int = 37, m: int = 45, dtype: torch.dtype = torch.float32, generalized: bool = False
) -> tuple[Any, ...]:
    return some_boxes(1, n, dtype=dtype), some_boxes(2, m, dtype=dtype), 0, False, generalized


@pytest.fixture
def torchvision_ops() -> ModuleType:
    return need_torchvision()


# ---- the definition


@measured
@both_conventions
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("n", "m"), SIZES)
def test_equals_the_reference(
    name: str, inclusive: bool, dtype: torch.dtype, n: int, m: int
) -> None:
    function, reference = FUNCTIONS[name]
    a, b = some_boxes(1, n, dtype=dtype), some_boxes(2, m, dtype=dtype)
    expected = reference(a, b, inclusive=inclusive)
    assert_equal(function(a, b, inclusive=inclusive), expected)
    assert expected.shape == (n, m)
    assert n * m < 10 or float(expected.std()) > 0.01


@measured
@both_conventions
def test_special_numbers_give_what_the_arithmetic_gives(name: str, inclusive: bool) -> None:
    function, reference = FUNCTIONS[name]
    a, b = wild_boxes(1, 300) + 0.0, wild_boxes(2, 300) + 0.0
    for dtype in (torch.float32, torch.float64):
        expected = reference(a.to(dtype), b.to(dtype), inclusive=inclusive)
        assert_equal(function(a.to(dtype), b.to(dtype), inclusive=inclusive), expected)
        assert len(expected.nan_to_num(7.0, 8.0, 9.0).unique()) > 3


def test_nan_reaches_every_result_of_its_box() -> None:
    for fmt in ("xyxy", "xywh", "cxcywh"):
        for number in range(4):
            a, b = some_boxes(1, 3), some_boxes(2, 4)
            a[1, number] = math.nan
            b[2, number] = math.nan
            lost = ops.box_iou(a, b, fmt).isnan()
            expected = torch.zeros(3, 4, dtype=torch.bool)
            expected[1, :] = expected[:, 2] = True
            assert torch.equal(lost, expected)


def test_known_overlaps() -> None:
    a = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    b = torch.tensor([[5.0, 0, 15, 10], [0, 0, 10, 10], [20, 20, 30, 30], [2, 2, 2, 2]])
    assert ops.box_iou(a, b)[0].tolist() == pytest.approx([1 / 3, 1, 0, 0])
    assert ops.box_iou(a, b, inclusive=True)[0].tolist() == pytest.approx([66 / 176, 1, 0, 1 / 121])
    assert ops.generalized_box_iou(a, b)[0].tolist() == pytest.approx([1 / 3, 1, -700 / 900, 0])
    centred = torch.tensor([[5.0, 5, 10, 10]])
    assert ops.box_iou(
        centred, torch.tensor([[10.0, 5, 10, 10]]), "cxcywh"
    ).item() == pytest.approx(1 / 3)
    assert ops.box_iou(a, torch.tensor([[5.0, 0, 10, 10]]), "xywh").item() == pytest.approx(1 / 3)


def test_leading_dimensions_are_broadcast() -> None:
    a, b = some_boxes(1, 2, 1, 5), some_boxes(2, 3, 4)
    found = ops.box_iou(a, b)
    assert found.shape == (2, 3, 5, 4)
    for i in range(2):
        for j in range(3):
            assert_equal(found[i, j], ops.box_iou(a[i, 0], b[j]))
    assert ops.box_iou(a, b[0]).shape == (2, 1, 5, 4)
    assert ops.box_iou(some_boxes(1, 0, 5), some_boxes(2, 4)).shape == (0, 5, 4)


@measured
def test_strides_change_nothing(name: str) -> None:
    function, _ = FUNCTIONS[name]
    a, b = some_boxes(1, 9), some_boxes(2, 6)
    expected = function(a, b)
    turned = a.T.contiguous().T
    repeated = a[:1].expand(9, 4)
    assert not turned.is_contiguous()
    assert_equal(function(turned, strided(b)), expected)
    assert_equal(function(repeated, b), expected[:1].expand(9, 6))
    batch = torch.stack([a, a + 1])
    assert_equal(function(batch.transpose(0, 1).contiguous().transpose(0, 1), b)[0], expected)


def test_half_precision_is_computed_in_float32() -> None:
    a, b = some_boxes(1, 40), some_boxes(2, 30)
    for dtype in (torch.float16, torch.bfloat16):
        found = ops.box_iou(a.to(dtype), b.to(dtype))
        assert found.dtype == torch.float32
        assert_equal(found, ops.box_iou(a.to(dtype).float(), b.to(dtype).float()))
    mixed = ops.box_iou(a.half(), b.double())
    assert_equal(mixed, ops.box_iou(a.half().double(), b.double()))


def test_integers_are_counted_exactly() -> None:
    a, b = some_boxes(1, 40).round(), some_boxes(2, 30).round()
    expected = ops.box_iou(a, b)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64):
        wide = (a.clamp(max=255).to(dtype), b.clamp(max=255).to(dtype))
        assert_equal(ops.box_iou(*wide), expected)
        assert_equal(ops.generalized_box_iou(*wide), ops.generalized_box_iou(a, b))
        assert_equal(ops.box_iou(*wide, inclusive=True), ops.box_iou(a, b, inclusive=True))
    large = torch.tensor([[0, 0, 2**31, 2**31], [0, 0, 2**31, 2**30]])
    assert ops.box_iou(large, large)[0, 1] == 0.5
    extremes = torch.tensor([[2**63 - 1, -(2**63), -(2**63), 2**63 - 1]])
    assert ops.box_iou(extremes, extremes).shape == (1, 1)


def test_autocast_changes_nothing() -> None:
    a, b = some_boxes(1, 8), some_boxes(2, 9)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(ops.box_iou(a, b), box_iou_reference(a, b))


@measured
def test_vmap(name: str) -> None:
    function, _ = FUNCTIONS[name]
    a, b = some_boxes(1, 3, 5), some_boxes(2, 3, 4)
    assert_equal(torch.vmap(function)(a, b), function(a, b))
    assert_equal(torch.vmap(function, in_dims=(1, None))(a.movedim(0, 1), b[0]), function(a, b[0]))
    nested = torch.vmap(lambda x: torch.vmap(lambda y: function(x, y))(b))(a)
    assert_equal(nested, function(a[:, None], b[None]))


# ---- torchvision's results


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32, torch.int64])
def test_equals_torchvision(torchvision_ops: ModuleType, dtype: torch.dtype) -> None:
    a, b = some_boxes(1, 120).to(dtype), some_boxes(2, 90).to(dtype)
    assert_equal(ops.box_area(a), torchvision_ops.box_area(a))
    assert_equal(ops.box_iou(a, b), torchvision_ops.box_iou(a, b))
    assert_equal(ops.generalized_box_iou(a, b), torchvision_ops.generalized_box_iou(a, b))
    if dtype.is_floating_point:
        for fmt in ("xywh", "cxcywh"):
            assert_equal(ops.box_iou(a, b, fmt), torchvision_ops.box_iou(a, b, fmt))
            assert_equal(ops.box_area(a, fmt), torchvision_ops.box_area(a, fmt))


def test_special_numbers_as_torchvision(torchvision_ops: ModuleType) -> None:
    a, b = wild_boxes(1, 300) + 0.0, wild_boxes(2, 300) + 0.0
    for fmt in ("xyxy", "xywh", "cxcywh"):
        assert_equal(ops.box_iou(a, b, fmt), torchvision_ops.box_iou(a, b, fmt))
    assert_equal(ops.generalized_box_iou(a, b), torchvision_ops.generalized_box_iou(a, b))


# ---- gradients


@measured
@both_conventions
@pytest.mark.parametrize("seed", range(10))
def test_gradients(name: str, inclusive: bool, seed: int) -> None:
    function, _ = FUNCTIONS[name]
    n, m = [(0, 3), (3, 0), (1, 1), (1, 6), (6, 1), (5, 4), (2, 9), (9, 3), (7, 7), (4, 35)][seed]
    a = some_boxes(seed, n, dtype=torch.float64).requires_grad_()
    b = some_boxes(seed + 50, m, dtype=torch.float64).requires_grad_()
    if seed % 2:
        a, b = strided(a.detach()).requires_grad_(), strided(b.detach()).requires_grad_()
    check_gradients(lambda x, y: function(x, y, inclusive=inclusive), (a, b))


@pytest.mark.parametrize("fmt", ["xywh", "cxcywh"])
def test_gradients_of_other_formats(fmt: str) -> None:
    a, b = (some_boxes(seed, 5, dtype=torch.float64).requires_grad_() for seed in (1, 2))
    check_gradients(lambda x, y: ops.box_iou(x, y, fmt), (a, b))


@measured
@both_conventions
def test_gradients_equal_those_of_the_reference(name: str, inclusive: bool) -> None:
    """On whole coordinates, so that corners coincide and empty intersections touch."""
    function, reference = FUNCTIONS[name]
    a = (some_boxes(1, 60, dtype=torch.float64) / 10).round().requires_grad_()
    b = (some_boxes(2, 40, dtype=torch.float64) / 10).round().requires_grad_()
    given = torch.rand(60, 40, dtype=torch.float64)
    found = torch.autograd.grad(function(a, b, inclusive=inclusive), (a, b), given)
    expected = torch.autograd.grad(reference(a, b, inclusive=inclusive), (a, b), given)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12, equal_nan=True)
        assert int(other.isfinite().sum()) > 20


def test_gradients_of_half_precision_flow_through_float32() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        a = some_boxes(1, 6).to(dtype).requires_grad_()
        whole = a.detach().float().requires_grad_()
        b = some_boxes(2, 5)
        ops.box_iou(a, b).sum().backward()
        ops.box_iou(whole, b).sum().backward()
        assert a.grad is not None
        assert whole.grad is not None
        assert_equal(a.grad, whole.grad.to(dtype))


def test_gradients_in_batches_and_of_one_side() -> None:
    a = some_boxes(1, 2, 5, dtype=torch.float64).requires_grad_()
    b = some_boxes(2, 4, dtype=torch.float64)
    (together,) = torch.autograd.grad(ops.box_iou(a, b).sum(), a)
    apart = [torch.autograd.grad(ops.box_iou(one, b).sum(), one)[0] for one in a]
    assert_equal(together, torch.stack(apart))
    given = torch.rand(3, 2, 5, 4, dtype=torch.float64)
    done = ops.box_iou(a, b)
    (many,) = torch.autograd.grad(done, a, given, is_grads_batched=True, retain_graph=True)
    each = [torch.autograd.grad(done, a, g, retain_graph=True)[0] for g in given]
    assert_equal(many, torch.stack(each))


def test_second_gradients_are_refused() -> None:
    a = some_boxes(1, 6).requires_grad_()
    (first,) = torch.autograd.grad(ops.box_iou(a, some_boxes(2, 5)).sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="box_iou: gradients of gradients are not implemented"):
        first.sum().backward()


# ---- what every op has to pass


def backward_arguments(generalized: bool = False, n: int = 37, m: int = 45) -> tuple[Any, ...]:
    arguments = iou_arguments(n, m, generalized=generalized)
    return torch.rand(n, m, generator=torch.Generator().manual_seed(3)), *arguments


@pytest.mark.parametrize("generalized", [False, True], ids=["iou", "giou"])
def test_opcheck(generalized: bool) -> None:
    a, b, *rest = iou_arguments(generalized=generalized)
    check_registration(torch.ops.pyvqa.box_iou.default, (a, b, *rest))
    wanted = (a.requires_grad_(), b[None].expand(2, -1, -1)[0].requires_grad_(), *rest)
    check_registration(torch.ops.pyvqa.box_iou.default, wanted)
    check_registration(torch.ops.pyvqa.box_iou_backward.default, backward_arguments(generalized))


@measured
def test_compiles_to_one_graph(name: str) -> None:
    function, _ = FUNCTIONS[name]
    check_compiles(function, (some_boxes(1, 7), some_boxes(2, 5)))
    check_compiles(function, (some_boxes(1, 2, 7), some_boxes(2, 5).half()))

    def step(a: Tensor, b: Tensor) -> Tensor:
        (to_a,) = torch.autograd.grad(function(a, b).sum(), a)
        return to_a

    a = some_boxes(1, 6).requires_grad_()
    compiled = torch.compile(lambda x, y: function(x, y).sum(), fullgraph=True, backend="aot_eager")
    (found,) = torch.autograd.grad(compiled(a, some_boxes(2, 5)), a)
    assert_equal(found, step(a, some_boxes(2, 5)))


@pytest.mark.parametrize("generalized", [False, True], ids=["iou", "giou"])
def test_deterministic(generalized: bool) -> None:
    check_deterministic(torch.ops.pyvqa.box_iou, iou_arguments(300, 1500, generalized=generalized))
    check_deterministic(
        torch.ops.pyvqa.box_iou_backward, backward_arguments(generalized, 300, 1500)
    )


@pytest.mark.parametrize("generalized", [False, True], ids=["iou", "giou"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_kernels_on_the_host(generalized: bool, dtype: torch.dtype) -> None:
    for n, m in ((19, 300), (0, 4), (4, 0), (1, 1)):
        a, b, *rest = iou_arguments(n, m, dtype, generalized)
        check_host_cuda("box_iou", (a, b, *rest))
        given = torch.rand(n, m, dtype=dtype)
        check_host_cuda("box_iou_backward", (given, a, b, *rest))
    pairs = some_boxes(1, 3, 5, dtype=dtype), strided(some_boxes(2, 3, 7, dtype=dtype))
    for fmt in range(3):
        check_host_cuda("box_iou", (*pairs, fmt, False, False))
        given = torch.rand(3, 7, 5, dtype=dtype).mT
        check_host_cuda("box_iou_backward", (given, *pairs, fmt, False, False))
    check_host_cuda("box_iou", (*pairs, 0, True, generalized))
    check_host_cuda("box_iou", (pairs[0].long(), pairs[1].long(), 0, True, generalized))
    wild = wild_boxes(1, 60).to(dtype), wild_boxes(2, 60).to(dtype)
    check_host_cuda("box_iou", (*wild, 0, False, generalized))


@pytest.mark.cuda
@pytest.mark.parametrize("generalized", [False, True], ids=["iou", "giou"])
def test_cuda_equals_cpu(generalized: bool) -> None:
    for arguments in (iou_arguments(700, 900, generalized=generalized), iou_arguments(0, 3)):
        on_cuda = [x.cuda() if isinstance(x, Tensor) else x for x in arguments]
        found = torch.ops.pyvqa.box_iou(*on_cuda)
        assert_equal(found.cpu(), torch.ops.pyvqa.box_iou(*arguments))
        given = torch.rand(found.shape)
        found = torch.ops.pyvqa.box_iou_backward(given.cuda(), *on_cuda)
        expected = torch.ops.pyvqa.box_iou_backward(given, *arguments)
        assert_equal([t.cpu() for t in found], expected)


_DIGESTS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch
import pyvqa.ops
from ops.helpers import digest
from ops.random_boxes import some_boxes, wild_boxes
results = []
for dtype in (torch.float32, torch.float64):
    a, b = some_boxes(1, 77, dtype=dtype), some_boxes(2, 1111, dtype=dtype)
    wild = wild_boxes(1, 99).to(dtype), wild_boxes(2, 99).to(dtype)
    given = torch.rand(77, 1111, dtype=dtype, generator=torch.Generator().manual_seed(1))
    for inclusive in (False, True):
        for generalized in (False, True):
            results.append(torch.ops.pyvqa.box_iou(a, b, 0, inclusive, generalized))
            results.append(torch.ops.pyvqa.box_iou(*wild, 0, inclusive, generalized).nan_to_num(7))
            results += torch.ops.pyvqa.box_iou_backward(given, a, b, 0, inclusive, generalized)
    for fmt in (1, 2):
        results.append(torch.ops.pyvqa.box_iou(a, b, fmt, False, False))
    results.append(torch.ops.pyvqa.box_iou(a.long(), b.long(), 0, False, False))
print(digest(*results))
"""


def test_instruction_sets_give_equal_bits() -> None:
    check_instruction_sets(_DIGESTS)


# ---- memory


def allocated(function: Callable[[], object]) -> int:
    """Bytes that torch's allocator hands out in a call, whether they are given back or not."""
    with torch.profiler.profile(profile_memory=True, record_shapes=True) as profile:
        function()
    events = profile.profiler.kineto_results.events() if profile.profiler else []
    made = [event.nbytes() for event in events if event.name() == "[memory]"]
    return sum(size for size in made if size > 0)


@measured
def test_nothing_is_allocated_but_the_result(name: str) -> None:
    function, reference = FUNCTIONS[name]
    a, b = strided(some_boxes(1, 200)), some_boxes(2, 300)
    bytes_of_result = 200 * 300 * 4
    assert allocated(lambda: reference(a, b)) > 4 * bytes_of_result
    assert bytes_of_result <= allocated(lambda: function(a, b)) <= 1.1 * bytes_of_result


# ---- bad arguments: one message that says what is wrong


@pytest.mark.parametrize(
    ("a", "b", "error", "message"),
    [
        (torch.zeros(3), torch.zeros(2, 4), RuntimeError, r"boxes1 must be .* got 1 dimensions"),
        (torch.zeros(2, 3, 4), torch.zeros(4), RuntimeError, r"boxes2 must be .* got 1 dimensions"),
        (torch.zeros(3, 5), torch.zeros(2, 4), RuntimeError, r"boxes1 .* 4 numbers .* \[3, 5\]"),
        (torch.zeros(3, 4), torch.zeros(2, 3), RuntimeError, r"boxes2 .* 4 numbers .* \[2, 3\]"),
        (torch.zeros(3, 4, dtype=torch.bool), torch.zeros(2, 4), TypeError, "box_iou: .*bool"),
        (torch.zeros(3, 4, dtype=torch.complex64), torch.zeros(2, 4), TypeError, "complex64"),
    ],
)
def test_bad_boxes_are_explained(
    a: Tensor, b: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ops.box_iou(a, b)


def test_bad_options_are_explained() -> None:
    boxes = torch.zeros(2, 4)
    with pytest.raises(ValueError, match="fmt must be one of xyxy, xywh, cxcywh, got 'yxyx'"):
        ops.box_iou(boxes, boxes, "yxyx")
    with pytest.raises(ValueError, match="inclusive is about corners"):
        ops.box_iou(boxes, boxes, "xywh", inclusive=True)


def test_bad_calls_of_the_op_are_explained() -> None:
    boxes, grad = torch.zeros(2, 4), torch.zeros(2, 2)
    call, backward = torch.ops.pyvqa.box_iou, torch.ops.pyvqa.box_iou_backward
    with pytest.raises(RuntimeError, match="box_iou: unknown box format 3"):
        call(boxes, boxes, 3, False, False)
    with pytest.raises(RuntimeError, match="boxes2 are Double, but boxes1 are Float"):
        call(boxes, boxes.double(), 0, False, False)
    with pytest.raises(RuntimeError, match=r"differ in batch: \[2, 4\] and \[1, 2, 4\]"):
        call(boxes[None], boxes, 0, False, False)
    with pytest.raises(RuntimeError, match="integer boxes cannot be given by their centres"):
        call(boxes.long(), boxes.long(), 2, False, False)
    with pytest.raises(RuntimeError, match="boxes1 must be float32, float64 or int64, got Half"):
        call(boxes.half(), boxes.half(), 0, False, False)
    with pytest.raises(RuntimeError, match=r"too many pairs: \[4294967296, 4\]"):
        call(boxes[:1].expand(2**32, 4), boxes[:1].expand(2**32, 4), 0, False, False)
    with pytest.raises(RuntimeError, match=r"grad is \[2, 1\] for boxes \[2, 4\] and \[2, 4\]"):
        backward(grad[:, :1], boxes, boxes, 0, False, False)
    with pytest.raises(RuntimeError, match="integer boxes have no gradient"):
        backward(grad.long(), boxes.long(), boxes.long(), 0, False, False)
