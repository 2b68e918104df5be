"""Which objects are hidden in part: hand-made cases, and random ones against pixel counting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reader_files import encode, make_scenes

from pyvqa import _native

USABLE, INVALID = 1, 2
FULLY, PARTIALLY = 1, 2


def by_pixels(masks: np.ndarray, boxes: np.ndarray, depth: np.ndarray) -> tuple[int, list[int]]:
    """Count pixels pair by pair, as the rule is written."""
    hidden, undecided = set(), False
    for a in range(len(masks)):
        for b in range(a + 1, len(masks)):
            near, far = (b, a) if depth[b] < depth[a] else (a, b)
            x, y, width, height = boxes[far]
            if width * height == 0:
                continue
            share = masks[near][y : y + height, x : x + width].sum() / (width * height)
            undecided |= 0 < share < 0.2
            if share >= 0.2:
                hidden.add(far)
    usable = not undecided and 0 < len(hidden) < len(masks)
    classes = [PARTIALLY if o in hidden else FULLY for o in range(len(masks))]
    return (USABLE if usable else INVALID), classes


def check(masks: Any, boxes: Any, depth: Any) -> tuple[int, list[int]]:
    scene, classes = _native.occlusion(masks, boxes, depth)
    return scene, classes.tolist()


def two(covered: int) -> tuple[np.ndarray, np.ndarray]:
    """A near object covers so many of the 100 pixels of a far one's box."""
    masks = np.zeros((2, 20, 30), bool)
    for k in range(covered):
        masks[1, 5 + k // 10, 10 + k % 10] = True
    masks[1, 0, 0] = True
    return masks, np.array([[10, 5, 10, 10], [0, 0, 20, 15]])


@pytest.mark.parametrize(
    ("covered", "scene", "classes"),
    [
        (0, INVALID, [FULLY, FULLY]),
        (1, INVALID, [FULLY, FULLY]),
        (19, INVALID, [FULLY, FULLY]),
        (20, USABLE, [PARTIALLY, FULLY]),
        (100, USABLE, [PARTIALLY, FULLY]),
    ],
)
def test_threshold(covered: int, scene: int, classes: list[int]) -> None:
    masks, boxes = two(covered)
    assert check(masks, boxes, [2.0, 1.0]) == (scene, classes)


def test_nothing_hides_what_is_nearer() -> None:
    masks, boxes = two(50)
    assert check(masks, boxes, [1.0, 2.0]) == (INVALID, [FULLY, FULLY])


def test_of_equal_depths_the_earlier_object_is_nearer() -> None:
    masks, boxes = two(50)
    assert check(masks, boxes, [1.0, 1.0]) == (INVALID, [FULLY, FULLY])
    assert check(masks[::-1], boxes[::-1], [1.0, 1.0]) == (USABLE, [FULLY, PARTIALLY])


def test_one_small_overlap_spoils_the_scene() -> None:
    masks, boxes = two(50)
    masks = np.concatenate([masks, np.zeros((1, 20, 30), bool)])
    masks[2, 18, 29] = True
    boxes = np.concatenate([boxes, [[20, 15, 10, 5]]])
    assert check(masks, boxes, [2.0, 1.0, 3.0]) == (USABLE, [PARTIALLY, FULLY, FULLY])
    masks[1, 16, 21] = True
    assert check(masks, boxes, [2.0, 1.0, 3.0]) == (INVALID, [PARTIALLY, FULLY, FULLY])


def test_boxes_beyond_the_image_count_in_full() -> None:
    masks = np.zeros((2, 10, 10), bool)
    masks[0, :, 5:] = True
    assert check(masks, [[0, 0, 1, 1], [5, 0, 25, 10]], [1.0, 2.0]) == (USABLE, [FULLY, PARTIALLY])
    assert check(masks, [[0, 0, 1, 1], [5, 0, 26, 10]], [1.0, 2.0]) == (INVALID, [FULLY, FULLY])
    assert check(masks, [[0, 0, 1, 1], [-5, -5, 1, 1]], [1.0, 2.0]) == (INVALID, [FULLY, FULLY])


def test_boxes_without_area_hide_nothing() -> None:
    masks = np.ones((2, 4, 4), bool)
    assert check(masks, [[0, 0, 0, 0], [0, 0, 0, 0]], [1.0, 2.0]) == (INVALID, [FULLY, FULLY])


def test_few_objects() -> None:
    assert check(np.zeros((0, 4, 4), bool), np.zeros((0, 4), int), np.zeros(0)) == (INVALID, [])
    assert check(np.ones((1, 4, 4), bool), [[0, 0, 4, 4]], [1.0]) == (INVALID, [FULLY])


def random_case(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    count, height, width = rng.integers(1, 9), rng.integers(1, 40), rng.integers(1, 40)
    owner = np.full((height, width), -1)
    boxes = np.zeros((count, 4), int)
    for o in rng.permutation(count):
        x, y = rng.integers(width), rng.integers(height)
        boxes[o] = [x, y, rng.integers(0, width), rng.integers(0, height)]
        owner[y : y + boxes[o, 3], x : x + boxes[o, 2]] = o
    masks = owner[None] == np.arange(count)[:, None, None]
    return masks, boxes, rng.integers(0, 6, count).astype(float)


def test_random_scenes() -> None:
    kinds = set()
    for seed in range(400):
        masks, boxes, depth = random_case(seed)
        expected = by_pixels(masks, boxes, depth)
        kinds.add(expected[0])
        assert check(masks, boxes, depth) == expected
    assert kinds == {USABLE, INVALID}


def test_bad_arrays_are_refused() -> None:
    masks = np.ones((2, 4, 4), bool)
    boxes, depth = np.zeros((2, 4), int), np.zeros(2)
    with pytest.raises(ValueError, match="masks must be bool or uint8"):
        _native.occlusion(masks[0], boxes, depth)
    with pytest.raises(ValueError, match=r"boxes must be \[N, 4\]"):
        _native.occlusion(masks, boxes[:1], depth)
    with pytest.raises(ValueError, match=r"depth must be \[N\]"):
        _native.occlusion(masks, boxes, np.zeros(3))
    with pytest.raises(ValueError, match="beyond 32 bits"):
        _native.occlusion(masks, boxes - 2**40, depth)


def masked_file(count: int = 4, height: int = 320, width: int = 480) -> dict[str, Any]:
    """One scene with masks and boxes, each object hiding part of the next."""
    content = make_scenes(1, counts=(count,))
    scene = content["scenes"][0]
    owner = np.full((height, width), -1)
    scene["obj_bbox"] = {}
    for o in range(count):
        x, y = 40 + 20 * o, 50 + 10 * o
        scene["obj_bbox"][str(o + 1)] = [x, y, 60, 50]
        owner[y : y + 50, x : x + 60] = np.where(
            owner[y : y + 50, x : x + 60] < 0, o, owner[y : y + 50, x : x + 60]
        )
        scene["objects"][o]["pixel_coords"][2] = 10.0 + o
    scene["obj_mask"] = {str(o + 1): _native.rle_encode_rows(owner == o) for o in range(count)}
    return content


@pytest.mark.parametrize("size", [(320, 480), (240, 320)])
def test_scene_files_give_the_classes(size: tuple[int, int]) -> None:
    content = masked_file(4, *size)
    scene = content["scenes"][0]
    table = _native.read_scenes(encode(content), masks=True)
    masks = np.stack(
        [_native.rle_decode_rows(scene["obj_mask"][str(o + 1)], *size) for o in range(4)]
    )
    boxes = np.array([scene["obj_bbox"][str(o + 1)] for o in range(4)])
    depth = np.array([thing["pixel_coords"][2] for thing in scene["objects"]])
    expected = by_pixels(masks, boxes, depth)
    assert expected[0] == USABLE
    assert (table.scene_visibility.tolist(), table.visibility.tolist()) == ([USABLE], expected[1])
    assert table.fields.tolist() == [7]


def test_masks_are_read_on_demand() -> None:
    content = masked_file()
    table = _native.read_scenes(encode(content))
    assert table.visibility.size == 0
    assert table.scene_visibility.tolist() == [0]
    content["scenes"][0]["obj_mask"] = content["scenes"][0]["obj_bbox"] = None
    table = _native.read_scenes(encode(content), masks=True)
    assert table.visibility.size == 0
    assert table.fields.tolist() == [3]


WRONG = [
    ("obj_mask", None, "obj_mask and obj_bbox belong together, one is missing"),
    ("obj_bbox", None, "obj_mask and obj_bbox belong together, one is missing"),
    ("obj_mask.3", "153600", None),
    ("obj_mask.3", "153601", "sum to 153601, which is no image"),
    ("obj_mask.3", "100", "sum to 100, which is no image with sides of 3 : 2 or 4 : 3"),
    ("obj_mask.3", "76800", "the masks of a scene differ in size"),
    ("obj_mask.3", "1,x", "expected a run length of a mask at character 2"),
    ("obj_mask.3", [1, 2], "expected a string, found a list"),
    ("obj_mask.0", "153600", "not the number of an object: 0"),
    ("obj_mask.x", "153600", "not the number of an object: x"),
    ("obj_mask.99999999", "153600", "not the number of an object: 99999999"),
    ("obj_bbox.2", [1, 2, 3], "a box has fewer than 4 numbers"),
    ("obj_bbox.2", [1, 2, 3, 4, 5], "a box has more than 4 numbers"),
    ("obj_bbox.2", [1, 2, 3, 4.5], "expected an integer, found a decimal number"),
    ("obj_bbox.2", [1, 2, 3, 2**40], "a box is beyond 32 bits"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_masks_are_named(path: str, value: Any, message: str | None) -> None:
    content = masked_file()
    *parents, last = path.split(".")
    at = content["scenes"][0]
    for key in parents:
        at = at[key]
    at[last] = value
    data = encode(content)
    if message is None:
        assert _native.read_scenes(data, masks=True).scene_visibility.size == 1
        return
    with pytest.raises(ValueError, match=f"^scene 0: .*{message}.*, byte [0-9]+ "):
        _native.read_scenes(data, masks=True)
    assert len(_native.read_scenes(data).counts) == 1  # nothing of this is looked at without masks


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("obj_mask", "object 1 has no mask in obj_mask"),
        ("obj_bbox", "object 1 has no box in obj_bbox"),
    ],
)
def test_every_object_needs_mask_and_box(field: str, message: str) -> None:
    content = masked_file()
    del content["scenes"][0][field]["2"]
    with pytest.raises(ValueError, match=message):
        _native.read_scenes(encode(content), masks=True)


def test_masks_need_a_depth() -> None:
    content = masked_file()
    for thing in content["scenes"][0]["objects"]:
        del thing["pixel_coords"]
    with pytest.raises(ValueError, match="object 0 has a mask, but no 'pixel_coords'"):
        _native.read_scenes(encode(content), masks=True)
