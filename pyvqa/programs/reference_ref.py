"""CLEVR-Ref+ programs in plain Python: the definition that the kernels are held to.

The engine of clevr-refplus-dataset-gen (refexp_generation/refexp_engine.py), with wrong types and
missing data given as reasons instead of assertions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyvqa.errors import ProgramError
from pyvqa.programs import clevr, clevr_ref
from pyvqa.programs.linear import Node, function_string, num_inputs
from pyvqa.programs.reference import Failed, Outcome, SceneDict, want

_LEAST_OVERLAP = 0.2  # share of a box that another object must hide to count as occlusion


class ObjectId(int):
    """An object's index, told apart from a number."""


class RefScene(NamedTuple):
    """A scene as the engine of referring expressions sees it; objects are their indices."""

    attributes: list[dict[str, str]]
    relationships: Mapping[str, Sequence[Sequence[int]]]
    pixels: list[tuple[float, float]] | None  # x and depth of each object, None if not stored
    visibility: dict[str, set[int]] | str | None  # classes, "invalid", or None without masks


def ref_scene(scene: SceneDict) -> RefScene:
    """Read a CLEVR-Ref+ scene; masks and boxes, where they are there, decide what is occluded."""
    objects = scene["objects"]
    attributes = [{name: o[name] for name in clevr.ATTRIBUTES} for o in objects]
    pixels = None
    if all("pixel_coords" in o for o in objects):
        pixels = [(float(o["pixel_coords"][0]), float(o["pixel_coords"][2])) for o in objects]
    visibility = _visibility(scene) if pixels is not None and "obj_mask" in scene else None
    return RefScene(attributes, scene["relationships"], pixels, visibility)


def _mask(runs: str, width: int = 480) -> NDArray[np.bool_]:
    lengths = [int(n) for n in runs.split(",")]
    pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return pixels.reshape(-1, width)


def _visibility(scene: SceneDict) -> dict[str, set[int]] | str:
    objects = range(len(scene["objects"]))
    depth = [o["pixel_coords"][2] for o in scene["objects"]]
    masks = [_mask(scene["obj_mask"][str(i + 1)]) for i in objects]
    partially: set[int] = set()
    for i in objects:
        for j in range(i + 1, len(objects)):
            near, far = (i, j) if depth[i] < depth[j] else (j, i)
            x, y, w, h = scene["obj_bbox"][str(far + 1)]
            if w * h == 0:
                continue
            hidden = int(masks[near][y : y + h, x : x + w].sum()) / (w * h)
            if 0 < hidden < _LEAST_OVERLAP:
                return "invalid"  # too little to call, so the whole scene is left out
            if hidden >= _LEAST_OVERLAP:
                partially.add(far)
    fully = set(objects) - partially
    if not partially or not fully:
        return "invalid"
    return {"fully visible": fully, "partially visible": partially}


def run_clevr_ref(nodes: Sequence[Node], scene: RefScene) -> Outcome:
    """Execute a node list in its order; the first invalid or ill-typed node ends it.

    The result is the last node's; `trace` holds every node's.

    Raises ProgramError for a function that the language does not have.
    """
    outputs: list[Any] = []
    trace: list[tuple[str, Any]] = []
    for node in nodes:
        text = function_string(node)
        if text not in clevr_ref.FUNCTIONS and text not in clevr_ref.QUESTION_FUNCTIONS:
            raise ProgramError(f"unknown function '{text}'")
    try:
        for node in nodes:
            if len(node.inputs) != num_inputs(node.function):
                raise Failed("bad_arity")
            operands = [outputs[i] for i in node.inputs]
            outputs.append(_step(node, operands, scene))
            trace.append(_described(outputs[-1]))
    except Failed as failure:
        return Outcome("error", failure.args[0], trace)
    kind, value = trace[-1] if trace else ("none", None)
    return Outcome(kind, value, trace)


def _described(value: Any) -> tuple[str, Any]:
    if isinstance(value, list):
        return "set", list(value)
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, ObjectId):
        return "obj", int(value)
    return ("int", value) if isinstance(value, int) else ("str", value)


def _step(node: Node, operands: list[Any], scene: RefScene) -> Any:
    name, values = node.function, node.value_inputs
    if name in ("union", "intersect"):
        return _sets(name, *operands)
    if len(operands) == 2:
        return _comparison(name, *operands)
    if name == "scene":
        return list(range(len(scene.attributes)))
    if name == "relate" or name.startswith(("same_", "query_")):
        return _of_object(name, values, operands[0], scene)
    return _of_set(name, values, operands[0], scene)


def _sets(name: str, first: Any, second: Any) -> list[int]:
    want(first, list)
    want(second, list)
    if name == "union":
        return sorted(set(first) | set(second))
    return sorted(set(first) & set(second))


def _comparison(name: str, first: Any, second: Any) -> bool:
    if name == "equal_object":
        want(first, ObjectId)
        want(second, ObjectId)
        return bool(first == second)
    if name in ("equal_integer", "less_than", "greater_than"):
        want(first, int)
        want(second, int)
        return bool(
            first == second
            if name == "equal_integer"
            else (first < second if name == "less_than" else first > second)
        )
    values = clevr.VALUES[name.removeprefix("equal_")]
    if first not in values or second not in values:
        raise Failed("type_mismatch")
    return bool(first == second)


def _of_object(name: str, values: tuple[str, ...], item: Any, scene: RefScene) -> Any:
    want(item, ObjectId)
    if name == "relate":
        return sorted(scene.relationships[values[0]][item])
    kind, _, attribute = name.partition("_")
    mine = scene.attributes[item][attribute]
    if kind == "query":
        return mine
    return [i for i, other in enumerate(scene.attributes) if i != item and other[attribute] == mine]


def _of_set(name: str, values: tuple[str, ...], items: Any, scene: RefScene) -> Any:
    want(items, list)
    if name == "unique":
        if len(items) != 1:
            raise Failed("invalid")
        return ObjectId(items[0])
    if name == "count":
        return len(items)
    if name == "exist":
        return len(items) > 0
    if name == "filter_ordinal":
        return _ordinal(values[0], values[1], items, scene)
    if name == "filter_visible":
        return _visible(values[0], items, scene)
    attribute = name.removeprefix("filter_")
    return [i for i in items if scene.attributes[i][attribute] == values[0]]


def _ordinal(number: str, side: str, items: list[int], scene: RefScene) -> list[int]:
    k = clevr_ref.ORDINALS.index(number.removeprefix("the ").removesuffix(" one of the"))
    if scene.pixels is None:
        raise Failed("missing_data")
    if len(items) == 1 or k >= len(items):
        raise Failed("invalid")  # one object has no order
    x_and_depth = scene.pixels
    if side == "from front":
        return [sorted(items, key=lambda i: x_and_depth[i][1])[k]]
    left_to_right = sorted(items, key=lambda i: x_and_depth[i][0])
    return [left_to_right[k if side == "from left" else -(k + 1)]]


def _visible(wanted: str, items: list[int], scene: RefScene) -> list[int]:
    if scene.visibility is None:
        raise Failed("missing_data")
    if not items or isinstance(scene.visibility, str):
        raise Failed("invalid")
    return [i for i in items if i in scene.visibility[wanted]]
