"""Scenes of files put on stage: any official scene file, with the cameras that it was seen by."""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.errors import DataError
from pyvqa.files import read_json
from pyvqa.programs.clevr import ATTRIBUTES, VALUES
from pyvqa.world import camera
from pyvqa.world.staging import RADIUS, Staging, stage_objects

Record = Mapping[str, Any]
Array = NDArray[np.float64]

LAMP_NAMES = ("Key", "Fill", "Back")  # in render_info.json, in the order of `camera.LAMPS`
_CODES = {name: code for code, name in enumerate(_native.KNOWN_STRINGS)}
_NEAR = 0.1  # what is nearer than this, the original's cameras do not see
_REACH = 1.6  # radii from the centre to the farthest corner of a cube
_FIT_PIXELS, _FIT_DEPTH = 1.0, 1e-3  # errors above mean that the coordinates fit no camera


@dataclass(frozen=True)
class SceneFile:
    """S scenes as their file has them, checked as far as pictures need it."""

    path: Path
    info: dict[str, Any]
    records: list[dict[str, Any]]
    names: list[str]  # of the pictures
    counts: NDArray[np.int32]  # [S]
    codes: NDArray[np.uint16]  # [O, 4]
    coordinates: Array  # [O, 3]
    rotation: Array  # [O]
    pixel: Array | None  # [O, 3], None where an object has none

    def __len__(self) -> int:
        return len(self.records)

    def place(self, scene: int, number: int | None = None) -> str:
        """Say where something is wrong."""
        where = f"{self.path}: scene {scene} ({self.names[scene]})"
        return where if number is None else f"{where}: object {number}"


@dataclass(frozen=True)
class Views:
    """Where cameras and lamps stood: [S, 3] and [S, 3, 3] (key, fill, back)."""

    cameras: Array
    lamps: Array


def read_scene_file(path: str | Path) -> SceneFile:
    """Read a scene file (.json or .json.gz) for its pictures.

    Raises DataError that names file, scene and object of what is missing or makes no sense.
    """
    path = Path(path)
    content = read_json(path, keys=("scenes",))
    records = content["scenes"]
    if not isinstance(records, list):
        raise DataError(f"{path}: 'scenes' must be a list; is this a scene file?")
    names: list[str] = []
    objects: list[_Object] = []
    counts = []
    for scene, record in enumerate(records):
        where = f"{path}: scene {scene}"
        names.append(_picture_name(record, where))
        found = _objects(record, f"{where} ({names[-1]})")
        counts.append(len(found))
        objects += found
    _check_names(path, names)
    info = content.get("info", {})
    has_pixel = all(item.pixel is not None for item in objects)
    return SceneFile(
        path=path,
        info=info if isinstance(info, dict) else {},
        records=records,
        names=names,
        counts=np.array(counts, dtype=np.int32),
        codes=np.array([o.codes for o in objects], dtype=np.uint16).reshape(-1, 4),
        coordinates=_vectors([o.coordinates for o in objects]),
        rotation=np.array([o.rotation for o in objects], dtype=np.float64),
        pixel=_vectors([o.pixel for o in objects if o.pixel]) if has_pixel else None,
    )


def read_views(path: str | Path, scenes: SceneFile) -> Views:
    """Read the cameras of scenes, and lamps where they are given.

    `cameras.json`: file name -> [x, y, z]; `render_info.json`: a list `images` with
    `image_filename`, `camera` and perhaps `lamps`.

    Raises DataError for a picture that is not listed or a position that is none.
    """
    content = read_json(path, expect=dict)
    listed: dict[str, Any] = content
    if "images" in content:
        images = content["images"]
        if not isinstance(images, list) or not all(isinstance(i, dict) for i in images):
            raise DataError(f"{path}: 'images' must be a list of dictionaries")
        listed = {str(image.get("image_filename")): image for image in images}
    cameras, lamps = [], []
    for name in scenes.names:
        if name not in listed:
            raise DataError(f"{path}: has no camera for {name}; leave --cameras out to fit them")
        entry = listed[name]
        where = f"{path}: {name}"
        if isinstance(entry, dict):
            cameras.append(_numbers(entry.get("camera"), 3, f"{where}: camera"))
            lamps.append(_lamps(entry.get("lamps"), where))
        else:
            cameras.append(_numbers(entry, 3, f"{where}: camera"))
            lamps.append([list(lamp) for lamp in camera.LAMPS])
    return Views(_vectors(cameras), np.array(lamps, dtype=np.float64).reshape(-1, 3, 3))


