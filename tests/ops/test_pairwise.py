"""Pairwise fusion: against its definition in plain torch, and where inputs are odd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ops import helpers
from ops.pair_cases import LAYOUTS, Case, random_case
from pyvqa.ops import PairLayout, pair_features, pairwise_max
from pyvqa.ops.pairwise import pairwise_max_reference

OP = torch.ops.pyvqa.pairwise_max
OP_BACKWARD = torch.ops.pyvqa.pairwise_max_backward
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}


def run(case: Case, **options: bool) -> tuple[Tensor, Tensor]:
    return pairwise_max(*case.tensors, layout=case.layout, **options)


def reference(case: Case, **options: bool) -> tuple[Tensor, Tensor]:
    return pairwise_max_reference(*case.tensors, layout=case.layout, **options)


def gradients(function: object, case: Case, grad: Tensor, **options: bool) -> list[Tensor]:
    leaves = case.with_gradients()
    out, _ = function(leaves, **options)  # type: ignore[operator]
    inputs = [t for t in leaves.tensors if t is not None and t.requires_grad]
    return list(torch.autograd.grad(out, inputs, grad))


def relative_error(found: Tensor, expected: Tensor) -> float:
    size = float(expected.double().norm())
    return float((found.double() - expected.double()).norm()) / (size or 1.0)


def assert_agrees(case: Case) -> None:
    dtype = case.left.dtype
    (found, winners), (expected, _) = run(case), reference(case)
    assert found.dtype == dtype
    assert winners.dtype == torch.int32
    atol = TOLERANCE[dtype] * max(1.0, float(expected.abs().max()) if expected.numel() else 0.0)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    exact = case.to(torch.float64)
    assert (winners == reference(exact)[1]).float().mean() > 0.995  # but for near ties
    if dtype == torch.float64:
        assert torch.equal(winners, reference(exact)[1])


# ---- values


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_reference(layout: str, dtype: torch.dtype) -> None:
    assert_agrees(random_case(layout, dtype=dtype))
    assert_agrees(random_case(layout, dtype=dtype, bias=False, masked=True, seed=1))


@pytest.mark.parametrize("regions", [1, 2, 5, 11, 12, 13, 25, 37])
@pytest.mark.parametrize("outputs", [1, 15, 33, 70])
def test_every_block_length(regions: int, outputs: int) -> None:
    for dtype in (torch.float64, torch.float32):
        assert_agrees(random_case("uneven", 1, regions, outputs, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_more_pairs_than_the_cache_holds(dtype: torch.dtype) -> None:
    layout = PairLayout.of([8000], 1, "each")  # 16 rows of float32, 8 of float64
    assert_agrees(random_case(layout, 1, 21, 40, dtype=dtype))


@pytest.mark.parametrize("shape", [(0, 4, 8), (2, 0, 8), (2, 4, 0)])
def test_empty(shape: tuple[int, int, int]) -> None:
    case = random_case("block", *shape).with_gradients()
    out, winners = run(case)
    assert out.shape == winners.shape == shape
    out.sum().backward()
    assert case.left.grad is not None
    assert case.weight.grad is not None
    assert not case.weight.grad.any()


def test_no_features_leave_the_bias() -> None:
    case = random_case(PairLayout.of([0], 1, "each"))
    out, winners = run(case)
    assert case.bias is not None
    assert torch.equal(out, case.bias.expand_as(out))
    assert not winners.any()


def test_features_are_unit_vectors_of_signed_roots() -> None:
    case = random_case("uneven")
    features = pair_features(case.left, case.right, case.layout)
    assert features.shape == (2, 6, 6, 23)
    for part in features.split([7, 7, 7, 2], dim=-1):
        torch.testing.assert_close(part.norm(dim=-1), torch.ones(2, 6, 6, dtype=part.dtype))
    first = (case.left[0, 1, :14] * case.right[0, 3, :14]).view(2, 7).sum(0)
    root = first.sign() * first.abs().sqrt()
    torch.testing.assert_close(features[0, 1, 3, :7], root / root.norm())


def test_strides_do_not_matter() -> None:
    case = random_case("two", masked=True)
    spread = Case(*(t if t is None else helpers.strided(t) for t in case.tensors), case.layout)
    helpers.assert_equal(run(spread), run(case))


def test_of_equal_values_the_first_region_wins() -> None:
    case = random_case("block", 1, 20, 40)
    right = case.right.clone()
    right[:, 10:] = right[:, :10]
    for dtype in (torch.float64, torch.float32):
        twins = case._replace(right=right).to(dtype)
        assert int(run(twins)[1].max()) < 10
        if dtype == torch.float32:
            assert int(run(twins, bfloat16=True)[1].max()) < 10


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_first_nan_wins(dtype: torch.dtype) -> None:
    case = random_case("block", 1, 30, 40, dtype=dtype)
    for place in (7, 22):
        case.right[0, place] = math.nan
    out, winners = run(case)
    assert bool(out.isnan().all())
    assert bool((winners == 7).all())
    if dtype == torch.float32:
        assert bool((run(case, bfloat16=True)[1] == 7).all())


def test_huge_and_tiny_factors() -> None:
    case = random_case("block", dtype=torch.float32)
    for scale in (1e-12, 1e-16, 1e-25, 1e16):  # the sums of sizes pass 1e-24 and 1e38
        scaled = case._replace(left=case.left * scale, right=case.right * scale)
        found, expected = run(scaled)[0], reference(scaled)[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


# ---- masks


def test_masked_regions_take_no_part() -> None:
    case = random_case("two", 3, 9, 20, masked=True)
    mask = case.mask
    assert mask is not None
    mask[1] = False
    out, winners = run(case)
    assert not out[~mask].any()
    assert bool((winners[~mask] == -1).all())
    for image in (0, 2):
        kept = mask[image].nonzero().squeeze(1)
        alone = case._replace(
            left=case.left[image : image + 1, kept],
            right=case.right[image : image + 1, kept],
            mask=None,
        )
        expected, places = run(alone)
        torch.testing.assert_close(out[image, kept], expected[0])
        assert torch.equal(winners[image, kept], kept.int()[places[0].long()])


def test_masked_regions_get_no_gradient() -> None:
    case = random_case("block", masked=True)
    assert case.mask is not None
    poisoned = case._replace(
        left=case.left.masked_fill(~case.mask[..., None], math.nan),
        right=case.right.masked_fill(~case.mask[..., None], math.nan),
    )
    grad = torch.randn(run(case)[0].shape, dtype=torch.float64)
    found = gradients(run, poisoned, grad)
    for left_or_right in found[:2]:
        assert not left_or_right[~case.mask].any()
    for a, b in zip(found, gradients(run, case, grad), strict=True):
        assert torch.equal(a, b)


# ---- bfloat16 products


@pytest.mark.parametrize("layout", ["block", "wide", "two", "single"])
def test_bfloat16_rounds_the_factors_of_the_last_product(layout: str) -> None:
    case = random_case(layout, 2, 14, 50, dtype=torch.float32)
    out, winners = run(case, bfloat16=True)
    expected, _ = reference(case, bfloat16=True)
    exact, exact_winners = reference(case)
    # A feature between two bfloat16 numbers may go either way: one of them then is off by 2^-8.
    largest = float(case.weight.abs().max())
    torch.testing.assert_close(out, expected, rtol=0, atol=0.008 * largest)
    assert float((out - expected).abs().mean()) < 0.1 * float((out - exact).abs().mean())
    assert float((winners == exact_winners).float().mean()) > 0.9


def test_sixteen_bit_factors_are_widened() -> None:
    case = random_case("block", dtype=torch.bfloat16)
    out, winners = run(case)
    assert out.dtype == torch.bfloat16
    expected, expected_winners = run(case.to(torch.float32), bfloat16=True)
    helpers.assert_equal((out, winners), (expected.bfloat16(), expected_winners))
    grad = torch.randn(out.shape, dtype=torch.bfloat16)
    assert {g.dtype for g in gradients(run, case, grad)} == {torch.bfloat16}


# ---- gradients


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_match_reference(layout: str, masked: bool) -> None:
    case = random_case(layout, masked=masked, seed=3)
    grad = torch.randn(run(case)[0].shape, dtype=torch.float64)
    grad[grad.abs() < 0.4] = 0.0
    for found, expected in zip(
        gradients(run, case, grad), gradients(reference, case, grad), strict=True
    ):
        assert relative_error(found, expected) < 1e-9


def test_gradients_of_float32_are_as_good_as_the_reference() -> None:
    case = random_case("block", 2, 12, 64, dtype=torch.float32, seed=5)
    grad = torch.randn(run(case)[0].shape)
    exact = gradients(reference, case.to(torch.float64), grad.double())
    found, plain = gradients(run, case, grad), gradients(reference, case, grad)
    for ours, theirs, best in zip(found, plain, exact, strict=True):
        assert relative_error(ours, best) < max(2 * relative_error(theirs, best), 1e-5)


def test_gradients_by_differences() -> None:
    case = random_case("two", 1, 4, 5).with_gradients()
    layout = case.layout

    def function(left: Tensor, right: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return pairwise_max(left, right, weight, bias, layout=layout)[0]

    helpers.check_gradients(function, case.tensors[:4])


def test_zero_products_have_no_gradient() -> None:
    case = random_case("block")
    left = case.left.clone()
    left[:, 2] = 0.0
    left[:, :, 0::12] = 0.0
    zeroed = case._replace(left=left)
    grad = torch.randn(run(zeroed)[0].shape, dtype=torch.float64)
    found = gradients(run, zeroed, grad)
    for ours, expected in zip(found, gradients(reference, zeroed, grad), strict=True):
        assert bool(ours.isfinite().all())
        assert relative_error(ours, expected) < 1e-9


def test_gradient_in_several_rounds() -> None:
    layout = PairLayout.of([8000], 1, "each")  # one region's rows fill a thread's share
    case = random_case(layout, 1, 14, 40)
    grad = torch.randn(run(case)[0].shape, dtype=torch.float64)
    for found, expected in zip(
        gradients(run, case, grad), gradients(reference, case, grad), strict=True
    ):
        assert relative_error(found, expected) < 1e-9


def test_foreign_winners_are_ignored() -> None:
    case = random_case("block")
    out, winners = run(case)
    layout = case.arguments()[5:8]
    grads = OP_BACKWARD(out, *case.tensors[:3], torch.full_like(winners, 6), *layout)
    assert not any(bool(g.any()) for g in grads)
    grads = OP_BACKWARD(out, *case.tensors[:3], torch.full_like(winners, -(2**31)), *layout)
    assert not any(bool(g.any()) for g in grads)


# ---- as an op


def test_registration() -> None:
    case = random_case("two", 1, 3, 5, masked=True).with_gradients()
    helpers.check_registration(OP.default, case.arguments())


def test_compiles() -> None:
    case = random_case("two", masked=True)

    def step(left: Tensor, right: Tensor, weight: Tensor) -> list[Tensor]:
        layout = case.layout
        out, winners = pairwise_max(left, right, weight, mask=case.mask, layout=layout)
        return [out * 2, winners]

    helpers.check_compiles(step, case.tensors[:3])


@pytest.mark.parametrize("bfloat16", [False, True])
def test_deterministic(bfloat16: bool) -> None:
    case = random_case("wide", 3, 17, 70, dtype=torch.float32)

    def step(left: Tensor, right: Tensor, weight: Tensor, bias: Tensor) -> list[Tensor]:
        leaves = Case(left, right, weight, bias, None, case.layout).with_gradients()
        out, winners = run(leaves, bfloat16=bfloat16)
        grads = torch.autograd.grad(out.square().sum(), leaves.tensors[:4])
        return [out, winners, *grads]

    helpers.check_deterministic(step, case.tensors[:4], runs=6)


SCRIPT = """
import torch
from ops.pair_cases import random_case
from pyvqa.ops import pairwise_max
torch.manual_seed(0)
for dtype, bfloat16 in ((torch.float32, False), (torch.float32, True), (torch.float64, False)):
    case = random_case("two", 2, 15, 37, dtype=dtype).with_gradients()
    out, _ = pairwise_max(*case.tensors, layout=case.layout, bfloat16=bfloat16)
    out.square().sum().backward()
    values = [out.sum((0, 1)), case.left.grad.sum((0, 1)), case.weight.grad.sum(1)]
    print(*torch.cat(values).tolist())
