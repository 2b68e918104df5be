"""Scenes in which every object can be seen, and how they come on stage."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pyvqa import _native
from pyvqa.errors import ConfigError
from pyvqa.world import visible
from pyvqa.world.masks import least_area
from pyvqa.world.scenes import SceneSettings, sample_scenes
from pyvqa.world.staging import RGB, Quality, stage
from pyvqa.world.visible import sample_visible_scenes, visible_attempts

SMALL = SceneSettings(width=96, height=64)


@pytest.mark.parametrize("settings", [SMALL, SceneSettings()])
def test_every_object_shows_enough(settings: SceneSettings) -> None:
    scenes, attempts, masks = sample_visible_scenes(1, 0, 60, settings)
    assert masks.areas.min() >= least_area((settings.height, settings.width))
    assert attempts.max() > 0
    first = sample_scenes(1, 0, 60, settings)
    assert np.array_equal(first.counts, scenes.counts)
    assert np.array_equal(first.camera, scenes.camera)
    assert np.array_equal(first.lamps, scenes.lamps)
    again = sample_scenes(1, 0, 60, settings, attempts=attempts)
    assert np.array_equal(again.coordinates, scenes.coordinates)
    # those that show all at once stay as they were
    kept = np.repeat(attempts == 0, scenes.counts)
    assert np.array_equal(
        scenes.coordinates[kept], first.coordinates[np.repeat(attempts == 0, first.counts)]
    )
    assert np.array_equal(stage(scenes).ids(masks.size).numpy(), masks.ids)


def test_no_attempt_is_skipped() -> None:
    _, attempts, _ = sample_visible_scenes(1, 0, 40, SMALL)
    for row in np.flatnonzero(attempts).tolist():
        for attempt in range(int(attempts[row])):
            chosen = np.array([attempt], dtype=np.uint32)
            tried = sample_scenes(1, row, 1, SMALL, attempts=chosen)
            ids = stage(tried).ids((64, 96)).numpy()
            areas = np.bincount(ids[ids >= 0], minlength=int(tried.counts[0]))
            assert areas.min() < least_area((64, 96))


def test_an_image_depends_on_seed_and_index_alone() -> None:
    whole, attempts, masks = sample_visible_scenes(3, 0, 50, SMALL)
    part, of_part, masks_of_part = sample_visible_scenes(3, 37, 9, SMALL)
    assert attempts[37:46].tolist() == of_part.tolist()
    assert whole.records("val")[37:46] == part.records("val")
    assert np.array_equal(masks.ids[37:46], masks_of_part.ids)
    assert np.array_equal(whole.lamps[37:46], part.lamps)
    assert np.array_equal(whole.grain[37:46], part.grain)
    assert visible_attempts(3, 0, 50, SMALL).tolist() == attempts.tolist()
    assert len(visible_attempts(3, 0, 0, SMALL)) == 0


def test_lamps_and_grain_are_drawn_for_every_image() -> None:
    scenes = sample_scenes(2, 0, 4000)
    shift = scenes.lamps - np.array(
        [
            [6.446710, -2.905175, 4.258398],
            [-4.671124, -4.013597, 3.011225],
            [-1.168501, 2.646024, 5.815737],
        ]
    )
    assert np.abs(shift).max() <= 1
    assert np.abs(shift.mean(0)).max() < 0.05
    assert np.abs(shift.std(0) - 1 / np.sqrt(3)).max() < 0.02
    flat = shift.reshape(4000, 9)
    assert np.abs(np.corrcoef(flat.T) - np.eye(9)).max() < 0.08
    assert len(set(scenes.grain.tolist())) == 4000
    assert scenes.grain.min() >= 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SceneSettings(width=8), "8x320"),
        (SceneSettings(height=100_000), "480x100000"),
        (SceneSettings(least=10, width=1000, height=16), "image 0: no scene of"),
        (SceneSettings(most=11), "objects per scene"),
    ],
)
def test_impossible_settings_are_explained(
    settings: SceneSettings, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visible, "_MOST_ATTEMPTS", 20)
    with pytest.raises(ConfigError, match=message):
        sample_visible_scenes(0, 0, 1, settings)


def test_objects_come_on_stage_as_the_scene_has_them() -> None:
    scenes = sample_scenes(4, 0, 30)
    staged = stage(scenes)
    items = [item for record in scenes.records("val") for item in record["objects"]]
    geometry, kinds = staged.objects.geometry.tolist(), staged.objects.kinds.tolist()
    for item, (*centre, radius, turn), (shape, material), color in zip(
        items, geometry, kinds, staged.objects.colors, strict=True
    ):
        assert centre == item["3d_coords"]
        assert radius == {"large": 0.7, "small": 0.35}[item["size"]]
        assert turn == item["rotation"]
        assert ("cube", "cylinder", "sphere")[shape] == item["shape"]
        assert ("rubber", "metal")[material] == item["material"]
        assert torch.allclose(255 * color, torch.tensor(RGB[item["color"]]).float())
    assert staged.objects.offsets.tolist() == [0, *np.cumsum(scenes.counts).tolist()]
    assert set(RGB) < set(_native.KNOWN_STRINGS)


def test_a_part_of_a_stage_shows_the_same() -> None:
    staged = stage(sample_scenes(4, 0, 5, SMALL))
    quality = Quality(96, 64, samples=1)
    whole = staged.render(quality)
    assert whole.picture.shape == (5, 64, 96, 3)
    for first, last in ((0, 5), (1, 3), (4, 5), (2, 2)):
        part = staged.part(first, last)
        assert len(part) == last - first
        if first < last:
            assert torch.equal(part.render(quality).picture, whole.picture[first:last])
            assert torch.equal(part.render(quality).ids, staged.ids((64, 96))[first:last])
