"""RoIAlign: equality with its definition, torchvision and CUDA; gradients, registration."""

from __future__ import annotations

import sys
from collections.abc import Callable
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
    check_registration,
    digest,
    run_python,
    strided,
)
from ops.roi_cases import (
    DTYPES,
    LAYOUTS,
    NAN,
    TOLERANCE,
    assert_near,
    backward_arguments,
    last,
    make,
    op_arguments,
    pyramid,
    random_rois,
)
from pyvqa.ops import multiscale_roi_align, roi_align, roi_align_backward_
from pyvqa.ops.roi_align import multiscale_roi_align_reference

# ---- the definition


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [2, 0, -1, 1, 3])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_matches_the_reference(
    dtype: torch.dtype, layout: str, sampling_ratio: int, aligned: bool
) -> None:
    maps, rois, levels, scales = pyramid(dtype, 19 if sampling_ratio != 3 else 140, layout)
    options = {"sampling_ratio": sampling_ratio, "aligned": aligned}
    found = multiscale_roi_align(maps, rois, (3, 5), scales, levels, **options)
    expected = multiscale_roi_align_reference(maps, rois, (3, 5), scales, levels, **options)
    assert found.shape == (40, maps[0].shape[1], 3, 5)
    assert found.dtype == dtype
    assert_near(found, expected)


@pytest.mark.parametrize("size", [1, 7, 14, 20, (2, 70)])
@pytest.mark.parametrize("channels", [1, 16, 33])
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_sizes(size: int | tuple[int, int], channels: int, layout: str) -> None:
    """Outputs of one register and more, windows of 16, 32 and more columns."""
    pixels = LAYOUTS[layout](make(2, channels, 37, 90))
    rois = random_rois(30, 2, 90.0, seed=5)
    pair = (size, size) if isinstance(size, int) else size
    for ratio in (2, 0):
        found = roi_align(pixels, rois, size, 1.0, ratio, True)
        expected = multiscale_roi_align_reference(
            [pixels], rois, pair, [1.0], sampling_ratio=ratio, aligned=True
        )
        assert_near(found, expected)


def test_one_level_is_plain_roi_align() -> None:
    maps, rois, levels, scales = pyramid()
    whole = multiscale_roi_align(maps, rois, 3, scales, levels, sampling_ratio=2, aligned=True)
    for level in range(2):
        here = levels == level
        part = roi_align(maps[level], rois[here], 3, scales[level], 2, True)
        assert_equal(whole[here], part)


def test_layouts_give_the_same_bits_and_keep_their_format() -> None:
    maps, rois, levels, scales = pyramid(channels=32)
    expected = multiscale_roi_align(maps, rois, 7, scales, levels)
    found = multiscale_roi_align([last(m) for m in maps], rois, 7, scales, levels)
    assert_equal(found, expected)
    assert expected.is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last)
    mixed = multiscale_roi_align([maps[0], last(maps[1])], rois, 7, scales, levels)
    assert mixed.is_contiguous()
    assert_equal(mixed, expected)


def test_boxes_may_be_a_list_or_of_another_type() -> None:
    pixels = make(3, 8, 20, 20)
    boxes = [random_rois(n, 1, 20.0, seed=n)[:, 1:] for n in (4, 0, 2)]
    numbered = torch.cat(
        [torch.cat([torch.full((len(b), 1), float(i)), b], dim=1) for i, b in enumerate(boxes)]
    )
    expected = roi_align(pixels, numbered, 3)
    assert_equal(roi_align(pixels, boxes, 3), expected)
    assert_equal(roi_align(pixels, numbered.double(), 3), expected)
    assert_equal(roi_align(pixels, strided(numbered), 3), expected)
    assert_equal(roi_align(pixels.bfloat16(), boxes, 3), roi_align(pixels.bfloat16(), numbered, 3))
    half = [b.half() for b in boxes]
    assert_equal(roi_align(pixels, half, 3), roi_align(pixels, [h.float() for h in half], 3))


