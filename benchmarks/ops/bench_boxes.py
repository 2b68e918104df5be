"""Overlaps and coding of boxes against torchvision, on one thread.

    pytest benchmarks/ops/bench_boxes.py -s

Boxes lie in a 1333 x 800 picture: centres uniform, sides log-uniform from 16 to 256.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from rivals import torchvision_ops
from timing import compare
from torch import Tensor

from pyvqa import ops


def uniform_boxes(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([1333.0, 800.0])
    sides = 16 * 16 ** torch.rand(count, 2, generator=generator)
    return torch.cat([centres - sides / 2, centres + sides / 2], 1)


def deltas_of(count: int, classes: int) -> Tensor:
    return torch.randn(count, 4 * classes, generator=torch.Generator().manual_seed(3)) * 0.5


@pytest.fixture
def rival() -> ModuleType:
    return torchvision_ops()


@pytest.mark.parametrize(
    ("n", "m", "target"),
    [(100, 100, 5.0), (1000, 1000, 10.0), (10_000, 1000, 14.0), (60_000, 10, 0.0)],
)
def test_box_iou(rival: ModuleType, benchmark: Any, n: int, m: int, target: float) -> None:
    a, b = uniform_boxes(n, 1), uniform_boxes(m, 2)
    assert torch.equal(ops.box_iou(a, b), rival.box_iou(a, b))
    compare(
        "box_iou", f"{n} x {m}",
        ours=lambda: ops.box_iou(a, b),
        rival=lambda: rival.box_iou(a, b),
        rival_name="torchvision", target=target,
    )  # fmt: skip
    benchmark.pedantic(ops.box_iou, (a, b), rounds=5)


def test_generalized_box_iou(rival: ModuleType, benchmark: Any) -> None:
    a, b = uniform_boxes(1000, 1), uniform_boxes(1000, 2)
    assert torch.equal(ops.generalized_box_iou(a, b), rival.generalized_box_iou(a, b))
    compare(
        "generalized_box_iou", "1000 x 1000",
        ours=lambda: ops.generalized_box_iou(a, b),
        rival=lambda: rival.generalized_box_iou(a, b),
        rival_name="torchvision",
    )  # fmt: skip
    benchmark.pedantic(ops.generalized_box_iou, (a, b), rounds=5)


@pytest.mark.parametrize("name", ["box_iou", "generalized_box_iou"])
def test_backward(rival: ModuleType, benchmark: Any, name: str) -> None:
    a, b = uniform_boxes(500, 1).requires_grad_(), uniform_boxes(500, 2).requires_grad_()
    given = torch.rand(500, 500, generator=torch.Generator().manual_seed(4))

    def step(function: Callable[[Tensor, Tensor], Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(a, b), (a, b), given)

    ours, theirs = getattr(ops, name), getattr(rival, name)
    for found, expected in zip(step(ours), step(theirs), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    compare(
        f"{name}, forward and backward", "500 x 500",
        ours=lambda: step(ours),
        rival=lambda: step(theirs),
        rival_name="torchvision",
    )  # fmt: skip
    benchmark.pedantic(step, (ours,), rounds=5)


@pytest.mark.parametrize(("n", "classes"), [(1000, 1), (1000, 91), (50_000, 1)])
def test_decode_boxes(rival: ModuleType, benchmark: Any, n: int, classes: int) -> None:
    from torchvision.models.detection._utils import BoxCoder

    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas, proposals = deltas_of(n, classes), uniform_boxes(n, 1)
    torch.testing.assert_close(
        ops.decode_boxes(deltas, proposals, weights=weights),
        coder.decode_single(deltas, proposals),
        rtol=1e-5, atol=1e-3,
    )  # fmt: skip
    compare(
        "decode_boxes", f"{n} x {classes}",
        ours=lambda: ops.decode_boxes(deltas, proposals, weights=weights),
        rival=lambda: coder.decode_single(deltas, proposals),
        rival_name="torchvision",
    )  # fmt: skip
    benchmark.pedantic(ops.decode_boxes, (deltas, proposals), rounds=5)


def test_encode_boxes(rival: ModuleType, benchmark: Any) -> None:
    from torchvision.models.detection._utils import BoxCoder

    coder = BoxCoder((10.0, 10.0, 5.0, 5.0))
    weights = (10.0, 10.0, 5.0, 5.0)
    boxes, proposals = uniform_boxes(50_000, 1), uniform_boxes(50_000, 2)
    torch.testing.assert_close(
        ops.encode_boxes(boxes, proposals, weights=weights), coder.encode_single(boxes, proposals)
    )
    compare(
        "encode_boxes", "50000",
        ours=lambda: ops.encode_boxes(boxes, proposals, weights=weights),
        rival=lambda: coder.encode_single(boxes, proposals),
        rival_name="torchvision",
    )  # fmt: skip
    benchmark.pedantic(ops.encode_boxes, (boxes, proposals), rounds=5)


def test_clip_boxes(rival: ModuleType, benchmark: Any) -> None:
    boxes = uniform_boxes(50_000, 1)
    assert torch.equal(
        ops.clip_boxes(boxes, (800, 1333)), rival.clip_boxes_to_image(boxes, (800, 1333))
    )
    compare(
        "clip_boxes", "50000",
        ours=lambda: ops.clip_boxes(boxes, (800, 1333)),
        rival=lambda: rival.clip_boxes_to_image(boxes, (800, 1333)),
        rival_name="torchvision",
    )  # fmt: skip
    benchmark.pedantic(ops.clip_boxes, (boxes, (800, 1333)), rounds=5)
