"""Masks of id images in the official forms, and who hides whom."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.programs.scenes import read_scenes
from pyvqa.world.blocks import add_ref_masks
from pyvqa.world.masks import Masks, least_area, visible_areas
from pyvqa.world.staging import stage
from pyvqa.world.visible import sample_visible_scenes


def random_ids() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    counts = np.array([3, 0, 5], dtype=np.int32)
    ids = np.stack([random.integers(-1, max(n, 1) - (n == 0), (9, 13)) for n in counts])
    ids[2][ids[2] == 4] = -1  # an object that no pixel shows
    return ids.astype(np.int16), counts


def test_areas_and_texts_are_those_of_the_ids() -> None:
    ids, counts = random_ids()
    masks = Masks.of(ids, counts)
    expected = [ids[s] == o for s, n in enumerate(counts.tolist()) for o in range(n)]
    assert masks.areas.tolist() == [int(mask.sum()) for mask in expected]
    assert masks.areas[-1] == 0
    for mask, coco, rows in zip(expected, masks.coco(), masks.rows(), strict=True):
        assert np.array_equal(_native.coco_rle_decode(coco, 9, 13), mask)
        assert np.array_equal(_native.rle_decode_rows(rows, 9, 13), mask)


def test_no_pictures_have_no_masks() -> None:
    nothing = np.zeros((0, 4, 4), dtype=np.int16)
    masks = Masks.of(nothing, np.zeros(0, dtype=np.int32))
    assert masks.coco() == masks.rows() == []
    classes, of_scene = masks.occlusion(np.zeros((0, 4), np.int64), np.zeros(0))
    assert len(classes) == len(of_scene) == 0
    assert visible_areas(nothing, np.zeros(0, np.int32)).shape == (0,)


@pytest.mark.parametrize(
    ("size", "pixels"), [((320, 480), 200), ((240, 320), 100), ((640, 960), 800), ((16, 24), 1)]
)
def test_the_least_area_grows_with_the_picture(size: tuple[int, int], pixels: int) -> None:
    assert least_area(size) == pixels


def test_occlusion_is_what_a_reader_of_the_file_finds(tmp_path: Path) -> None:
    scenes, _, masks = sample_visible_scenes(8, 0, 60)
    boxes = stage(scenes).whole_boxes(masks.size)
    classes, of_scene = masks.occlusion(boxes, scenes.pixel[:, 2])
    records = scenes.records("val", numbered=True)
    add_ref_masks(records, masks, boxes)
    path = tmp_path / "scenes.json"
    path.write_text(json.dumps({"scenes": records}))
    read = read_scenes(path, "clevr-ref")
    assert np.array_equal(read.table.visibility, classes)
    assert np.array_equal(read.table.scene_visibility, of_scene)
    assert set(of_scene.tolist()) == {1, 2}
    packed = scenes.pack((classes, of_scene)).packed
    assert np.array_equal(read.packed.words, packed.words)
