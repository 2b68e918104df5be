"""The answer format: JSON both ways, strict, with the place of what is wrong."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvqa import evidence
from pyvqa.errors import DataError
from pyvqa.evidence import Alternative, Answer, Canvas, Link, Mask, Region, Step

FULL = Answer(
    text="yes",
    question="Is there a <b>cube</b>?",
    score=0.75,
    expected="no",
    category="exist",
    alternatives=(Alternative(text="no", score=0.25),),
    canvas=Canvas(
        kind="plan",
        width=480.0,
        height=320.0,
        title="scene 3",
        image="data:image/png;base64,AA==",
        regions=(
            Region(box=(1.0, 2.0, 3.0, 4.5), label="cube", attributes={"color": "red"}),
            Region(mask=Mask(size=(4, 5), counts="PPYo0"), weight=0.5),
        ),
    ),
    steps=(
        Step(words="Start with all objects", name="scene", kind="set", value="2 objects"),
        Step(
            words="Is there any?",
            inputs=(0,),
            kind="truth",
            value="yes",
            regions=(Region(item=1),),
            links=(Link(i=0, j=1, weight=0.125),),
        ),
    ),
    warnings=("an unknown word",),
)


def test_json_keeps_everything() -> None:
    text = json.dumps(evidence.to_json(FULL), allow_nan=False)
    assert evidence.from_json(json.loads(text)) == FULL


def test_fields_at_their_default_are_left_out() -> None:
    assert evidence.to_json(Answer(text="3")) == {"text": "3"}
    assert evidence.from_json({"text": "3"}) == Answer(text="3")


def test_right_wrong_or_unknown() -> None:
    assert FULL.is_right is False
    assert dataclasses.replace(FULL, expected="yes").is_right is True
    assert Answer(text="3").is_right is None


text = st.text(max_size=8)
weights = st.floats(0, 1)
boxes = st.tuples(*[st.floats(-1e6, 1e6)] * 4)
regions = st.builds(
    Region,
    box=st.none() | boxes,
    weight=weights,
    label=text,
    attributes=st.dictionaries(text, text, max_size=2),
)
answers = st.builds(
    Answer,
    text=text,
    question=text,
    score=st.none() | weights,
    expected=st.none() | text,
    alternatives=st.lists(st.builds(Alternative, text=text, score=weights), max_size=2).map(tuple),
    canvas=st.builds(
        Canvas,
        kind=st.sampled_from(["plan", "picture"]),
        width=weights,
        height=weights,
        regions=st.lists(regions, min_size=2, max_size=3).map(tuple),
    ),
    steps=st.lists(
        st.builds(
            Step,
            words=text,
            kind=st.sampled_from(["set", "error", "word"]),
            regions=st.lists(st.builds(Region, item=st.integers(0, 1)), max_size=2).map(tuple),
            links=st.lists(
                st.builds(Link, i=st.integers(0, 1), j=st.integers(0, 1), weight=weights),
                max_size=2,
            ).map(tuple),
        ),
        max_size=3,
    ).map(tuple),
)


@given(answers)
@settings(max_examples=60, deadline=None)
def test_any_answer_comes_back(answer: Answer) -> None:
    assert evidence.from_json(json.loads(json.dumps(evidence.to_json(answer)))) == answer


def broken(path: str, value: Any) -> dict[str, Any]:
    """FULL as JSON with one place replaced; a value of ... removes it."""
    root = json.loads(json.dumps(evidence.to_json(FULL)))
    *way, last = [int(p) if p.isdigit() else p for p in path.split(".")]
    node = root
    for part in way:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return root


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("text", ..., "answer: the field 'text' is missing"),
        ("text", 3, "answer.text: expected text, got 3"),
        ("score", "high", "answer.score: expected a number"),
        ("score", True, "answer.score: expected a number"),
        ("score", float("nan"), "answer.score: the number nan is not finite"),
        ("steps", {}, "answer.steps: expected a list"),
        ("steps.1", "x", r"answer.steps\[1\]: expected a dictionary with the fields of Step"),
        ("steps.1.kind", "maybe", r"answer.steps\[1\].kind: 'maybe' is none of nothing, set"),
        ("steps.0.colour", 1, r"answer.steps\[0\]: unknown field 'colour'; Step has words"),
        ("steps.1.inputs", [1], r"answer.steps\[1\].inputs: \[1\] must be earlier steps"),
        ("steps.1.regions.0.item", 2, r"steps\[1\]: points outside the 2 regions of the canvas"),
        ("steps.1.links.0.j", -1, r"steps\[1\]: points outside the 2 regions of the canvas"),
        ("canvas.regions.0.box", [1, 2, 3], r"regions\[0\].box: expected 4 numbers, got 3"),
        ("canvas.regions.0.attributes", {"a": 1}, "attributes: expected a dictionary of strings"),
        ("canvas", ..., r"steps\[1\]: points outside the 0 regions"),
    ],
)
def test_what_is_wrong_is_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        evidence.from_json(broken(path, value))


@pytest.mark.parametrize("name", ["answers.json", "answers.json.gz"])
def test_files(tmp_path: Path, name: str) -> None:
    evidence.write_answers(tmp_path / name, [FULL, Answer(text="3")])
    assert evidence.read_answers(tmp_path / name) == [FULL, Answer(text="3")]


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    file.write_text('{"format": "other", "version": 1, "answers": []}')
    with pytest.raises(DataError, match=r"answers\.json: format 'other' version 1, expected"):
        evidence.read_answers(file)
    file.write_text('{"format": "pyvqa-answers", "version": 1, "answers": [{"text": "a"}, 7]}')
    with pytest.raises(DataError, match=r"answers\.json: answers\[1\]: expected a dictionary"):
        evidence.read_answers(file)


def test_a_file_stores_equal_canvases_once(tmp_path: Path) -> None:
    again = dataclasses.replace(FULL, text="no", canvas=dataclasses.replace(FULL.canvas))
    evidence.write_answers(tmp_path / "a.json", [FULL, again, Answer(text="3")])
    content = json.loads((tmp_path / "a.json").read_text())
    assert len(content["canvases"]) == 1
    assert [answer.get("canvas") for answer in content["answers"]] == [0, 0, None]
    read = evidence.read_answers(tmp_path / "a.json")
    assert read == [FULL, again, Answer(text="3")]
    assert read[0].canvas is read[1].canvas


@pytest.mark.parametrize(("number", "message"), [(1, "no canvas 1"), (-1, "no canvas -1")])
def test_a_canvas_that_is_not_there(tmp_path: Path, number: int, message: str) -> None:
    evidence.write_answers(tmp_path / "a.json", [FULL])
    content = json.loads((tmp_path / "a.json").read_text())
    content["answers"][0]["canvas"] = number
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        evidence.read_answers(tmp_path / "a.json")
