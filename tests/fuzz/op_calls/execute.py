"""Random calls of the program executor: shapes, types and scenes that need not fit together."""

from __future__ import annotations

import random

import torch
from op_inputs import explained, integers
from torch import Tensor

from pyvqa import ops
from pyvqa.ops import PackedScenes

NAMES = ("execute", "programs", "table", "scene", "words", "offsets", "width")


def scenes(rng: random.Random) -> PackedScenes:
    """Packed scenes of random words: mostly nonsense, which must be noticed."""
    count = rng.randint(0, 3)
    words = integers(rng, (rng.randint(0, 400),), torch.int64)
    steps = [rng.choice([0, 1, 90, 200, -5, 1 << 40]) for _ in range(count)]
    offsets = torch.tensor([0, *steps], dtype=torch.int64).cumsum(0)
    return PackedScenes(words, offsets, rng.choice([1, 1, 2, 16, 64, 3]))


def arguments(rng: random.Random) -> tuple[Tensor, Tensor, Tensor, PackedScenes]:
    rows, length = rng.randint(0, 6), rng.randint(0, 12)
    kind = rng.choice([torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32])
    programs = torch.randint(0, 12, (rows, length)).to(kind)
    table = integers(rng, (rng.randint(0, 12),), torch.int64)
    index = torch.randint(-1, 4, (rows if rng.random() < 0.9 else rows + 1,))
    return programs, table, index, scenes(rng)


def call_execute(rng: random.Random) -> None:
    with explained(*NAMES):
        ops.execute(*arguments(rng), with_sets=rng.random() < 0.5)


def call_trace(rng: random.Random) -> None:
    with explained(*NAMES):
        ops.execute_trace(*arguments(rng))


def call_verify(rng: random.Random) -> None:
    programs, table, _, _ = arguments(rng)
    with explained(*NAMES):
        ops.verify(programs, table)


CALLS = {"execute": call_execute, "trace": call_trace, "verify": call_verify}
