"""The renderer against the clock: no other program draws these pictures, so the targets are rates.

    pytest benchmarks/ops/bench_render.py -s

One thread, processor time of the fastest run, 16 random scenes of 3 to 10 objects at 480 x 320.
Equality first: the ids of a picture are those of `object_ids`, and more samples give nearly the
same picture. The rival of `object_ids` is its reference, a search along each ray in torch.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
import timing
import torch
from torch import Tensor

from pyvqa import ops
from pyvqa.ops import RenderObjects

PICTURES = 16
CAMERA = (7.481132, -6.507640, 5.343665)
LAMPS = ((6.44671, -2.905175, 4.258398), (-4.671124, -4.013597, 3.011225), (-1.1685, 2.646, 5.8157))


def placed(rng: random.Random, count: int) -> list[list[float]]:
    """Objects on the ground with room between them."""
    rows: list[list[float]] = []
    while len(rows) < count:
        x, y, radius = rng.uniform(-3, 3), rng.uniform(-3, 3), rng.choice([0.7, 0.35])
        apart = [((x - r[0]) ** 2 + (y - r[1]) ** 2) ** 0.5 - radius - r[3] for r in rows]
        if min(apart, default=1.0) >= 0.25:
            rows.append([x, y, radius, radius, rng.uniform(0, 360)])
    return rows


@pytest.fixture(scope="module")
def world() -> tuple[RenderObjects, Tensor, Tensor]:
    rng = random.Random(0)
    counts = [rng.randint(3, 8) for _ in range(PICTURES)]
    geometry = [row for count in counts for row in placed(rng, count)]
    total = len(geometry)
    generator = torch.Generator().manual_seed(0)
    objects = RenderObjects(
        torch.tensor(geometry, dtype=torch.float64),
        torch.stack(
            [torch.randint(0, top, (total,), generator=generator) for top in (3, 2)], dim=1
        ).to(torch.uint8),
        torch.rand((total, 3), generator=generator),
        torch.tensor([0, *counts]).cumsum(0),
    )
    cameras = torch.tensor([CAMERA], dtype=torch.float64).repeat(PICTURES, 1)
    cameras += torch.rand((PICTURES, 3), generator=generator, dtype=torch.float64) - 0.5
    return objects, cameras, torch.tensor([LAMPS], dtype=torch.float64).repeat(PICTURES, 1, 1)


def rate(run: Callable[[], object], seconds: float = 6.0) -> float:
    """Pictures a second of the fastest run."""
    run()
    best, end = float("inf"), time.monotonic() + seconds
    while time.monotonic() < end:
        best = min(best, timing.seconds(run))
    return PICTURES / best


def test_pictures(world: tuple[RenderObjects, Tensor, Tensor], benchmark: Any) -> None:
    torch.set_num_threads(1)
    objects, cameras, lamps = world

    def draw(samples: int = ops.TRAINING_QUALITY) -> ops.Rendering:
        return ops.render(objects, cameras, lamps, samples=samples)

    drawn = draw()
    assert torch.equal(drawn.ids, ops.object_ids(objects, cameras))
    better = draw(64).picture.int()
    assert float((drawn.picture.int() - better).abs().float().mean()) < 1.5
    found = {samples: rate(lambda samples=samples: draw(samples)) for samples in (1, 16, 64)}
    for samples, pictures in found.items():
        print(f"\nrender, {samples} samples: {pictures:.1f} pictures/s ({ops.isa()})", end="")
    benchmark.pedantic(draw, rounds=1)
    assert found[16] >= timing.SLACK * 12


def test_ids(world: tuple[RenderObjects, Tensor, Tensor], benchmark: Any) -> None:
    torch.set_num_threads(1)
    objects, cameras, _ = world
    found = rate(lambda: ops.object_ids(objects, cameras), 2.0)
    print(f"\nobject_ids: {found:.0f} pictures/s ({ops.isa()})", end="")
    boxes = rate(lambda: ops.projected_boxes(objects, cameras), 1.0)
    print(f"\nprojected_boxes: {boxes:.0f} pictures/s", end="")
    benchmark.pedantic(lambda: ops.object_ids(objects, cameras), rounds=3)
    assert found >= timing.SLACK * 200


def test_ids_against_a_search_along_rays(world: tuple[RenderObjects, Tensor, Tensor]) -> None:
    objects, cameras, _ = world
    size = (80, 120)
    ours = ops.object_ids(objects, cameras, size=size)
    theirs = ops.object_ids_reference(objects, cameras, size=size)
    assert float((ours != theirs).float().mean()) < 1e-4
    timing.compare(
        "object_ids",
        f"{PICTURES} pictures of 120 x 80",
        ours=lambda: ops.object_ids(objects, cameras, size=size),
        rival=lambda: ops.object_ids_reference(objects, cameras, size=size),
        rival_name="search in torch",
        target=100,
    )