@pytest.mark.parametrize("kind", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_levels_may_be_any_integers(kind: torch.dtype) -> None:
    maps, rois, levels, scales = pyramid()
    assert_equal(
        multiscale_roi_align(maps, rois, 3, scales, levels.to(kind)),
        multiscale_roi_align(maps, rois, 3, scales, levels),
    )


# ---- torchvision


@pytest.fixture(scope="module")
def torchvision_ops() -> ModuleType:
    """torchvision.ops, where its compiled ops work beside this torch."""
    ops: ModuleType = pytest.importorskip("torchvision.ops")
    try:
        ops.roi_align(torch.zeros(1, 1, 2, 2), torch.zeros(1, 5), 1)
    except (RuntimeError, AttributeError):
        pytest.skip("torchvision has no working ops beside this torch")
    return ops


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling_ratio", [2, 0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torchvision(
    torchvision_ops: ModuleType, dtype: torch.dtype, sampling_ratio: int, aligned: bool
) -> None:
    pixels = make(3, 9, 31, 45, dtype=dtype).requires_grad_()
    rois = random_rois(200, 3, 100.0, seed=7).to(dtype)
    rois[::3] = rois[::3].round()
    if aligned and sampling_ratio == 0:  # where torchvision fails on regions of negative size
        rois = rois[(rois[:, 3:] > rois[:, 1:3]).all(dim=1)]
    arguments = (rois, (3, 5), 0.5, sampling_ratio, aligned)
    ours, theirs = roi_align(pixels, *arguments), torchvision_ops.roi_align(pixels, *arguments)
    assert_near(ours, theirs, 2e-6 if dtype == torch.float32 else 1e-13)
    grad = make(*ours.shape, seed=8, dtype=dtype)
    (mine,) = torch.autograd.grad(ours, pixels, grad)
    (other,) = torch.autograd.grad(theirs, pixels, grad)
    assert_near(mine, other, 2e-6 if dtype == torch.float32 else 1e-13)


# ---- gradients

GRADIENT_SHAPES = [
    # images, channels, height, width, regions, output, layout
    (1, 1, 1, 1, 1, (1, 1), "contiguous"),
    (0, 3, 4, 5, 2, (2, 2), "contiguous"),
    (2, 0, 4, 5, 2, (2, 2), "contiguous"),
    (1, 2, 0, 5, 2, (2, 2), "contiguous"),
    (1, 2, 4, 5, 0, (2, 2), "contiguous"),
    (2, 3, 6, 7, 4, (2, 3), "contiguous"),
    (2, 3, 6, 7, 4, (2, 3), "channels_last"),
    (2, 3, 5, 4, 3, (3, 2), "strided"),
    (1, 2, 9, 3, 3, (1, 4), "transposed"),
    (1, 17, 3, 4, 2, (2, 1), "channels_last"),
]


@pytest.mark.parametrize(
    ("images", "channels", "height", "width", "count", "size", "layout"), GRADIENT_SHAPES
)
def test_gradients(
    images: int,
    channels: int,
    height: int,
    width: int,
    count: int,
    size: tuple[int, int],
    layout: str,
) -> None:
    pixels = LAYOUTS[layout](make(images, channels, height, width, dtype=torch.float64))
    pixels = pixels.detach().requires_grad_()
    rois = random_rois(count, max(images, 1), 10.0, seed=height).double()

    def pooled(values: Tensor) -> Tensor:
        return roi_align(values, rois, size, 0.5, 2, True)

    check_gradients(pooled, (pixels,))
    assert torch.autograd.gradgradcheck(pooled, (pixels,))


