"""Cameras found from where objects stand in a picture."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from pyvqa.world import camera
from pyvqa.world.scenes import SceneSettings, WorldScenes, sample_scenes

from .engine import real_folder

Fit = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def fit(scenes: list[dict[str, Any]], width: int = 480, height: int = 320) -> Fit:
    most = max(len(scene["objects"]) for scene in scenes)
    points, pixels = np.zeros((2, len(scenes), most, 3))
    present = np.zeros((len(scenes), most), dtype=bool)
    for row, scene in enumerate(scenes):
        for o, item in enumerate(scene["objects"]):
            points[row, o], pixels[row, o] = item["3d_coords"], item["pixel_coords"]
            present[row, o] = True
    return camera.fit_camera(points, pixels, present, width, height)


def test_all_genuine_scenes_fit() -> None:
    files = sorted((real_folder() / "clevr_original" / "scenes").glob("CLEVR_*.json"))
    scenes = [scene for file in files for scene in json.loads(file.read_text())["scenes"]]
    assert len(scenes) >= 100
    found, errors = fit(scenes)
    assert errors[:, 0].max() < 0.51
    assert errors[:, 1].max() < 1e-5
    assert np.abs(found - np.asarray(camera.BASE_POSITION)).max() <= 0.5
    known = json.loads((real_folder() / "clevr_original" / "cameras.json").read_text())
    pairs = [
        (position, known[scene["image_filename"]])
        for position, scene in zip(found, scenes, strict=True)
        if scene["image_filename"] in known and scene["split"] == "train"
    ]
    assert len(pairs) == len(known)
    assert max(np.abs(a - np.asarray(b)).max() for a, b in pairs) < 2e-6


@pytest.mark.parametrize("size", [(480, 320), (320, 240), (96, 64)])
def test_our_own_cameras_are_found_again(size: tuple[int, int]) -> None:
    world = sample_scenes(5, 0, 200, SceneSettings(width=size[0], height=size[1]))
    found, errors = fit(world.records("val"), *size)
    assert errors[:, 1].max() < 1e-5
    # whole pixels leave the camera of three distant objects some freedom across the view
    assert np.abs(found - world.camera).max() < 0.01


def test_a_scene_without_objects_gets_the_base_position() -> None:
    nothing = np.zeros((2, 4, 3))
    found, errors = camera.fit_camera(nothing, nothing, np.zeros((2, 4), dtype=bool))
    assert found.tolist() == [list(camera.BASE_POSITION)] * 2
    assert errors.tolist() == [[0, 0]] * 2
    assert len(camera.fit_camera(nothing[:0], nothing[:0], np.zeros((0, 4), dtype=bool))[0]) == 0


@pytest.mark.parametrize("shift", [40.0, 1e6, 1e300, np.nan])
def test_coordinates_that_fit_no_camera_leave_an_error(shift: float) -> None:
    world: WorldScenes = sample_scenes(5, 0, 3)
    records = world.records("val")
    records[1]["objects"][0]["pixel_coords"][0] += shift
    found, errors = fit(records)
    assert not errors[1, 0] < 5
    assert errors[[0, 2], 0].max() < 0.51
    assert np.isfinite(found[[0, 2]]).all()
