"""CLEVR-mini folders: pictures whose objects come with attributes, positions and masks.

The layout of the 4,000 pictures that NS-VQA's networks were trained on, of `pyvqa synth
clevr-mini` and of `pyvqa render`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyvqa.errors import DataError
from pyvqa.files import read_json
from pyvqa.ops import PackedMasks, pack_rles


@dataclass(frozen=True)
class AnnotatedPicture:
    """One picture of a folder and what it shows."""

    path: Path
    image_index: int
    objects: list[dict[str, Any]]  # N: color, material, shape, size, position
    masks: PackedMasks  # N of the picture's size


def read_annotations(root: str | Path, name: str) -> list[AnnotatedPicture]:
    """Read the annotation file `name` of a folder whose pictures lie in images/ or images/SPLIT/.

    Raises:
        DataError: the file is missing or malformed; the first picture that is is named.
    """
    file = Path(root) / name
    if not file.is_file():
        raise DataError(
            f"{file}: there is no such file; put CLEVR-mini's images and annotations into {root}, "
            f"or make pictures of the built-in world: pyvqa synth clevr-mini --out {root}"
        )
    scenes = read_json(file, keys=("scenes",))["scenes"]
    if not isinstance(scenes, list):
        raise DataError(f"{file}: 'scenes' must be a list; is this an annotation file?")
    return [_picture(Path(root), scene, f"{file}: scenes[{k}]") for k, scene in enumerate(scenes)]


def _picture(root: Path, scene: Any, where: str) -> AnnotatedPicture:
    try:
        path = root / "images" / scene["image_filename"]
        if not path.is_file() and "split" in scene:
            path = path.parent / scene["split"] / path.name
        objects = [described(known, scene) for known in scene["objects"]]
        masks = pack_rles([known["mask"] for known in scene["objects"]])
        return AnnotatedPicture(path, int(scene["image_index"]), objects, masks)
    except KeyError as error:
        raise DataError(f"{where}: has no {error}; objects with masks are needed") from error
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{where}: cannot be read: {error}") from error


def described(known: Mapping[str, Any], scene: Mapping[str, Any]) -> dict[str, Any]:
    """Give an object's attributes, and its position along the scene's right, front and up."""
    names = ("color", "material", "shape", "size")
    return {name: known[name] for name in names} | {"position": position(known, scene)}


def position(known: Mapping[str, Any], scene: Mapping[str, Any]) -> list[float]:
    """Give an object's coordinates along the scene's right, front and up; a stored one as it is."""
    if "3d_coords" not in known:
        return [float(value) for value in known["position"]]
    place, directions = known["3d_coords"], scene["directions"]
    return [_dot(place, directions["right"]), _dot(place, directions["front"]), float(place[2])]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return float(a[0] * b[0] + a[1] * b[1] + a[2] * b[2])
