"""Encoding, decoding and clipping of boxes: definition, conventions, gradients, edges, errors."""

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
from pyvqa.ops import box_codec
from pyvqa.ops.box_codec import (
    clip_boxes_reference,
    decode_boxes_reference,
    encode_boxes_reference,
)

WEIGHTS = (10.0, 8.0, 5.0, 4.0)
SIZES = [(0, 1), (1, 1), (1, 3), (5, 1), (63, 2), (64, 1), (130, 7), (4, 0)]
both_conventions = pytest.mark.parametrize("inclusive", [False, True], ids=["plain", "inclusive"])
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def some_deltas(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype) * 3


def close(found: Tensor, expected: Tensor) -> None:
    """A few units in the last place: the exponentials are our own."""
    tolerance = 1e-6 if found.dtype == torch.float32 else 1e-14
    largest = expected[expected.isfinite()].abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(
        found, expected, rtol=tolerance, atol=tolerance * largest, equal_nan=True
    )


# ---- the definition


@both_conventions
@both_types
@pytest.mark.parametrize(("n", "classes"), SIZES)
def test_decoding_equals_the_reference(
    inclusive: bool, dtype: torch.dtype, n: int, classes: int
) -> None:
    deltas = some_deltas(1, n, 4 * classes, dtype=dtype)
    proposals = some_boxes(2, n, dtype=dtype)
    for options in ({}, {"weights": WEIGHTS}, {"clip": 0.3}):
        found = ops.decode_boxes(deltas, proposals, inclusive=inclusive, **options)
        expected = decode_boxes_reference(deltas, proposals, inclusive=inclusive, **options)
        close(found, expected)
        assert found.shape == deltas.shape


@both_conventions
@both_types
@pytest.mark.parametrize("n", [0, 1, 5, 64, 130])
def test_encoding_equals_the_reference(inclusive: bool, dtype: torch.dtype, n: int) -> None:
    boxes, proposals = some_boxes(1, n, dtype=dtype), some_boxes(2, n, dtype=dtype)
    for weights in (WEIGHTS, (1.0, 1.0, 1.0, 1.0)):
        found = ops.encode_boxes(boxes, proposals, weights=weights, inclusive=inclusive)
        close(found, encode_boxes_reference(boxes, proposals, weights=weights, inclusive=inclusive))


