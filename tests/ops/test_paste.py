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
