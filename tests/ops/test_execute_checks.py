"""The `execute` ops as ops: registration, compilation, determinism, edges and bad input."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_registration,
    run_python,
)
from ops.random_programs import (
    TABLE,
    TOKENS,
    execute_arguments,
    make_program,
    make_scene,
    op_results,
    pack,
    rows,
    sample,
)
from pyvqa import ops
from pyvqa.ops import Kind, PackedScenes, Reason
from pyvqa.programs import clevr

# ---- what every op has to pass


EVERY_OP: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
    (torch.ops.pyvqa.execute.default, execute_arguments()),
    (torch.ops.pyvqa.execute_trace.default, sample()),
    (torch.ops.pyvqa.verify.default, sample()[:2]),
]
OP_NAMES = ["execute", "execute_trace", "verify"]


@pytest.mark.parametrize(("op", "arguments"), EVERY_OP, ids=OP_NAMES)
def test_opcheck(op: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    check_registration(op, arguments)


@pytest.mark.parametrize(("op", "arguments"), EVERY_OP, ids=OP_NAMES)
def test_compiles_to_one_graph(op: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    check_compiles(lambda *a: op(*a), arguments)


def test_public_functions_compile_to_one_graph() -> None:
    programs, table, index, words, offsets, width = sample()
    scenes = PackedScenes(words, offsets, width)
    answers = clevr.answer_table({"yes": 0, "no": 1, "2": 2, "red": 3})
    gold = torch.zeros(len(programs), dtype=torch.int64)

    def step(programs: Tensor, index: Tensor, gold: Tensor) -> Tensor:
        right = ops.reward(programs, table, index, scenes, answers, gold)
        return right * (ops.verify(programs, table) == 0)

    check_compiles(step, (programs, index, gold))


@pytest.mark.parametrize(
    ("op", "count"), [("execute", 5000), ("execute_trace", 2000), ("verify", 5000)]
)
def test_deterministic(op: str, count: int) -> None:
    arguments = {
        "execute": execute_arguments(count),
        "execute_trace": sample(count),
        "verify": sample(count)[:2],
    }[op]
    check_deterministic(getattr(torch.ops.pyvqa, op), arguments)


def test_id_types_and_layouts_change_nothing() -> None:
    programs, *rest = execute_arguments()
    expected = torch.ops.pyvqa.execute(programs, *rest)
    for dtype in (torch.uint8, torch.int32, torch.int64):
        assert_equal(torch.ops.pyvqa.execute(programs.to(dtype), *rest), expected)
    assert_equal(torch.ops.pyvqa.execute(programs.T.contiguous().T, *rest), expected)
    strided = torch.stack([programs, programs + 1], dim=-1)[..., 0]
    assert not strided.is_contiguous()
    assert_equal(torch.ops.pyvqa.execute(strided, *rest), expected)
    assert_equal(
        torch.ops.pyvqa.execute(programs, rest[0].repeat_interleave(2)[::2], *rest[1:]), expected
    )


def test_wider_sets_change_nothing() -> None:
    rng = random.Random(3)
    small = [make_scene(rng, n) for n in (0, 5, 11)]
    programs = rows([make_program(rng) for _ in range(800)])
    index = torch.tensor([rng.randrange(3) for _ in range(800)])
    narrow = pack(small)
    expected = op_results(programs, TABLE, index, narrow)
    for largest, width in ((100, 2), (300, 16), (1100, 64)):
        wide = pack([*small, make_scene(rng, largest)])
        assert wide.packed.width == width
        assert op_results(programs, TABLE, index, wide) == expected


# ---- edges


def test_nothing_to_do() -> None:
    scenes = pack([make_scene(random.Random(0), 3)]).packed
    for shape in ((0, 7), (0, 0)):
        done = ops.execute(
            torch.empty(shape, dtype=torch.int32), TABLE, torch.empty(0), scenes, with_sets=True
        )
        assert [tuple(t.shape) for t in done] == [(0,), (0,), (0,), (0, 2, 1)]
        assert ops.verify(torch.empty(shape, dtype=torch.int32), TABLE).shape == (0,)
    traced = ops.execute_trace(
        torch.empty((0, 7), dtype=torch.int32), TABLE, torch.empty(0), scenes
    )
    assert traced.step_sets.shape == (0, 7, 2, 1)
    empty_rows = torch.empty((3, 0), dtype=torch.int64)
    done = ops.execute(empty_rows, TABLE, torch.zeros(3), scenes)
    assert done.kind.tolist() == [Kind.ERROR] * 3
    assert done.value.tolist() == [Reason.NO_END] * 3
    assert ops.verify(empty_rows, TABLE).tolist() == [Reason.NO_END] * 3
    assert ops.execute_trace(empty_rows, TABLE, torch.zeros(3), scenes).step_kind.shape == (3, 0)


def test_no_scenes_and_no_table() -> None:
    nothing = PackedScenes(torch.empty(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int64), 1)
    programs = rows([["count", "scene", "<END>"]])
    done = ops.execute(programs, TABLE, torch.zeros(1), nothing)
    assert (done.kind.item(), done.value.item()) == (Kind.ERROR, Reason.UNKNOWN_SCENE)
    no_table = torch.empty(0, dtype=torch.int64)
    done = ops.execute(
        programs, no_table, torch.zeros(1), pack([make_scene(random.Random(0), 3)]).packed
    )
    assert done.kind.item() == Kind.ERROR
    assert ops.verify(programs, no_table).item() != 0


def test_scenes_out_of_range_are_errors() -> None:
    scenes = pack([make_scene(random.Random(0), 3)] * 2).packed
    index = [0, 1, 2, -1, 2**31, -(2**31), 2**63 - 1, -(2**63)]
    programs = rows([["count", "scene", "<END>"]] * len(index))
    done = ops.execute(programs, TABLE, torch.tensor(index), scenes)
    assert done.kind.tolist() == [Kind.INTEGER] * 2 + [Kind.ERROR] * 6
    assert done.value.tolist() == [3, 3] + [Reason.UNKNOWN_SCENE] * 6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_ids_out_of_range_are_errors(dtype: torch.dtype) -> None:
    scenes = pack([make_scene(random.Random(0), 3)]).packed
    limits = torch.iinfo(dtype)
    for bad in {limits.min, limits.max, len(TOKENS), -1 if limits.min else 255}:
        programs = rows([["count", "scene", "<END>", "scene"]] * 2, dtype)
        programs[0, 1] = bad
        programs[1, 3] = bad  # behind the end nothing counts
        done = ops.execute(programs, TABLE, torch.zeros(2), scenes)
        status = ops.verify(programs, TABLE)
        if 0 <= bad < len(TOKENS):
            continue
        assert (done.kind[0].item(), done.value[0].item()) == (Kind.ERROR, Reason.UNKNOWN_TOKEN)
        assert status[0] == Reason.UNKNOWN_TOKEN
        assert done.kind[1].item() == Kind.INTEGER
        assert status[1] == 0


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(8))
def test_garbage_is_executed_alike_every_time(seed: int) -> None:
    """Random instructions, programs, scene words and offsets: defined results, the same twice."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int, low: int = -(2**63), high: int = 2**63 - 1) -> Tensor:
        return torch.randint(low, high, shape, generator=generator, dtype=torch.int64)

    for width in (1, 2, 16, 64):
        table = noise(80)
        table[:40] = (
            noise(40, low=0, high=22)
            | noise(40, low=0, high=5) << 32
            | noise(40, low=0, high=16) << 24
        )
        words = noise(3000)
        words[::300] = noise(10, low=0, high=12)
        offsets = torch.tensor([0, 300, 600, 900, 1200, 1500, 1800, 2100, 2400, 2700, 3000])
        offsets[seed % 11] = int(noise(1))
        arguments = (
            noise(400, 20, low=-2, high=84),
            table,
            noise(400, low=-1, high=11),
            words,
            offsets,
            width,
        )
        first = torch.ops.pyvqa.execute_trace(*arguments)
        assert_equal(torch.ops.pyvqa.execute_trace(*arguments), first)
        answers = torch.arange(3, dtype=torch.int32)
        done = torch.ops.pyvqa.execute(*arguments, answers, answers, True)
        assert_equal(done[:2], first[:2])
        assert int(done[0].max()) <= Kind.BOOLEAN