def fit_views(scenes: SceneFile, width: int, height: int) -> Views:
    """Find the cameras from where the objects stand in the picture; lamps are where they were made.

    Raises DataError where `pixel_coords` are missing or fit no camera.
    """
    if scenes.pixel is None:
        raise DataError(
            f"{scenes.path}: an object has no 'pixel_coords' to find the camera by; give --cameras"
        )
    present = np.arange(int(scenes.counts.max(initial=0))) < scenes.counts[:, None]
    points, pixels = np.zeros((2, *present.shape, 3))
    points[present], pixels[present] = scenes.coordinates, scenes.pixel
    cameras, errors = camera.fit_camera(points, pixels, present, width, height)
    good = (errors <= (_FIT_PIXELS, _FIT_DEPTH)).all(1) & np.isfinite(cameras).all(1)
    if not good.all():
        scene = int(np.argmin(good))
        raise DataError(
            f"{scenes.place(scene)}: its pixel_coords fit no camera at {width}x{height}; give the "
            "--size that they are for, or --cameras"
        )
    return Views(cameras, np.tile(np.asarray(camera.LAMPS), (len(scenes), 1, 1)))


def stage_file(scenes: SceneFile, views: Views) -> Staging:
    """Put the scenes of a file on stage.

    Raises DataError for a camera that knows no upright picture, and where an object reaches behind
    its camera.
    """
    with np.errstate(all="ignore"):
        upright = np.isfinite(np.stack(camera.camera_axes(views.cameras))).all((0, 2))
    if not upright.all():
        where = scenes.place(int(np.argmin(upright)))
        raise DataError(f"{where}: the camera stands in the origin or right above or below it")
    scene = np.repeat(np.arange(len(scenes)), scenes.counts)
    with np.errstate(all="ignore"):
        depth = camera.project(scenes.coordinates, views.cameras[scene])[:, 2]
    reach = np.array([_REACH * RADIUS[_native.KNOWN_STRINGS[c]] for c in scenes.codes[:, 3]])
    seen = depth - reach > _NEAR
    if not seen.all():
        o = int(np.argmin(seen))
        number = o - int(scenes.counts[: scene[o]].sum())
        raise DataError(f"{scenes.place(int(scene[o]), number)} reaches behind the camera")
    # Of names, not positions: a scene keeps its picture when others are left out.
    seeds = np.array([zlib.crc32(name.encode()) for name in scenes.names], dtype=np.int64)
    return Staging(
        stage_objects(scenes.codes, scenes.coordinates, scenes.rotation, scenes.counts),
        torch.from_numpy(views.cameras),
        torch.from_numpy(views.lamps),
        torch.from_numpy(seeds),
    )


@dataclass(frozen=True)
class _Object:
    codes: list[int]
    coordinates: list[float]
    rotation: float
    pixel: list[float] | None


def _picture_name(record: Any, where: str) -> str:
    if not isinstance(record, dict) or not isinstance(record.get("objects"), list):
        raise DataError(f"{where}: must be a dictionary with a list 'objects'")
    name = record.get("image_filename")
    if not isinstance(name, str) or not name.endswith(".png"):
        raise DataError(f"{where}: 'image_filename' must be the name of a .png file, not {name!r}")
    if any(c in name for c in "/\\\0") or name.startswith(".") or len(name.encode()) > 200:
        raise DataError(f"{where}: {name!r} is no plain file name")
    return name


def _check_names(path: Path, names: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for scene, name in enumerate(names):
        if first.setdefault(name, scene) != scene:
            raise DataError(f"{path}: scenes {first[name]} and {scene} are both called {name}")


def _objects(record: Record, where: str) -> list[_Object]:
    found = []
    for number, item in enumerate(record["objects"]):
        place = f"{where}: object {number}"
        if not isinstance(item, dict):
            raise DataError(f"{place}: must be a dictionary")
        for name in ATTRIBUTES:
            if item.get(name) not in VALUES[name]:
                known = ", ".join(VALUES[name])
                raise DataError(f"{place}: {name} {item.get(name)!r} is none of {known}")
        (rotation,) = _numbers([item.get("rotation")], 1, f"{place}: rotation")
        given = item.get("pixel_coords")
        found.append(
            _Object(
                [_CODES[item[name]] for name in ATTRIBUTES],
                _numbers(item.get("3d_coords"), 3, f"{place}: 3d_coords"),
                rotation,
                None if given is None else _numbers(given, 3, f"{place}: pixel_coords"),
            )
        )
    return found


def _lamps(lamps: Any, where: str) -> list[list[float]]:
    if lamps is None:
        return [list(lamp) for lamp in camera.LAMPS]
    if not isinstance(lamps, dict) or not set(LAMP_NAMES) <= set(lamps):
        raise DataError(f"{where}: 'lamps' must hold {', '.join(LAMP_NAMES)}")
    return [_numbers(lamps[name], 3, f"{where}: lamp {name}") for name in LAMP_NAMES]


def _numbers(value: Any, count: int, where: str) -> list[float]:
    if not isinstance(value, list) or len(value) != count or not all(map(_is_number, value)):
        wanted = "a finite number" if count == 1 else f"{count} finite numbers"
        raise DataError(f"{where} must be {wanted}")
    return [float(v) for v in value]


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max and not math.isnan(value)


def _vectors(rows: list[list[float]]) -> Array:
    return np.array(rows, dtype=np.float64).reshape(-1, 3)
