"""Object ids and boxes of genuine scenes, from fitted or recorded cameras, against their masks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.world import camera
from pyvqa.world.from_files import SceneFile, fit_views, read_scene_file, read_views, stage_file
from pyvqa.world.staging import Staging

HEIGHT, WIDTH = 320, 480
Array = np.ndarray[Any, Any]


def folders() -> list[Path]:
    folder = os.environ.get("PYVQA_REAL")
    found = Path(folder).glob("*/scenes/clevr_ref+_*_scenes.json") if folder else ()
    return sorted(path.parents[1] for path in found)


def staged(folder: Path) -> tuple[SceneFile, Staging, list[dict[str, Any]]]:
    (path,) = (folder / "scenes").glob("clevr_ref+_*_scenes.json")
    scenes = read_scene_file(path)
    info = folder / "render_info.json"
    views = read_views(info, scenes) if info.is_file() else fit_views(scenes, WIDTH, HEIGHT)
    return scenes, stage_file(scenes, views), scenes.records


def id_image(scene: dict[str, Any]) -> Array:
    ids = np.full((HEIGHT, WIDTH), -1, dtype=np.int16)
    for key, runs in scene["obj_mask"].items():
        ids[_native.rle_decode_rows(runs, HEIGHT, WIDTH) > 0] = int(key) - 1
    return ids


needs_real = pytest.mark.skipif(
    not folders(), reason="PYVQA_REAL is not set to a folder with genuine data"
)


@needs_real
@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.name)
def test_every_pixel_shows_the_right_object(folder: Path) -> None:
    _, stage, records = staged(folder)
    found = stage.ids((HEIGHT, WIDTH)).numpy()
    wrong, overlaps = 0, []
    for scene, ids in zip(records, found, strict=True):
        genuine = id_image(scene)
        wrong += int((genuine != ids).sum())
        for number in range(len(scene["objects"])):
            a, b = genuine == number, ids == number
            overlaps.append((a & b).sum() / (a | b).sum())
    iou = np.array(overlaps)
    assert 1 - wrong / found.size >= 0.999
    assert iou.mean() >= 0.998
    assert (iou >= 0.99).mean() >= 0.99
    assert iou.min() >= 0.97


@needs_real
@pytest.mark.parametrize("folder", folders(), ids=lambda path: path.name)
def test_whole_boxes_and_pixel_coords(folder: Path) -> None:
    scenes, stage, records = staged(folder)
    boxes = stage.whole_boxes((HEIGHT, WIDTH))
    genuine = [scene["obj_bbox"][key] for scene in records for key in scene["obj_bbox"]]
    assert np.abs(boxes - np.array(genuine)).max() <= 1
    cameras = np.repeat(stage.cameras.numpy(), scenes.counts, axis=0)
    pixels = camera.project(scenes.coordinates, cameras)
    assert scenes.pixel is not None
    # recorded cameras are rounded to a millionth
    assert np.abs(pixels[:, :2] - scenes.pixel[:, :2]).max() < 0.501
    assert np.abs(pixels[:, 2] - scenes.pixel[:, 2]).max() < 1e-5
