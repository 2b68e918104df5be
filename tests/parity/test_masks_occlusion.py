"""CLEVR-Ref+ masks and occlusion classes against the reference kit.

The kit stores, for every `filter_visible` node, the objects it kept or that the scene is undecided;
that is what the classes read from masks, boxes and depths must explain.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa import _native

FULLY, PARTIALLY = 1, 2
CLASSES = {"fully visible": FULLY, "partially visible": PARTIALLY}
INVALID = "__INVALID__"


def classes_of(file: Path) -> dict[int, tuple[int, list[int]]]:
    """Read the class of each scene and of its objects, by image index."""
    table = _native.read_scenes(file.read_bytes(), masks=True)
    ends = np.cumsum(table.counts)
    return {
        index: (scene, table.visibility[end - count : end].tolist())
        for index, scene, end, count in zip(
            table.image_index.tolist(),
            table.scene_visibility.tolist(),
            ends,
            table.counts,
            strict=True,
        )
    }


def check_node(classes: tuple[int, list[int]], wanted: str, given: list[int], got: Any) -> None:
    scene, objects = classes
    expected: Any = [o for o in given if objects[o] == CLASSES[wanted]]
    if scene == 2 or not given:
        expected = INVALID
    assert (got if got == INVALID else sorted(got)) == expected


def visible_nodes(program: list[Any], outputs: list[Any]) -> Iterator[tuple[str, list[int], Any]]:
    """Walk through the executed `filter_visible` nodes: class asked for, objects given and kept."""
    for node, output in zip(program, outputs, strict=False):
        if node["type"] == "filter_visible":
            yield node["value_inputs"][0], outputs[node["inputs"][0]], output


@pytest.mark.kit("iep_ref", "data/scenes_*.json")
def test_masks_decode_to_disjoint_objects(case: Path) -> None:
    for scene in json.loads(case.read_bytes())["scenes"]:
        total = np.zeros((320, 480), int)
        for text in scene["obj_mask"].values():
            mask = _native.rle_decode_rows(text, 320, 480)
            runs = [int(run) for run in text.split(",")]
            flat = np.repeat(np.arange(len(runs)) % 2, runs)
            assert np.array_equal(mask.ravel(), flat)
            assert _native.rle_encode_rows(mask) == text
            assert np.array_equal(
                _native.coco_rle_decode(_native.coco_rle_encode(mask), 320, 480), mask
            )
            total += mask
        assert total.max() <= 1


@pytest.mark.kit("iep_ref", "data/refexps_*.json")
def test_visible_objects_of_expressions(case: Path) -> None:
    scenes = classes_of(case.with_name(case.name.replace("refexps", "scenes")))
    checked = 0
    for entry in json.loads(case.read_bytes())["refexps"]:
        outputs = [node["_output"] for node in entry["program"]]
        for wanted, given, got in visible_nodes(entry["program"], outputs):
            check_node(scenes[entry["image_index"]], wanted, given, got)
            checked += 1
    assert checked == case.read_text().count('"filter_visible"')


@pytest.mark.kit("iep_ref", "symbolic_random.json")
def test_visible_objects_of_random_programs(case: Path) -> None:
    scenes = classes_of(case.parent / "data" / "scenes_train.json")
    checked = {True: 0, False: 0}
    for entry in json.loads(case.read_bytes())["cases"]:
        for wanted, given, got in visible_nodes(entry["program"], entry["outputs"]):
            check_node(scenes[entry["image_index"]], wanted, given, got)
            checked[got == INVALID] += 1
    assert min(checked.values()) > 0
