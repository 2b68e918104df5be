"""RoIAlign at its edges: regions of every kind, empty input, arguments that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ops.helpers import assert_equal
from ops.roi_cases import (
    INF,
    LAYOUTS,
    NAN,
    assert_near,
    make,
    pyramid,
)
from pyvqa.ops import multiscale_roi_align, roi_align, roi_align_backward_
from pyvqa.ops.roi_align import multiscale_roi_align_reference


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_unknown_and_endless_regions_give_zeros(dtype: torch.dtype, layout: str) -> None:
    """What crashes or reads foreign memory elsewhere: no image, no level, no finite number."""
    good = [0.0, 1.0, 1.0, 9.0, 9.0]
    rois = [good]
    for place in range(5):
        for value in (NAN, INF, -INF):
            rois.append([*good[:place], value, *good[place + 1 :]])
    for image in (-1.0, 3.0, 1e38, -1e38, 2.0**31, 2.0**63):
        rois.append([image, *good[1:]])
    rois += [good, good, good]
    maps, _, _, scales = pyramid(dtype, 17, layout)
    levels = torch.zeros(len(rois), dtype=torch.int64)
    levels[-3:] = torch.tensor([2, -1, 2**40])
    if dtype != torch.float64:  # the size overflows
        rois.append([0.0, -3e38, 0.0, 3e38, 9.0])
        levels = torch.cat([levels, levels[:1]])
    maps = [m.detach().requires_grad_() for m in maps]
    pooled = multiscale_roi_align(maps, torch.tensor(rois).double(), 3, scales, levels)
    assert float(pooled[0].detach().abs().min()) > 0
    assert int(pooled[1:].detach().count_nonzero()) == 0
    grads = torch.autograd.grad(pooled, maps, torch.ones_like(pooled))
    alone = multiscale_roi_align(maps, torch.tensor(rois[:1]), 3, scales, levels[:1])
    expected = torch.autograd.grad(alone, maps, torch.ones_like(alone))
    assert_equal(grads, expected)


@pytest.mark.parametrize("sampling_ratio", [2, 0, 1000])
def test_huge_regions_take_no_longer_than_the_map(sampling_ratio: int) -> None:
    """Adaptive sampling would visit 10^18 places; only those on the map count."""
    pixels = torch.ones(1, 2, 8, 9)
    for size in (1e3, 1e6, 1e9, 1e18, 1e30):
        for corner in (-size / 2, -size, 0.0, -3.0):
            roi = torch.tensor([[0.0, corner, corner, corner + size, corner + size]])
            pooled = roi_align(pixels, roi, 7, 1.0, sampling_ratio, True)
            assert bool(((pooled >= 0) & (pooled <= 1.001)).all())
    # A grid of 1000 samples a side, of which the map's share is inside.
    roi = torch.tensor([[0.0, -500.0, 0.0, 500.0, 8.0]])
    found = float(roi_align(pixels, roi, 1, 1.0, 0)[0, 0, 0, 0])
    assert found == pytest.approx(10 / 1000, abs=1.1e-3)


def test_samples_just_outside_count_and_beyond_do_not() -> None:
    pixels = torch.full((1, 1, 4, 4), 3.0)

    def at(x: float) -> float:
        """The one sample in the middle of a region of one pixel."""
        return float(roi_align(pixels, torch.tensor([[0, x - 0.5, 1.0, x + 0.5, 2.0]]), 1, 1.0, 1))

    assert at(-1.0) == at(4.0) == at(0.0) == at(3.0) == 3.0
    assert at(-1.01) == at(4.01) == 0.0


def test_degenerate_regions() -> None:
    """Without `aligned` they are one pixel large; with it, adaptive sampling takes none."""
    pixels = make(1, 2, 6, 6)
    rois = torch.tensor([[0.0, 2.0, 2.0, 2.0, 2.0], [0.0, 4.0, 4.0, 1.0, 1.0]])
    grown = rois.clone()
    grown[:, 3:] = grown[:, 1:3] + 1
    assert_equal(roi_align(pixels, rois, 2), roi_align(pixels, grown, 2))
    assert int(roi_align(pixels, rois, 2, 1.0, 0, True).count_nonzero()) == 0
    expected = multiscale_roi_align_reference(
        [pixels], rois, (2, 2), [1.0], sampling_ratio=2, aligned=True
    )
    assert_near(roi_align(pixels, rois, 2, 1.0, 2, True), expected)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_not_a_number_in_a_pixel_stays_where_it_is_sampled(layout: str) -> None:
    pixels = torch.ones(1, 20, 12, 12)
    pixels[0, :, 5, 5] = NAN
    rois = torch.tensor([[0.0, 0.0, 0.0, 3.0, 3.0], [0.0, 4.0, 4.0, 7.0, 7.0]])
    pooled = roi_align(LAYOUTS[layout](pixels), rois, 3, 1.0, 2)
    assert not bool(pooled[0].isnan().any())
    assert bool(pooled[1, :, 1, 1].isnan().all())


@pytest.mark.parametrize(
    ("shape", "count", "size"),
    [
        ((0, 3, 5, 5), 2, (2, 2)),
        ((1, 0, 5, 5), 2, (2, 2)),
        ((1, 3, 0, 5), 2, (2, 2)),
        ((1, 3, 5, 0), 2, (2, 2)),
        ((1, 3, 5, 5), 0, (2, 2)),
        ((1, 3, 5, 5), 2, (0, 2)),
        ((1, 3, 5, 5), 2, (0, 0)),
    ],
)
def test_empty_is_normal(shape: tuple[int, ...], count: int, size: tuple[int, int]) -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        pixels = torch.ones(shape).contiguous(memory_format=layout).requires_grad_()
        rois = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]).repeat(count, 1)
        pooled = roi_align(pixels, rois, size)
        assert pooled.shape == (count, shape[1], *size)
        (grad,) = torch.autograd.grad(pooled.sum(), pixels)
        assert grad.shape == shape
        expected = 0 if min(*shape, count, *size) == 0 else None
        assert expected is None or int(pooled.count_nonzero() + grad.count_nonzero()) == 0


# ---- bad arguments: one message that says what is wrong

MAP, ROI = torch.zeros(2, 3, 5, 5), torch.zeros(4, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], ROI, None, [], 2, 2), "1 to 16 levels of features are possible, got 0"),
        (([MAP] * 17, ROI, None, [1.0] * 17, 2, 2), "1 to 16 levels .* got 17"),
        (([MAP], ROI, None, [1.0, 2.0], 2, 2), "1 levels of features, but 2 scales"),
        (([MAP[0]], ROI, None, [1.0], 2, 2), r"features must be \[B, C, H, W\], got 3 dim"),
        (([MAP.long()], ROI, None, [1.0], 2, 2), "features must all be float32.* got Long"),
        (([MAP, MAP.double()], ROI, None, [1.0] * 2, 2, 2), "must all be float32.* got Double"),
        (([MAP, MAP[:1]], ROI, None, [1.0] * 2, 2, 2), "the same images and channels"),
        (([MAP], ROI[:, :4], None, [1.0], 2, 2), r"rois must be \[K, 5\] of floating point"),
        (([MAP], ROI[0], None, [1.0], 2, 2), r"rois must be .* got 1 dimensions of Float"),
        (([MAP], ROI.long(), None, [1.0], 2, 2), r"rois must be .* got 2 dimensions of Long"),
        (([MAP], ROI, ROI[:, 0], [1.0], 2, 2), "levels must be a int64 vector, got 1 .* Float"),
        (([MAP], ROI, ROI[:3, 0].long(), [1.0], 2, 2), "4 rois, but 3 levels"),
        (([MAP], ROI, None, [1.0], -1, 2), "output_size must be 0 to 4096 a side, got -1 x 2"),
        (([MAP], ROI, None, [1.0], 2, 4097), "output_size must be 0 to 4096 a side, got 2 x 4097"),
    ],
)
def test_bad_input_is_explained(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(RuntimeError, match=f"roi_align: .*{message}"):
        torch.ops.pyvqa.roi_align(*arguments, 2, False)


def test_bad_options_are_explained() -> None:
    with pytest.raises(RuntimeError, match="roi_align: sampling_ratio must be at most 1024"):
        roi_align(MAP, ROI, 2, 1.0, 1025)
    with pytest.raises(ValueError, match="output_size must be a number or two"):
        roi_align(MAP, ROI, (1, 2, 3))
    with pytest.raises(ValueError, match="boxes of 1 images, but features of another number"):
        roi_align(MAP, [ROI[:, 1:]], 2)
    with pytest.raises(ValueError, match=r"boxes of an image must be \[k, 4\]"):
        roi_align(MAP, [ROI, ROI], 2)
    with pytest.raises(TypeError, match="boxes must be a tensor"):
        roi_align(MAP, [1.0, 2.0], 2)  # type: ignore[list-item]
    with pytest.raises(TypeError, match="levels must be a tensor of integers"):
        multiscale_roi_align([MAP], ROI, 2, [1.0], ROI[:, 0])


@pytest.mark.parametrize(
    ("grads", "grad", "message"),
    [
        ([], torch.zeros(4, 3, 2, 2), r"gradients of the features must be \[B, C, H, W\]"),
        ([MAP.clone()], torch.zeros(3, 3, 2, 2), "gradient of the output must be"),
        ([MAP.clone()], torch.zeros(4, 2, 2, 2), "gradient of the output must be"),
        ([MAP.clone()], torch.zeros(4, 3, 2), "gradient of the output must be"),
        ([MAP.clone()], torch.zeros(4, 3, 2, 2).double(), "must all be float32"),
        ([MAP.clone()] * 2, torch.zeros(4, 3, 2, 2), "1 scales"),
        ([MAP[:1].expand(2, 3, 5, 5)], torch.zeros(4, 3, 2, 2), "overlaps itself"),
    ],
)
def test_bad_gradients_are_explained(grads: list[Tensor], grad: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError, match=f"roi_align: .*{message}"):
        roi_align_backward_(grads, grad, ROI, [1.0])


def test_gradients_must_not_share_memory() -> None:
    whole = torch.zeros(2, 3, 6, 5)
    with pytest.raises(RuntimeError, match="must not share memory"):
        roi_align_backward_(
            [whole[:, :, :4], whole[:, :, 2:]], torch.zeros(4, 3, 2, 2), ROI, [1.0, 1.0]
        )


def test_boxes_get_no_gradient() -> None:
    pixels, rois = make(1, 2, 5, 5).requires_grad_(), ROI.clone().requires_grad_()
    roi_align(pixels, rois, 2).sum().backward()
    assert pixels.grad is not None
    assert rois.grad is None
