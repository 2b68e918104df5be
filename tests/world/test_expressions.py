"""CLEVR-Ref+ expressions: the objects they refer to, ordinals, visibility, the text's rules."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.world.questions import (
    GeneratorSettings,
    QuestionGenerator,
    expression_records,
    generate_expressions,
)
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import read_templates
from pyvqa.world.verify import wrong_answers

from . import engine
from .making import folder, node, template

SCENES = 500
SIX = ("Z", "C", "M", "S", "rORD_NUM", "ORD_DIR")


@pytest.fixture(scope="module")
def scene_records() -> list[dict[str, Any]]:
    return sample_scenes(7, 0, SCENES).records("val", numbered=True)


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    return generate_expressions(sample_scenes(7, 0, SCENES).pack(), seed=3)


def with_visibility(count: int) -> tuple[Scenes, list[list[int]]]:
    """Random scenes whose every third object is partially visible: scenes and those objects."""
    world = sample_scenes(4, 0, count)
    inside = np.concatenate([np.arange(n) for n in world.counts])
    table = _native.scene_table(
        counts=world.counts,
        codes=world.codes,
        position=world.coordinates,
        pixel=world.pixel,
        relation_offsets=world.relation_offsets,
        relation_items=world.relation_items,
        visibility=np.where(inside % 3 == 0, 2, 1).astype(np.uint8),
        scene_visibility=np.ones(count, dtype=np.uint8),
    )
    return from_table(table, "clevr-ref"), [list(range(0, n, 3)) for n in world.counts.tolist()]


def test_every_node_gives_its_output(
    records: list[dict[str, Any]], scene_records: list[dict[str, Any]]
) -> None:
    assert len(records) > 9.5 * SCENES
    for record in records:
        results = engine.run(record["program"], scene_records[record["image_index"]])
        assert results == [step["_output"] for step in record["program"]]
        assert isinstance(results[-1], list)
        assert results[-1]


def test_families_and_fields(records: list[dict[str, Any]]) -> None:
    families = Counter((r["template_filename"], r["refexp_family_index"]) for r in records)
    assert len(families) == 26
    assert min(families.values()) > 80
    fields = {
        "image_index", "image_filename", "image", "split", "refexp", "program",
        "refexp_family_index", "refexp_index", "template_filename",
    }  # fmt: skip
    for position, record in enumerate(records):
        assert set(record) == fields
        assert record["refexp_index"] == position
        assert record["image"] + ".png" == record["image_filename"]
        assert record["program"][-1]["type"] not in ("count", "unique")


def test_ordinals_are_used_and_nothing_is_seen_without_masks(
    records: list[dict[str, Any]],
) -> None:
    before_unique: Counter[bool] = Counter()
    for record in records:
        for step in record["program"]:
            assert step["type"] != "filter_visible"
            if step["type"] == "unique":
                before = record["program"][step["inputs"][0]]
                before_unique[before["type"] == "filter_ordinal"] += 1
    share = before_unique[True] / before_unique.total()
    assert 0.6 < share < 0.9  # three quarters in the original's expressions


def test_no_expression_refers_to_everything_by_saying_nothing(
    records: list[dict[str, Any]],
) -> None:
    assert all(len(record["program"]) > 1 for record in records)


def test_text_begins_with_a_capital_in_every_part(records: list[dict[str, Any]]) -> None:
    for record in records:
        for part in record["refexp"].split("; "):
            assert part[0].isupper()
        assert "the the " not in record["refexp"].lower()
        assert not set(record["refexp"]) & set("<>[]")


def test_the_executor_agrees_and_notices_a_wrong_set() -> None:
    scenes, partially = with_visibility(300)
    questions = QuestionGenerator(read_templates(None, "clevr-ref")).generate(scenes, seed=1)
    assert len(wrong_answers(questions, scenes)) == 0
    records = expression_records(questions, "val", [(i, f"{i}.png") for i in range(300)])
    seen: Counter[str] = Counter()
    for record in records:
        for step in record["program"]:
            if step["type"] != "filter_visible":
                continue
            seen[step["value_inputs"][0]] += 1
            hidden = set(partially[record["image_index"]])
            wanted = step["value_inputs"][0] == "partially visible"
            assert all((o in hidden) == wanted for o in step["_output"])
            # one filter never has both
            assert record["program"][step["inputs"][0]]["type"] != "filter_ordinal"
    assert min(seen["fully visible"], seen["partially visible"]) > 50
    questions.objects[questions.offsets[5] - 1] ^= np.uint64(1)
    assert wrong_answers(questions, scenes).tolist() == [4]


def test_false_premises_refer_to_nothing_and_change_nothing_else() -> None:
    scenes, _ = with_visibility(100)
    templates = read_templates(None, "clevr-ref")
    plain = QuestionGenerator(templates).generate(scenes, seed=1)
    mixed = QuestionGenerator(templates, GeneratorSettings(false_premise=3)).generate(
        scenes, seed=1
    )
    empty = np.array(mixed.answers()) == "0"
    assert len(wrong_answers(mixed, scenes)) == 0
    assert [t for t, e in zip(mixed.text, empty, strict=True) if not e] == plain.text
    assert int(empty.sum()) > 2.9 * 100
    # the one that unites two different sets cannot unite two empty ones
    assert len(set(mixed.family[empty].tolist())) == 25
    records = expression_records(mixed, "val", [(i, f"{i}.png") for i in range(100)])
    uses: Counter[str] = Counter()
    for record, is_empty in zip(records, empty, strict=True):
        last = record["program"][-1]
        assert (last["_output"] == []) == is_empty
        if is_empty:
            assert len(record["program"]) > 1
            uses.update(step["type"] for step in record["program"])
    assert uses["filter_ordinal"] > 50
    assert uses["filter_visible"] > 10


def test_false_premises_hold_on_their_scenes(scene_records: list[dict[str, Any]]) -> None:
    scenes = sample_scenes(7, 0, 100).pack()
    settings = GeneratorSettings(per_scene=1, false_premise=2)
    records = generate_expressions(scenes, seed=3, settings=settings)
    empty = [record for record in records if record["program"][-1]["_output"] == []]
    assert len(empty) > 1.9 * 100
    for record in empty:
        results = engine.run(record["program"], scene_records[record["image_index"]])
        assert results == [step["_output"] for step in record["program"]]


def test_the_number_of_matches_is_drawn_first(tmp_path: Path) -> None:
    nodes = [node("scene", []), node("filter_count", [0], "Z", "C", "M", "S")]
    made = folder(tmp_path, template("<Z> <C> <M> <S>(s)", "Z C M S", nodes), language="clevr-ref")
    scenes = sample_scenes(6, 0, 1000)
    records = generate_expressions(scenes.pack(), made, seed=2)
    sizes = Counter(len(record["program"][-1]["_output"]) for record in records)
    # were all keys alike, two thirds of the expressions would name a single object
    assert sizes[1] < 0.4 * len(records)
    assert sizes[2] > 0.2 * len(records)


def test_only_ordinals_that_may_be_filled_are(tmp_path: Path) -> None:
    nodes = [
        node("scene", []), node("filter_unique", [0], *SIX),
        node("relate_filter_count", [1], "R", "Z2", "C2", "M2", "S2"),
    ]  # fmt: skip
    made = folder(
        tmp_path,
        template("<rORD_NUM> <S>(s) <ORD_DIR>", "Z C M S rORD_NUM ORD_DIR R Z2 C2 M2 S2", nodes),
        language="clevr-ref",
    )
    records = generate_expressions(sample_scenes(6, 0, 100).pack(), made, seed=2)
    for record in records:
        kinds = [step["type"] for step in record["program"]]
        assert kinds.count("filter_ordinal") <= 1
        ordinal = "filter_ordinal" in kinds
        assert ("one of the" in record["refexp"]) == ordinal
        assert ("from" in record["refexp"]) == ordinal
        assert record["refexp"].startswith("The ")
