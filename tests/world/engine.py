"""A plain engine for programs as the files have them, over scenes as the files have them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

Json = dict[str, Any]
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "nineth")


def real_folder() -> Path:
    """Return the folder of genuine data, or skip the test."""
    folder = os.environ.get("PYVQA_REAL")
    if not folder or not Path(folder).is_dir():
        pytest.skip("PYVQA_REAL is not set to a folder with genuine data")
    return Path(folder)


def run(program: list[Json], scene: Json) -> list[Any]:
    """Return the result of every node; a failing `unique` or ordinal raises ValueError."""
    results: list[Any] = []
    for node in program:
        name = node.get("function", node.get("type"))
        operands = [results[i] for i in node["inputs"]]
        results.append(_step(str(name), operands, node["value_inputs"], scene))
    return results


def answer(program: list[Json], scene: Json) -> str:
    """Return the last node's result the way the question files write answers."""
    result = run(program, scene)[-1]
    return {True: "yes", False: "no"}[result] if isinstance(result, bool) else str(result)


def _step(name: str, operands: list[Any], values: list[str], scene: Json) -> Any:
    objects = scene["objects"]
    head, _, attribute = name.partition("_")
    if name == "scene":
        return list(range(len(objects)))
    if name == "unique":
        (only,) = operands[0]
        return only
    if name == "relate":
        return sorted(scene["relationships"][values[0]][operands[0]])
    if name == "filter_visible":
        wanted = {"fully visible": 1, "partially visible": 2}[values[0]]
        return [o for o in operands[0] if scene["visibility"][o] == wanted]
    if name == "filter_ordinal":
        return [_ordinal(operands[0], values, objects)]
    if head == "filter":
        return [o for o in operands[0] if objects[o][attribute] == values[0]]
    if head == "same":
        wanted = objects[operands[0]][attribute]
        return [i for i, o in enumerate(objects) if o[attribute] == wanted and i != operands[0]]
    if head == "query":
        return objects[operands[0]][attribute]
    return _simple(name, operands)


def _simple(name: str, operands: list[Any]) -> Any:
    if name == "count":
        return len(operands[0])
    if name == "exist":
        return len(operands[0]) > 0
    first, second = operands
    if name == "union":
        return sorted({*first, *second})
    if name == "intersect":
        return sorted({*first} & {*second})
    if name == "less_than":
        return first < second
    if name == "greater_than":
        return first > second
    if name.startswith("equal_"):
        return first == second
    raise KeyError(name)


def _ordinal(members: list[int], values: list[str], objects: list[Json]) -> int:
    number, side = values
    k = ORDINALS.index(number.split()[1])
    if len(members) < 2:
        raise ValueError("an ordinal of fewer than two objects")
    key = 2 if side == "from front" else 0
    order = sorted(members, key=lambda o: objects[o]["pixel_coords"][key])
    return order[-(k + 1) if side == "from right" else k]
