"""Pictures, object ids and boxes of worlds of solids that look like CLEVR's (csrc/render)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)

CUBE, CYLINDER, SPHERE = 0, 1, 2
RUBBER, METAL = 0, 1
TRAINING_QUALITY = 16  # samples
GRAIN = 0.7  # grey levels, as in the released pictures


@dataclass(frozen=True)
class RenderObjects:
    """O objects of B pictures, one picture after the other."""

    geometry: Tensor  # float64 [O, 5]: centre x, y, z; radius; rotation about z in radians
    kinds: Tensor  # uint8 [O, 2]: shape (CUBE, CYLINDER, SPHERE), material (RUBBER, METAL)
    colors: Tensor  # float32 [O, 3]: linear RGB
    offsets: Tensor  # int64 [B + 1]: picture b has the objects from offsets[b] to offsets[b + 1]

    def to(self, device: torch.device | str) -> RenderObjects:
        """Return the objects on `device`."""
        return RenderObjects(
            self.geometry.to(device),
            self.kinds.to(device),
            self.colors.to(device),
            self.offsets.to(device),
        )


class Rendering(NamedTuple):
    """B pictures and what their pixels' centres show."""

    picture: Tensor  # uint8 [B, H, W, 3], sRGB
    ids: Tensor  # int16 [B, H, W]: object within its picture, -1 where none
    depth: Tensor  # float32 [B, H, W]: along the view, Blender units; inf where nothing is
    normals: Tensor  # float32 [B, H, W, 3]: outward, world axes; 0 where nothing is


def render(
    objects: RenderObjects,
    cameras: Tensor,
    lamps: Tensor,
    *,
    size: tuple[int, int] = (320, 480),
    samples: int = TRAINING_QUALITY,
    seeds: Tensor | None = None,
    grain: float = GRAIN,
) -> Rendering:
    """Draw B pictures of objects on CLEVR's sweep under its three lamps and its sun.

    cameras: float64 [B, 3], positions that look at the origin; lamps: float64 [B, 3, 3], positions
    of the key, fill and back lamp. `samples` rays go through a pixel where objects or faces meet,
    a quarter of that on metal, a sixteenth elsewhere. 1024 is the reference, the truth that fewer
    are held to: a draft (1) is within 2.5 grey levels of it on average and what is good for
    training (16) within 0.8; two references differ by 0.3 at most. `seeds` int64 [B] choose the
    noise (default 0). `grain` is the standard deviation of what is added on top, in grey levels, to
    ground of level 105; brighter ground has less of it, rubber more the brighter it is, metal none.
    Objects, size and ids are those of `object_ids`, which knows no ground: where the ground hides
    the foot of an object, depth and normals are the ground's.

    A picture depends on its own objects, camera, lamps and seed alone: not on the others of the
    call, the threads, the instruction set or the device.

    Raises RuntimeError when shapes, types, devices or a setting do not fit.
    """
    if seeds is None:
        seeds = torch.zeros(len(cameras), dtype=torch.int64, device=cameras.device)
    drawn = torch.ops.pyvqa.render(
        objects.geometry,
        objects.kinds,
        objects.colors,
        objects.offsets,
        cameras,
        lamps.flatten(1) if lamps.dim() > 1 else lamps,
        seeds,
        *size,
        samples,
        grain,
    )
    return Rendering(*drawn)


def object_ids(
    objects: RenderObjects, cameras: Tensor, *, size: tuple[int, int] = (320, 480)
) -> Tensor:
    """Return which object each pixel's centre shows: int16 [B, H, W], -1 where none.

    cameras: float64 [B, 3], positions; every camera looks at the origin with z up. Ids count
    within a picture. Objects that are not finite or have no size are nowhere; what is closer to
    the camera than 0.1, or around it, is not seen. A picture shows its first 1,024 objects.
    The same bits on every instruction set and device.

    Raises RuntimeError when shapes, types, devices or the size do not fit.
    """
    ids: Tensor = torch.ops.pyvqa.render_ids(
        objects.geometry, objects.kinds, objects.offsets, cameras, *size
    )
    return ids


def projected_boxes(
    objects: RenderObjects, cameras: Tensor, *, size: tuple[int, int] = (320, 480)
) -> Tensor:
    """Return the box of each whole object, parts behind others included: int64 [O, 4] x, y, w, h.

    The box holds the pixels whose centres lie within the outline, clipped to the picture; zeros
    for an object outside the frame, not wholly before the camera, or not there (`object_ids`).

    Raises RuntimeError when shapes, types, devices or the size do not fit.
    """
    boxes: Tensor = torch.ops.pyvqa.render_boxes(
        objects.geometry, objects.kinds, objects.offsets, cameras, *size
    )
    return boxes


