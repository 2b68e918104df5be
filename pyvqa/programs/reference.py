"""CLEVR programs in plain Python: the definition that the kernels are held to.

NS-VQA's machine of two registers (ns-vqa reason/executors/clevr_executor.py).

Made to be read, not to be fast. Scenes are the dictionaries of official scene files.
reference_ref.py does the same for CLEVR-Ref+.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from pyvqa.programs import clevr
from pyvqa.programs.linear import num_inputs, split_function

SceneDict = Mapping[str, Any]


class Outcome(NamedTuple):
    """What a program gave: kind, value, and both after every step before an error.

    Kinds and values: `error` (reason), `none` (None), `int`, `str`, `bool`, `obj` (object index),
    `set` (object indices in their order). Reasons are named as in `pyvqa.ops.Reason`, lower case.
    """

    kind: str
    value: Any
    trace: list[tuple[str, Any]]


class Failed(Exception):
    """Ends a program; its one argument is the reason."""


class ClevrObject(NamedTuple):
    """An object of a scene: where it is along `right` and along `front`, and its attributes."""

    id: int
    right: float
    front: float
    color: str
    material: str
    shape: str
    size: str


def clevr_objects(scene: SceneDict) -> list[ClevrObject]:
    """Return the objects of an official or a parsed scene, coordinates in float64.

    A stored `position` is taken as it is; `3d_coords` are projected on the scene's directions.
    """
    objects = []
    for number, item in enumerate(scene["objects"]):
        if "3d_coords" in item:
            right = _dot(item["3d_coords"], scene["directions"]["right"])
            front = _dot(item["3d_coords"], scene["directions"]["front"])
        else:
            right, front = item["position"][:2]
        attributes = (item[name] for name in clevr.ATTRIBUTES)
        objects.append(ClevrObject(number, float(right), float(front), *attributes))
    return objects


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


Register = Any  # None, a list of objects, an object, an int or a str
ClevrFunction = Callable[[Register, Register, list[ClevrObject]], Register]


def want(value: Register, kind: type) -> None:
    if type(value) is not kind:
        raise Failed("type_mismatch")


def _yes_no(truth: bool) -> str:
    return "yes" if truth else "no"


def _filter(attribute: str, wanted: str) -> ClevrFunction:
    field = ClevrObject._fields.index(attribute)

    def run(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
        want(ans, list)
        return [o for o in ans if o[field] == wanted]

    return run


def _same(attribute: str) -> ClevrFunction:
    field = ClevrObject._fields.index(attribute)

    def run(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
        want(ans, ClevrObject)
        return [o for o in scene if o[field] == ans[field] and o.id != ans.id]

    return run


def _query(attribute: str) -> ClevrFunction:
    field = ClevrObject._fields.index(attribute)

    def run(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
        want(ans, ClevrObject)
        return ans[field]

    return run


def _equal(attribute: str) -> ClevrFunction:
    values = clevr.VALUES[attribute]

    def run(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
        # Words of another attribute, and words that are no CLEVR value, are type errors as well.
        if ans not in values or temp not in values:
            raise Failed("type_mismatch")
        return _yes_no(ans == temp)

    return run


def _relate(axis: str, sign: int) -> ClevrFunction:
    field = ClevrObject._fields.index(axis)

    def run(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
        want(ans, ClevrObject)
        here = ans[field]
        if sign < 0:
            return [o for o in scene if o[field] < here]
        return [o for o in scene if o[field] > here]

    return run


def _compare(name: str) -> ClevrFunction:
    def run(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
        want(ans, int)
        want(temp, int)
        if name == "equal_integer":
            return _yes_no(ans == temp)
        return _yes_no(ans < temp if name == "less_than" else ans > temp)

    return run


def _unique(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
    want(ans, list)
    if not ans:
        raise Failed("empty_set")
    return ans[0]  # uniqueness is not checked


def _count(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
    want(ans, list)
    return len(ans)


def _exist(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
    want(ans, list)
    return _yes_no(bool(ans))


def _intersect(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
    want(ans, list)
    want(temp, list)
    return [o for o in ans if o in temp]


def _union(ans: Register, temp: Register, scene: list[ClevrObject]) -> Register:
    want(ans, list)
    want(temp, list)
    return temp + [o for o in ans if o not in temp]


_CLEVR: dict[str, ClevrFunction] = {
    "unique": _unique,
    "count": _count,
    "exist": _exist,
    "intersect": _intersect,
    "union": _union,
    "relate[left]": _relate("right", -1),
    "relate[right]": _relate("right", 1),
    "relate[behind]": _relate("front", -1),
    "relate[front]": _relate("front", 1),
    **{name: _compare(name) for name in ("equal_integer", "less_than", "greater_than")},
    **{f"same_{a}": _same(a) for a in clevr.ATTRIBUTES},
    **{f"query_{a}": _query(a) for a in clevr.ATTRIBUTES},
    **{f"equal_{a}": _equal(a) for a in clevr.ATTRIBUTES},
    **{f"filter_{a}[{v}]": _filter(a, v) for a in clevr.ATTRIBUTES for v in clevr.VALUES[a]},
}


def run_clevr(
    program: Sequence[str], scene: list[ClevrObject], *, with_trace: bool = False
) -> Outcome:
    """Execute a prefix program, tokens up to its first `<END>`, from the last to the first.

    `ans` holds the latest result. `scene` moves it to `temp`, the second operand of binary
    functions, which is never cleared: a program can hold two scenes. Other tokens are skipped.
    """
    trace: list[tuple[str, Any]] = []
    if "<END>" not in program:
        return Outcome("error", "no_end", trace)
    ans: Register = None
    temp: Register = None
    try:
        for token in reversed(program[: program.index("<END>") + 1]):
            if token == "scene":
                if temp is not None:
                    raise Failed("third_scene")
                ans, temp = list(scene), ans
            elif token in _CLEVR:
                ans = _CLEVR[token](ans, temp, scene)
            if with_trace:
                trace.append(_described(ans))
    except Failed as failure:
        return Outcome("error", failure.args[0], trace)
    return Outcome(*_described(ans), trace)


def _described(value: Register) -> tuple[str, Any]:
    if value is None:
        return "none", None
    if isinstance(value, list):
        return "set", [o.id for o in value]
    if isinstance(value, ClevrObject):
        return "obj", value.id
    return ("int", value) if isinstance(value, int) else ("str", value)


def clevr_answer(outcome: Outcome) -> str:
    """Return the answer string of the original: sets and objects give text that is no answer."""
    if outcome.kind in ("int", "str"):
        return str(outcome.value)
    return {"error": "error", "none": "None"}.get(outcome.kind, f"<{outcome.kind}>")


def is_well_typed(program: Sequence[str]) -> bool:
    """Say whether tokens up to the first `<END>` are one prefix program with all types right."""
    if "<END>" not in program:
        return False
    tokens = list(program[: program.index("<END>")])
    if tokens.count("scene") > 2:
        return False
    found = _typed(tokens, 0)
    return found is not None and found[1] == len(tokens)


def _typed(tokens: list[str], start: int) -> tuple[str, int] | None:
    """Return the type of the subtree at `start` and the position behind it, None for no subtree."""
    if start >= len(tokens):
        return None
    token = tokens[start]
    name = split_function(token)[0]
    if token not in clevr.FUNCTIONS:
        return None
    takes, gives = _signature(name)
    end = start + 1
    for _ in range(num_inputs(token)):
        operand = _typed(tokens, end)
        if operand is None or operand[0] != takes:
            return None
        end = operand[1]
    return gives, end


def _signature(name: str) -> tuple[str, str]:
    prefix, _, attribute = name.partition("_")
    if name in ("equal_integer", "less_than", "greater_than"):
        return "int", "truth"
    if prefix in ("filter", "same", "query", "equal"):
        return {
            "filter": ("set", "set"),
            "same": ("obj", "set"),
            "query": ("obj", attribute),
            "equal": (attribute, "truth"),
        }[prefix]
    return {
        "scene": ("", "set"),
        "unique": ("set", "obj"),
        "relate": ("obj", "set"),
        "count": ("set", "int"),
        "exist": ("set", "truth"),
        "union": ("set", "set"),
        "intersect": ("set", "set"),
    }[name]
