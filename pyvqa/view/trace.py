"""Draw answers with their reasons: any system's, because all of them write `pyvqa.evidence`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyvqa.evidence import Answer, to_json
from pyvqa.view.page import asset, page

SCRIPTS = ("draw.js", "outline.js", "canvas.js", "objects.js", "trace.js")  # one script, in this order


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


def trace_script() -> str:
    """Join the scripts of a trace page into one that leaves no global names."""
    return "\n".join(["(() => {", *(asset(name) for name in SCRIPTS), "})();"])