def reference_gradient(grad: Tensor, rois: Tensor, arguments: tuple[Any, ...]) -> list[Tensor]:
    levels, scales, sizes, ratio, aligned = arguments
    images, channels, *sides = sizes
    maps = [
        torch.zeros(images, channels, h, w, dtype=torch.float64, requires_grad=True)
        for h, w in zip(sides[::2], sides[1::2], strict=True)
    ]
    options = {"sampling_ratio": ratio, "aligned": aligned}
    size = (grad.shape[2], grad.shape[3])
    # Coordinates in the type in which the kernel computes them.
    places = rois.float() if grad.dtype != torch.float64 else rois
    values = [m.float() if grad.dtype != torch.float64 else m for m in maps]
    pooled = multiscale_roi_align_reference(values, places, size, scales, levels, **options)
    return list(torch.autograd.grad(pooled, maps, grad.to(pooled.dtype)))


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("channels", [19, 140])
@pytest.mark.parametrize("grad_layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_in_every_layout(
    dtype: torch.dtype, grad_layout: str, channels: int, channels_last: bool
) -> None:
    grad, rois, levels, scales, sizes, *_ = backward_arguments(dtype, channels)
    grad = LAYOUTS[grad_layout](grad)
    found = torch.ops.pyvqa.roi_align_backward(
        grad, rois, levels, scales, sizes, 2, True, channels_last
    )
    expected = reference_gradient(grad, rois, (levels, scales, sizes, 2, True))
    for ours, theirs in zip(found, expected, strict=True):
        assert_near(ours, theirs)
        if channels_last:
            assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided", "transposed"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_adds_to_one_that_exists(dtype: torch.dtype, layout: str) -> None:
    grad, rois, levels, scales, sizes, *_ = backward_arguments(dtype)
    fresh = torch.ops.pyvqa.roi_align_backward(grad, rois, levels, scales, sizes, 2, True, False)
    before = [LAYOUTS[layout](make(*g.shape, seed=9, dtype=dtype)) for g in fresh]
    grads = [torch.empty_strided(b.shape, b.stride(), dtype=dtype).copy_(b) for b in before]
    roi_align_backward_(grads, grad, rois, scales, levels, sampling_ratio=2, aligned=True)
    for found, old, new in zip(grads, before, fresh, strict=True):
        assert_near(found, old.double() + new.double())


def test_sixteen_bit_gradients_are_summed_in_float32() -> None:
    """2,000 regions that add 1/2000 each: rounded one by one, the sum would stop growing."""
    rois = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]).repeat(2000, 1)
    for dtype in (torch.bfloat16, torch.float16):
        pixels = torch.zeros(1, 3, 4, 4, dtype=dtype, requires_grad=True)
        pooled = roi_align(pixels, rois, 4, 1.0, 1, True)
        (grad,) = torch.autograd.grad(pooled, pixels, torch.full_like(pooled, 1 / 2000))
        assert_near(grad, torch.ones(1, 3, 4, 4, dtype=torch.float64), 2**-8)


def test_large_gradients_start_from_zero() -> None:
    """Memory of many pages that held something else before."""
    for layout in (torch.contiguous_format, torch.channels_last):
        for _ in range(3):
            dirty = torch.full((1, 64, 200, 300), 7.0)
            del dirty
            pixels = torch.zeros(1, 64, 200, 300).contiguous(memory_format=layout)
            pixels.requires_grad_()
            roi = torch.tensor([[0.0, 10.0, 10.0, 30.0, 30.0]])
            (grad,) = torch.autograd.grad(roi_align(pixels, roi, 2, 1.0, 2).sum(), pixels)
            assert float(grad.double().sum()) == pytest.approx(64 * 4, rel=1e-5)
            assert int((grad != 0).sum()) == 64 * 64  # 2 x 2 bins of 2 x 2 samples, 4 pixels each


# ---- what every op has to pass

EVERY_OP: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "roi_align": (torch.ops.pyvqa.roi_align.default, op_arguments(channels=3)),
    "roi_align_last": (
        torch.ops.pyvqa.roi_align.default,
        op_arguments(channels=3, layout="channels_last"),
    ),
    "roi_align_backward": (
        torch.ops.pyvqa.roi_align_backward.default,
        backward_arguments(channels=3),
    ),
    "roi_align_backward_last": (
        torch.ops.pyvqa.roi_align_backward.default,
        backward_arguments(channels=3, channels_last=True),
    ),
}


