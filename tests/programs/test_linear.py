"""Node lists and token strings, there and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvqa.errors import ProgramError
from pyvqa.programs import linear
from pyvqa.programs.linear import Node

# How many red cubes are left of the ball, or are as big as it?
SHARED = [
    Node("scene", (), ()),
    Node("filter_shape", ("sphere",), (0,)),
    Node("unique", (), (1,)),
    Node("relate", ("left",), (2,)),
    Node("same_size", (), (2,)),
    Node("union", (), (3, 4)),
    Node("filter_ordinal", ("the first one of the", "from left"), (5,)),
    Node("count", (), (6,)),
]


def test_prefix_writes_a_shared_node_once_for_each_use() -> None:
    head = ["count", "filter_ordinal[the first one of the,from left]", "union"]
    ball = ["unique", "filter_shape[sphere]", "scene"]
    assert linear.to_prefix(SHARED) == [*head, "relate[left]", *ball, "same_size", *ball]


def test_postfix_evaluates_operands_first() -> None:
    ball = ["scene", "filter_shape[sphere]", "unique"]
    end = ["union", "filter_ordinal[the first one of the,from left]", "count"]
    assert linear.to_postfix(SHARED) == [*ball, "relate[left]", *ball, "same_size", *end]


def test_chain() -> None:
    chain = SHARED[:4]
    assert linear.is_chain(chain)
    assert linear.to_chain(chain) == ["scene", "filter_shape[sphere]", "unique", "relate[left]"]
    assert not linear.is_chain(SHARED)
    with pytest.raises(ProgramError, match="no chain"):
        linear.to_chain(SHARED)


def test_a_node_off_the_path_makes_no_chain() -> None:
    assert not linear.is_chain([Node("scene", (), ()), Node("scene", (), ())])


def test_empty_programs() -> None:
    assert linear.to_prefix([]) == linear.to_postfix([]) == linear.from_prefix([]) == []
    assert linear.is_chain([])


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("scene", 0),
        ("unique", 1),
        ("exist", 1),
        ("filter_size[large]", 1),
        ("<NULL>", 1),
        ("equal_color", 2),
        ("union", 2),
        ("less_than", 2),
        ("greater_than", 2),
    ],
)
def test_num_inputs(name: str, inputs: int) -> None:
    assert linear.num_inputs(name) == inputs


def test_unknown_mode() -> None:
    with pytest.raises(ProgramError, match="'infix'; known: prefix, postfix, chain"):
        linear.linearise(SHARED, "infix")


def test_both_spellings_of_the_files_are_read() -> None:
    release = [{"function": "scene", "inputs": [], "value_inputs": []}]
    release.append({"function": "filter_color", "inputs": [0], "value_inputs": ["red"]})
    generator = [{"type": "scene", "inputs": []}]
    generator.append({"type": "filter_color", "inputs": [0], "side_inputs": ["red"]})
    expected = [Node("scene", (), ()), Node("filter_color", ("red",), (0,))]
    assert linear.parse_nodes(release) == linear.parse_nodes(generator) == expected


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"inputs": []}, "node 0: no function name"),
        ({"function": 3}, "node 0: no function name"),
        ("scene", "node 0: no function name"),
        ({"function": "unique", "inputs": [0]}, r"node 0: inputs \[0\] must be earlier nodes"),
        ({"function": "unique", "inputs": [-1]}, "must be earlier nodes"),
        ({"function": "unique", "inputs": ["a"]}, "must be earlier nodes"),
    ],
)
def test_malformed_nodes(node: object, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        linear.parse_nodes([node])  # type: ignore[list-item]


def test_missing_operands() -> None:
    with pytest.raises(ProgramError, match="2 operands are missing"):
        linear.from_prefix(["union"])


def test_what_follows_the_root_is_ignored() -> None:
    assert linear.from_prefix(["unique", "scene", "count", "scene"])[-1].function == "unique"


trees = st.recursive(
    st.just(("scene",)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["unique", "filter_color[red]", "relate[left]"]), inner),
        st.tuples(st.sampled_from(["union", "equal_size"]), inner, inner),
    ),
    max_leaves=6,
)


def flat(tree: tuple) -> list[str]:
    return [tree[0], *(token for part in tree[1:] for token in flat(part))]


@given(trees)
@settings(max_examples=100, deadline=None)
def test_prefix_comes_back(tree: tuple) -> None:
    tokens = flat(tree)
    nodes = linear.from_prefix(tokens)
    assert linear.to_prefix(nodes) == tokens
    assert all(i < k for k, node in enumerate(nodes) for i in node.inputs)
    assert len(nodes) == len(tokens)
    assert linear.from_prefix([*tokens, "junk"]) == nodes
