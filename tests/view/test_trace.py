"""Trace pages: one file, nothing fetched, every text escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from typing import Any

from pyvqa.evidence import Answer, Canvas, Region, Step
from pyvqa.view.page import asset, embed_json, page
from pyvqa.view.trace import Summary, trace_page, trace_script

NASTY = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u2028&amp;"


class Tags(HTMLParser):
    """Every start tag with its attributes, and the text of each script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style") and data.strip():
            self.contents.append((self.tags[-1][0], data))


def answers() -> list[Answer]:
    canvas = Canvas(
        kind="plan",
        width=480,
        height=480,
        title=NASTY,
        regions=(Region(box=(1, 2, 3, 4), label=NASTY, attributes={"color": NASTY}),),
    )
    step = Step(words=NASTY, name=NASTY, kind="set", value=NASTY, regions=(Region(item=0),))
    first = Answer(text=NASTY, question=NASTY, expected=NASTY, category=NASTY, canvas=canvas)
    second = Answer(text="no", expected="yes", canvas=canvas, steps=(step,), warnings=(NASTY,))
    return [first, second, Answer(text="maybe")]


def data_of(text: str) -> Any:
    [content] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    return json.loads(content)


def test_no_text_becomes_markup() -> None:
    text = trace_page(answers(), Summary(title=NASTY, lead=NASTY, figures=((NASTY, NASTY),)))
    tags = [tag for tag, _ in Tags(text).tags]
    assert tags == [
        *["html", "head", "meta", "meta", "meta", "meta", "title", "style", "body", "main"],
        *["noscript", "script", "script"],
    ]
    assert data_of(text)["answers"][0]["question"] == NASTY


def test_nothing_is_fetched() -> None:
    text = trace_page(answers(), Summary(title="t"))
    for _, attributes in Tags(text).tags:
        assert not set(attributes) & {"src", "href", "srcset", "action", "onload", "onerror"}
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest|WebSocket|import\(", text)
    addresses = set(re.findall(r"https?://[^\s\"'`<>]+", text.replace("\\u003c", "<")))
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_the_policy_lets_only_our_own_style_and_script_run() -> None:
    text = trace_page(answers(), Summary(title="t"))
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in Tags(text).tags
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for name, content in [("style", asset("trace.css")), ("script", trace_script())]:
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
        assert (name, content) in Tags(text).contents


def test_the_script_never_makes_markup_from_text() -> None:
    script = trace_script()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", script)


def test_answers_share_their_canvas() -> None:
    data = data_of(trace_page(answers(), Summary(title="t")))
    assert len(data["canvases"]) == 1
    assert [answer.get("canvas") for answer in data["answers"]] == [0, 0, None]
    assert [answer.get("right") for answer in data["answers"]] == [True, False, None]


def test_summary_is_on_the_page() -> None:
    summary = Summary(
        title="A title", lead="A lead.", figures=(("right", "99 %"),), rates=(("count", 0.5, 4),)
    )
    data = data_of(trace_page([], summary))
    assert (data["title"], data["lead"]) == ("A title", "A lead.")
    assert data["figures"] == [["right", "99 %"]]
    assert data["rates"] == [["count", 0.5, 4]]


def test_embedded_json_comes_back() -> None:
    value = {"a": NASTY, "b": ["</SCRIPT>", "<!--", "\u2029", 1.5, None, True]}
    text = embed_json(value)
    assert json.loads(text) == value
    assert not re.search("[<>&\u2028\u2029]", text)


def test_title_is_escaped() -> None:
    text = page("<b>&", style="", script="", data=None)
    assert f"<title>{html.escape('<b>&')}</title>" in text