def _outside(shape: int, points: Tensor) -> Tensor:
    """How far points [..., 3] are outside a solid of radius 1: convex, 0 on the surface."""
    if shape == SPHERE:
        return points.square().sum(-1) - 0.9992**2
    if shape == CUBE:
        return (points.abs() - 0.75).clamp_min(0).pow(3).sum(-1) - 0.25**3
    beyond = torch.stack([points[..., :2].norm(dim=-1), points[..., 2].abs()], dim=-1)
    return (beyond - 0.926).clamp_min(0).pow(3).sum(-1) - 0.074**3


def _first_crossing(shape: int, start: Tensor, along: Tensor) -> Tensor:
    """Where rays meet a solid of radius 1: inf for those that miss."""
    low = -(along @ start) - 3
    high = low + 6
    for _ in range(120):  # the lowest point of a convex function lies between two of three thirds
        first, second = low + (high - low) / 3, high - (high - low) / 3
        falls = _outside(shape, start + first[..., None] * along) > _outside(
            shape, start + second[..., None] * along
        )
        low, high = torch.where(falls, first, low), torch.where(falls, high, second)
    inside = low
    hit = _outside(shape, start + inside[..., None] * along) <= 0
    low = inside - 6
    for _ in range(60):
        middle = (low + inside) / 2
        there = _outside(shape, start + middle[..., None] * along) <= 0
        low, inside = torch.where(there, low, middle), torch.where(there, middle, inside)
    return torch.where(hit, inside, torch.inf)


def object_ids_reference(
    objects: RenderObjects, cameras: Tensor, *, size: tuple[int, int] = (320, 480)
) -> Tensor:
    """The same in plain torch and double precision, by searching along each ray."""
    height, width = size
    rows = torch.arange(height, dtype=torch.float64) + 0.5
    columns = torch.arange(width, dtype=torch.float64) + 0.5
    ids = torch.full((len(cameras), height, width), -1, dtype=torch.int16)
    for b, eye in enumerate(cameras):
        back = eye / eye.norm()
        right = torch.nn.functional.normalize(
            torch.stack([-back[1], back[0], torch.zeros_like(back[0])]), dim=0
        )
        up = torch.linalg.cross(back, right)
        x = (columns - width / 2) / (35 / 32 * width)
        y = (height / 2 - rows) / (35 / 32 * width)
        rays = x[None, :, None] * right + y[:, None, None] * up - back
        depth = 1 / rays.norm(dim=-1)
        rays = rays * depth[..., None]
        nearest = torch.full((height, width), torch.inf, dtype=torch.float64)
        first = int(objects.offsets[b])
        for k in range(first, int(objects.offsets[b + 1])):
            row = objects.geometry[k]
            centre, radius, angle = row[:3], row[3:4], row[4:]
            c, s, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
            turn = torch.cat([c, s, zero, -s, c, zero, zero, zero, zero + 1]).view(3, 3)
            start, along = turn @ ((eye - centre) / radius), rays @ turn.T
            distance = radius * _first_crossing(int(objects.kinds[k, 0]), start, along)
            seen = (distance * depth > 0.1) & (distance < nearest)
            nearest = torch.where(seen, distance, nearest)
            ids[b][seen] = k - first
    return ids


def _fake_render(
    geometry: Tensor,
    kinds: Tensor,
    colors: Tensor,
    offsets: Tensor,
    cameras: Tensor,
    lamps: Tensor,
    seeds: Tensor,
    height: int,
    width: int,
    samples: int,
    grain: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shape = (cameras.shape[0], height, width)
    return (
        geometry.new_empty((*shape, 3), dtype=torch.uint8),
        geometry.new_empty(shape, dtype=torch.int16),
        geometry.new_empty(shape, dtype=torch.float32),
        geometry.new_empty((*shape, 3), dtype=torch.float32),
    )


def _fake_ids(
    geometry: Tensor, kinds: Tensor, offsets: Tensor, cameras: Tensor, height: int, width: int
) -> Tensor:
    return geometry.new_empty((cameras.shape[0], height, width), dtype=torch.int16)


def _fake_boxes(
    geometry: Tensor, kinds: Tensor, offsets: Tensor, cameras: Tensor, height: int, width: int
) -> Tensor:
    return geometry.new_empty((geometry.shape[0], 4), dtype=torch.int64)


torch.library.register_fake("pyvqa::render", _fake_render)
torch.library.register_fake("pyvqa::render_ids", _fake_ids)
torch.library.register_fake("pyvqa::render_boxes", _fake_boxes)
