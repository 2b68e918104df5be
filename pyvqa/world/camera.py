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

# Positions of the three area lamps: key, fill, back.
LAMPS = (
    (6.446710, -2.905175, 4.258398),
    (-4.671124, -4.013597, 3.011225),
    (-1.168501, 2.646024, 5.815737),
)

# The same in every released scene: the original computes them before it moves the camera.
DIRECTIONS: dict[str, tuple[float, float, float]] = {
    "right": (0.6563112735748291, 0.7544902563095093, -0.0),
    "behind": (-0.754490315914154, 0.6563112735748291, 0.0),
    "above": (0.0, 0.0, 1.0),
    "left": (-0.6563112735748291, -0.7544902563095093, 0.0),
    "below": (-0.0, -0.0, -1.0),
    "front": (0.754490315914154, -0.6563112735748291, -0.0),
}

# How exactly a scene file knows x, y (rounded to whole pixels) and the depth.
_RESIDUAL_SCALES = np.array([0.3, 0.3, 1e-5])
_ROUNDS = 12  # of Gauss-Newton; genuine scenes need five
_STEP = 1e-4  # of the slopes, in Blender units
_DAMPING = 1e-9  # keeps scenes without objects at the base position

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
    found = _project(points, position, width, height)
    found[..., 2] = found[..., 2].astype(np.float32)
    return found


def _project(points: Array, position: Array, width: int, height: int) -> Array:
    right, up, back = camera_axes(position)
    offset = points - position
    depth = -_dot(offset, back)
    focal = FOCAL * width
    x = width / 2 + focal * _dot(offset, right) / depth
    y = height / 2 - focal * _dot(offset, up) / depth
    return np.stack([x, y, depth], -1)


def fit_camera(
    points: Array,
    pixels: Array,
    present: NDArray[np.bool_],
    width: int = WIDTH,
    height: int = HEIGHT,
) -> tuple[Array, Array]:
    """Find the cameras that see objects where their `pixel_coords` say, by least squares.

    `points` and `pixels` [S, N, 3] of S scenes with up to N objects, those that `present` [S, N]
    marks. Returns positions [S, 3] and the largest errors that are left [S, 2]: in pixels (half a
    pixel is rounding) and in depth. A scene without objects gets the base position.
    """
    scale = np.where(present, 1.0, 0.0)[..., None] / _RESIDUAL_SCALES
    position = np.broadcast_to(np.asarray(BASE_POSITION), (len(points), 3)).copy()

    def residual(at: Array) -> Array:
        found = _project(points, at[:, None], width, height)
        return np.asarray(
            ((found - pixels) * scale).reshape(len(at), scale.size // max(1, len(scale)))
        )

    with np.errstate(all="ignore"):  # scenes that fit no camera end in NaN, which the caller sees
        for _ in range(_ROUNDS):
            slopes = [
                (residual(position + step) - residual(position - step)) / (2 * _STEP)
                for step in _STEP * np.eye(3)
            ]
            jacobian = np.stack(slopes, -1)  # [S, 3 * N, 3]
            normal = jacobian.transpose(0, 2, 1) @ jacobian + _DAMPING * np.eye(3)
            gradient = jacobian.transpose(0, 2, 1) @ residual(position)[..., None]
            usable = np.isfinite(normal).all((1, 2)) & np.isfinite(gradient).all((1, 2))
            position[~usable] = np.nan
            change = np.linalg.solve(normal[usable], gradient[usable])[..., 0]
            position[usable] -= change
        error = np.abs(_project(points, position[:, None], width, height) - pixels)
    error = np.where(present[..., None], error, 0.0).max(1, initial=0.0)
    return position, np.stack([error[:, :2].max(-1), error[:, 2]], -1)


def _dot(a: Array, b: Array) -> Array:
    return np.asarray(a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2])
