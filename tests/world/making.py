"""Small template folders, made for one test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pyvqa.world.template_files import Templates, read_templates

KINDS = {"Z": "Size", "C": "Color", "M": "Material", "S": "Shape", "R": "Relation"}
KINDS |= {"rORD_NUM": "Ordinal_number", "ORD_DIR": "Ordinal_direction", "VIS": "Visible"}


def params(*names: str) -> list[dict[str, str]]:
    """Declare parameters by the letters of their names, e.g. "Z2"."""
    return [{"name": f"<{n}>", "type": KINDS[n.rstrip("0123456789")]} for n in names]


def node(kind: str, inputs: list[int], *side_inputs: str) -> dict[str, Any]:
    """Make a template node."""
    made: dict[str, Any] = {"type": kind, "inputs": inputs}
    return made | ({"side_inputs": [f"<{p}>" for p in side_inputs]} if side_inputs else {})


def template(
    text: str | list[str], names: str, nodes: list[Any], constraints: list[Any] | None = None
) -> dict[str, Any]:
    """Make a template; `names` are its parameters, separated by spaces."""
    return {
        "text": [text] if isinstance(text, str) else text,
        "params": params(*names.split()),
        "nodes": nodes,
        "constraints": constraints or [],
    }


def folder(path: Path, *templates: Any, synonyms: Any = None, language: str = "clevr") -> Templates:
    """Write templates into a folder and read them."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "made.json").write_text(json.dumps(list(templates)))
    if synonyms is not None:
        (path / "synonyms.json").write_text(json.dumps(synonyms))
    return read_templates(path, language)
