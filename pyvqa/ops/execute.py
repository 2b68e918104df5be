"""Batched execution of symbolic programs on packed scenes (csrc/execute)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import torch
from torch import Tensor

import pyvqa._core  # noqa: F401  (loads the kernels)


class Kind(IntEnum):
    """What a program or a step of it gave."""

    ERROR = 0
    NONE = 1
    INTEGER = 2
    STRING = 3
    OBJECT = 4
    SET = 5
    BOOLEAN = 6
    NOT_REACHED = 255  # in traces only


class Reason(IntEnum):
    """Why a program failed: the `value` that goes with `Kind.ERROR`, and what `verify` returns."""

    NO_END = 1
    UNKNOWN_TOKEN = 2
    UNKNOWN_SCENE = 3
    TYPE_MISMATCH = 4
    EMPTY_SET = 5
    THIRD_SCENE = 6
    INVALID = 7
    BAD_ARITY = 8
    MISSING_DATA = 9


@dataclass(frozen=True)
class PackedScenes:
    """S scenes in the kernel's layout (csrc/execute/bytecode.h); made by `pyvqa.programs`."""

    words: Tensor  # int64 [words]
    offsets: Tensor  # int64 [S + 1]
    width: int  # 64-bit words per object set: 1 up to 64 objects, 2 up to 128, then 16 and 64

    def __len__(self) -> int:
        return self.offsets.shape[0] - 1

    def to(self, device: torch.device | str) -> PackedScenes:
        """Return the scenes on `device`."""
        return PackedScenes(self.words.to(device), self.offsets.to(device), self.width)


@dataclass(frozen=True)
class AnswerTable:
    """Ids of answers in an answer vocabulary, -1 for those it lacks."""

    strings: Tensor  # int32 [strings]: by string code; codes 0 and 1 are "no" and "yes"
    integers: Tensor  # int32 [numbers]: by number

    def to(self, device: torch.device | str) -> AnswerTable:
        """Return the table on `device`."""
        return AnswerTable(self.strings.to(device), self.integers.to(device))


class Execution(NamedTuple):
    """Results of B programs."""

    kind: Tensor  # uint8 [B], a Kind
    value: Tensor  # int32 [B]: integer, string code, object, 0/1 for booleans, Reason for errors
    answer_id: Tensor  # int32 [B]: id in the answer vocabulary or -1
    sets: Tensor  # int64 [B, 2, width] bits: the objects that come first, the rest; or [0, ...]


class Trace(NamedTuple):
    """The result after every instruction, by position in the row (executed from its end)."""

    kind: Tensor  # uint8 [B], of the whole program
    value: Tensor  # int32 [B]
    step_kind: Tensor  # uint8 [B, L], Kind.NOT_REACHED where nothing was executed
    step_value: Tensor  # int32 [B, L]
    step_sets: Tensor  # int64 [B, L, 2, width]


_ID_TYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


def _programs(programs: Tensor) -> Tensor:
    if programs.dtype not in _ID_TYPES:
        raise TypeError(f"programs must be uint8, int16, int32 or int64, got {programs.dtype}")
    return programs


def execute(
    programs: Tensor,
    table: Tensor,
    scene_index: Tensor,
    scenes: PackedScenes,
    answers: AnswerTable | None = None,
    *,
    with_sets: bool = False,
) -> Execution:
    """Execute B programs [B, L], row b on scene `scene_index[b]`.

    Each entry of `programs` is a position in `table` [V], the instruction words of a language
    (`pyvqa.programs`); a row is executed from the word before its first end word back to its
    start, as NS-VQA does (reason/executors/clevr_executor.py). Rows that fail, name no scene or
    hold unknown ids give `Kind.ERROR` with a `Reason`; nothing raises per row. Results do not
    depend on the device or the number of threads.

    Raises RuntimeError when shapes or types do not fit together.
    """
    empty = torch.empty(0, dtype=torch.int32, device=programs.device)
    result = torch.ops.pyvqa.execute(
        _programs(programs),
        table,
        scene_index.long(),
        scenes.words,
        scenes.offsets,
        scenes.width,
        empty if answers is None else answers.strings,
        empty if answers is None else answers.integers,
        with_sets,
    )
    return Execution(*result)


def execute_trace(
    programs: Tensor, table: Tensor, scene_index: Tensor, scenes: PackedScenes
) -> Trace:
    """Execute as `execute` does and keep the result after every instruction."""
    result = torch.ops.pyvqa.execute_trace(
        _programs(programs), table, scene_index.long(), scenes.words, scenes.offsets, scenes.width
    )
    return Trace(*result)


def reward(
    programs: Tensor,
    table: Tensor,
    scene_index: Tensor,
    scenes: PackedScenes,
    answers: AnswerTable,
    gold: Tensor,
) -> Tensor:
    """Return 1 where a program's answer is the gold answer id [B], else 0: float32 [B].

    Everything stays on the device of `programs`. Negative gold ids are never right.
    """
    found = execute(programs, table, scene_index, scenes, answers).answer_id
    return ((found == gold) & (gold >= 0)).float()


def verify(programs: Tensor, table: Tensor) -> Tensor:
    """Check B prefix programs [B, L] without a scene: int8 [B], 0 = well formed and typed.

    Otherwise the `Reason`: no end, an id that is no function, operands missing or left over,
    operands of the wrong type, more scenes than the two-register machine can hold.
    """
    return torch.ops.pyvqa.verify(_programs(programs), table)  # type: ignore[no-any-return]


def _fake_execute(
    programs: Tensor,
    table: Tensor,
    scene_index: Tensor,
    words: Tensor,
    offsets: Tensor,
    width: int,
    string_answers: Tensor,
    integer_answers: Tensor,
    with_sets: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows = programs.shape[0]
    return (
        programs.new_empty(rows, dtype=torch.uint8),
        programs.new_empty(rows, dtype=torch.int32),
        programs.new_empty(rows, dtype=torch.int32),
        programs.new_empty((rows if with_sets else 0, 2, width), dtype=torch.int64),
    )


def _fake_execute_trace(
    programs: Tensor, table: Tensor, scene_index: Tensor, words: Tensor, offsets: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    rows, length = programs.shape
    return (
        programs.new_empty(rows, dtype=torch.uint8),
        programs.new_empty(rows, dtype=torch.int32),
        programs.new_empty((rows, length), dtype=torch.uint8),
        programs.new_empty((rows, length), dtype=torch.int32),
        programs.new_empty((rows, length, 2, width), dtype=torch.int64),
    )


def _fake_verify(programs: Tensor, table: Tensor) -> Tensor:
    return programs.new_empty(programs.shape[0], dtype=torch.int8)


torch.library.register_fake("pyvqa::execute", _fake_execute)
torch.library.register_fake("pyvqa::execute_trace", _fake_execute_trace)
torch.library.register_fake("pyvqa::verify", _fake_verify)
