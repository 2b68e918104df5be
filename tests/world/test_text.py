"""From wordings to sentences: synonyms, brackets, "other", capitals."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pyvqa.errors import DataError
from pyvqa.world.questions import generate_expressions, generate_questions
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import Templates

from .making import folder, node, template

ZERO_HOP = [node("scene", []), node("filter_count", [0], "Z", "C", "M", "S")]
PAIR = [
    node("scene", []), node("filter_unique", [0], "Z", "C", "M", "S"),
    node("same_size", [1]), node("filter_exist", [2], "Z2", "C2", "M2", "S2"),
]  # fmt: skip


def texts(templates: Templates, count: int = 200, seed: int = 1) -> list[dict[str, Any]]:
    return generate_questions(sample_scenes(8, 0, count).pack(), templates, seed=seed)


def described(record: dict[str, Any]) -> str:
    values = [
        n["value_inputs"][0] for n in record["program"] if n["function"].startswith("filter_")
    ]
    shape = any(n["function"] == "filter_shape" for n in record["program"])
    return " ".join(values if shape else [*values, "thing"])


def test_without_synonyms_values_stand_as_they_are(tmp_path: Path) -> None:
    made = folder(tmp_path, template("How many <Z> <C> <M> <S>s are there?", "Z C M S", ZERO_HOP))
    for record in texts(made):
        assert record["question"] == f"How many {described(record)}s are there?"


def test_every_synonym_and_wording_is_used(tmp_path: Path) -> None:
    synonyms = {"cube": ["box", "die", "block"], "thing": ["item"], "red": ["scarlet"]}
    wordings = ["Count <C> <S>s.", "How many <C> <S>s?"]
    made = folder(tmp_path, template(wordings, "Z C M S", ZERO_HOP), synonyms=synonyms)
    records = texts(made, 600)
    starts = Counter(record["question"].split()[0] for record in records)
    assert min(starts["Count"], starts["How"]) > 200
    words = Counter(w.rstrip("s.?") for r in records for w in r["question"].split())
    assert min(words["box"], words["die"], words["block"]) > 20
    assert words["item"] > 0
    assert words["scarlet"] > 0
    assert not {"cube", "thing", "red"} & set(words)


def test_one_value_has_one_word_in_a_sentence(tmp_path: Path) -> None:
    synonyms = {"thing": ["thing", "object"], "cube": ["cube", "block"]}
    made = folder(tmp_path, template("<S> <S>?", "Z C M S", ZERO_HOP), synonyms=synonyms)
    for record in texts(made):
        first, second = record["question"].rstrip("?").split()
        assert first == second


def test_bracketed_parts_come_and_go(tmp_path: Path) -> None:
    made = folder(
        tmp_path, template("[Please] count [all] <S>s [ here ], now.", "Z C M S", ZERO_HOP)
    )
    records = texts(made, 400)
    kept = Counter(r["question"].startswith("Please") for r in records)
    assert 0.4 < kept[True] / len(records) < 0.6
    shapes = {r["question"].replace("Please count", "count") for r in records}
    assert {"count things, now.", "count all things here, now."} <= shapes
    assert len(shapes) == 16  # four nouns, two more optional parts


def test_other_goes_where_the_descriptions_differ(tmp_path: Path) -> None:
    text = "Is there another <Z2> <C2> <M2> <S2> beside the <Z> <C> <M> <S>; any other thing?"
    made = folder(tmp_path, template(text, "Z C M S Z2 C2 M2 S2", PAIR))
    found: Counter[bool] = Counter()
    for record in texts(made, 400):
        middle = [n["function"] for n in record["program"]].index("same_size")
        first, second = (
            {n["function"]: n["value_inputs"] for n in part if n["value_inputs"]}
            for part in (record["program"][:middle], record["program"][middle:])
        )
        differ = any(first[a] != second[a] for a in first.keys() & second.keys())
        assert (" other " in record["question"]) == (not differ)
        assert (" another " in record["question"]) == (not differ)
        assert record["question"].startswith("Is there a")
        found[differ] += 1
    assert min(found.values()) > 20


def test_words_do_not_depend_on_the_questions(tmp_path: Path) -> None:
    """Wording has a stream of its own: more synonyms do not change what is asked."""
    plain = folder(tmp_path / "a", template("x <S>?", "Z C M S", ZERO_HOP))
    rich = folder(
        tmp_path / "b",
        template(["x <S>?", "y <S>?"], "Z C M S", ZERO_HOP),
        synonyms={"cube": ["box", "die"]},
    )
    first, second = texts(plain), texts(rich)
    assert [r["program"] for r in first] == [r["program"] for r in second]
    assert [r["question"] for r in first] != [r["question"] for r in second]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the <S>(s)", "The thing(s)"),
        ("any other <S>(s)", "Any other thing(s)"),
        ("<S>(s)", "The thing(s)"),
        ("Find <S>(s) ; <S>(s) here", "Find thing(s); The thing(s) here"),
        ("one of the the <S>(s)", "The one of the thing(s)"),
    ],
)
def test_expressions_begin_with_a_capital_or_an_article(
    tmp_path: Path, text: str, expected: str
) -> None:
    nodes = [node("scene", []), node("filter_count", [0], "Z")]
    made = folder(tmp_path, template(text, "Z S", nodes), language="clevr-ref")
    records = generate_expressions(sample_scenes(8, 0, 3).pack(), made)
    assert {record["refexp"] for record in records} == {expected}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("How many <X>?", r"placeholder <X> is no parameter"),
        ("How many <Z", r"placeholder <Z is no parameter"),
        ("How [many", r"unpaired square bracket"),
        ("How many] are", r"unpaired square bracket"),
        ("a [b [c] d]", r"unpaired square bracket"),
    ],
)
def test_bad_wordings_are_explained(tmp_path: Path, text: str, message: str) -> None:
    made = folder(tmp_path, template(text, "Z C M S", ZERO_HOP))
    with pytest.raises(DataError, match=f"made.json, template 0: {message}"):
        texts(made)
