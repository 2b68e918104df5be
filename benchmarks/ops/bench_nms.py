"""Suppression of boxes against torchvision's: independent boxes, proposals, classes, levels.

Boxes lie in a picture of 1333 x 800. Uniform: centres anywhere, sides log-uniform from 16 to 256.
Proposals: 40 objects (sides log-uniform from 30 to 256), each box one of them, its centre off by
15 % of a side and its sides by 20 %. Equality first, then both in turn. It prints a table:

    pytest benchmarks/ops/bench_nms.py -s
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import rivals
import timing
import torch
from torch import Tensor

from pyvqa import ops

PICTURE = torch.tensor([1333.0, 800.0])


def log_uniform(low: float, high: float, count: int, generator: torch.Generator) -> Tensor:
    span = math.log(high / low)
    return low * torch.exp(span * torch.rand(count, 2, generator=generator))


def draw(kind: str, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Boxes [N, 4] and scores [N]."""
    generator = torch.Generator().manual_seed(seed)
    if kind == "uniform":
        centre = torch.rand(count, 2, generator=generator) * PICTURE
        size = log_uniform(16, 256, count, generator)
    else:
        objects = torch.rand(40, 2, generator=generator) * PICTURE
        sides = log_uniform(30, 256, 40, generator)
        which = torch.randint(0, 40, (count,), generator=generator)
        noise = torch.randn(2, count, 2, generator=generator)
        centre = objects[which] + 0.15 * noise[0] * sides[which]
        size = sides[which] * torch.exp(0.2 * noise[1])
    return torch.cat([centre - size / 2, centre + size / 2], 1), distinct_scores(count, generator)


def distinct_scores(count: int, generator: torch.Generator) -> Tensor:
    """Without ties, which torchvision's groups order at will."""
    return torch.randperm(count, generator=generator) / count


@pytest.mark.parametrize(
    ("kind", "count", "target"),
    [
        ("uniform", 1_000, 10),
        ("uniform", 10_000, 25),
        ("uniform", 50_000, 50),
        ("proposal", 1_000, 10),
        ("proposal", 10_000, 10),
        ("proposal", 50_000, 10),
    ],
)
def test_nms(kind: str, count: int, target: float, benchmark: Any) -> None:
    torchvision = rivals.torchvision_ops()
    torch.set_num_threads(1)
    boxes, scores = draw(kind, count)
    keep = ops.nms(boxes, scores, 0.5)
    assert torch.equal(keep, torchvision.nms(boxes, scores, 0.5))
    row = timing.compare(
        "nms",
        f"{kind}, {count:,} boxes, {len(keep):,} kept",
        ours=lambda: ops.nms(boxes, scores, 0.5),
        rival=lambda: torchvision.nms(boxes, scores, 0.5),
        rival_name="torchvision",
        target=target,
    )
    benchmark.extra_info["ratio"] = row.ratio
    benchmark.pedantic(lambda: ops.nms(boxes, scores, 0.5), rounds=5, warmup_rounds=1)


@pytest.mark.parametrize(
    ("case", "count", "groups", "threshold"),
    [("10,000 boxes, 80 classes", 10_000, 80, 0.5), ("4,500 boxes, 5 levels", 4_500, 5, 0.7)],
)
def test_batched_nms(case: str, count: int, groups: int, threshold: float, benchmark: Any) -> None:
    torchvision = rivals.torchvision_ops()
    torch.set_num_threads(1)
    boxes, scores = draw("proposal", count)
    idxs = torch.randint(0, groups, (count,), generator=torch.Generator().manual_seed(1))
    keep = ops.batched_nms(boxes, scores, idxs, threshold)
    assert torch.equal(keep, torchvision.batched_nms(boxes, scores, idxs, threshold))
    row = timing.compare(
        "batched_nms",
        f"{case}, {len(keep):,} kept",
        ours=lambda: ops.batched_nms(boxes, scores, idxs, threshold),
        rival=lambda: torchvision.batched_nms(boxes, scores, idxs, threshold),
        rival_name="torchvision",
        target=10,
    )
    benchmark.extra_info["ratio"] = row.ratio
    benchmark.pedantic(
        lambda: ops.batched_nms(boxes, scores, idxs, threshold), rounds=5, warmup_rounds=1
    )
