"""Object ids and boxes: which solid a pixel shows, on every instruction set and device."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_host_cuda,
    check_instruction_sets,
    check_registration,
    strided,
)
from ops.random_worlds import CAMERA, make_cameras, make_objects, one_object
from pyvqa import ops
from pyvqa.ops import RenderObjects

BASE = torch.tensor([CAMERA], dtype=torch.float64)


def arguments(seed: int, counts: list[int], size: tuple[int, int]) -> tuple[Any, ...]:
    rng = random.Random(seed)
    objects = make_objects(rng, counts)
    cameras = make_cameras(rng, len(counts))
    return objects.geometry, objects.kinds, objects.offsets, cameras, *size


@pytest.mark.parametrize("seed", range(4))
def test_ids_match_the_search_in_double_precision(seed: int) -> None:
    rng = random.Random(seed)
    objects, cameras = make_objects(rng, [6, 1, 12]), make_cameras(rng, 3)
    found = ops.object_ids(objects, cameras, size=(64, 96))
    expected = ops.object_ids_reference(objects, cameras, size=(64, 96))
    assert (found != expected).sum() <= 1  # an outline may pass exactly through a centre
    assert found.max() > 8


@pytest.mark.parametrize("shape", [0, 1, 2])
def test_every_solid_is_seen_where_it_is(shape: int) -> None:
    for camera in ((7.5, -6.5, 5.3), (0.0, 0.0, 9.0), (9.0, 0.0, 0.0), (-8.0, 3.0, -2.0)):
        where = torch.tensor([camera], dtype=torch.float64)
        objects = one_object(shape, 0.3, -0.4)
        found = ops.object_ids(objects, where, size=(48, 72))
        x, y, w, h = ops.projected_boxes(objects, where, size=(48, 72))[0].tolist()
        rows, columns = (found[0] == 0).nonzero(as_tuple=True)
        assert len(rows) > 20
        assert (x, x + w - 1) == (columns.min(), columns.max())
        assert (y, y + h - 1) == (rows.min(), rows.max())
        if camera[:2] != (0.0, 0.0):
            assert_equal(found, ops.object_ids_reference(objects, where, size=(48, 72)))


def test_boxes_hold_whole_objects() -> None:
    rng = random.Random(5)
    objects, cameras = make_objects(rng, [9, 4]), make_cameras(rng, 2)
    boxes = ops.projected_boxes(objects, cameras)
    for k in range(13):
        alone = RenderObjects(
            objects.geometry[k : k + 1],
            objects.kinds[k : k + 1],
            objects.colors[k : k + 1],
            torch.tensor([0, 1]),
        )
        mask = ops.object_ids(alone, cameras[int(k >= 9)][None])[0] == 0
        rows, columns = mask.any(1).nonzero(), mask.any(0).nonzero()
        x, y, w, h = boxes[k].tolist()
        assert (x, y) == (columns.min(), rows.min())
        assert (w, h) == (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)


def test_the_first_of_two_in_one_place_is_seen() -> None:
    twice = one_object(1)
    objects = RenderObjects(
        twice.geometry.repeat(3, 1), twice.kinds.repeat(3, 1), twice.colors.repeat(3, 1),
        torch.tensor([0, 3]),
    )  # fmt: skip
    assert set(ops.object_ids(objects, BASE).unique().tolist()) == {-1, 0}


# ---- as an op

OPS = [torch.ops.pyvqa.render_ids, torch.ops.pyvqa.render_boxes]
NAMES = ["render_ids", "render_boxes"]
CASES = [([], (1, 1)), ([0], (3, 5)), ([1], (1, 1)), ([3, 0, 5], (17, 33)), ([40], (24, 16))]


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_opcheck(op: Any) -> None:
    check_registration(op.default, arguments(1, [3, 2], (16, 24)))


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_compiles_to_one_graph(op: Any) -> None:
    check_compiles(lambda *a: op(*a), arguments(1, [3, 2], (16, 24)))


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_deterministic(op: Any) -> None:
    check_deterministic(op, arguments(2, [8, 5, 3], (100, 70)))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("counts", "size"), CASES)
def test_host_cuda(name: str, counts: list[int], size: tuple[int, int]) -> None:
    check_host_cuda(name, arguments(3, counts, size))


@pytest.mark.parametrize("op", OPS, ids=NAMES)
def test_layouts_change_nothing(op: Any) -> None:
    plain = arguments(4, [5, 2], (20, 30))
    spread = tuple(strided(a) if isinstance(a, torch.Tensor) else a for a in plain)
    assert_equal(op(*spread), op(*plain))


def test_a_picture_does_not_know_its_neighbours() -> None:
    rng = random.Random(6)
    objects, cameras = make_objects(rng, [4, 7, 2]), make_cameras(rng, 3)
    together = ops.object_ids(objects, cameras, size=(40, 60))
    for b in range(3):
        span = slice(int(objects.offsets[b]), int(objects.offsets[b + 1]))
        alone = RenderObjects(
            objects.geometry[span], objects.kinds[span], objects.colors[span],
            torch.tensor([0, span.stop - span.start]),
        )  # fmt: skip
        assert_equal(ops.object_ids(alone, cameras[b : b + 1], size=(40, 60))[0], together[b])


IDS_ON_EVERY_SET = """
import random
import sys
sys.path.insert(0, "tests")
from ops.helpers import digest
from ops.random_worlds import make_cameras, make_objects
from pyvqa import ops
rng = random.Random(7)
objects, cameras = make_objects(rng, [9, 10, 3]), make_cameras(rng, 3)
print(digest(ops.object_ids(objects, cameras), ops.projected_boxes(objects, cameras)))
"""


def test_instruction_sets() -> None:
    check_instruction_sets(IDS_ON_EVERY_SET)


# ---- what is not there, and what is wrong


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("column", range(5))
def test_objects_that_are_not_finite_are_nowhere(value: float, column: int) -> None:
    objects = one_object(0)
    objects.geometry[0, column] = value
    assert (ops.object_ids(objects, BASE, size=(20, 30)) == -1).all()
    assert (ops.projected_boxes(objects, BASE, size=(20, 30)) == 0).all()


@pytest.mark.parametrize("radius", [0.0, -0.7])
def test_objects_without_size_are_nowhere(radius: float) -> None:
    objects = one_object(2)
    objects.geometry[0, 3] = radius
    assert (ops.object_ids(objects, BASE, size=(20, 30)) == -1).all()


@pytest.mark.parametrize("place", ["behind", "around"])
def test_what_is_not_before_the_camera_is_not_seen(place: str) -> None:
    objects = one_object(0)
    scale = 1.5 if place == "behind" else 1.0
    objects.geometry[0, :3] = BASE[0] * scale
    assert (ops.object_ids(objects, BASE, size=(20, 30)) == -1).all()
    assert (ops.projected_boxes(objects, BASE, size=(20, 30)) == 0).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_cameras_without_a_place_see_nothing_wrong(value: float) -> None:
    found = ops.object_ids(one_object(1), torch.full((1, 3), value, dtype=torch.float64))
    assert found.unique().tolist() == [-1]


@pytest.mark.parametrize("offsets", [[5, 0], [-3, 99], [2**62, -(2**62)], [0, 0], [1, 1]])
def test_offsets_out_of_range_are_bounded(offsets: list[int]) -> None:
    plain = list(arguments(8, [3], (10, 12)))
    plain[2] = torch.tensor(offsets)
    found = torch.ops.pyvqa.render_ids(*plain)
    assert int(found.max()) <= (2 if offsets == [-3, 99] else -1)
    check_host_cuda("render_ids", plain)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(3, 5), r"render: geometry must be \[rows, 5\] of Double, got 2 dim"),
        (0, torch.zeros(3, dtype=torch.float64), r"geometry must be \[rows, 5\]"),
        (1, torch.zeros(3, 2), r"kinds must be \[rows, 2\] of Byte, got 2 dimensions of Float"),
        (1, torch.zeros((4, 2), dtype=torch.uint8), "geometry is of 3 objects, but kinds of 4"),
        (2, torch.zeros(2, dtype=torch.int32), "offsets must be a vector of Long"),
        (2, torch.zeros(3, dtype=torch.int64), "1 cameras need 2 offsets, got 3"),
        (3, torch.zeros(1, 3), r"cameras must be \[rows, 3\] of Double"),
        (4, 0, "size must be 1 to 8192 pixels a side, got 0 x 12"),
        (5, 9000, "size must be 1 to 8192 pixels a side, got 10 x 9000"),
    ],
)
def test_bad_input_is_explained(position: int, value: Any, message: str) -> None:
    changed = list(arguments(8, [3], (10, 12)))
    changed[position] = value
    for op in OPS:
        with pytest.raises(RuntimeError, match=message):
            op(*changed)