@both_conventions
@both_types
@pytest.mark.parametrize("shape", [(0, 4), (1, 4), (7, 12), (2, 3, 8), (4,), (3, 0)])
def test_clipping_equals_the_reference(
    inclusive: bool, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    boxes = some_deltas(1, *shape, dtype=dtype) * 20
    found = ops.clip_boxes(boxes, (30, 45), inclusive=inclusive)
    assert_equal(found, clip_boxes_reference(boxes, (30, 45), inclusive=inclusive))


@both_conventions
def test_decoding_undoes_encoding(inclusive: bool) -> None:
    boxes, proposals = some_boxes(1, 90) + 0.01, some_boxes(2, 90)
    boxes[:, 2:] += 1
    proposals[:, 2:] += 1
    for weights in (WEIGHTS, (1.0, 1.0, 1.0, 1.0)):
        options: dict[str, Any] = {"weights": weights, "inclusive": inclusive}
        deltas = ops.encode_boxes(boxes, proposals, **options)
        close(ops.decode_boxes(deltas, proposals, **options), boxes)


def test_exponentials_are_within_two_units_in_the_last_place() -> None:
    """Of boxes centred at 0, so that nothing is lost in sums; of sides 2, which end at 1.7e38."""
    x = torch.linspace(-104, 89, 400_001)
    unit = torch.tensor([[-1.0, -1.0, 1.0, 1.0]]).expand(len(x), 4)
    deltas = torch.zeros(len(x), 4)
    deltas[:, 2] = x
    found = ops.decode_boxes(deltas, unit, clip=math.inf)[:, 2]
    exact = x.double().exp()
    normal = (exact > 1.2e-38) & (exact < 1.7e38)
    error = (found.double() - exact).abs() / exact
    assert float(error[normal].max()) < 2 * 2.0**-23
    assert bool((found[exact > 1.71e38] == math.inf).all())
    assert float((found.double() - exact)[exact < 1.2e-38].abs().max()) < 3e-45
    y = torch.logspace(-38, 38, 400_001)
    boxes = torch.stack([-y, torch.full_like(y, -1.0), y, torch.ones_like(y)], -1)
    logarithm = ops.encode_boxes(boxes, unit)[:, 2].double()
    exact = y.double().log()
    assert float(((logarithm - exact).abs() / exact.abs().clamp(min=1e-6)).max()) < 2 * 2.0**-23


def test_special_numbers_give_what_the_arithmetic_gives() -> None:
    boxes, others = wild_boxes(1, 2000) + 0.0, wild_boxes(2, 2000) + 0.0
    for dtype in (torch.float32, torch.float64):
        a, b = boxes.to(dtype), others.to(dtype)
        assert_equal(ops.clip_boxes(a, (2, 3)), clip_boxes_reference(a, (2, 3)))
        for function, reference in (
            (ops.encode_boxes, encode_boxes_reference),
            (ops.decode_boxes, decode_boxes_reference),
        ):
            found, expected = function(a, b), reference(a, b)
            assert torch.equal(found.isnan(), expected.isnan())
            assert torch.equal(found.isinf(), expected.isinf())
            finite = expected.isfinite()
            torch.testing.assert_close(found[finite], expected[finite], rtol=1e-5, atol=1e-37)
            assert finite.any()


def test_conventions_of_known_boxes() -> None:
    proposals = torch.tensor([[10.0, 20.0, 19.0, 29.0]])
    boxes = torch.tensor([[20.0, 20.0, 39.0, 29.0]])
    encoded = ops.encode_boxes(boxes, proposals, inclusive=True)
    assert encoded[0].tolist() == pytest.approx([1.5, 0, math.log(2), 0])
    still = ops.decode_boxes(torch.zeros(1, 8), proposals, inclusive=True)
    assert still.tolist() == [[10.0, 20.0, 19.0, 29.0] * 2]
    grown = ops.decode_boxes(torch.tensor([[0, 0, 99.0, 0]]), proposals)
    assert float(grown[0, 2] - grown[0, 0]) == pytest.approx(9 * 1000 / 16)
    far = torch.tensor([[-5.0, -5.0, 500.0, 500.0]])
    assert ops.clip_boxes(far, (320, 480)).tolist() == [[0, 0, 480, 320]]
    assert ops.clip_boxes(far, (320, 480), inclusive=True).tolist() == [[0, 0, 479, 319]]


def test_leading_dimensions_are_broadcast() -> None:
    deltas, proposals = some_deltas(1, 3, 5, 8), some_boxes(2, 5)
    together = ops.decode_boxes(deltas, proposals)
    for one, expected in zip(deltas, together, strict=True):
        assert_equal(ops.decode_boxes(one, proposals), expected)
    assert_equal(ops.decode_boxes(deltas[:, None], proposals), together[:, None])
    boxes = some_boxes(1, 2, 3, 5)
    together = ops.encode_boxes(boxes, proposals)
    assert together.shape == (2, 3, 5, 4)
    assert_equal(together[1, 2], ops.encode_boxes(boxes[1, 2], proposals))


def test_strides_change_nothing() -> None:
    deltas, proposals = some_deltas(1, 70, 8), some_boxes(2, 70)
    expected = ops.decode_boxes(deltas, proposals)
    assert_equal(ops.decode_boxes(strided(deltas), strided(proposals)), expected)
    assert_equal(ops.decode_boxes(deltas.T.contiguous().T, proposals.T.contiguous().T), expected)
    encoded = ops.encode_boxes(proposals + 1, proposals)
    assert_equal(ops.encode_boxes(strided(proposals + 1), proposals.T.contiguous().T), encoded)
    assert_equal(ops.clip_boxes(strided(deltas), (1, 2)), ops.clip_boxes(deltas, (1, 2)))
    one = proposals[:1].expand(70, 4)
    assert_equal(ops.decode_boxes(deltas, one), ops.decode_boxes(deltas, one.contiguous()))


def test_half_precision_is_computed_in_float32() -> None:
    deltas, proposals = some_deltas(1, 9, 8), some_boxes(2, 9)
    for dtype in (torch.float16, torch.bfloat16):
        narrow, boxes = deltas.to(dtype), proposals.to(dtype)
        wide = ops.decode_boxes(narrow.float(), boxes.float())
        assert_equal(ops.decode_boxes(narrow, boxes), wide.to(dtype))
        mixed = ops.decode_boxes(narrow, proposals)
        assert_equal(mixed, ops.decode_boxes(narrow.float(), proposals))
        assert ops.clip_boxes(boxes, (30, 40)).dtype == dtype
        assert ops.encode_boxes(boxes, boxes).dtype == dtype
    assert ops.decode_boxes(deltas, proposals.double()).dtype == torch.float64


def test_autocast_changes_nothing() -> None:
    deltas, proposals = some_deltas(1, 9, 8), some_boxes(2, 9)
    expected = ops.decode_boxes(deltas, proposals)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_equal(ops.decode_boxes(deltas, proposals), expected)


def test_vmap() -> None:
    deltas, boxes, proposals = some_deltas(1, 3, 5, 8), some_boxes(1, 3, 5), some_boxes(2, 3, 5)
    assert_equal(
        torch.vmap(ops.decode_boxes)(deltas, proposals), ops.decode_boxes(deltas, proposals)
    )
    assert_equal(
        torch.vmap(ops.decode_boxes, in_dims=(0, None))(deltas, proposals[0]),
        ops.decode_boxes(deltas, proposals[0]),
    )
    assert_equal(torch.vmap(ops.encode_boxes)(boxes, proposals), ops.encode_boxes(boxes, proposals))
    assert_equal(
        torch.vmap(lambda b: ops.clip_boxes(b, (5, 6)))(boxes), ops.clip_boxes(boxes, (5, 6))
    )


# ---- torchvision's results


@pytest.fixture
def torchvision_coder() -> ModuleType:
    need_torchvision()
    from torchvision.models.detection import _utils

    return _utils  # type: ignore[no-any-return]


@both_types
def test_equals_torchvision(torchvision_coder: ModuleType, dtype: torch.dtype) -> None:
    from torchvision.ops import clip_boxes_to_image

    deltas, proposals = some_deltas(1, 90, 12, dtype=dtype), some_boxes(2, 90, dtype=dtype)
    boxes = some_boxes(3, 90, dtype=dtype)
    coder = torchvision_coder.BoxCoder(WEIGHTS)
    close(
        ops.decode_boxes(deltas, proposals, weights=WEIGHTS),
        coder.decode_single(deltas, proposals),
    )
    close(
        ops.encode_boxes(boxes, proposals, weights=WEIGHTS), coder.encode_single(boxes, proposals)
    )
    assert_equal(ops.clip_boxes(boxes, (30, 40)), clip_boxes_to_image(boxes, (30, 40)))


# ---- gradients


@both_conventions
@pytest.mark.parametrize("seed", range(10))
def test_gradients(inclusive: bool, seed: int) -> None:
    n, classes = [(0, 1), (1, 1), (1, 3), (2, 2), (5, 1), (3, 4), (9, 1), (4, 3), (7, 2), (66, 1)][
        seed
    ]
    whole = torch.float64
    deltas = (some_deltas(seed, n, 4 * classes, dtype=whole) / 3).requires_grad_()
    boxes, proposals = (
        (some_boxes(seed + i, n, dtype=whole) + torch.tensor([0.0, 0, 5, 5])).requires_grad_()
        for i in (20, 40)
    )
    if seed % 2:
        deltas, boxes, proposals = (
            strided(t.detach()).requires_grad_() for t in (deltas, boxes, proposals)
        )
    check_gradients(
        lambda d, p: ops.decode_boxes(d, p, weights=WEIGHTS, inclusive=inclusive, clip=0.05),
        (deltas, proposals),
    )
    check_gradients(
        lambda b, p: ops.encode_boxes(b, p, weights=WEIGHTS, inclusive=inclusive),
        (boxes, proposals),
    )
    check_gradients(lambda b: ops.clip_boxes(b, (40, 50), inclusive=inclusive), (boxes,))


def test_gradients_equal_those_of_the_reference() -> None:
    deltas = some_deltas(1, 50, 12, dtype=torch.float64).requires_grad_()
    proposals = some_boxes(2, 50, dtype=torch.float64).requires_grad_()
    given = torch.rand(50, 12, dtype=torch.float64)
    found = torch.autograd.grad(
        ops.decode_boxes(deltas, proposals, clip=1.0), (deltas, proposals), given
    )
    expected = torch.autograd.grad(
        decode_boxes_reference(deltas, proposals, clip=1.0), (deltas, proposals), given
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert 20 < int((found[0] == 0).sum()) < 300  # those beyond the clip


def test_clipped_corners_get_no_gradient() -> None:
    boxes = torch.tensor([[-1.0, 0.0, 5.0, 7.0], [math.nan, 1, 6, 3]]).requires_grad_()
    ops.clip_boxes(boxes, (3, 5)).sum().backward()
    assert boxes.grad is not None
    assert boxes.grad.tolist() == [[0, 1, 1, 0], [0, 1, 0, 1]]


def test_gradients_of_half_precision_flow_through_float32() -> None:
    deltas, proposals = some_deltas(1, 6, 4), some_boxes(2, 6)
    for dtype in (torch.float16, torch.bfloat16):
        narrow = deltas.to(dtype).requires_grad_()
        whole = narrow.detach().float().requires_grad_()
        ops.decode_boxes(narrow, proposals).sum().backward()
        ops.decode_boxes(whole, proposals).sum().backward()
        assert narrow.grad is not None
        assert whole.grad is not None
        assert_equal(narrow.grad, whole.grad.to(dtype))


def test_second_gradients_are_refused() -> None:
    a, b = some_boxes(1, 6).requires_grad_(), some_boxes(2, 6)
    for function in (ops.encode_boxes, ops.decode_boxes):
        (first,) = torch.autograd.grad(function(a, b).square().sum(), a, create_graph=True)
        with pytest.raises(RuntimeError, match="gradients of gradients are not implemented"):
            first.sum().backward()


# ---- what every op has to pass


def arguments_of(name: str, n: int = 70, classes: int = 3, batch: int = 0) -> tuple[Any, ...]:
    """A call of an op, its tensors behind unusual strides."""
    lead = (batch,) if batch else ()
    deltas = strided(some_deltas(1, *lead, n, 4 * classes))
    boxes = strided(some_boxes(2, *lead, n))
    proposals = some_boxes(3, n).expand(*lead, n, 4)
    given = strided(some_deltas(4, *lead, n, 4 * classes))
    return {
        "encode_boxes": (boxes, proposals, *WEIGHTS, True),
        "encode_boxes_backward": (given[..., :4], boxes, proposals, *WEIGHTS, False),
        "decode_boxes": (deltas, proposals, *WEIGHTS, True, 1.0),
        "decode_boxes_backward": (given, deltas, proposals, *WEIGHTS, False, 1.0),
        "clip_boxes": (deltas, 2.0, 3.0),
    }[name]


NAMES = (
    "encode_boxes", "encode_boxes_backward", "decode_boxes", "decode_boxes_backward", "clip_boxes",
)  # fmt: skip
each_op = pytest.mark.parametrize("name", NAMES)


def op_named(name: str) -> Callable[..., Any]:
    return getattr(torch.ops.pyvqa, name).default  # type: ignore[no-any-return]


@each_op
def test_opcheck(name: str) -> None:
    for batch in (0, 2):
        arguments = arguments_of(name, batch=batch)
        check_registration(op_named(name), arguments)
        if not name.endswith("_backward"):
            wanted = [
                x.detach().clone().requires_grad_() if isinstance(x, Tensor) else x
                for x in arguments
            ]
            check_registration(op_named(name), wanted)


@each_op
def test_deterministic(name: str) -> None:
    check_deterministic(op_named(name), arguments_of(name, n=5000))


@each_op
def test_cuda_kernels_on_the_host(name: str) -> None:
    for n, classes, batch in ((70, 3, 0), (5, 2, 3), (1, 1, 0), (0, 1, 0), (4, 0, 0)):
        if classes == 0 and name.startswith("encode"):
            continue
        arguments = arguments_of(name, n, classes, batch)
        check_host_cuda(name, arguments)
        check_host_cuda(name, [x.double() if isinstance(x, Tensor) else x for x in arguments])


@pytest.mark.cuda
@each_op
def test_cuda_equals_cpu(name: str) -> None:
    for batch in (0, 3):
        arguments = arguments_of(name, 1000, batch=batch)
        found = op_named(name)(*[x.cuda() if isinstance(x, Tensor) else x for x in arguments])
        expected = op_named(name)(*arguments)
        found = found.cpu() if isinstance(found, Tensor) else [t.cpu() for t in found]
        assert_equal(found, expected)


def test_compiles_to_one_graph() -> None:
    deltas, boxes, proposals = some_deltas(1, 6, 8), some_boxes(2, 6), some_boxes(3, 6)
    check_compiles(ops.decode_boxes, (deltas, proposals))
    check_compiles(ops.decode_boxes, (deltas.half(), proposals))
    check_compiles(ops.encode_boxes, (boxes, proposals))
    check_compiles(lambda b: ops.clip_boxes(b, (30, 40), inclusive=True), (boxes,))

    def loss(deltas: Tensor, proposals: Tensor) -> Tensor:
        return ops.clip_boxes(ops.decode_boxes(deltas, proposals), (30, 40)).square().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    deltas.requires_grad_()
    assert_equal(
        torch.autograd.grad(compiled(deltas, proposals), deltas),
        torch.autograd.grad(loss(deltas, proposals), deltas),
    )


_DIGESTS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import torch
import pyvqa.ops
from ops.helpers import digest, tensors
from ops.test_box_codec import NAMES, arguments_of, op_named
from ops.random_boxes import wild_boxes
results = []
for name in NAMES:
    arguments = arguments_of(name, 333)
    results += tensors(op_named(name)(*arguments))
    arguments = [x.double() if isinstance(x, torch.Tensor) else x for x in arguments]
    results += tensors(op_named(name)(*arguments))
a, b = wild_boxes(1, 500), wild_boxes(2, 500)
results.append(torch.ops.pyvqa.encode_boxes(a, b, 1., 1., 1., 1., False).nan_to_num(7))
results.append(torch.ops.pyvqa.decode_boxes(a, b, 1., 1., 1., 1., True, 99.).nan_to_num(7))
print(digest(*results))
"""


def test_instruction_sets_give_equal_bits() -> None:
    check_instruction_sets(_DIGESTS)


# ---- bad arguments: one message that says what is wrong


def test_bad_arguments_are_explained() -> None:
    boxes, deltas = torch.zeros(3, 4), torch.zeros(3, 8)
    with pytest.raises(TypeError, match=r"deltas must be floating point, got torch\.int64"):
        ops.decode_boxes(deltas.long(), boxes)
    with pytest.raises(TypeError, match="encode_boxes: proposals must be floating point"):
        ops.encode_boxes(boxes, boxes.int())
    with pytest.raises(TypeError, match="clip_boxes: boxes must be floating point"):
        ops.clip_boxes(boxes.int(), (3, 3))
    with pytest.raises(ValueError, match="decode_boxes: weights must be four numbers, got 3"):
        ops.decode_boxes(deltas, boxes, weights=WEIGHTS[:3])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="clip_boxes: an image cannot be 0 x 5"):
        ops.clip_boxes(boxes, (0, 5), inclusive=True)
    with pytest.raises(ValueError, match="clip_boxes: an image cannot be nan x 5"):
        ops.clip_boxes(boxes, (math.nan, 5))
    with pytest.raises(RuntimeError, match=r"deltas must hold a multiple of 4 .* \[3, 7\]"):
        ops.decode_boxes(deltas[:, :7], boxes)
    with pytest.raises(RuntimeError, match="decode_boxes: 3 deltas, but 2 proposals"):
        ops.decode_boxes(deltas, boxes[:2])
    with pytest.raises(RuntimeError, match=r"boxes must hold 4 numbers a box, got shape \[3, 8\]"):
        ops.encode_boxes(deltas, boxes)
    with pytest.raises(RuntimeError, match=r"deltas must be .* got 1 dimensions"):
        ops.decode_boxes(deltas[0], boxes)
    with pytest.raises(RuntimeError, match="clip_boxes: boxes must hold a multiple of 4"):
        ops.clip_boxes(boxes[:, :3], (3, 3))


def test_bad_calls_of_the_ops_are_explained() -> None:
    boxes, deltas = torch.zeros(3, 4), torch.zeros(3, 8)
    with pytest.raises(RuntimeError, match="clip_boxes: boxes cannot be clipped to -1 x 2"):
        torch.ops.pyvqa.clip_boxes(boxes, -1.0, 2.0)
    with pytest.raises(RuntimeError, match="proposals are Double, but deltas are Float"):
        torch.ops.pyvqa.decode_boxes(deltas, boxes.double(), *WEIGHTS, False, 1.0)
    with pytest.raises(RuntimeError, match=r"grad is \[3, 4\] for a result of \[3, 8\]"):
        torch.ops.pyvqa.decode_boxes_backward(boxes, deltas, boxes, *WEIGHTS, False, 1.0)
    with pytest.raises(RuntimeError, match=r"grad is \[3, 8\] for a result of \[3, 4\]"):
        torch.ops.pyvqa.encode_boxes_backward(deltas, boxes, boxes, *WEIGHTS, False)


def test_the_default_clip_is_the_usual_one() -> None:
    assert box_codec.CLIP == pytest.approx(math.log(62.5))
