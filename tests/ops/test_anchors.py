"""Box areas, anchors and pyramid levels: plain torch, but with conventions to keep."""

from __future__ import annotations

import math

import pytest
import torch

from ops.helpers import assert_equal, check_compiles
from ops.random_boxes import need_torchvision, some_boxes
from pyvqa import ops


def test_areas() -> None:
    boxes = torch.tensor([[0.0, 0.0, 2.0, 3.0], [5.0, 5.0, 4.0, 7.0], [1.0, 1.0, 1.0, 1.0]])
    assert ops.box_area(boxes).tolist() == [6.0, -2.0, 0.0]
    assert ops.box_area(boxes, inclusive=True).tolist() == [12.0, 0.0, 1.0]
    assert ops.box_area(boxes, "xywh").tolist() == [6.0, 28.0, 1.0]
    assert ops.box_area(boxes.half()).dtype == torch.float32
    assert ops.box_area(torch.full((1, 4), 200, dtype=torch.uint8)).dtype == torch.int32


def test_anchors_of_a_cell_keep_their_rounding() -> None:
    anchors = ops.cell_anchors(16, [128, 256], [0.5, 1, 2])
    sides = anchors[:, 2:] - anchors[:, :2] + 1
    # 16 x 16 at half the height is 22.6 x 11.3: 23 x 12 (11.5 to even), which is what is scaled.
    assert sides.tolist() == [
        [184, 96], [368, 192], [128, 128], [256, 256], [88, 176], [176, 352]
    ]  # fmt: skip
    assert torch.equal((anchors[:, :2] + anchors[:, 2:]) / 2, torch.full((6, 2), 7.5))
    assert ops.cell_anchors(4, [], [1]).shape == (0, 4)
    assert ops.cell_anchors(4, [8], [1], dtype=torch.float64).dtype == torch.float64


def test_grid_runs_by_row_column_and_anchor() -> None:
    cells = some_boxes(1, 3)
    grid = ops.anchor_grid(cells, (2, 4), 8)
    assert grid.shape == (24, 4)
    for row in range(2):
        for column in range(4):
            moved = cells + torch.tensor([8.0 * column, 8.0 * row] * 2)
            assert_equal(grid[(row * 4 + column) * 3 :][:3], moved)
    assert ops.anchor_grid(cells, (0, 4), 8).shape == (0, 4)
    assert ops.anchor_grid(cells[:0], (2, 4), 8).shape == (0, 4)


def test_levels_follow_the_scale() -> None:
    sides = torch.tensor([1.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 9000.0])
    boxes = torch.stack([sides * 0, sides * 0, sides, sides], -1)
    assert ops.assign_levels(boxes, 2, 5).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert ops.assign_levels(boxes - torch.tensor([0, 0, 1, 1]), 2, 5, inclusive=True).tolist() == [
        0, 0, 1, 1, 2, 2, 3, 3
    ]  # fmt: skip
    assert ops.assign_levels(boxes, 3, 4, canonical_size=448).tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    odd = torch.tensor([[math.nan, 0, 1, 1], [0, 0, -5, 5], [0, 0, math.inf, 9], [3, 3, 3, 3]])
    assert ops.assign_levels(odd, 2, 5).tolist() == [0, 0, 3, 0]
    assert ops.assign_levels(odd[:0], 2, 5).shape == (0,)


def test_levels_as_torchvision() -> None:
    need_torchvision()
    from torchvision.ops.poolers import LevelMapper

    boxes = some_boxes(1, 500) * torch.logspace(-1, 2, 500)[:, None]
    found = ops.assign_levels(boxes, 2, 5)
    assert_equal(found, LevelMapper(2, 5)([boxes]))
    assert found.unique().tolist() == [0, 1, 2, 3]


def test_levels_and_anchors_compile() -> None:
    check_compiles(
        lambda boxes: ops.assign_levels(boxes, 2, 5, inclusive=True), (some_boxes(1, 9),)
    )
    check_compiles(lambda cells: ops.anchor_grid(cells, (3, 4), 8), (some_boxes(1, 3),))


def test_bad_arguments_are_explained() -> None:
    boxes = torch.zeros(2, 4)
    with pytest.raises(ValueError, match=r"boxes must be \[..., 4\], got \(2, 3\)"):
        ops.box_area(boxes[:, :3])
    with pytest.raises(ValueError, match="k_min 5 is above k_max 2"):
        ops.assign_levels(boxes, 5, 2)
    with pytest.raises(ValueError, match=r"cells must be \[A, 4\]"):
        ops.anchor_grid(boxes[0], (2, 2), 4)
    with pytest.raises(TypeError, match=r"cells must be floating point, got torch\.int64"):
        ops.anchor_grid(boxes.long(), (2, 2), 4)
    with pytest.raises(TypeError, match=r"box_area: boxes must be numbers, got torch\.bool"):
        ops.box_area(boxes.bool())
    with pytest.raises(ValueError, match="a feature map cannot be -1 x 2"):
        ops.anchor_grid(boxes, (-1, 2), 4)
    with pytest.raises(ValueError, match="must be positive"):
        ops.cell_anchors(16, [0], [1])
