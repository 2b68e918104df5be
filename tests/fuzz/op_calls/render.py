"""Random worlds through the renderer: overlapping, behind the camera, of no size, not numbers."""

from __future__ import annotations

import random

import torch
from op_inputs import SPECIAL, explained, relaid
from torch import Tensor

from pyvqa import ops
from pyvqa.ops import RenderObjects

NAMES = ("render",)
NUMBERS = (*SPECIAL, 0.0, 0.1, 1e-7, 0.7, 5e5)


def spoiled(rng: random.Random, values: Tensor, chance: float) -> Tensor:
    """The values, a few of them replaced by special ones."""
    if values.numel() and rng.random() < chance:
        for _ in range(rng.randint(1, 3)):
            values.view(-1)[rng.randrange(values.numel())] = rng.choice(NUMBERS)
    return relaid(rng, values)


def pictures(rng: random.Random, sizes: list[int]) -> tuple[RenderObjects, Tensor]:
    """Objects near the ground, in heaps or spread out, and cameras around or inside them."""
    total, count = sum(sizes), len(sizes)
    torch.manual_seed(rng.getrandbits(30))
    geometry = torch.rand((total, 5), dtype=torch.float64) * 6 - 3
    geometry[:, 3] = torch.where(torch.rand(total) < 0.5, 0.7, 0.35)
    geometry[:, 2] = geometry[:, 3]
    geometry[:, 4] *= 100
    if rng.random() < 0.3:
        geometry[:, :3] *= rng.choice([0.0, 0.1, 4.0])
    kinds = torch.randint(0, 3 if rng.random() < 0.9 else 256, (total, 2), dtype=torch.uint8)
    kinds[:, 1] %= 2
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    if rng.random() < 0.1:
        offsets[rng.randrange(count + 1)] = rng.choice([-5, 3, 1 << 40, -(1 << 62)])
    cameras = torch.tensor([[7.5, -6.5, 5.3]], dtype=torch.float64).repeat(count, 1)
    cameras = cameras + torch.rand((count, 3), dtype=torch.float64) - 0.5
    if rng.random() < 0.2:
        cameras = cameras * rng.choice([0.0, 0.05, 0.2, -1.0, 10.0])
    colors = torch.rand((total, 3))
    if rng.random() < 0.1:
        colors = colors.double()
    objects = RenderObjects(
        spoiled(rng, geometry, 0.3), relaid(rng, kinds), spoiled(rng, colors, 0.1), offsets
    )
    return objects, spoiled(rng, cameras, 0.1)


def counts(rng: random.Random, most: int = 8) -> list[int]:
    kind = rng.random()
    if kind < 0.05:
        return [200]
    return [rng.randint(0, most) for _ in range(rng.choice([0, 1, 1, 1, 2]))]


def draw(rng: random.Random, size: tuple[int, int], sizes: list[int], samples: int) -> None:
    objects, cameras = pictures(rng, sizes)
    lamps = torch.rand((len(sizes), 3, 3), dtype=torch.float64) * 10 - 4
    seeds = torch.tensor([rng.getrandbits(64) - (1 << 63) for _ in sizes], dtype=torch.int64)
    with explained(*NAMES):
        drawn = ops.render(
            objects,
            cameras,
            spoiled(rng, lamps, 0.2),
            size=size,
            samples=samples,
            seeds=seeds if rng.random() < 0.95 else seeds[1:],
            grain=rng.choice([0.0, 1.0, 300.0 if rng.random() < 0.1 else 2.0]),
        )
        most = max([0, *sizes]) if objects.offsets[-1] == sum(sizes) else 1 << 15
        assert drawn.ids.numel() == 0 or int(drawn.ids.max()) < max(most, 1024)
        assert not torch.isnan(drawn.depth).any()


def call_render(rng: random.Random) -> None:
    draw(rng, (16, 24), counts(rng), rng.choice([1, 1, 1, 4]))


def call_tiny(rng: random.Random) -> None:
    size = (rng.choice([0, 1, 1, 2, 3, 17]), rng.choice([1, 1, 2, 5, 16, 33]))
    draw(rng, size, counts(rng, 4), rng.choice([0, 1, 2, 16, 64]))


def call_large(rng: random.Random) -> None:
    draw(rng, (320, 480), [rng.randint(0, 30)], 1)


def call_ids(rng: random.Random) -> None:
    objects, cameras = pictures(rng, counts(rng))
    with explained(*NAMES):
        ops.object_ids(objects, cameras, size=(rng.choice([1, 16, 24]), rng.choice([1, 15, 24])))


def call_boxes(rng: random.Random) -> None:
    objects, cameras = pictures(rng, counts(rng))
    with explained(*NAMES):
        boxes = ops.projected_boxes(objects, cameras, size=(20, 30))
        limits = torch.tensor([30, 20, 30, 20])
        assert bool((boxes >= 0).all())
        assert bool((boxes <= limits).all())


CALLS = {
    "render": call_render,
    "tiny": call_tiny,
    "large": call_large,
    "ids": call_ids,
    "boxes": call_boxes,
}
# Every picture draws its map of light, whatever its size.
EVERY = {"render": 50, "tiny": 50, "large": 2000, "ids": 5, "boxes": 5}
