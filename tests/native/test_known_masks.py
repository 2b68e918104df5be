"""Masks of the sample data: two codecs of the same objects, and classes found by counting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco
from reader_files import known_files
from test_occlusion import by_pixels

from pyvqa import _native

SIZE = (320, 480)


def scenes_with_masks() -> list[Path]:
    """List the CLEVR-Ref+ scene files."""
    files = known_files("*ref+*scenes*.json", "iep_ref/data/scenes_*.json")
    if not files:
        pytest.skip("neither PYVQA_REAL nor PYVQA_PARITY names a folder with CLEVR-Ref+ scenes")
    return files


def decode(scene: dict[str, Any]) -> np.ndarray:
    texts = [scene["obj_mask"][str(o + 1)] for o in range(len(scene["objects"]))]
    return np.stack([_native.rle_decode_rows(text, *SIZE) for text in texts])


def test_classes_are_what_counting_pixels_gives() -> None:
    for file in scenes_with_masks():
        table = _native.read_scenes(file.read_bytes(), masks=True)
        start = 0
        for index, scene in enumerate(json.loads(file.read_bytes())["scenes"]):
            count = len(scene["objects"])
            boxes = np.array([scene["obj_bbox"][str(o + 1)] for o in range(count)])
            depth = np.array([thing["pixel_coords"][2] for thing in scene["objects"]])
            expected = by_pixels(decode(scene), boxes, depth)
            classes = table.visibility[start : start + count].tolist()
            assert (table.scene_visibility[index], classes) == expected
            start += count


def test_both_codecs_describe_the_same_objects() -> None:
    files = known_files("*CLEVR_mini_coco_anns.json")
    if not files:
        pytest.skip("PYVQA_REAL names no folder with a CLEVR_mini_coco_anns.json")
    for file in files:
        (expressions,) = file.parent.glob("scenes/clevr_ref+_*_scenes.json")
        scenes = json.loads(expressions.read_bytes())["scenes"]
        by_name = {scene["image_filename"]: scene for scene in scenes}
        for scene in json.loads(file.read_bytes())["scenes"]:
            masks = decode(by_name[scene["image_filename"]])
            for mask, thing in zip(masks, scene["objects"], strict=True):
                counts = thing["mask"]["counts"]
                assert np.array_equal(_native.coco_rle_decode(counts, *SIZE), mask)
                assert _native.coco_rle_encode(mask).decode() == counts
                area, box = _native.coco_rle_measure(counts, *SIZE)
                assert area == int(mask.sum())
                assert list(box) == coco.toBbox(thing["mask"]).tolist()
