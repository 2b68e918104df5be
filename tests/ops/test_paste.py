"""Pasted masks: torchvision's and Detectron's decisions, dense and packed, on every device."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_host_cuda,
    check_instruction_sets,
    check_registration,
    strided,
)
from pyvqa.ops import paste_masks
from pyvqa.ops.paste import Rule, paste_masks_reference

RULES: list[Rule] = ["torchvision", "detectron"]
KIT = Path(os.environ.get("PYVQA_PARITY", "/nowhere")) / "ns_vqa" / "mask_rcnn"
by_rule = pytest.mark.parametrize("rule", RULES)


def case(
    count: int, size: tuple[int, int], side: int = 28, seed: int = 0, binary: bool = False
) -> tuple[Tensor, Tensor]:
    """Masks and boxes of 2 to 300 pixels, some beyond the canvas."""
    generator = torch.Generator().manual_seed(seed)
    sides = torch.exp(torch.rand(count, 2, generator=generator) * math.log(150)) * 2
    centres = torch.rand(count, 2, generator=generator) * torch.tensor([size[1], size[0]])
    masks = torch.rand(count, side, side, generator=generator)
    if binary:
        masks = (masks > 0.5).float()
    return masks, torch.cat([centres - sides / 2, centres + sides / 2], dim=1)


def arguments(
    masks: Tensor, boxes: Tensor, size: tuple[int, int], rule: Rule, packed: bool = False
) -> tuple[Any, ...]:
    return masks, boxes, *size, 0.5, rule == "detectron", packed


def unpacked(bits: Tensor, width: int) -> Tensor:
    """Dense masks, when no bit beyond the width is set."""
    dense = (bits[..., None] >> torch.arange(64, device=bits.device) & 1).bool().flatten(2)
    assert not dense[..., width:].any()
    return dense[..., :width]


def check_against_reference(masks: Tensor, boxes: Tensor, size: tuple[int, int], rule: Rule) -> int:
    """Equal but where rounding decides; returns how many pixels that is."""
    found = paste_masks(masks, boxes, size, rule=rule)
    different = found != paste_masks_reference(masks, boxes, size, rule=rule)
    sure = paste_masks_reference(masks, boxes, size, threshold=0.5 - 1e-6, rule=rule)
    sure = sure == paste_masks_reference(masks, boxes, size, threshold=0.5 + 1e-6, rule=rule)
    assert not (different & sure).any()
    assert_equal(
        unpacked(
            torch.ops.pyvqa.paste_masks(masks, boxes, *size, 0.5, rule == "detectron", True),
            size[1],
        ),
        found,
    )
    return int(different.sum())


CASES = [
    (0, (30, 40), 28),
    (1, (30, 40), 28),
    (7, (1, 1), 28),
    (7, (33, 64), 14),
    (20, (150, 200), 28),
    (20, (200, 129), 1),
    (9, (64, 300), 31),
    (9, (120, 120), 56),
]


@by_rule
@pytest.mark.parametrize("binary", [False, True], ids=["values", "binary"])
@pytest.mark.parametrize(("count", "size", "side"), CASES)
def test_matches_reference(
    count: int, size: tuple[int, int], side: int, binary: bool, rule: Rule
) -> None:
    for seed in range(3):
        masks, boxes = case(count, size, side, seed, binary)
        rounded = check_against_reference(masks, boxes, size, rule)
        assert rounded <= 1e-4 * count * size[0] * size[1]


@by_rule
def test_masks_that_are_not_square(rule: Rule) -> None:
    masks, boxes = case(10, (90, 70), 30)
    check_against_reference(masks[:, :11], boxes, (90, 70), rule)
    check_against_reference(masks[:, :, :11], boxes, (90, 70), rule)


@by_rule
def test_every_small_offset(rule: Rule) -> None:
    """Boxes that start and end at all places of a word, and beyond every edge."""
    masks = torch.rand(150, 5, 5, generator=torch.Generator().manual_seed(1))
    left = torch.arange(150.0) - 20
    boxes = torch.stack([left, left - 60, left + 40.3, left + 30.7], dim=1)
    check_against_reference(masks, boxes, (70, 131), rule)


def test_the_rules_differ_where_a_value_equals_the_threshold() -> None:
    half = torch.full((1, 4, 4), 0.5)
    box = torch.tensor([[8.0, 8.0, 20.0, 20.0]])
    assert paste_masks(half, box, (40, 40)).any()
    assert not paste_masks(half, box, (40, 40), rule="detectron").any()


def test_a_mask_of_its_own_size_lands_pixel_for_pixel() -> None:
    mask = (torch.arange(28 * 28).reshape(1, 28, 28) % 3 == 0).float()
    # Grown by 30 / 28 about its centre this box is 30 pixels wide, border included.
    box = torch.tensor([[11.0, 6.0, 38.06, 33.06]])
    for rule in RULES:
        pasted = paste_masks(mask, box, (50, 60), rule=rule)
        assert_equal(pasted[0, 6:34, 11:39], mask[0].bool())
        assert int(pasted.sum()) == int(mask.sum())


@pytest.mark.skipif(not KIT.is_dir(), reason="PYVQA_PARITY is not set")
def test_kit() -> None:
    from pycocotools import mask as coco_mask
    from safetensors.torch import load_file

    tensors = load_file(KIT / "ops.safetensors")
    rles = json.loads((KIT / "ops.json").read_text())["paste_rles"]
    expected = torch.from_numpy(coco_mask.decode(rles)).permute(2, 0, 1).bool()
    masks, boxes = tensors["paste.masks_of_class"], tensors["paste.boxes"]
    assert len(masks) == len(rles) > 0
    pasted = paste_masks(masks, boxes, (320, 480), rule="detectron")
    assert int((pasted != expected).flatten(1).sum(1).max()) <= 2


@pytest.fixture(scope="module")
def paste_masks_in_image() -> Callable[..., Tensor]:
    try:
        from torchvision.models.detection.roi_heads import paste_masks_in_image
    except (ImportError, RuntimeError, AttributeError):
        pytest.skip("no torchvision with working ops beside this torch")
    return paste_masks_in_image


@pytest.mark.parametrize("binary", [False, True], ids=["values", "binary"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torchvision(
    dtype: torch.dtype, binary: bool, paste_masks_in_image: Callable[..., Tensor]
) -> None:
    for seed in range(10):
        size = (100 + 20 * seed, 90 + 33 * seed)
        masks, boxes = case(30, size, (28, 14, 7, 40)[seed % 4], seed, binary)
        boxes = boxes.to(dtype)
        boxes[:, 0::2] = boxes[:, 0::2].clamp(0, size[1])
        boxes[:, 1::2] = boxes[:, 1::2].clamp(0, size[0])
        for threshold in (0.5, 0.3):
            expected = paste_masks_in_image(masks[:, None], boxes, size)[:, 0] >= threshold
            assert_equal(paste_masks(masks, boxes, size, threshold=threshold), expected)


# ---- what every op has to pass


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@by_rule
def test_as_an_op(rule: Rule, packed: bool) -> None:
    size = (70, 90)
    given = arguments(*case(6, size), size, rule, packed)
    check_registration(torch.ops.pyvqa.paste_masks.default, given)
    check_compiles(torch.ops.pyvqa.paste_masks, given)
    check_deterministic(
        torch.ops.pyvqa.paste_masks, arguments(*case(40, (300, 200)), (300, 200), rule, packed)
    )


def test_public_function_compiles_to_one_graph() -> None:
    masks, boxes = case(6, (70, 90))
    check_compiles(lambda m, b: paste_masks(m * 2 - 0.5, b + 1, (70, 90)), (masks, boxes))


@by_rule
@pytest.mark.parametrize("side", [28, 40])
@pytest.mark.parametrize("size", [(60, 130), (37, 67), (5, 300)])
def test_host_cuda(rule: Rule, side: int, size: tuple[int, int]) -> None:
    masks, boxes = case(6, size, side)
    masks[0, 3, 3], masks[1, 2:9] = math.nan, math.inf
    boxes[2, 0], boxes[3, 3] = math.nan, 1e30
    for packed in (False, True):
        check_host_cuda("paste_masks", arguments(masks, boxes, size, rule, packed))
        check_host_cuda("paste_masks", arguments(masks, boxes.double(), size, rule, packed))
    check_host_cuda("paste_masks", arguments(strided(masks), strided(boxes), size, rule))
    check_host_cuda("paste_masks", arguments(masks[:0], boxes[:0], size, rule))


def test_instruction_sets() -> None:
    tests = Path(__file__).parents[1]
    check_instruction_sets(
        f"import sys; sys.path.insert(0, {str(tests)!r})"
        """
