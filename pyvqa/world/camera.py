"""The camera of CLEVR: base position, aim, projection and the directions of a scene.

Source: clevr-dataset-gen image_generation/render_images.py and data/base_scene.blend.
Units: Blender's; right-handed, z up. Pixels: origin at the top left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 480, 320  # pixels of every released picture

BASE_POSITION = (7.481132, -6.507640, 5.343665)
FOCAL = 35.0 / 32.0  # focal length in picture widths: 35 mm lens, 32 mm sensor, horizontal fit

# The same in every released scene: the original computes them before it moves the camera.
DIRECTIONS: dict[str, tuple[float, float, float]] = {
    "right": (0.6563112735748291, 0.7544902563095093, -0.0),
    "behind": (-0.754490315914154, 0.6563112735748291, 0.0),
    "above": (0.0, 0.0, 1.0),
    "left": (-0.6563112735748291, -0.7544902563095093, 0.0),
    "below": (-0.0, -0.0, -1.0),
    "front": (0.754490315914154, -0.6563112735748291, -0.0),
}

Array = NDArray[np.float64]


def along(points: Array, direction: str) -> Array:
    """Return how far each point [..., 3] lies along a direction of the scene: [...]."""
    x, y, z = DIRECTIONS[direction]
    return np.asarray(points[..., 0] * x + points[..., 1] * y + points[..., 2] * z)


def camera_axes(position: Array) -> tuple[Array, Array, Array]:
    """Return right, up and back of cameras [..., 3] that look at the origin: each [..., 3].

    The world's z points upwards. Elementwise arithmetic only: every platform gives the same bits.
    """
    x, y, z = position[..., 0], position[..., 1], position[..., 2]
    length = np.sqrt(x * x + y * y + z * z)
    back = np.stack([x / length, y / length, z / length], -1)
    level = np.sqrt(back[..., 0] * back[..., 0] + back[..., 1] * back[..., 1])
    right = np.stack([-back[..., 1] / level, back[..., 0] / level, np.zeros_like(level)], -1)
    up = np.stack(
        [
            back[..., 1] * right[..., 2] - back[..., 2] * right[..., 1],
            back[..., 2] * right[..., 0] - back[..., 0] * right[..., 2],
            back[..., 0] * right[..., 1] - back[..., 1] * right[..., 0],
        ],
        -1,
    )
    return right, up, back


def project(points: Array, position: Array, width: int = WIDTH, height: int = HEIGHT) -> Array:
    """Project points [..., 3] through cameras at `position` [..., 3]: x and y in pixels, depth.

    x and y are not rounded. The depth, in Blender units, has the single precision of the original's
    scene files.
    """
    right, up, back = camera_axes(position)
    offset = points - position
    depth = -_dot(offset, back)
    focal = FOCAL * width
    x = width / 2 + focal * _dot(offset, right) / depth
    y = height / 2 - focal * _dot(offset, up) / depth
    return np.stack([x, y, depth.astype(np.float32).astype(np.float64)], -1)


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])
