"""The `execute` op gives what the plain-Python executors give."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.random_programs import (
    ROOT_TYPES,
    TABLE,
    TOKENS,
    compile_ref,
    grow,
    make_nodes,
    make_program,
    make_ref_scene,
    make_scene,
    op_results,
    op_traces,
    pack,
    rows,
)
from pyvqa import ops
from pyvqa.ops import Kind, Reason
from pyvqa.programs import clevr, reference, reference_ref
from pyvqa.programs.linear import Node

# ---- equality with the plain-Python executors


@pytest.mark.parametrize("largest", [0, 1, 11, 64, 65, 128, 200])
def test_clevr_equals_the_reference(largest: int) -> None:
    rng = random.Random(largest)
    sizes = [largest, *(rng.randint(0, largest) for _ in range(7))]
    raw = [make_scene(rng, n) for n in sizes]
    scenes, plain = pack(raw), [reference.clevr_objects(s) for s in raw]
    programs = [make_program(rng) for _ in range(1500 if largest < 65 else 300)]
    index = [rng.randrange(len(raw)) for _ in programs]
    expected = [
        reference.run_clevr(p, plain[i], with_trace=True)
        for p, i in zip(programs, index, strict=True)
    ]
    arguments = (rows(programs), TABLE, torch.tensor(index), scenes)
    assert op_results(*arguments) == [(o.kind, o.value) for o in expected]
    assert op_traces(*arguments) == [o.trace for o in expected]
    if largest > 1:  # every kind of result is among them
        assert {o.kind for o in expected} >= {"error", "none", "int", "str", "obj", "set"}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_clevr_equals_the_reference_on_chosen_cases(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32), label="scene")
    raw = make_scene(random.Random(seed), data.draw(st.integers(0, 9), label="objects"))
    tokens = st.lists(st.sampled_from(TOKENS), max_size=12)
    typed = st.builds(
        lambda s, kind: [*grow(random.Random(s), kind), "<END>"],
        st.integers(0, 2**32),
        st.sampled_from(ROOT_TYPES),
    )
    programs = data.draw(st.lists(tokens | typed, min_size=1, max_size=20), label="programs")
    plain = reference.clevr_objects(raw)
    expected = [reference.run_clevr(p, plain) for p in programs]
    index = torch.zeros(len(programs), dtype=torch.int64)
    found = op_results(rows(programs), TABLE, index, pack([raw]))
    assert found == [(o.kind, o.value) for o in expected]


def test_verify_equals_the_reference() -> None:
    rng = random.Random(5)
    programs = [make_program(rng) for _ in range(4000)]
    found = ops.verify(rows(programs), TABLE) == 0
    expected = [reference.is_well_typed(p) for p in programs]
    assert found.tolist() == expected
    assert 500 < sum(expected) < 3500


def test_verified_programs_fail_on_empty_sets_alone() -> None:
    rng = random.Random(6)
    scenes = pack([make_scene(rng, 8, unknown=0)])
    programs = rows([make_program(rng) for _ in range(3000)])
    programs = programs[ops.verify(programs, TABLE) == 0]
    done = ops.execute(programs, TABLE, torch.zeros(len(programs)), scenes.packed)
    failed = done.value[done.kind == Kind.ERROR]
    assert len(failed) > 10
    assert (failed == Reason.EMPTY_SET).all()


@pytest.mark.parametrize("largest", [2, 9, 70])
def test_clevr_ref_equals_the_reference(largest: int) -> None:
    rng = random.Random(largest)
    raw = [make_ref_scene(rng, rng.randint(0, largest)) for _ in range(6)]
    scenes, plain = pack(raw, "clevr-ref"), [reference_ref.ref_scene(s) for s in raw]
    programs = [make_nodes(rng) for _ in range(1500)]
    index = [rng.randrange(len(raw)) for _ in programs]
    expected = [
        reference_ref.run_clevr_ref(p, plain[i]) for p, i in zip(programs, index, strict=True)
    ]
    compiled, table = compile_ref(programs)
    arguments = (compiled, table, torch.tensor(index), scenes)
    assert op_results(*arguments) == [(o.kind, o.value) for o in expected]
    without_end = [trace[1:] for trace in op_traces(*arguments)]
    assert without_end == [o.trace for o in expected]
    reasons = {o.value for o in expected if o.kind == "error"}
    assert {"type_mismatch", "invalid"} <= reasons
    if largest == 9:
        kinds = {o.kind for o in expected}
        assert kinds == {"error", "int", "str", "obj", "set", "bool"}


def test_scenes_without_pixels_or_masks_say_that_data_are_missing() -> None:
    raw = make_ref_scene(random.Random(1), 5)
    for field in ("obj_mask", "obj_bbox"):
        del raw[field]
    scene = Node("scene", (), ())
    visible = [scene, Node("filter_visible", ("fully visible",), (0,))]
    ordinal = [scene, Node("filter_ordinal", ("the first one of the", "from left"), (0,))]
    compiled, table = compile_ref([visible, ordinal])
    found = op_results(compiled, table, torch.tensor([0, 0]), pack([raw], "clevr-ref"))
    plain = reference_ref.ref_scene(raw)
    expected = [reference_ref.run_clevr_ref(p, plain) for p in (visible, ordinal)]
    assert found == [(o.kind, o.value) for o in expected]
    assert found[0] == ("error", "missing_data")
    assert found[1][0] == "set"


# ---- answers and rewards


def test_answer_ids_and_reward() -> None:
    scenes = pack(
        [
            {
                "objects": [
                    {
                        "color": "red",
                        "material": "metal",
                        "shape": "cube",
                        "size": "large",
                        "position": [0, 0, 0],
                    },
                    {
                        "color": "pink",
                        "material": "rubber",
                        "shape": "cube",
                        "size": "small",
                        "position": [1, 0, 0],
                    },
                ]
            }
        ]
    )
    programs = rows(
        [
            ["count", "scene", "<END>"],
            ["query_color", "unique", "scene", "<END>"],
            ["exist", "filter_shape[sphere]", "scene", "<END>"],
            ["query_color", "unique", "filter_size[small]", "scene", "<END>"],
            ["scene", "<END>"],
            ["unique", "scene", "<END>"],
            ["count", "<END>"],
            ["count", "scene"],
        ]
    )
    vocabulary = {"no": 4, "yes": 5, "red": 6, "2": 7}
    answers = clevr.answer_table(vocabulary, scenes.strings[len(clevr.answer_strings()) :])
    index = torch.zeros(len(programs), dtype=torch.int64)
    arguments = (programs, TABLE, index, scenes.packed, answers)
    expected = [7, 6, 4, -1, -1, -1, -1, -1]
    assert ops.execute(*arguments).answer_id.tolist() == expected
    gold = torch.tensor([7, 5, 4, -1, -1, 0, 0, 0])
    assert ops.reward(*arguments, gold).tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    extended = clevr.answer_table({**vocabulary, "pink": 9}, ["pink"])
    found = ops.execute(programs, TABLE, index, scenes.packed, extended).answer_id
    assert found.tolist() == [7, 6, 4, 9, -1, -1, -1, -1]
