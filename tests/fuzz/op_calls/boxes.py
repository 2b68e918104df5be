"""Random calls of the box functions: odd shapes, strides, types and numbers."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import torch
from op_inputs import SPECIAL, explained, relaid
from torch import Tensor

from pyvqa import ops

FLOATS = (torch.float32, torch.float32, torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
ODD = (torch.bool, torch.complex64)
COUNTS = (0, 1, 1, 2, 3, 5, 17, 40)
PLACES = ("box", "delta", "proposal", "anchor", "cell", "fmt", "inclusive", "weights", "image")
GENERATOR = torch.Generator()  # reseeded for every tensor: a call depends on nothing before it
# torch's words where leading dimensions do not fit together.
BROADCAST = ("broadcast", "expand", "dimension")


def some_dtype(rng: random.Random) -> torch.dtype:
    """Mostly floats, sometimes integers, now and then what nothing takes."""
    kind = rng.random()
    return rng.choice(FLOATS if kind < 0.8 else INTEGERS if kind < 0.97 else ODD)


def some_numbers(rng: random.Random, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Coordinates of a small image, some of them special or, of integers, extreme."""
    GENERATOR.manual_seed(rng.getrandbits(30))
    if not dtype.is_floating_point:
        made = torch.randint(-300, 300, tuple(shape), generator=GENERATOR)
        return (made * 2**53 if rng.random() < 0.2 else made).to(dtype)
    made = torch.rand(tuple(shape), generator=GENERATOR) * 100
    if rng.random() < 0.5 and made.numel():
        for _ in range(rng.randrange(1, 6)):
            made.view(-1)[rng.randrange(made.numel())] = rng.choice(SPECIAL)
    return made.to(dtype)


def some_rows(
    rng: random.Random, rows: int, columns: int, dtype: torch.dtype | None = None
) -> Tensor:
    """[rows, columns], often with leading dimensions, seldom of a wrong rank or width."""
    shape = [rows, columns]
    kind = rng.random()
    if kind < 0.25:
        shape.insert(0, rng.choice((0, 1, 2, 3)))
        if kind < 0.05:
            shape.insert(0, rng.choice((1, 2)))
    elif kind < 0.28:
        shape.pop(0)
    elif kind < 0.31:
        shape[-1] = max(0, shape[-1] + rng.choice((-1, 1)))
    made = some_numbers(rng, shape, dtype or some_dtype(rng))
    if rng.random() < 0.1 and made.shape[0] > 0:
        return made[:1].expand(made.shape)
    return relaid(rng, made)


def try_call(
    rng: random.Random, inputs: Sequence[Tensor], run: Callable[[], Tensor]
) -> Tensor | None:
    """Call, sometimes with gradients, which must have the shapes of the inputs.

    Returns the result, or None after an exception that names what is wrong.
    """
    wanted = [t for t in inputs if t.is_floating_point()] if rng.random() < 0.3 else []
    for tensor in wanted:
        tensor.requires_grad_()
    result: Tensor | None = None
    with explained(*PLACES, *BROADCAST):
        result = run()
    if result is not None and result.requires_grad:
        given = torch.rand(result.shape, generator=GENERATOR).to(result.dtype)
        if rng.random() < 0.5:
            given = torch.ones(()).to(result.dtype).expand(result.shape)
        found = torch.autograd.grad(result, wanted, given, allow_unused=True)
        for tensor, gradient in zip(wanted, found, strict=True):
            assert gradient is None or gradient.shape == tensor.shape
    return result


def call_box_iou(rng: random.Random) -> None:
    dtype = some_dtype(rng) if rng.random() < 0.7 else None
    a = some_rows(rng, rng.choice(COUNTS), 4, dtype)
    b = some_rows(rng, rng.choice(COUNTS), 4, dtype)
    inclusive, generalized = rng.random() < 0.3, rng.random() < 0.3
    fmt = rng.choice(("xyxy", "xyxy", "xyxy", "xywh", "cxcywh", "other"))

    def run() -> Tensor:
        if generalized:
            return ops.generalized_box_iou(a, b, inclusive=inclusive)
        return ops.box_iou(a, b, fmt, inclusive=inclusive)

    result = try_call(rng, (a, b), run)
    if result is not None:
        assert result.shape[-2:] == (a.shape[-2], b.shape[-2])