def adding_arguments() -> tuple[Any, ...]:
    grad, rois, levels, scales, _, ratio, aligned, _ = backward_arguments(channels=3)
    return [make(3, 3, 20, 31), make(3, 3, 10, 16)], grad, rois, levels, scales, ratio, aligned


@pytest.mark.parametrize("name", EVERY_OP)
def test_opcheck(name: str) -> None:
    op, arguments = EVERY_OP[name]
    check_registration(op, arguments)
    first = arguments[0]
    grown = [t.clone().requires_grad_() for t in ([first] if isinstance(first, Tensor) else first)]
    check_registration(op, (grown[0] if isinstance(first, Tensor) else grown, *arguments[1:]))


def test_opcheck_of_the_op_that_adds() -> None:
    check_registration(torch.ops.pyvqa.roi_align_backward_.default, adding_arguments())


@pytest.mark.parametrize("name", EVERY_OP)
def test_ops_compile_to_one_graph(name: str) -> None:
    op, arguments = EVERY_OP[name]
    check_compiles(lambda *a: op(*a), arguments)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_training_step_compiles_to_one_graph(layout: str) -> None:
    maps, rois, levels, scales = pyramid(channels=3, layout=layout)

    def loss(first: Tensor, second: Tensor, rois: Tensor) -> Tensor:
        pooled = multiscale_roi_align([first, second], rois, 3, scales, levels)
        listed = roi_align(first, [rois[:4, 1:], rois[4:6, 1:], rois[6:, 1:]], (2, 3), 0.25, 0)
        return pooled.square().sum() + listed.sum()

    def step(first: Tensor, second: Tensor, rois: Tensor, compiled: bool) -> tuple[Tensor, ...]:
        torch.compiler.reset()
        run = (
            torch.compile(loss, fullgraph=True, backend="aot_eager", dynamic=True)
            if compiled
            else loss
        )
        leaves = [first.clone().requires_grad_(), second.clone().requires_grad_()]
        return torch.autograd.grad(run(*leaves, rois), leaves)

    assert_equal(step(*maps, rois, True), step(*maps, rois, False))


def test_adding_compiles_to_one_graph() -> None:
    def add(first: Tensor, second: Tensor, *rest: Any) -> Tensor:
        torch.ops.pyvqa.roi_align_backward_([first, second], *rest)
        return first.sum() + second.sum()

    (first, second), *rest = adding_arguments()
    torch.compiler.reset()
    compiled = torch.compile(add, fullgraph=True, backend="aot_eager")
    assert_equal(
        compiled(first.clone(), second.clone(), *rest), add(first.clone(), second.clone(), *rest)
    )


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_deterministic(dtype: torch.dtype, layout: str) -> None:
    arguments = op_arguments(dtype, 70, layout)
    check_deterministic(torch.ops.pyvqa.roi_align, arguments)
    is_last = layout == "channels_last"
    check_deterministic(torch.ops.pyvqa.roi_align_backward, backward_arguments(dtype, 70, is_last))


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_any_number_of_threads_gives_the_same_bits(layout: str) -> None:
    before = torch.get_num_threads()
    seen = set()
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            for dtype in (torch.float32, torch.float16):
                pooled = torch.ops.pyvqa.roi_align(*op_arguments(dtype, 90, layout))
                grads = torch.ops.pyvqa.roi_align_backward(
                    *backward_arguments(dtype, 90, layout == "channels_last")
                )
                seen.add((dtype, digest(pooled, grads)))
    finally:
        torch.set_num_threads(before)
    assert len(seen) == 2


