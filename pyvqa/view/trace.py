"""Draw answers with their reasons: any system's, because all of them write `pyvqa.evidence`."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pyvqa.evidence import Answer, to_json
from pyvqa.view.page import asset, page

SCRIPTS = (
    "draw.js",
    "outline.js",
    "canvas.js",
    "objects.js",
    "trace.js",
)  # one script, in this order

_BEGINNINGS = (("png", b"\x89PNG"), ("jpeg", b"\xff\xd8\xff"), ("webp", b"RIFF"))


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What stands above the answers of a page."""

    title: str
    lead: str = ""  # one or two sentences
    figures: tuple[tuple[str, str], ...] = ()  # label, value
    rates: tuple[tuple[str, float, int], ...] = field(default=())  # label, share in 0..1, out of


def trace_page(answers: Sequence[Answer], summary: Summary) -> str:
    """Build one self-contained HTML page: a list of answers, each with its steps on its canvas.

    Answers that share a canvas store it once; canvases that are equal count as one.
    """
    canvases: list[Any] = []
    known: dict[str, int] = {}
    entries = []
    for answer in answers:
        entry = to_json(answer)
        canvas = entry.pop("canvas", None)
        if canvas is not None:
            key = json.dumps(canvas, sort_keys=True)
            if key not in known:
                known[key] = len(canvases)
                canvases.append(canvas)
            entry["canvas"] = known[key]
        if answer.is_right is not None:
            entry["right"] = answer.is_right
        entries.append(entry)
    data = {
        "title": summary.title,
        "lead": summary.lead,
        "figures": [list(figure) for figure in summary.figures],
        "rates": [list(rate) for rate in summary.rates],
        "canvases": canvases,
        "answers": entries,
    }
    return page(summary.title, style=asset("trace.css"), script=trace_script(), data=data)


def with_pictures(answers: Sequence[Answer], folder: Path) -> list[Answer]:
    """Put the pictures of a folder into canvases that only name theirs.

    Only plain file names are looked for, and only files that begin as a picture does are taken.
    """
    found: dict[str, str | None] = {}

    def completed(answer: Answer) -> Answer:
        canvas = answer.canvas
        if canvas is None or canvas.kind != "picture" or canvas.image is not None:
            return answer
        if canvas.title not in found:
            found[canvas.title] = _picture_address(folder, canvas.title)
        return replace(answer, canvas=replace(canvas, image=found[canvas.title]))

    return [completed(answer) for answer in answers]


def _picture_address(folder: Path, name: str) -> str | None:
    if not name or Path(name).name != name or not (folder / name).is_file():
        return None
    content = (folder / name).read_bytes()
    for kind, begin in _BEGINNINGS:
        if content.startswith(begin):
            return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
    return None


def trace_script() -> str:
    """Join the scripts of a trace page into one that leaves no global names."""
    return "\n".join(["(() => {", *(asset(name) for name in SCRIPTS), "})();"])
