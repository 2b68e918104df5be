"""Trace pages in a headless browser, where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.evidence import Answer, Canvas, Link, Mask, Region, Step
from pyvqa.view.trace import Summary, trace_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
DOT = "data:image/gif;base64,R0lGOD"
NASTY = "<img src=x onerror=document.title='broken'>"

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or chrome on the path"),
]


def drawn(tmp_path: Path, answers: list[Answer], place: str = "") -> str:
    """The page's elements after its script has run."""
    file = tmp_path / "page.html"
    file.write_text(trace_page(answers, Summary(title="A page")), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [str(BROWSER), *options, profile, "--virtual-time-budget=3000", "--dump-dom"]
    done = subprocess.run(
        [*command, f"{file.as_uri()}#{place}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split('<main id="page">')[1].split("</main>")[0]


def plan_answer() -> Answer:
    look = {"color": "red", "shape": "cube", "material": "metal", "size": "large"}
    things = tuple(
        Region(box=(x, 100, x + 70, 170), label=f"thing {k}", attributes=look | {"shape": kind})
        for k, (x, kind) in enumerate([(20, "cube"), (200, "sphere"), (380, "cylinder")])
    )
    return Answer(
        text="no",
        question=NASTY,
        expected="yes",
        category="exist",
        canvas=Canvas(kind="plan", width=480, height=480, regions=things),
        steps=(
            Step(words="Start", kind="set", regions=tuple(Region(item=i) for i in range(3))),
            Step(
                words="Look left",
                inputs=(0,),
                kind="set",
                value="1 object",
                regions=(Region(item=0), Region(box=(0, 0, 240, 480))),
                links=(Link(i=1, j=0),),
            ),
            Step(words="Count", inputs=(1,), kind="number", value="1"),
        ),
    )


def test_text_stays_text_and_objects_are_drawn(tmp_path: Path) -> None:
    body = drawn(tmp_path, [plan_answer()], "1.2")
    assert "<img" not in body
    assert body.count("&lt;img src=x") == 1  # above the plan; a single answer needs no list
    assert "expected: yes" in body
    things = re.findall(r'<g class="(thing[^"]*)"', body)
    assert sorted(things) == [
        "thing alive",
        "thing chosen",
        "thing faded",
    ]  # the anchor is in sight
    assert body.count('class="side"') == body.count('class="link"') == 1
    assert "step 2 of 3" in body


def test_counted_objects_carry_numbers(tmp_path: Path) -> None:
    body = drawn(tmp_path, [plan_answer()], "1.3")
    assert re.findall(r'<text class="count"[^>]*>(\d+)</text>', body) == ["1"]
    assert body.count("thing faded") == 2


def test_masks_are_drawn_on_pictures(tmp_path: Path) -> None:
    canvas = Canvas(kind="picture", width=8, height=4, image=DOT)
    step = Step(words="Point", kind="mask", regions=(Region(mask=Mask(size=(4, 8), counts="88@")),))
    body = drawn(tmp_path, [Answer(text="left", score=0.5, canvas=canvas, steps=(step,))])
    assert body.count('<path class="side"') == 1
    assert "probability 50.0 %" in body


def test_masked_regions_of_a_picture_light_up(tmp_path: Path) -> None:
    regions = []
    for x in (0, 5):
        shown = np.zeros((4, 8), dtype=np.uint8)
        shown[:2, x : x + 2] = 1
        mask = Mask(size=(4, 8), counts=_native.coco_rle_encode(shown).decode())
        regions.append(Region(box=(x, 0, x + 2, 2), mask=mask, label=f"thing {x}"))
    canvas = Canvas(kind="picture", width=8, height=4, image=DOT, regions=tuple(regions))
    steps = (
        Step(words="Start", kind="set", regions=(Region(item=0), Region(item=1))),
        Step(words="Take", kind="object", inputs=(0,), regions=(Region(item=1),)),
    )
    body = drawn(tmp_path, [Answer(text="left", canvas=canvas, steps=steps)], "1.2")
    assert body.count('class="shade"') == 1
    assert re.findall(r'<g class="(thing[^"]*)"', body) == ["thing faded", "thing alive chosen"]
    outlines = re.findall(r'<path class="edge" d="([^"]+)"', body)
    assert len(outlines) == 2
    assert all(d.startswith("M") and d.endswith("Z") and "NaN" not in d for d in outlines)
    assert "box" not in re.findall(r'<rect class="(\w+)"', body)
    assert re.findall(r'<text class="tag"[^>]*>([^<]+)</text>', body) == ["thing 5"]
    assert [row.split() for row in re.findall(r'<tr tabindex="0"( class="faded")?', body)] == [
        ['class="faded"'],
        [],
    ]


def test_wrong_answers_come_first_and_can_be_chosen_by_keyboard(tmp_path: Path) -> None:
    answers = [
        Answer(text="1", question="first", expected="1"),
        Answer(text="2", question="second", expected="3", warnings=("a doubt",)),
        Answer(text="4", question="third", expected="4"),
    ]
    body = drawn(tmp_path, answers)
    assert re.findall(r'<span class="text">(\w+)</span>', body) == ["second", "first", "third"]
    assert "<h2>second</h2>" in body
    assert re.findall(r"<option[^>]*>([^<]+)</option>", body)[:4] == [
        "All results",
        "Wrong (1)",
        "Right (2)",
        "With warnings (1)",
    ]
    assert '<p class="warning">a doubt</p>' in body


def test_objects_are_listed_with_what_they_are(tmp_path: Path) -> None:
    regions = (
        Region(box=(0, 0, 2, 2), weight=0.9996, label=NASTY, attributes={"color": "red"}),
        Region(box=(4, 0, 6, 2), weight=0.5, attributes={"color": "blue", "size": NASTY}),
    )
    canvas = Canvas(kind="picture", width=8, height=4, image=DOT, regions=regions)
    body = drawn(tmp_path, [Answer(text="unknown", canvas=canvas, warnings=("why",))])
    assert re.findall(r"<th>(\w*)</th>", body) == ["", "color", "size", "sure"]
    assert re.findall(r'<td class="sure">([^<]+)</td>', body) == ["99.9 %", "50.0 %"]
    assert "<img" not in body
    assert 'class="answer doubtful">unknown<' in body


def test_an_empty_page_says_so(tmp_path: Path) -> None:
    assert "No question fits the filter." in drawn(tmp_path, [])
