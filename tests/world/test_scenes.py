"""Random scenes: the placement rules, the records, determinism, and genuine scenes' conventions."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from pyvqa.errors import ConfigError
from pyvqa.world import camera
from pyvqa.world.scenes import SceneSettings, WorldScenes, relations, sample_scenes

from .engine import real_folder

COUNT = 500
COLD = {"gray", "blue", "brown", "yellow"}
WARM = {"red", "green", "purple", "cyan"}
KNOWN_COUNTS = [7, 7, 5]
KNOWN_COORDINATES = [-0.9446324706077576, 1.2589497566223145, 0.699999988079071]
KNOWN_PIXEL = [255.0, 100.0, 11.739648818969727]


@pytest.fixture(scope="module")
def scenes() -> WorldScenes:
    return sample_scenes(11, 0, COUNT)


@pytest.fixture(scope="module")
def records(scenes: WorldScenes) -> list[dict[str, Any]]:
    return scenes.records("val")


def radius(item: dict[str, Any]) -> float:
    return 0.7 if item["size"] == "large" else 0.35


def test_objects_keep_their_distances(records: list[dict[str, Any]]) -> None:
    for scene in records:
        for a, b in itertools.combinations(scene["objects"], 2):
            offset = [p - q for p, q in zip(a["3d_coords"], b["3d_coords"], strict=True)]
            gap = math.hypot(offset[0], offset[1]) - radius(a) - radius(b)
            assert gap >= 0.25 - 1e-12
            for name in ("left", "right", "behind", "front"):
                along = sum(o * d for o, d in zip(offset, scene["directions"][name], strict=True))
                assert not 1e-12 < along < 0.4 - 1e-12


def test_objects_stand_on_the_ground_within_the_square(records: list[dict[str, Any]]) -> None:
    for item in (o for scene in records for o in scene["objects"]):
        x, y, z = item["3d_coords"]
        assert -3 <= x <= 3
        assert -3 <= y <= 3
        assert z == np.float32(radius(item))
        assert 0 <= item["rotation"] < 360


def test_counts_and_values_are_spread_evenly(scenes: WorldScenes) -> None:
    many = sample_scenes(5, 0, 8000)
    counts = np.bincount(many.counts, minlength=11)
    assert counts[:3].sum() == 0
    # 1,000 expected of each; 5 standard deviations are 150
    assert np.all(np.abs(counts[3:] - 1000) < 150)
    for attribute, values in enumerate((8, 2, 3)):
        shares = np.unique(many.codes[:, attribute], return_counts=True)[1] / len(many.codes)
        assert len(shares) == values
        assert np.all(np.abs(shares - 1 / values) < 0.012)
    large = (many.codes[:, 3] == 15).mean()
    assert 0.44 < large < 0.5  # crowded scenes reject large objects more often


def test_jitter_fills_its_range() -> None:
    shift = sample_scenes(2, 0, 4000).camera - np.asarray(camera.BASE_POSITION)
    assert np.all(np.abs(shift) <= 0.5)
    assert np.all(np.abs(shift.mean(0)) < 0.03)
    assert np.all(np.abs(shift.std(0) - 1 / math.sqrt(12)) < 0.01)


def test_relationships_follow_the_margin(records: list[dict[str, Any]]) -> None:
    for scene in records[:100]:
        points = [o["3d_coords"] for o in scene["objects"]]
        for name, related in scene["relationships"].items():
            direction = scene["directions"][name]
            for i, j in itertools.product(range(len(points)), repeat=2):
                along = sum(
                    (q - p) * d for p, q, d in zip(points[i], points[j], direction, strict=True)
                )
                assert (j in related[i]) == (along > 0.2)


def test_a_scene_depends_on_seed_and_index_alone() -> None:
    whole = sample_scenes(3, 0, 60).records("val")
    parts = [r for first in (0, 7, 40) for r in sample_scenes(3, first, 20).records("val")]
    by_index = {r["image_index"]: r for r in whole}
    assert all(by_index[r["image_index"]] == r for r in parts if r["image_index"] in by_index)
    assert sample_scenes(4, 0, 60).records("val") != whole
    far = sample_scenes(3, 1 << 40, 1)
    assert far.image_index.tolist() == [1 << 40]


def test_known_scene_never_changes() -> None:
    """Data sets of one seed must stay what they are over versions and platforms."""
    scenes = sample_scenes(0, 0, 3)
    assert scenes.counts.tolist() == KNOWN_COUNTS
    assert scenes.coordinates[0].tolist() == KNOWN_COORDINATES
    assert scenes.pixel[0].tolist() == KNOWN_PIXEL


def test_another_attempt_keeps_count_and_camera() -> None:
    first = sample_scenes(9, 0, 40)
    again = sample_scenes(9, 0, 40, attempts=np.arange(40, dtype=np.uint32))
    assert np.array_equal(first.counts, again.counts)
    assert np.array_equal(first.camera, again.camera)
    same = [a == b for a, b in zip(first.records("x"), again.records("x"), strict=True)]
    assert same == [True] + [False] * 39


@pytest.mark.parametrize(("condition", "cubes"), [("a", COLD), ("b", WARM)])
def test_cogent_conditions(condition: str, cubes: set[str]) -> None:
    scenes = sample_scenes(1, 0, 300, SceneSettings(condition=condition))
    found: dict[str, set[str]] = {"cube": set(), "cylinder": set(), "sphere": set()}
    for item in (o for scene in scenes.records("trainA") for o in scene["objects"]):
        found[item["shape"]].add(item["color"])
    assert found == {"cube": cubes, "cylinder": (COLD | WARM) - cubes, "sphere": COLD | WARM}


def test_empty_scenes_and_no_scenes() -> None:
    empty = sample_scenes(1, 0, 3, SceneSettings(least=0, most=0))
    assert empty.counts.tolist() == [0, 0, 0]
    assert empty.records("val")[0]["relationships"]["left"] == []
    assert len(empty.pack()) == 3
    assert sample_scenes(1, 0, 0).records("val") == []


@pytest.mark.parametrize(
    ("settings", "seed"),
    [
        (SceneSettings(least=4, most=3), 0),
        (SceneSettings(most=11), 0),
        (SceneSettings(condition="c"), 0),
        (SceneSettings(), -1),
        (SceneSettings(), 1 << 64),
    ],
)
def test_bad_settings_are_explained(settings: SceneSettings, seed: int) -> None:
    with pytest.raises(ConfigError, match=r"objects per scene|condition|seed"):
        sample_scenes(seed, 0, 1, settings)


def test_packed_scenes_equal_their_records(scenes: WorldScenes, tmp_path: Any) -> None:
    from pyvqa.programs.scenes import read_scenes

    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({"scenes": scenes.records("val")}))
    read, made = read_scenes(path, "clevr-ref"), scenes.pack()
    assert np.array_equal(read.packed.words, made.packed.words)
    assert np.array_equal(read.packed.offsets, made.packed.offsets)
    assert np.array_equal(read.table.position, made.table.position)


def genuine_scenes() -> list[dict[str, Any]]:
    files = sorted((real_folder() / "clevr_original" / "scenes").glob("CLEVR_*.json"))
    return [scene for file in files for scene in json.loads(file.read_text())["scenes"]]


def test_genuine_relationships_and_directions() -> None:
    scenes = genuine_scenes()
    assert len(scenes) > 100
    for scene in scenes:
        assert {k: tuple(v) for k, v in scene["directions"].items()} == camera.DIRECTIONS
        counts = np.array([len(scene["objects"])], dtype=np.int32)
        points = np.array([o["3d_coords"] for o in scene["objects"]])
        offsets, items = relations(counts, points)
        for o in range(len(points)):
            for r, name in enumerate(("left", "right", "behind", "front")):
                begin, end = offsets[4 * o + r : 4 * o + r + 2]
                assert items[begin:end].tolist() == sorted(scene["relationships"][name][o])


def test_genuine_pixels_follow_from_the_fitted_cameras() -> None:
    cameras = json.loads((real_folder() / "clevr_original" / "cameras.json").read_text())
    for scene in genuine_scenes():
        position = cameras.get(scene["image_filename"])
        if position is None or scene["split"] != "train":
            continue
        points = np.array([o["3d_coords"] for o in scene["objects"]])
        found = camera.project(points, np.asarray(position, dtype=np.float64))
        given = np.array([o["pixel_coords"] for o in scene["objects"]])
        assert np.all(np.abs(found[:, :2] - given[:, :2]) < 0.51)
        assert np.all(np.abs(found[:, 2] - given[:, 2]) < 2e-6)