_PEAK = """
import itertools
import pathlib
import torch
import pyvqa.ops

def megabytes(field):
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split(field + ":")[1].split()[0]) / 1024

def measure(run):
    before = megabytes("VmRSS")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    out = run()
    return (megabytes("VmHWM") - before) / (out.numel() * out.element_size() / 2**20)

torch.set_num_threads(1)
corners = torch.rand(400, 2) * 500
rois = torch.cat([torch.zeros(400, 1), corners, corners + 400], dim=1)
for dtype, last in itertools.product((torch.float32, torch.bfloat16), (False, True)):
    layout = torch.channels_last if last else torch.contiguous_format
    maps = torch.ones(1, 256, 200, 300, dtype=dtype).contiguous(memory_format=layout)
    pooled = torch.ones(400, 256, 14, 14, dtype=dtype).contiguous(memory_format=layout)
    pool, gradient = torch.ops.pyvqa.roi_align, torch.ops.pyvqa.roi_align_backward
    pool([maps], rois[:1], None, [0.25], 1, 1, 2, True)
    print(measure(lambda: pool([maps], rois, None, [0.25], 14, 14, 2, True)))
    sizes = [1, 256, 200, 300]
    print(measure(lambda: gradient(pooled, rois, None, [0.25], sizes, 2, True, last)[0]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_that_of_the_result() -> None:
    """Nothing beyond the inputs but the result and a tenth of it, in both directions."""
    shares = [float(line) for line in run_python(_PEAK).split()]
    assert len(shares) == 8
    # Memory that was in use before and is used again does not count.
    assert 0.9 < max(shares) <= 1.1, shares


_VALUES = """
import torch
import pyvqa.ops
from ops.roi_cases import backward_arguments, op_arguments
results = []
for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
    for layout in ("contiguous", "channels_last"):
        results.append(torch.ops.pyvqa.roi_align(*op_arguments(dtype, 40, layout)))
        results += torch.ops.pyvqa.roi_align_backward(
            *backward_arguments(dtype, 40, layout == "channels_last"))
