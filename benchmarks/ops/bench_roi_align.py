"""RoIAlign against torchvision's, on the four levels of a pyramid, 256 channels, float32.

Regions are proposals in a picture of 1333 x 800: 40 objects (sides log-uniform from 30 to 256),
each box one of them, its centre off by 15 % of a side and its sides by 20 %, on the level of its
size (level 4 at 224). torchvision is called once for every level, on regions that are sorted by
level beforehand, and always reads contiguous maps, which it is made for. Equality first, then both
in turn. It prints a table:

    pytest benchmarks/ops/bench_roi_align.py -s
"""

from __future__ import annotations

import math
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import rivals
import timing
import torch
from torch import Tensor

from pyvqa import ops

PICTURE = torch.tensor([1333.0, 800.0])
STRIDES = (4, 8, 16, 32)
SCALES = [1 / stride for stride in STRIDES]
CHANNELS = 256
CASES = [(512, 7), (100, 14)]


def proposals(count: int, seed: int = 0) -> Tensor:
    """Boxes [K, 4] inside the picture."""
    generator = torch.Generator().manual_seed(seed)
    objects = torch.rand(40, 2, generator=generator) * PICTURE
    sides = 30 * torch.exp(math.log(256 / 30) * torch.rand(40, 2, generator=generator))
    which = torch.randint(0, 40, (count,), generator=generator)
    noise = torch.randn(2, count, 2, generator=generator)
    centre = objects[which] + 0.15 * noise[0] * sides[which]
    size = sides[which] * torch.exp(0.2 * noise[1])
    corners = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    return corners.clamp(min=0).minimum(PICTURE.repeat(2))


class Case(NamedTuple):
    """Maps in both layouts, regions, and what torchvision takes."""

    maps: list[Tensor]
    maps_last: list[Tensor]
    rois: Tensor
    levels: Tensor
    size: int
    ratio: int
    places: list[Tensor]  # of the regions of each level

    def ours(self, maps: list[Tensor]) -> Tensor:
        return ops.multiscale_roi_align(
            maps,
            self.rois,
            self.size,
            SCALES,
            self.levels,
            sampling_ratio=self.ratio,
            aligned=True,
        )

    def rival(self, torchvision: ModuleType, maps: list[Tensor]) -> list[Tensor]:
        return [
            torchvision.roi_align(
                pixels, self.rois[place], self.size, scale, self.ratio, aligned=True
            )
            for pixels, place, scale in zip(maps, self.places, SCALES, strict=True)
        ]

    def in_order(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)[torch.cat(self.places).argsort()]

    def parts(self, whole: Tensor) -> list[Tensor]:
        return [whole[place] for place in self.places]

    @property
    def name(self) -> str:
        sampled = "adaptive" if self.ratio == 0 else f"{self.ratio} samples"
        return f"{len(self.rois)} x {self.size} x {self.size}, {sampled}"


