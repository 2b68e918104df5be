"""Pasting what is no mask, no box or no argument."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ops.test_paste import RULES, by_rule, case, check_against_reference
from pyvqa.ops import paste_masks
from pyvqa.ops.paste import Rule

# ---- masks and boxes that are none


@by_rule
@pytest.mark.parametrize(
    "box",
    [
        [math.nan, 0, 9, 9],
        [0, 0, 9, math.nan],
        [-math.inf, 0, 9, 9],
        [0, 0, math.inf, math.inf],
        [0, 0, 9, 3e38],
        [-1e30, -1e30, 1e30, 1e30],
        [0, 0, 2.0**31, 2.0**31],
        [20, 20, 5, 5],
        [20, 5, 5, 20],
        [-50, -50, -20, -20],
        [100, 0, 120, 9],
        [0, 100, 9, 120],
        [100, 100, 90, 90],
    ],
    ids=str,
)
def test_boxes_that_hold_nothing(box: list[float], rule: Rule) -> None:
    masks, boxes = torch.ones(2, 28, 28), torch.tensor([box, [2.0, 2.0, 30.0, 30.0]])
    for dtype in (torch.float32, torch.float64):
        pasted = paste_masks(masks, boxes.to(dtype), (40, 50), rule=rule)
        assert not pasted[0].any()
        assert pasted[1].any()


@by_rule
def test_huge_boxes_are_cut_to_the_canvas(rule: Rule) -> None:
    boxes = torch.tensor([[-1e9, -1e9, 1e9, 1e9], [-1e6, 3, 1e6, 3], [3, -1e9, 3, 1e8]])
    pasted = paste_masks(torch.ones(3, 28, 28), boxes, (40, 50), rule=rule)
    assert pasted[0].all()
    assert pasted[1].any(1).sum() >= 1


@by_rule
def test_values_that_are_no_numbers(rule: Rule) -> None:
    masks, boxes = case(6, (70, 90))
    masks[0] = math.nan
    masks[1, 10] = math.inf
    masks[2, :, 10] = -math.inf
    masks[3, 5, 5] = math.nan
    masks[4], masks[5] = 1e38, -1e38
    check_against_reference(masks, boxes, (70, 90), rule)
    assert not paste_masks(masks, boxes, (70, 90), rule=rule)[0].any()


@pytest.mark.parametrize("threshold", [0.0, -1.0, -math.inf, math.nan, math.inf, 1e300])
def test_thresholds_at_the_edge(threshold: float) -> None:
    """Whatever the threshold, nothing is set outside a box."""
    masks = torch.ones(1, 28, 28)
    box = torch.tensor([[10.0, 10.0, 30.0, 30.0]])
    for rule in RULES:
        pasted = paste_masks(masks, box, (50, 50), threshold=threshold, rule=rule)
        assert bool(pasted.any()) == (threshold <= 0)
        assert not pasted[:, :8].any()
        assert not pasted[:, :, 34:].any()


def test_canvases_without_pixels() -> None:
    masks, boxes = case(3, (40, 50))
    for size in ((0, 5), (5, 0), (0, 0)):
        assert paste_masks(masks, boxes, size).shape == (3, *size)
        bits = torch.ops.pyvqa.paste_masks(masks, boxes, *size, 0.5, False, True)
        assert bits.shape == (3, size[0], (size[1] + 63) // 64)
    none = paste_masks(torch.empty(0, 0, 0), torch.empty(0, 4), (4, 5))
    assert none.shape == (0, 4, 5)


# ---- bad arguments


@pytest.mark.parametrize(
    ("masks", "boxes", "message"),
    [
        (torch.ones(2, 28), torch.ones(2, 4), r"masks must be float32 \[masks, height, width\]"),
        (torch.ones(2, 1, 3, 3), torch.ones(2, 4), "masks must be float32 .* got 4 dimensions"),
        (torch.ones(2, 3, 3), torch.ones(2, 5), r"boxes must be \[masks, 4\]"),
        (torch.ones(2, 3, 3), torch.ones(8), r"boxes must be \[masks, 4\]"),
        (torch.ones(2, 3, 3), torch.ones(3, 4), "2 masks, but 3 boxes"),
        (torch.ones(2, 0, 3), torch.ones(2, 4), "masks must have pixels, got 0 x 3"),
    ],
)
def test_bad_tensors_are_explained(masks: Tensor, boxes: Tensor, message: str) -> None:
    with pytest.raises(RuntimeError, match=f"paste_masks: {message}"):
        paste_masks(masks, boxes, (4, 5))


def test_types_of_the_op_itself() -> None:
    with pytest.raises(RuntimeError, match=r"masks must be float32 .* 3 dimensions of Double"):
        torch.ops.pyvqa.paste_masks(
            torch.ones(1, 3, 3).double(), torch.ones(1, 4), 4, 5, 0.5, False, False
        )
    with pytest.raises(RuntimeError, match="boxes must be float32 or float64, got Half"):
        torch.ops.pyvqa.paste_masks(
            torch.ones(1, 3, 3), torch.ones(1, 4).half(), 4, 5, 0.5, False, False
        )
    for size in ((-1, 5), (5, 2**24)):
        with pytest.raises(RuntimeError, match="the canvas must be of 0 to 16777215 pixels a side"):
            torch.ops.pyvqa.paste_masks(
                torch.ones(1, 3, 3), torch.ones(1, 4), *size, 0.5, False, False
            )
    many = torch.ones(1, 3, 3).expand(2**20, 3, 3)
    with pytest.raises(RuntimeError, match=r"1048576 masks of 16777215 x 16777215 pixels are too"):
        torch.ops.pyvqa.paste_masks(
            many, torch.ones(1, 4).expand(2**20, 4), 2**24 - 1, 2**24 - 1, 0.5, False, False
        )


def test_the_public_function_names_the_wrong_argument() -> None:
    masks, boxes = torch.ones(1, 3, 3), torch.ones(1, 4)
    with pytest.raises(TypeError, match=r"paste_masks: masks must be .* got torch.bool"):
        paste_masks(masks.bool(), boxes, (4, 5))
    with pytest.raises(TypeError, match=r"paste_masks: boxes must be .* got list"):
        paste_masks(masks, [[1, 2, 3, 4]], (4, 5))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="paste_masks: rule must be torchvision or detectron"):
        paste_masks(masks, boxes, (4, 5), rule="coco")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="paste_masks: output must be dense, packed or rle"):
        paste_masks(masks, boxes, (4, 5), output="png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"paste_masks: size must be \(height, width\)"):
        paste_masks(masks, boxes, (4, 5, 6))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="paste_masks: size must hold integers, got float"):
        paste_masks(masks, boxes, (4, 5.0))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="paste_masks: size must be 0 to 16777215 a side, got -1"):
        paste_masks(masks, boxes, (4, -1))
