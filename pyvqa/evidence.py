"""How an answer came about: the one format that every system writes and every view reads.

An `Answer` is a text with a list of `Step`s. A step says in words what was done, what came out of
it and what it looked at: regions of the canvas, and links between two of them. The canvas is a
picture with its detected regions, or a plan of a scene with its objects. Symbolic programs, module
masks, grounded words, attention and pairwise relations all fit; `pyvqa.view` draws them and knows
no system.

JSON (`to_json`, `from_json`, and files of many answers) holds exactly the fields below under their
own names; in a file, answers name their canvas by its number in the list `canvases`. Fields at
their default are left out when written and may be absent when read; a field that is not listed is
an error. Weights lie in 0..1, positions are pixels of the canvas (x to the right, y down).
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pyvqa.errors import DataError
from pyvqa.files import read_json, write_json

FORMAT = "pyvqa-answers"
VERSION = 1

ValueKind = Literal["nothing", "set", "object", "number", "word", "truth", "mask", "error"]
CanvasKind = Literal["picture", "plan"]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """A mask as COCO writes it: column-major run lengths, compressed to text."""

    size: tuple[int, int]  # height, width
    counts: str


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of the canvas: one of its own regions by number, or a box, or a mask."""

    item: int | None = None  # position in `Canvas.regions`
    box: tuple[float, float, float, float] | None = None  # x0, y0, x1, y1
    mask: Mask | None = None
    weight: float = 1.0
    label: str = ""
    attributes: dict[str, str] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Link:
    """A relation that was looked at: from region `i` to region `j` of the canvas."""

    i: int
    j: int
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """What the regions of an answer lie on.

    A `plan` is a scene from above: x to the right, y to the front; its regions carry the attributes
    color, shape, material and size. Regions of a `picture` that have masks beside their boxes light
    up when a step looks at them.
    """

    kind: CanvasKind
    width: float
    height: float
    title: str = ""
    image: str | None = (
        None  # a `data:image/...;base64,` address, so that a page needs nothing else
    )
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step on the way to an answer."""

    words: str  # what was done, for a reader
    name: str = ""  # what was done, as the system calls it
    inputs: tuple[int, ...] = ()  # earlier steps whose values it used
    kind: ValueKind = "nothing"
    value: str = ""  # what came out, for a reader
    regions: tuple[Region, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """Another answer that was considered."""

    text: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer with its reasons."""

    text: str
    question: str = ""
    score: float | None = None  # probability the system gives it, None where it has none
    expected: str | None = None  # gold answer where there is one
    category: str = ""  # question type
    alternatives: tuple[Alternative, ...] = ()
    canvas: Canvas | None = None
    steps: tuple[Step, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool | None:
        """Whether the answer is the expected one, None where none is known."""
        return None if self.expected is None else self.text == self.expected


def to_json(answer: Answer) -> dict[str, Any]:
    """Return the answer as dictionaries, lists, strings and numbers, ready for `json.dump`."""
    return typing.cast(dict[str, Any], _encode(answer))


def from_json(value: object, where: str = "answer") -> Answer:
    """Build an answer from parsed JSON; `where` begins the place named in an error.

    Raises DataError for an unknown or missing field, a wrong type, a number that is not finite, and
    for a step, link or region that points nowhere.
    """
    answer = typing.cast(Answer, _decode(value, Answer, where))
    _check_references(answer, where)
    return answer


def write_answers(path: str | Path, answers: Sequence[Answer]) -> None:
    """Write answers to a `.json` or `.json.gz` file, atomically; equal canvases are stored once."""
    canvases: list[Any] = []
    known: dict[str, int] = {}
    entries = []
    for answer in answers:
        entry = to_json(answer)
        if "canvas" in entry:
            key = json.dumps(entry["canvas"], sort_keys=True)
            if key not in known:
                known[key] = len(canvases)
                canvases.append(entry["canvas"])
            entry["canvas"] = known[key]
        entries.append(entry)
    content = {"format": FORMAT, "version": VERSION, "canvases": canvases, "answers": entries}
    write_json(path, content, indent=None)


def read_answers(path: str | Path) -> list[Answer]:
    """Read a file written by `write_answers`; raises DataError that names file and place."""
    content = read_json(path, keys=("format", "version", "answers"))
    if content["format"] != FORMAT or content["version"] != VERSION:
        raise DataError(
            f"{path}: format {content['format']!r} version {content['version']!r}, expected "
            f"{FORMAT!r} version {VERSION}; write the file again with this pyvqa"
        )
    listed = content.get("canvases", [])
    for name, value in (("answers", content["answers"]), ("canvases", listed)):
        if not isinstance(value, list):
            raise DataError(f"{path}: {name!r} must be a list; write the file again")
    canvases = [
        typing.cast(Canvas, _decode(c, Canvas, f"{path}: canvases[{i}]"))
        for i, c in enumerate(listed)
    ]
    return [
        _on_canvas(entry, canvases, f"{path}: answers[{i}]")
        for i, entry in enumerate(content["answers"])
    ]


def _on_canvas(entry: object, canvases: Sequence[Canvas], where: str) -> Answer:
    """Build an answer that names its canvas by number, or holds it."""
    number = entry.get("canvas") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or type(number) is not int:
        return from_json(entry, where)
    if not 0 <= number < len(canvases):
        raise DataError(f"{where}.canvas: there is no canvas {number} among the {len(canvases)}")
    bare = {name: value for name, value in entry.items() if name != "canvas"}
    answer = typing.cast(Answer, _decode(bare, Answer, where))
    answer = dataclasses.replace(answer, canvas=canvases[number])
    _check_references(answer, where)
    return answer


def _encode(value: object) -> object:
    if isinstance(value, tuple):
        return [_encode(item) for item in value]
    if dataclasses.is_dataclass(value):
        fields = {f.name: (f, getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {n: _encode(v) for n, (f, v) in fields.items() if v != _default(f)}
    return dict(value) if isinstance(value, Mapping) else value


def _default(field: dataclasses.Field[Any]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _decode(value: object, kind: Any, where: str) -> object:
    """Read one value of a declared type."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:  # only `X | None` is used
        return None if value is None else _decode(value, arguments[0], where)
    if origin is tuple:
        return _decode_tuple(value, arguments, where)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
            raise DataError(f"{where}: expected a dictionary of strings")
        return dict(value)
    if origin is Literal:
        if value not in arguments:
            raise DataError(f"{where}: {value!r} is none of {', '.join(arguments)}")
        return value
    return (
        _decode_fields(value, kind, where)
        if dataclasses.is_dataclass(kind)
        else _decode_plain(value, kind, where)
    )


def _decode_tuple(value: object, arguments: tuple[Any, ...], where: str) -> tuple[object, ...]:
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list, got {value!r:.60}")
    if arguments[-1] is Ellipsis:
        kinds = [arguments[0]] * len(value)
    elif len(value) == len(arguments):
        kinds = list(arguments)
    else:
        raise DataError(f"{where}: expected {len(arguments)} numbers, got {len(value)}")
    return tuple(
        _decode(v, k, f"{where}[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True))
    )


def _decode_plain(value: object, kind: type, where: str) -> object:
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise DataError(f"{where}: the number {value} is not finite")
        return float(value)
    if type(value) is not kind:
        names = {str: "text", int: "a whole number", float: "a number"}
        raise DataError(f"{where}: expected {names.get(kind, kind.__name__)}, got {value!r:.60}")
    return value


def _decode_fields(value: object, kind: Any, where: str) -> object:
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected a dictionary with the fields of {kind.__name__}")
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(value) - set(hints))
    if unknown:
        raise DataError(
            f"{where}: unknown field {unknown[0]!r}; {kind.__name__} has {', '.join(hints)}"
        )
    for field in dataclasses.fields(kind):
        if _default(field) is dataclasses.MISSING and field.name not in value:
            raise DataError(f"{where}: the field {field.name!r} is missing")
    return kind(**{n: _decode(v, hints[n], f"{where}.{n}") for n, v in value.items()})


def _check_references(answer: Answer, where: str) -> None:
    regions = len(answer.canvas.regions) if answer.canvas else 0
    for index, step in enumerate(answer.steps):
        place = f"{where}.steps[{index}]"
        if not all(0 <= i < index for i in step.inputs):
            raise DataError(f"{place}.inputs: {list(step.inputs)} must be earlier steps")
        items = [r.item for r in step.regions if r.item is not None]
        items += [end for link in step.links for end in (link.i, link.j)]
        if not all(0 <= i < regions for i in items):
            raise DataError(f"{place}: points outside the {regions} regions of the canvas")