torch.save([r.contiguous() for r in results], {target!r})
"""


def test_instruction_sets_agree(tmp_path: Any) -> None:
    """To 1e-6 of the largest value, or one step of a 16-bit type."""
    results = {}
    for isa in ("base", "avx2", "avx512"):
        target = tmp_path / f"{isa}.pt"
        run_python(
            "import sys; sys.path.insert(0, 'tests')\n" + _VALUES.format(target=str(target)),
            PYVQA_ISA=isa,
        )
        results[isa] = torch.load(target, weights_only=True)
    for isa in ("avx2", "avx512"):
        for found, expected in zip(results[isa], results["base"], strict=True):
            wide = found.dtype in (torch.float32, torch.float64)
            assert_near(found, expected, 1e-6 if wide else TOLERANCE[found.dtype])


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "strided"])
@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_host_cuda(dtype: torch.dtype, channels: int, layout: str) -> None:
    tolerance = 1e-6 if dtype in (torch.float32, torch.float64) else TOLERANCE[dtype]
    maps, rois, levels, scales = pyramid(dtype, channels, layout)
    bad = torch.tensor([[0, NAN, 0, 9, 9], [7, 0, 0, 9, 9], [0, -1e9, -1e9, 1e9, 1e9]])
    rois, levels = torch.cat([rois[:12], bad]), torch.cat([levels[:12], torch.tensor([0, 1, 1])])
    for ratio, aligned in ((2, True), (0, False)):
        options = (scales, 3, 4, ratio, aligned)
        check_host_cuda("roi_align", (maps, rois, levels, *options), tolerance)
        grad = LAYOUTS[layout](make(15, channels, 3, 4, dtype=dtype))
        sizes = [3, channels, 20, 31, 10, 16]
        check_host_cuda(
            "roi_align_backward",
            (grad, rois, levels, scales, sizes, ratio, aligned, layout == "channels_last"),
            tolerance,
        )


def test_host_cuda_beyond_shared_memory() -> None:
    """Bins of more pixels than a block has room for, and more bins than it looks at together."""
    rois = torch.tensor([[0.0, -5.0, -5.0, 1500.0, 9.0], [0.0, 10.0, 1.0, 1400.0, 4.0]])
    for size in ((1, 1), (2, 3), (1, 300)):
        pixels = make(1, 2, 5, 1450)
        check_host_cuda("roi_align", ([pixels], rois, None, [1.0], *size, 0, True), 2e-6)
    grad = make(2, 2, 3, 40)
    arguments = (grad, rois, None, [0.05], [1, 2, 5, 70], 2, True, False)
    check_host_cuda("roi_align_backward", arguments, 1e-6)


@pytest.mark.cuda
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_equals_cpu(dtype: torch.dtype, layout: str) -> None:
    tolerance = 1e-6 if dtype in (torch.float32, torch.float64) else TOLERANCE[dtype]
    maps, rois, levels, scales = pyramid(dtype, 256, layout)
    expected = torch.ops.pyvqa.roi_align(maps, rois, levels, scales, 7, 7, 2, True)
    there = [m.cuda() for m in maps], rois.cuda(), levels.cuda()
    found = torch.ops.pyvqa.roi_align(*there, scales, 7, 7, 2, True)
    assert_near(found.cpu(), expected, tolerance)
    arguments = backward_arguments(dtype, 256, layout == "channels_last")
    grads = torch.ops.pyvqa.roi_align_backward(*arguments)
    on_device = [a.cuda() if isinstance(a, Tensor) else a for a in arguments]
    again = torch.ops.pyvqa.roi_align_backward(*on_device)
    for mine, other in zip(again, grads, strict=True):
        assert_near(mine.cpu(), other, tolerance)
    assert_equal(torch.ops.pyvqa.roi_align_backward(*on_device), again)


# ---- autocast and vmap


def test_autocast_leaves_the_types_alone() -> None:
    maps, rois, levels, scales = pyramid()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = multiscale_roi_align(maps, rois, 3, scales, levels)
        half = multiscale_roi_align([m.bfloat16() for m in maps], rois, 3, scales, levels)
    assert whole.dtype == torch.float32
    assert half.dtype == torch.bfloat16
    assert_equal(whole, multiscale_roi_align(maps, rois, 3, scales, levels))


@pytest.mark.parametrize("with_rois", [False, True])
def test_vmap(with_rois: bool) -> None:
    """Batches of maps and of regions, unknown images among them, as a loop over the batch."""
    pixels = make(4, 2, 3, 9, 11)
    rois = torch.stack([random_rois(5, 2, 12.0, seed=s) for s in range(4)])
    rois[1, 2, 0], rois[2, 3, 0] = 2.0, -1.0
    rois = rois if with_rois else rois[1]

    def pooled(pixels: Tensor, rois: Tensor) -> Tensor:
        return roi_align(pixels, rois, (2, 3), 0.5, 2)

    dims = (0, 0 if with_rois else None)
    each = [(p, rois[i] if with_rois else rois) for i, p in enumerate(pixels)]
    assert_equal(
        torch.vmap(pooled, dims)(pixels, rois), torch.stack([pooled(p, r) for p, r in each])
    )


@pytest.mark.parametrize("with_rois", [False, True])
def test_vmap_of_the_gradient(with_rois: bool) -> None:
    grad = make(4, 5, 3, 2, 3)
    rois = torch.stack([random_rois(5, 2, 12.0, seed=s) for s in range(4)])
    rois[1, 2, 0], rois[2, 3, 0] = 2.0, -1.0
    rois = rois if with_rois else rois[1]

    def gradient(grad: Tensor, rois: Tensor) -> Tensor:
        options = ([0.5], [2, 3, 9, 11], 2, False, False)
        whole: Tensor = torch.ops.pyvqa.roi_align_backward(grad, rois, None, *options)[0]
        return whole

    each = [(g, rois[i] if with_rois else rois) for i, g in enumerate(grad)]
    assert_equal(
        torch.vmap(gradient, (0, 0 if with_rois else None))(grad, rois),
        torch.stack([gradient(g, r) for g, r in each]),
    )