import torch
from ops.helpers import digest
from ops.test_paste import arguments, case
results = []
for rule in ("torchvision", "detectron"):
    for packed in (False, True):
        for side, size, binary in ((28, (150, 200), True), (40, (91, 133), False), (1, (9, 64), 0)):
            masks, boxes = case(20, size, side, 5, binary)
            results.append(
                torch.ops.pyvqa.paste_masks(*arguments(masks, boxes, size, rule, packed)))
            results.append(torch.ops.pyvqa.paste_masks(
                *arguments(masks.transpose(1, 2), boxes, size, rule, packed)))
print(digest(*results))
"""
    )


@by_rule
def test_strides_and_types_change_nothing(rule: Rule) -> None:
    size = (80, 90)
    masks, boxes = case(8, size)
    masks = masks.half().float()
    boxes = boxes.round()
    expected = paste_masks(masks, boxes, size, rule=rule)
    for view in (strided(masks), masks.transpose(1, 2).contiguous().transpose(1, 2)):
        assert not view.is_contiguous()
        assert_equal(paste_masks(view, strided(boxes), size, rule=rule), expected)
    assert_equal(
        paste_masks(masks.flip(2).flip(2), boxes.T.contiguous().T, size, rule=rule), expected
    )
    for dtype in (torch.float64, torch.float16):
        assert_equal(paste_masks(masks.to(dtype), boxes, size, rule=rule), expected)
    assert_equal(
        paste_masks(masks, boxes.bfloat16().to(torch.float64), size, rule=rule),
        paste_masks(masks, boxes.bfloat16(), size, rule=rule),
    )
    one = masks[:1].expand(8, 28, 28)
    assert_equal(
        paste_masks(one, boxes, size, rule=rule),
        paste_masks(one.contiguous(), boxes, size, rule=rule),
    )


def test_gradients_and_autocast_are_no_matter() -> None:
    masks, boxes = case(3, (40, 50))
    expected = paste_masks(masks, boxes, (40, 50))
    wanting = paste_masks(masks.requires_grad_(), boxes.requires_grad_(), (40, 50))
    assert not wanting.requires_grad
    assert_equal(wanting, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert_equal(paste_masks(masks, boxes, (40, 50)), expected)


def test_vmap() -> None:
    masks, boxes = case(12, (40, 50))
    batched, boxed = masks.reshape(3, 4, 28, 28), boxes.reshape(3, 4, 4)
    expected = paste_masks(masks, boxes, (40, 50)).reshape(3, 4, 40, 50)

    def paste(m: Tensor, b: Tensor) -> Tensor:
        return torch.ops.pyvqa.paste_masks(m, b, 40, 50, 0.5, False, False)

    assert_equal(torch.vmap(paste)(batched, boxed), expected)
    found = torch.vmap(paste, in_dims=(1, 1))(batched.transpose(0, 1), boxed.transpose(0, 1))
    assert_equal(found, expected)
    shared = torch.vmap(paste, in_dims=(None, 0))(batched[0], boxed)
    assert_equal(shared[1], paste_masks(batched[0], boxed[1], (40, 50)))


# ---- other forms of the result


@by_rule
def test_packed_and_run_lengths(rule: Rule) -> None:
    from pycocotools import mask as coco_mask

    size = (70, 90)
    masks, boxes = case(12, size)
    boxes[0] = math.nan
    dense = paste_masks(masks, boxes, size, rule=rule)
    packed = paste_masks(masks, boxes, size, rule=rule, output="packed")
    assert packed.width == size[1]
    assert_equal(unpacked(packed.bits, size[1]), dense)
    rles = paste_masks(masks, boxes, size, rule=rule, output="rle")
    assert_equal(torch.from_numpy(coco_mask.decode(rles)).permute(2, 0, 1).bool(), dense)


@pytest.mark.cuda
@by_rule
@pytest.mark.parametrize(("count", "size", "side"), CASES)
def test_cuda(count: int, size: tuple[int, int], side: int, rule: Rule) -> None:
    masks, boxes = case(count, size, side)
    for packed in (False, True):
        given = arguments(masks, boxes, size, rule, packed)
        found = torch.ops.pyvqa.paste_masks(masks.cuda(), boxes.cuda(), *given[2:])
        assert_equal(found.cpu(), torch.ops.pyvqa.paste_masks(*given))
