"""Random worlds for the tests of `render`: objects on the ground and cameras around them."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from pyvqa.ops import RenderObjects

KEY, FILL, BACK = (
    (6.446710, -2.905175, 4.258398),
    (-4.671124, -4.013597, 3.011225),
    (-1.168501, 2.646024, 5.815737),
)
CAMERA = (7.481132, -6.507640, 5.343665)


def make_objects(rng: random.Random, counts: list[int]) -> RenderObjects:
    """Pictures with that many objects, anywhere, touching and overlapping as it happens."""
    geometry, kinds, colors = [], [], []
    for _ in range(sum(counts)):
        radius = rng.choice([0.7, 0.35])
        geometry.append(
            [rng.uniform(-3, 3), rng.uniform(-3, 3), radius, radius, rng.uniform(0, 360)]
        )
        geometry[-1][2] += rng.uniform(0, 0.02)  # faces of two objects in one plane are a draw
        kinds.append([rng.randrange(3), rng.randrange(2)])
        colors.append([rng.uniform(0.1, 0.9) for _ in range(3)])
    return RenderObjects(
        torch.tensor(geometry, dtype=torch.float64).reshape(-1, 5),
        torch.tensor(kinds, dtype=torch.uint8).reshape(-1, 2),
        torch.tensor(colors, dtype=torch.float32).reshape(-1, 3),
        torch.tensor([0, *counts]).cumsum(0),
    )


def make_cameras(rng: random.Random, count: int) -> Tensor:
    """Positions with the jitter of the data set."""
    rows = [[c + rng.uniform(-0.5, 0.5) for c in CAMERA] for _ in range(count)]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3)


def make_lamps(rng: random.Random, count: int) -> Tensor:
    """Key, fill and back lamp of each picture, jittered."""
    rows = [
        [[c + rng.uniform(-1, 1) for c in lamp] for lamp in (KEY, FILL, BACK)] for _ in range(count)
    ]
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 3, 3)


def one_object(shape: int, x: float = 0.0, y: float = 0.0, radius: float = 0.7) -> RenderObjects:
    """A picture of one red rubber object."""
    return RenderObjects(
        torch.tensor([[x, y, radius, radius, 0.5]], dtype=torch.float64),
        torch.tensor([[shape, 0]], dtype=torch.uint8),
        torch.tensor([[0.7, 0.1, 0.1]]),
        torch.tensor([0, 1]),
    )
