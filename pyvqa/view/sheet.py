"""A contact sheet: pictures with the masks of their objects and what is said about them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pyvqa.view.page import asset, page

SCRIPTS = ("draw.js", "sheet.js")  # one script, in this order


@dataclass(frozen=True, kw_only=True)
class Line:
    """A question with its answer, or an expression with the objects that it refers to."""

    text: str
    answer: str = ""
    objects: tuple[int, ...] | None = None  # None of a question


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of the sheet."""

    title: str
    png: bytes
    size: tuple[int, int]  # height, width
    labels: tuple[str, ...]  # of the objects
    masks: tuple[str, ...]  # COCO's compressed counts
    lines: tuple[Line, ...] = ()


def sheet_page(
    pictures: Sequence[Picture],
    *,
    title: str,
    lead: str = "",
    figures: Sequence[tuple[str, str]] = (),
) -> str:
    """Build one self-contained HTML page; masks show on hover, a click keeps one in sight."""
    data = {
        "title": title,
        "lead": lead,
        "figures": [list(figure) for figure in figures],
        "pictures": [_entry(picture) for picture in pictures],
    }
    script = "\n".join(["(() => {", *(asset(name) for name in SCRIPTS), "})();"])
    style = asset("trace.css") + asset("sheet.css")
    return page(title, style=style, script=script, data=data)


def image_address(png: bytes) -> str:
    """Return a PNG file as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _entry(picture: Picture) -> dict[str, Any]:
    lines = [
        {"text": line.text, "answer": line.answer}
        | ({} if line.objects is None else {"objects": list(line.objects)})
        for line in picture.lines
    ]
    return {
        "title": picture.title,
        "image": image_address(picture.png),
        "size": list(picture.size),
        "labels": list(picture.labels),
        "masks": list(picture.masks),
        "lines": lines,
    }