def make_case(count: int, size: int, ratio: int) -> Case:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    maps = [torch.randn(1, CHANNELS, 800 // s, 1344 // s) for s in STRIDES]
    boxes = proposals(count)
    rois = torch.cat([torch.zeros(count, 1), boxes], dim=1)
    levels = levels_of(boxes)
    places = [(levels == level).nonzero()[:, 0] for level in range(len(STRIDES))]
    last = [m.contiguous(memory_format=torch.channels_last) for m in maps]
    return Case(maps, last, rois, levels, size, ratio, places)


def levels_of(boxes: Tensor) -> Tensor:
    sides = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1).sqrt()
    return (4 + torch.log2(sides / 224 + 1e-6)).floor().clamp(2, 5).long() - 2


@pytest.mark.parametrize(
    ("layout", "count", "size", "ratio", "target"),
    [
        ("channels-last", 512, 7, 2, 45),
        ("channels-last", 100, 14, 2, 30),
        ("channels-last", 512, 7, 0, 30),
        ("channels-last", 100, 14, 0, 30),
        ("contiguous", 512, 7, 2, 8),
        ("contiguous", 100, 14, 2, 0),
        ("contiguous", 512, 7, 0, 0),
    ],
)
def test_forward(
    layout: str, count: int, size: int, ratio: int, target: float, benchmark: Any
) -> None:
    torchvision = rivals.torchvision_ops()
    case = make_case(count, size, ratio)
    maps = case.maps_last if layout == "channels-last" else case.maps
    expected = case.in_order(case.rival(torchvision, case.maps))
    torch.testing.assert_close(case.ours(maps), expected, rtol=0, atol=1e-5)
    timing.compare(
        "roi_align",
        f"forward, {case.name}, {layout}",
        ours=lambda: case.ours(maps),
        rival=lambda: case.rival(torchvision, case.maps),
        rival_name="torchvision",
        target=target,
        # Streaming 92 MB of planes once is half of the time; reading windows alone was slower.
        hold=5 if layout == "contiguous" else None,
    )
    benchmark.pedantic(lambda: case.ours(maps), rounds=5)


@pytest.mark.parametrize("layout", ["channels-last", "contiguous"])
@pytest.mark.parametrize(("count", "size", "target"), [(512, 7, 8), (100, 14, 5)])
def test_backward(layout: str, count: int, size: int, target: float, benchmark: Any) -> None:
    rivals.torchvision_ops()
    case = make_case(count, size, 2)
    grad = torch.randn(count, CHANNELS, size, size)
    shapes = [1, CHANNELS, *(n for m in case.maps for n in m.shape[2:])]
    grad_last = grad.contiguous(memory_format=torch.channels_last)
    is_last = layout == "channels-last"

    def ours() -> list[Tensor]:
        found: list[Tensor] = torch.ops.pyvqa.roi_align_backward(
            grad_last if is_last else grad, case.rois, case.levels, SCALES, shapes, 2, True, is_last
        )
        return found

    parts, regions = case.parts(grad), case.parts(case.rois)

    def rival() -> list[Tensor]:
        return [
            torch.ops.torchvision._roi_align_backward(
                part, rois, scale, size, size, *pixels.shape, 2, True
            )
            for part, rois, scale, pixels in zip(parts, regions, SCALES, case.maps, strict=True)
        ]

    for found, expected in zip(ours(), rival(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    timing.compare(
        "roi_align",
        f"backward, {case.name}, {layout}",
        ours=ours,
        rival=rival,
        rival_name="torchvision",
        target=target,
    )
    benchmark.pedantic(ours, rounds=5)


@pytest.mark.parametrize("layout", ["channels-last", "contiguous"])
@pytest.mark.parametrize(("count", "size"), CASES)
def test_training_step(layout: str, count: int, size: int, benchmark: Any) -> None:
    torchvision = rivals.torchvision_ops()
    case = make_case(count, size, 2)
    is_last = layout == "channels-last"
    leaves = [m.clone().requires_grad_() for m in (case.maps_last if is_last else case.maps)]
    rival_leaves = [m.clone().requires_grad_() for m in case.maps]
    grad = torch.randn(count, CHANNELS, size, size)
    parts = case.parts(grad)
    given = grad.contiguous(memory_format=torch.channels_last) if is_last else grad

    def ours() -> Any:
        return torch.autograd.grad(case.ours(leaves), leaves, given)

    def rival() -> Any:
        return torch.autograd.grad(case.rival(torchvision, rival_leaves), rival_leaves, parts)

    for found, expected in zip(ours(), rival(), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    timing.compare(
        "roi_align",
        f"forward and backward, {case.name}, {layout}",
        ours=ours,
        rival=rival,
        rival_name="torchvision",
        target=8,
    )
    benchmark.pedantic(ours, rounds=5)


@pytest.mark.parametrize(("count", "size"), CASES)
def test_sixteen_bits(count: int, size: int, benchmark: Any) -> None:
    """Half of the memory: at most 0.6 of the time."""
    case = make_case(count, size, 2)
    half = [m.bfloat16() for m in case.maps_last]
    expected = case.ours([m.float() for m in half])
    torch.testing.assert_close(case.ours(half).float(), expected, rtol=2**-8, atol=1e-6)
    timing.compare(
        "roi_align",
        f"forward, {case.name}, channels-last, bfloat16",
        ours=lambda: case.ours(half),
        rival=lambda: case.ours(case.maps_last),
        rival_name="the same in float32",
        target=1 / 0.6,
    )
    benchmark.pedantic(lambda: case.ours(half), rounds=5)
