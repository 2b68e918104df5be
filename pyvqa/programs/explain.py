"""A program's trace in words, and the scene it ran on as a plan: what `pyvqa.view` draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyvqa.evidence import Canvas, Link, Region, Step, ValueKind
from pyvqa.ops.execute import Kind, Reason, Trace
from pyvqa.programs.linear import num_inputs, split_function
from pyvqa.programs.scenes import Scenes

REASONS: dict[Reason, str] = {
    Reason.NO_END: "the program has no end",
    Reason.UNKNOWN_TOKEN: "the program holds an unknown token",
    Reason.UNKNOWN_SCENE: "there is no such scene",
    Reason.TYPE_MISMATCH: "what came before does not fit this step",
    Reason.EMPTY_SET: "there is no such object",
    Reason.THIRD_SCENE: "the program looks at the scene a third time",
    Reason.INVALID: "not valid on this scene",
    Reason.BAD_ARITY: "an operand is missing or left over",
    Reason.MISSING_DATA: "the scene lacks pixel positions or masks",
}

_WORDS = {
    "scene": "Start with all objects",
    "unique": "Take the only one",
    "count": "Count them",
    "exist": "Is there any?",
    "union": "Put both sets together",
    "intersect": "Keep what is in both sets",
    "equal_object": "Is it the same object?",
}
_WHERE = {"left": "left of", "right": "right of", "behind": "behind", "front": "in front of"}
_NOUNS = {"color": "colour"}
_COMPARISONS = {
    "equal_integer": "Is {} equal to {}?",
    "less_than": "Is {} less than {}?",
    "greater_than": "Is {} greater than {}?",
}
_KINDS: dict[Kind, ValueKind] = {
    Kind.ERROR: "error",
    Kind.NONE: "nothing",
    Kind.INTEGER: "number",
    Kind.STRING: "word",
    Kind.OBJECT: "object",
    Kind.SET: "set",
    Kind.BOOLEAN: "truth",
}
_PLAN = 480.0  # side of a plan in pixels
_UNIT = 52.0  # pixels per scene unit at most; wide scenes are drawn smaller


class Outcome(NamedTuple):
    """What one executed function gave."""

    function: str
    inputs: tuple[int, ...]  # earlier outcomes that it used
    kind: Kind
    value: int  # as in `pyvqa.ops.Execution`
    objects: tuple[int, ...]  # of a set, in the machine's order


def prefix_outcomes(tokens: Sequence[str], trace: Trace, row: int) -> list[Outcome]:
    """Return the outcomes of program `row` in the order of execution.

    `tokens` are the function strings of the row in prefix order (NS-VQA's form), without `<END>`.
    """
    at = range(len(tokens) - 1, -1, -1)
    inputs: list[tuple[int, ...]] = []
    waiting: list[int] = []
    for position in at:
        known = tokens[position][:1] != "<"
        needed = num_inputs(tokens[position]) if known else min(1, len(waiting))
        taken = tuple(waiting.pop() for _ in range(min(needed, len(waiting))))
        inputs.append(taken)
        waiting.append(len(inputs) - 1)
    return _outcomes([tokens[i] for i in at], inputs, trace, row, list(at))


def node_outcomes(
    functions: Sequence[str], inputs: Sequence[tuple[int, ...]], trace: Trace, row: int
) -> list[Outcome]:
    """Return the outcomes of a node list that was compiled for the registers (CLEVR-Ref+)."""
    at = range(len(functions) - 1, -1, -1)
    return _outcomes(functions, inputs, trace, row, list(at))


def _outcomes(
    functions: Sequence[str],
    inputs: Sequence[tuple[int, ...]],
    trace: Trace,
    row: int,
    at: Sequence[int],
) -> list[Outcome]:
    found = []
    for function, used, position in zip(functions, inputs, at, strict=True):
        kind = Kind(int(trace.step_kind[row, position]))
        if kind is Kind.NOT_REACHED:
            found.append(Outcome(function, used, Kind.ERROR, int(trace.value[row]), ()))
            break
        objects = set_members(trace.step_sets[row, position].numpy()) if kind is Kind.SET else ()
        found.append(Outcome(function, used, kind, int(trace.step_value[row, position]), objects))
    return found


def set_members(words: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the objects of an ordered set: int64 [2, width] bits -> object numbers."""
    bits = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    return tuple(int(i) for part in bits for i in np.flatnonzero(part))


def object_label(scenes: Scenes, row: int, item: int) -> str:
    """Return "small red metal cube" for an object of scene `row`."""
    color, material, shape, size = _attributes(scenes, row)[item]
    return f"{size} {color} {material} {shape}"


def explain(
    outcomes: Sequence[Outcome], scenes: Scenes, row: int, canvas: Canvas | None = None
) -> tuple[Step, ...]:
    """Tell outcomes as steps in words; regions and links point into the canvas.

    That is `plan(scenes, row)` by default, or a picture whose regions are the scene's objects.
    """
    labels = [f"{s} {c} {m} {k}" for c, m, k, s in _attributes(scenes, row)]
    values = [_value(outcome, labels, scenes.strings) for outcome in outcomes]
    canvas = canvas or plan(scenes, row)
    steps = []
    for outcome, value in zip(outcomes, values, strict=True):
        used = [outcomes[i] for i in outcome.inputs]
        items = outcome.objects if outcome.kind is not Kind.OBJECT else (outcome.value,)
        anchors = [o.value for o in used if o.kind is Kind.OBJECT]
        looks = outcome.kind is Kind.SET and anchors
        regions = tuple(Region(item=i) for i in items)
        steps.append(
            Step(
                words=_words(outcome.function, [values[i] for i in outcome.inputs]),
                name=outcome.function,
                inputs=outcome.inputs,
                kind=_KINDS[outcome.kind],
                value=value,
                regions=regions + (_side(outcome.function, anchors[0], canvas) if looks else ()),
                links=tuple(Link(i=anchors[0], j=i) for i in items) if looks else (),
            )
        )
    return tuple(steps)


def plan(scenes: Scenes, row: int) -> Canvas:
    """Draw scene `row` from above: right is right, the front is down; 480 x 480 pixels."""
    counts = np.asarray(scenes.table.counts)
    first, count = int(counts[:row].sum()), int(counts[row])
    position = np.asarray(scenes.table.position).reshape(-1, 3)[first : first + count]
    reach = float(np.abs(position[:, :2]).max()) if count else 0.0
    unit = min(_UNIT, _PLAN * 0.47 / (reach + 0.7)) if np.isfinite(reach) else _UNIT
    regions = []
    for (x, y, _), (color, material, shape, size) in zip(
        np.nan_to_num(position), _attributes(scenes, row), strict=True
    ):
        radius = unit * (0.7 if size == "large" else 0.35)
        u, v = _PLAN / 2 + unit * x, _PLAN / 2 + unit * y
        box = tuple(round(float(c), 1) for c in (u - radius, v - radius, u + radius, v + radius))
        attributes = {"color": color, "material": material, "shape": shape, "size": size}
        regions.append(
            Region(
                box=(box[0], box[1], box[2], box[3]),
                label=f"{size} {color} {material} {shape}",
                attributes=attributes,
            )
        )
    title = scenes.image_filename[row] or f"scene {int(scenes.image_index[row])}"
    return Canvas(kind="plan", width=_PLAN, height=_PLAN, title=title, regions=tuple(regions))


def _attributes(scenes: Scenes, row: int) -> list[tuple[str, ...]]:
    counts = np.asarray(scenes.table.counts)
    first = int(counts[:row].sum())
    codes = np.asarray(scenes.table.codes).reshape(-1, 4)[first : first + int(counts[row])]
    return [tuple(scenes.strings[int(c)] for c in entry) for entry in codes]


def _value(outcome: Outcome, labels: Sequence[str], strings: Sequence[str]) -> str:
    kind, value = outcome.kind, outcome.value
    if kind is Kind.SET:
        count = len(outcome.objects)
        return "no object" if count == 0 else "1 object" if count == 1 else f"{count} objects"
    if kind is Kind.OBJECT:
        return labels[value]
    if kind is Kind.ERROR:
        return REASONS.get(Reason(value), "error") if value in set(Reason) else "error"
    if kind is Kind.STRING:
        return strings[value]
    if kind is Kind.BOOLEAN:
        return "yes" if value else "no"
    return str(value) if kind is Kind.INTEGER else ""


def _words(function: str, operands: Sequence[str]) -> str:
    name, values = split_function(function)
    family, _, attribute = name.partition("_")
    noun = _NOUNS.get(attribute, attribute)
    first = operands[0] if operands else "it"
    if name in _WORDS:
        return _WORDS[name]
    if name in _COMPARISONS:
        return _COMPARISONS[name].format(*[*operands, "?", "?"][:2])
    if name == "relate" and values:
        return f"Look {_WHERE.get(values[0], values[0])} the {first}"
    if name == "filter_ordinal" and len(values) == 2:
        which, side = values[0].removesuffix(" one of the"), values[1].removeprefix("from ")
        return f"Take {which.replace('nineth', 'ninth')} one from the {side}"
    if family == "filter" and values:
        return f"Keep the {values[0]}s" if attribute == "shape" else f"Keep the {values[0]} ones"
    if family == "same":
        return f"Find the others of the same {noun} as the {first}"
    if family == "query":
        return f"What {noun} is the {first}?"
    if family == "equal":
        return f"Is the {noun} the same: {' and '.join(operands)}?"
    return f"Skip {function}"


def _side(function: str, anchor: int, canvas: Canvas) -> tuple[Region, ...]:
    """The part of the plan that a relation looks at."""
    name, values = split_function(function)
    box = canvas.regions[anchor].box
    if canvas.kind != "plan" or name != "relate" or box is None or values[0] not in _WHERE:
        return ()
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    half = {
        "left": (0.0, 0.0, x, canvas.height),
        "right": (x, 0.0, canvas.width, canvas.height),
        "behind": (0.0, 0.0, canvas.width, y),
        "front": (0.0, y, canvas.width, canvas.height),
    }[values[0]]
    return (Region(box=half, label=_WHERE[values[0]]),)