def some_options(rng: random.Random) -> dict[str, object]:
    count = 4 if rng.random() < 0.97 else rng.choice((0, 3, 5))
    weights = [rng.choice((1.0, 1.0, 10.0, 5.0, 0.0, math.nan)) for _ in range(count)]
    return {"weights": tuple(weights), "inclusive": rng.random() < 0.4}


def call_encode_boxes(rng: random.Random) -> None:
    rows = rng.choice(COUNTS)
    boxes = some_rows(rng, rows, 4)
    proposals = some_rows(rng, rows if rng.random() < 0.95 else rng.choice(COUNTS), 4)
    options = some_options(rng)
    result = try_call(
        rng,
        (boxes, proposals),
        lambda: ops.encode_boxes(boxes, proposals, **options),  # type: ignore[arg-type]
    )
    if result is not None:
        assert result.shape[-2:] == boxes.shape[-2:]


def call_decode_boxes(rng: random.Random) -> None:
    rows = rng.choice(COUNTS)
    deltas = some_rows(rng, rows, 4 * rng.choice((0, 1, 1, 2, 5)))
    proposals = some_rows(rng, rows if rng.random() < 0.95 else rng.choice(COUNTS), 4)
    options = some_options(rng)
    options["clip"] = rng.choice((4.135, 4.135, 0.0, -1.0, math.inf, -math.inf, math.nan))
    result = try_call(
        rng,
        (deltas, proposals),
        lambda: ops.decode_boxes(deltas, proposals, **options),  # type: ignore[arg-type]
    )
    if result is not None:
        assert result.shape[-2:] == deltas.shape[-2:]


def call_clip_boxes(rng: random.Random) -> None:
    boxes = some_rows(rng, rng.choice(COUNTS), 4 * rng.choice((0, 1, 1, 3)))
    size = rng.choice(((320, 480), (0, 0), (7.5, 3.25), (-1, 4), (math.nan, 2), (math.inf, 2)))
    inclusive = rng.random() < 0.4
    result = try_call(rng, (boxes,), lambda: ops.clip_boxes(boxes, size, inclusive=inclusive))
    if result is not None:
        assert result.shape == boxes.shape
        assert not bool((result < 0).any())


def call_area_and_levels(rng: random.Random) -> None:
    boxes = some_rows(rng, rng.choice(COUNTS), 4)
    inclusive = rng.random() < 0.4
    low = rng.randrange(6)
    high = low + rng.randrange(-1, 5)
    with explained("box", "assign_levels"):
        ops.box_area(boxes, inclusive=inclusive)
        levels = ops.assign_levels(boxes, low, high, inclusive=inclusive)
        assert not bool(((levels < 0) | (levels > high - low)).any())


def call_anchors(rng: random.Random) -> None:
    sizes, ratios = ([rng.choice((8, 32.0, 0)) for _ in range(rng.randrange(3))] for _ in range(2))
    size = rng.choice(((0, 3), (3, 5), (1, 1), (-1, 2)))
    with explained("anchor"):
        cells = some_rows(rng, rng.choice(COUNTS[:6]), 4)
        if rng.random() < 0.5:
            cells = ops.cell_anchors(rng.choice((4, 8.0, 0, -1)), sizes, ratios)
        grid = ops.anchor_grid(cells, size, rng.choice((4, 8)))
        assert grid.shape == (size[0] * size[1] * cells.shape[0], 4)


CALLS: dict[str, Callable[[random.Random], None]] = {
    "box_iou": call_box_iou,
    "encode_boxes": call_encode_boxes,
    "decode_boxes": call_decode_boxes,
    "clip_boxes": call_clip_boxes,
    "area_and_levels": call_area_and_levels,
    "anchors": call_anchors,
}