"""


def test_instruction_sets_agree() -> None:
    """To rounding: sums are fused and grouped as each set does it best."""

    def numbers(isa: str) -> list[Tensor]:
        printed = helpers.run_python(SCRIPT, PYVQA_ISA=isa, PYTHONPATH=_path())
        return [torch.tensor([*map(float, line.split())]) for line in printed.splitlines()]

    plain, rounded, wide = numbers("base")
    for isa in ("avx2", "avx512"):
        for found, expected, tolerance in zip(
            numbers(isa), (plain, rounded, wide), (1e-3, 3e-2, 1e-6), strict=True
        ):
            assert relative_error(found, expected) < tolerance


def _path() -> str:
    import os
    from pathlib import Path

    tests = str(Path(__file__).parents[1])
    return os.pathsep.join(part for part in (tests, os.environ.get("PYTHONPATH")) if part)


# ---- on devices


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("layout", ["uneven", "whole", "wide", "two"])
def test_host_cuda(layout: str, dtype: torch.dtype) -> None:
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    case = random_case(layout, 2, 7, 40, dtype=dtype, masked=layout == "two")
    helpers.check_host_cuda("pairwise_max", case.arguments(), tolerance)
    out, winners = run(case)
    arguments = (out, *case.tensors[:3], winners, *case.arguments()[5:8])
    # Gradients grow like 1 / sqrt(z) and take its rounding with them.
    helpers.check_host_cuda("pairwise_max_backward", arguments, 300 * tolerance)


@pytest.mark.parametrize(
    ("capability", "shared"), [("90", "232448"), ("80", "4096"), ("75", "65536")]
)
def test_host_cuda_in_bfloat16(
    capability: str, shared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On tensor cores, with and without room for the features, and without tensor cores."""
    monkeypatch.setenv("PYVQA_HOST_CUDA_CAPABILITY", capability)
    monkeypatch.setenv("PYVQA_HOST_CUDA_SHARED", shared)
    case = random_case("two", 2, 11, 70, dtype=torch.float32, masked=True)
    out, winners = OP(*case.arguments(True))
    found, found_winners = helpers.library.load().pairwise_max(*case.arguments(True))
    largest = float(case.weight.abs().max())
    torch.testing.assert_close(found, out, rtol=0, atol=0.008 * largest)
    assert float((found_winners == winners).float().mean()) > 0.98


