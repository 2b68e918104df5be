"""Programs as node lists and as token strings (iep-ref iep/programs.py, ns-vqa reason/tools).

A node list is in topological order, its last node is the root. Prefix and postfix strings write a
node that is used twice once per use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pyvqa.errors import ProgramError

MODES = ("prefix", "postfix", "chain")
_BINARY = ("union", "intersect", "less_than", "greater_than")


class Node(NamedTuple):
    """One step of a program."""

    function: str
    value_inputs: tuple[str, ...]
    inputs: tuple[int, ...]  # positions of earlier nodes


def parse_nodes(program: Iterable[Mapping[str, Any]]) -> list[Node]:
    """Read a program of an official file, release or generator flavour.

    Raises ProgramError for a node without a function or with an input that is no earlier node.
    """
    nodes: list[Node] = []
    for position, item in enumerate(program):
        function = item.get("function", item.get("type")) if isinstance(item, Mapping) else None
        if not isinstance(function, str):
            raise ProgramError(f"node {position}: no function name (expected 'function' or 'type')")
        values = item.get("value_inputs", item.get("side_inputs")) or ()
        inputs = tuple(item.get("inputs") or ())
        if not all(isinstance(i, int) and 0 <= i < position for i in inputs):
            raise ProgramError(f"node {position}: inputs {list(inputs)} must be earlier nodes")
        nodes.append(Node(function, tuple(map(str, values)), inputs))
    return nodes


def function_string(node: Node) -> str:
    """Return `name` or `name[value,value]`."""
    if not node.value_inputs:
        return node.function
    return f"{node.function}[{','.join(node.value_inputs)}]"


def split_function(text: str) -> tuple[str, tuple[str, ...]]:
    """Return name and values of a function string."""
    name, bracket, rest = text.partition("[")
    return name, tuple(rest.replace("]", "").split(",")) if bracket else ()


def num_inputs(function: str) -> int:
    """Return how many inputs a function takes: 0 for scene, 2 for binary ones, else 1."""
    name = split_function(function)[0]
    if name == "scene":
        return 0
    return 2 if "equal" in name or name in _BINARY else 1


def is_chain(nodes: Sequence[Node]) -> bool:
    """Say whether following single inputs from the root visits every node."""
    visited = set()
    current = len(nodes) - 1
    while current >= 0:
        visited.add(current)
        inputs = nodes[current].inputs
        if len(inputs) > 1:
            return False
        if not inputs:
            break
        current = inputs[0]
    return len(visited) == len(nodes)


def _depth_first(nodes: Sequence[Node], *, prefix: bool) -> list[str]:
    if not nodes:
        return []
    # Pre-order with the inputs mirrored is post-order read backwards: one walk serves both.
    tokens, waiting = [], [len(nodes) - 1]
    while waiting:
        node = nodes[waiting.pop()]
        tokens.append(function_string(node))
        waiting.extend(reversed(node.inputs) if prefix else node.inputs)
    return tokens if prefix else tokens[::-1]


def to_prefix(nodes: Sequence[Node]) -> list[str]:
    """Return function strings in pre-order from the root, inputs left to right."""
    return _depth_first(nodes, prefix=True)


def to_postfix(nodes: Sequence[Node]) -> list[str]:
    """Return function strings in post-order."""
    return _depth_first(nodes, prefix=False)


def to_chain(nodes: Sequence[Node]) -> list[str]:
    """Return function strings in list order; raises ProgramError unless the program is a chain."""
    if not is_chain(nodes):
        raise ProgramError("the program is no chain: use prefix or postfix mode")
    return [function_string(node) for node in nodes]


def linearise(nodes: Sequence[Node], mode: str = "prefix") -> list[str]:
    """Return the function strings of a program in one of `MODES`."""
    if mode not in MODES:
        raise ProgramError(f"unknown linearisation '{mode}'; known: {', '.join(MODES)}")
    return {"prefix": to_prefix, "postfix": to_postfix, "chain": to_chain}[mode](nodes)


def from_prefix(tokens: Sequence[str]) -> list[Node]:
    """Rebuild a node list from prefix tokens; what follows the root's operands is ignored.

    Each subtree is contiguous and the root comes last. Raises ProgramError when operands are
    missing.
    """
    # Backwards, a function's operands are the latest trees, its first operand the last of them.
    trees: list[list[Node]] = []
    for token in reversed(tokens[: _prefix_length(tokens)]):
        name, values = split_function(token)
        nodes: list[Node] = []
        inputs: list[int] = []
        for tree in [trees.pop() for _ in range(num_inputs(token))]:
            shift = len(nodes)
            nodes += [n._replace(inputs=tuple(i + shift for i in n.inputs)) for n in tree]
            inputs.append(len(nodes) - 1)
        trees.append([*nodes, Node(name, values, tuple(inputs))])
    return trees[0] if trees else []


def _prefix_length(tokens: Sequence[str]) -> int:
    missing = 1
    for position, token in enumerate(tokens):
        missing += num_inputs(token) - 1
        if missing == 0:
            return position + 1
    if tokens:
        raise ProgramError(f"prefix program ends early: {missing} operands are missing")
    return 0
