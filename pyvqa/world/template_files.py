"""Question and expression templates: reading a folder in the official format.

Sources: clevr-dataset-gen question_generation/CLEVR_1.0_templates and
clevr-refplus-dataset-gen refexp_generation. The package's own templates are in `templates/`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyvqa.errors import DataError
from pyvqa.files import read_json

FOLDERS = {"clevr": "clevr", "clevr-ref": "clevr_ref", "vqa": "vqa"}  # language -> own templates
_NO_TEMPLATES = ("metadata.json", "synonyms.json")
# Families are numbered through all files: CLEVR's in this order, unknown files after them by name.
_ORDER = {
    "clevr": (
        "compare_integer.json", "comparison.json", "three_hop.json", "single_and.json",
        "same_relate.json", "single_or.json", "one_hop.json", "two_hop.json", "zero_hop.json",
    ),
    "clevr-ref": (),
    "vqa": (),
}  # fmt: skip

# (texts, [(parameter, type)], [(node type, inputs, parameters by position)], [(constraint, i, j)])
Source = tuple[
    list[str],
    list[tuple[str, str]],
    list[tuple[str, list[int], list[int]]],
    list[tuple[str, int, int]],
]


@dataclass(frozen=True)
class Template:
    """One family: sentences of one meaning and the program they stand for."""

    filename: str
    index: int  # within its file
    source: Source


@dataclass(frozen=True)
class Templates:
    """All families of a language, in the order that numbers them."""

    language: str
    families: tuple[Template, ...]
    synonyms: dict[str, list[str]]

    def digest(self) -> str:
        """Return a fingerprint of the content, to tell whether a folder has changed."""
        families = [[f.filename, f.index, f.source] for f in self.families]
        content = json.dumps([self.language, self.synonyms, families], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()

    def where(self, family: int) -> str:
        """Name a family for messages, e.g. `one_hop.json, template 3`."""
        return f"{self.families[family].filename}, template {self.families[family].index}"


def read_templates(folder: str | Path | None = None, language: str = "clevr") -> Templates:
    """Read the template files of a folder; None takes the package's own.

    Every `*.json` beside metadata.json and synonyms.json is a template file.

    Raises DataError naming file and template.
    """
    own = Path(__file__).parent / "templates" / FOLDERS[language]
    path = own if folder is None else Path(folder)
    if not path.is_dir():
        raise DataError(f"{path}: no such folder; --templates takes a folder of template files")
    found = {entry.name: entry for entry in path.glob("*.json") if entry.name not in _NO_TEMPLATES}
    if not found:
        raise DataError(f"{path}: holds no template files (*.json)")
    order = _ORDER[language]
    names = [n for n in order if n in found] + sorted(n for n in found if n not in order)
    families: list[Template] = []
    for name in names:
        for index, item in enumerate(read_json(found[name], expect=list)):
            source = _source(item, f"{found[name]}: template {index}")
            families.append(Template(name, index, source))
    if not families:
        raise DataError(f"{path}: its template files hold no templates")
    return Templates(language, tuple(families), _synonyms(path / "synonyms.json"))


def _synonyms(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}
    synonyms = read_json(path, expect=dict)
    for value, words in synonyms.items():
        if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
            raise DataError(f"{path}: the words for {value!r} must be a list of strings, not empty")
    return dict(synonyms)


def _source(item: Any, where: str) -> Source:
    if not isinstance(item, dict):
        raise DataError(f"{where}: must be a dictionary with text, params, nodes and constraints")
    texts = item.get("text")
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise DataError(f"{where}: 'text' must be a list of sentences")
    params = [
        (_string(p, "name", f"{where}: params[{i}]"), _string(p, "type", f"{where}: params[{i}]"))
        for i, p in enumerate(_list(item, "params", where))
    ]
    names = [name for name, _ in params]
    nodes = [
        _node(node, names, f"{where}: nodes[{i}]")
        for i, node in enumerate(_list(item, "nodes", where))
    ]
    constraints = [
        _constraint(constraint, names, f"{where}: constraints[{i}]")
        for i, constraint in enumerate(_list(item, "constraints", where, missing=[]))
    ]
    return texts, params, nodes, constraints


def _list(item: Any, key: str, where: str, missing: list[Any] | None = None) -> list[Any]:
    value = item.get(key, missing) if isinstance(item, dict) else None
    if not isinstance(value, list):
        raise DataError(f"{where}: {key!r} must be a list")
    return value


def _string(item: Any, key: str, where: str) -> str:
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} must be a string")
    return value


def _position(name: Any, names: Sequence[str], where: str) -> int:
    if name not in names:
        raise DataError(f"{where}: {name!r} is not declared in 'params'")
    return list(names).index(name)


def _indices(values: list[Any], where: str) -> list[int]:
    if not all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1000 for v in values):
        raise DataError(f"{where}: {values} must be positions of nodes")
    return [int(v) for v in values]


def _node(node: Any, names: Sequence[str], where: str) -> tuple[str, list[int], list[int]]:
    inputs = _indices(_list(node, "inputs", where), where)
    side_inputs = _list(node, "side_inputs", where, missing=[])
    return _string(node, "type", where), inputs, [_position(p, names, where) for p in side_inputs]


def _constraint(constraint: Any, names: Sequence[str], where: str) -> tuple[str, int, int]:
    kind = _string(constraint, "type", where)
    params = _list(constraint, "params", where)
    wanted = 1 if kind == "NULL" else 2
    if len(params) != wanted:
        raise DataError(f"{where}: {kind} takes {wanted} parameters, has {len(params)}")
    if kind == "OUT_NEQ":
        positions = _indices(params, where)
    else:
        positions = [_position(p, names, where) for p in params]
    return kind, positions[0], positions[1] if wanted == 2 else -1