# ---- bad arguments: one message that says what is wrong


def _with(position: int, value: Any) -> tuple[Any, ...]:
    arguments = list(execute_arguments(4))
    arguments[position] = value
    return tuple(arguments)


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, torch.zeros(4, dtype=torch.int32), r"programs must be \[programs, tokens\], got 1 dim"),
        (0, torch.zeros(4, 3), "programs must be uint8, int16, int32 or int64, got Float"),
        (0, torch.zeros((4, 3), dtype=torch.bool), "programs must be uint8, int16, int32 or int64"),
        (1, torch.zeros(4), "table must be a int64 vector, got 1 dimensions of Float"),
        (
            1,
            torch.zeros((4, 1), dtype=torch.int64),
            "table must be a int64 vector, got 2 dimensions",
        ),
        (2, torch.zeros(3, dtype=torch.int64), "4 programs, but 3 scene indices"),
        (2, torch.zeros(4, dtype=torch.int32), "scene_index must be a int64 vector"),
        (3, torch.zeros(9, dtype=torch.int32), "words must be a int64 vector"),
        (4, torch.zeros(0, dtype=torch.int64), "offsets must hold at least one entry"),
        (4, torch.zeros((1, 1), dtype=torch.int64), "offsets must be a int64 vector"),
        (5, 3, "width must be 1, 2, 16 or 64 words, got 3"),
        (5, -1, "width must be 1, 2, 16 or 64 words, got -1"),
        (6, torch.zeros(3, dtype=torch.int64), "string_answers must be a int32 vector"),
        (7, torch.zeros(3), "integer_answers must be a int32 vector"),
    ],
)
def test_bad_input_is_explained(position: int, value: Any, message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        torch.ops.pyvqa.execute(*_with(position, value))


def test_the_public_functions_name_the_wrong_type() -> None:
    scenes = pack([make_scene(random.Random(0), 3)]).packed
    with pytest.raises(TypeError, match=r"programs must be .* got torch.float32"):
        ops.execute(torch.zeros(1, 3), TABLE, torch.zeros(1), scenes)
    with pytest.raises(TypeError, match=r"programs must be .* got torch.bool"):
        ops.verify(torch.zeros(1, 3, dtype=torch.bool), TABLE)


# ---- instruction sets

_HASH = """
import torch
import pyvqa.ops
generator = torch.Generator().manual_seed(1)
def noise(low, high, *shape):
    return torch.randint(low, high, shape, generator=generator, dtype=torch.int64)
print(pyvqa.ops.isa())
table = noise(0, 22, 60) | noise(0, 4, 60) << 32 | noise(0, 2, 60) << 16
for width in (1, 2, 16):
    words = noise(-2**62, 2**62, 20000)
    words[::2000] = noise(0, 12, 10)
    offsets = torch.arange(0, 20001, 2000)
    done = torch.ops.pyvqa.execute_trace(
        noise(0, 60, 3000, 25).short(), table, noise(0, 10, 3000), words, offsets, width)
    weights = [torch.arange(1, t.numel() + 1).reshape(t.shape) for t in done]
    print([int((t.long() * w).sum()) for t, w in zip(done, weights)])
"""


def test_instruction_sets_give_equal_results() -> None:
    said = {
        isa: run_python(_HASH, PYVQA_ISA=isa).splitlines() for isa in ("base", "avx2", "avx512")
    }
    assert said["base"][0] == "base"
    assert len({tuple(lines[1:]) for lines in said.values()}) == 1
    assert len(set(said["base"][1:])) > 1
