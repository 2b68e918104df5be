"""The shell of every page we write: one file, nothing fetched, only our own script runs."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib import resources
from typing import Any


def asset(name: str) -> str:
    """Read one of the style sheets and scripts that lie in `pyvqa/view/assets`."""
    return (resources.files("pyvqa.view") / "assets" / name).read_text(encoding="utf-8")


def page(title: str, *, style: str, script: str, data: Any) -> str:
    """Build a self-contained HTML page whose script draws `data` into the element `#page`.

    The content security policy names the style and the script by their hashes and forbids all
    else, so even markup that slipped into the data could neither run nor reach the network.
    """
    policy = (
        f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
    )
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            '<main id="page"><noscript>This page draws itself with a script.</noscript></main>',
            f'<script id="data" type="application/json">{embed_json(data)}</script>',
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def embed_json(data: Any) -> str:
    """Write JSON that may stand inside a script element: no text in it can end the element."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escapes: dict[str, str | int | None] = {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
    return text.translate(str.maketrans(escapes))


def _digest(content: str) -> str:
    digest = hashlib.sha256(content.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"