def test_host_cuda_on_many_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 40 pairs a region: several turns of column tiles, and of plain ones."""
    case = random_case("single", 1, 45, 8, dtype=torch.float32)
    helpers.check_host_cuda("pairwise_max", case.arguments(), 1e-6)
    case = random_case("block", 1, 45, 3, dtype=torch.float32)
    out, _ = OP(*case.arguments(True))
    found, _ = helpers.library.load().pairwise_max(*case.arguments(True))
    torch.testing.assert_close(found, out, rtol=0, atol=0.008 * float(case.weight.abs().max()))


@pytest.mark.cuda
@pytest.mark.parametrize("bfloat16", [False, True])
def test_cuda_matches_cpu(bfloat16: bool) -> None:
    case = random_case("wide", 2, 36, 300, dtype=torch.float32, masked=True)
    on_device = Case(*(t if t is None else t.cuda() for t in case.tensors), case.layout)
    out, _ = run(case, bfloat16=bfloat16)
    found, _ = run(on_device, bfloat16=bfloat16)
    torch.testing.assert_close(found.cpu(), out, rtol=0, atol=0.04 if bfloat16 else 1e-4)
    grad = torch.randn(out.shape)
    for a, b in zip(
        gradients(run, on_device, grad.cuda()), gradients(run, case, grad), strict=True
    ):
        assert relative_error(a.cpu(), b) < 2e-2


# ---- errors


def test_bad_layouts_are_explained() -> None:
    with pytest.raises(ValueError, match="every chunk has one of each"):
        PairLayout((2,), (1, 1), (0,))
    with pytest.raises(ValueError, match="1 to 512 chunks, got 0"):
        PairLayout((), (), ())
    with pytest.raises(ValueError, match="ranks of 1 or more"):
        PairLayout((2,), (0,), (0,))
    with pytest.raises(ValueError, match="must be neighbours"):
        PairLayout((2, 2, 2), (1, 1, 1), (0, 1, 0))
    with pytest.raises(ValueError, match="normalised must be one of"):
        PairLayout.of([2], 1, "before_cat")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"left": torch.zeros(2, 6, 59)}, r"left must be \[B, N, 60\], got \[2, 6, 59\]"),
        ({"right": torch.zeros(2, 5, 60)}, r"right must be \[2, 6, 60\] as left"),
        ({"weight": torch.zeros(24, 21)}, r"weight must be \[D, 20\], got \[24, 21\]"),
        ({"bias": torch.zeros(23)}, r"bias must be \[24\], got \[23\]"),
        ({"mask": torch.ones(2, 5, dtype=torch.bool)}, r"mask must be \[2, 6\]"),
        ({"mask": torch.ones(2, 6)}, "mask must be Bool"),
        ({"left": torch.zeros(2, 6, 60, dtype=torch.int64)}, "left must be float32 or float64"),
    ],
)
def test_bad_input_is_explained(change: dict[str, Tensor], message: str) -> None:
    case = random_case("block", dtype=torch.float32)._replace(**change)
    with pytest.raises(RuntimeError, match=f"pairwise: {message}"):
        run(case)


def test_bfloat16_of_float64_is_refused() -> None:
    with pytest.raises(ValueError, match="no bfloat16 product"):
        run(random_case("block"), bfloat16=True)
