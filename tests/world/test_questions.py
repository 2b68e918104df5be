"""Questions from templates: true answers, balance, constraints, determinism."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.errors import ConfigError, DataError
from pyvqa.programs.clevr import FUNCTIONS
from pyvqa.programs.linear import parse_nodes, to_prefix
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.world.questions import (
    ANSWERS,
    GeneratorSettings,
    QuestionGenerator,
    Questions,
    generate_questions,
    question_records,
)
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import Templates, read_templates
from pyvqa.world.verify import wrong_answers

from . import engine
from .making import folder, node, template

SCENES = 500
FOUR = ("Z", "C", "M", "S")
TOKENS = {t: i for i, t in enumerate(["<NULL>", "<START>", "<END>", "<UNK>", *FUNCTIONS])}


@dataclasses.dataclass(frozen=True)
class Made:
    scenes: Scenes
    scene_records: list[dict[str, Any]]
    templates: Templates
    questions: Questions
    records: list[dict[str, Any]]


@pytest.fixture(scope="module")
def made() -> Made:
    world = sample_scenes(7, 0, SCENES)
    scenes, templates = world.pack(), read_templates()
    questions = QuestionGenerator(templates).generate(scenes, seed=3)
    names = [(i, f"CLEVR_val_{i:06d}.png") for i in range(SCENES)]
    records = question_records(questions, "val", names)
    return Made(scenes, world.records("val"), templates, questions, records)


def ask(templates: Templates, count: int = 250, **settings: Any) -> list[dict[str, Any]]:
    """Ask questions of random scenes; each entry also gets its `scene`."""
    world = sample_scenes(2, 0, count)
    chosen = GeneratorSettings(**settings)
    records = generate_questions(world.pack(), templates, seed=5, settings=chosen)
    scenes = world.records("val")
    return [record | {"scene": scenes[record["image_index"]]} for record in records]


def test_every_answer_is_true(made: Made) -> None:
    assert len(made.records) == 10 * SCENES
    for record in made.records:
        scene = made.scene_records[record["image_index"]]
        assert engine.answer(record["program"], scene) == record["answer"]


def test_the_executor_agrees_and_notices_a_wrong_answer(made: Made) -> None:
    judged = from_table(made.scenes.table, "clevr")
    assert len(wrong_answers(made.questions, judged)) == 0
    tampered = made.questions.answer.copy()
    tampered[17] = ANSWERS.index("3") if ANSWERS[tampered[17]] != "3" else ANSWERS.index("4")
    wrong = dataclasses.replace(made.questions, answer=tampered)
    assert wrong_answers(wrong, judged).tolist() == [17]


def test_all_families_come_in_every_block(made: Made) -> None:
    for block in (0, 1):
        inside = made.questions.scene // 250 == block
        counts = np.bincount(made.questions.family[inside], minlength=90)
        assert len(counts) == 90
        assert counts.min() >= 1
        # 2,500 questions over 90 families; compare_integer's first can only ever answer "no"
        assert np.sort(counts)[1] >= 27
        assert counts.max() <= 29


def test_a_scene_is_asked_ten_different_families(made: Made) -> None:
    families = defaultdict(set)
    for scene, family in zip(made.questions.scene, made.questions.family, strict=True):
        families[int(scene)].add(int(family))
    assert {len(f) for f in families.values()} == {10}


def test_answers_stay_balanced(made: Made) -> None:
    counts: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    kinds: dict[int, int] = {}
    for record in made.records:
        last = record["program"][-1]["function"]
        kinds[record["question_family_index"]] = {
            "query_color": 8, "query_shape": 3, "query_size": 2, "query_material": 2, "count": 11,
        }.get(last, 2)  # fmt: skip
    for record in made.records:
        family = record["question_family_index"]
        given = counts[family, record["image_index"] // 250]
        ordered = sorted([*given.values(), *[0] * (kinds[family] - len(given))])
        before = given[record["answer"]]
        assert before <= 1.1 * ordered[-2]
        assert before <= 5 * max(ordered[len(ordered) // 2], 5)
        given[record["answer"]] += 1


def test_records_have_the_official_fields(made: Made) -> None:
    fields = {
        "image_index", "image_filename", "split", "question", "program", "answer",
        "question_family_index", "question_index", "template_filename",
    }  # fmt: skip
    for position, record in enumerate(made.records):
        assert set(record) == fields
        assert record["question_index"] == position
        assert 0 <= record["question_family_index"] < 90
        assert record["question"][0].isupper()
        assert record["question"][-1] in "?."
        assert "  " not in record["question"]
        assert not set(record["question"]) & set("<>[]")


def test_token_rows_are_the_prefix_programs(made: Made) -> None:
    rows = made.questions.token_rows(TOKENS, framed=True)
    names = {i: t for t, i in TOKENS.items()}
    for row, record in zip(rows.tolist()[:500], made.records, strict=False):
        tokens = [names[i] for i in row]
        end = tokens.index("<END>")
        assert tokens[0] == "<START>"
        assert tokens[1:end] == to_prefix(parse_nodes(record["program"]))
        assert set(tokens[end + 1 :]) <= {"<NULL>"}
    assert made.questions.token_rows(TOKENS).tolist() == rows[:, 1:].tolist()
    with pytest.raises(ConfigError, match="lacks"):
        made.questions.token_rows({"<NULL>": 0, "<START>": 1, "<END>": 2})


def test_a_block_stands_alone(made: Made) -> None:
    generator = QuestionGenerator(made.templates)
    world = sample_scenes(7, 250, 250)
    second = generator.generate(world.pack(), seed=3, first=250)
    begin = int(np.searchsorted(made.questions.scene, 250))
    assert second.text == made.questions.text[begin:]
    assert np.array_equal(
        second.prefix, made.questions.prefix[made.questions.prefix_offsets[begin] :]
    )
    assert generator.generate(world.pack(), seed=4, first=250).text != second.text


def test_threads_change_nothing(made: Made) -> None:
    generator = QuestionGenerator(made.templates)
    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda _: generator.generate(made.scenes, seed=3).text, range(4)))
    assert all(text == made.questions.text for text in runs)


def test_relations_mostly_exclude_something(made: Made) -> None:
    trivial = total = 0
    for record in made.records:
        if record["template_filename"] not in ("one_hop.json", "two_hop.json", "three_hop.json"):
            continue
        program, scene = record["program"], made.scene_records[record["image_index"]]
        objects = scene["objects"]
        results = engine.run(program, scene)
        for i, step in enumerate(program):
            if step["function"] != "relate":
                continue
            end = i
            while program[end + 1]["function"].startswith("filter_"):
                end += 1
            filters = [(n["function"][7:], n["value_inputs"][0]) for n in program[i + 1 : end + 1]]
            described = [
                o for o, item in enumerate(objects) if all(item[a] == v for a, v in filters)
            ]
            trivial += results[end] == described
            total += 1
    assert 0.02 < trivial / total < 0.15  # a tenth of the options


def test_no_relation_is_superfluous_where_templates_relate_themselves(made: Made) -> None:
    checked = 0
    for record in made.records:
        if record["template_filename"] != "single_and.json":
            continue
        scene = made.scene_records[record["image_index"]]
        for i, step in enumerate(record["program"]):
            if step["function"] != "relate":
                continue
            changed = list(record["program"])
            changed[i] = {"function": "scene", "inputs": [], "value_inputs": []}
            try:
                assert engine.answer(changed, scene) != record["answer"]
            except ValueError:
                pass  # no single object is left: the relation was needed
            checked += 1
    assert checked > 100


def test_filters_that_match_nothing_are_there_and_real(tmp_path: Path) -> None:
    nodes = [node("scene", []), node("filter_exist", [0], *FOUR)]
    records = ask(folder(tmp_path, template("Is there <Z> <C> <M> <S>?", "Z C M S", nodes)))
    by_answer = Counter(record["answer"] for record in records)
    assert max(by_answer.values()) <= 1.1 * min(by_answer.values()) + 1
    filters = [len(record["program"]) - 2 for record in records if record["answer"] == "no"]
    assert set(filters) == {1, 2, 3, 4}


def test_counts_reach_zero(tmp_path: Path) -> None:
    nodes = [node("scene", []), node("filter_count", [0], *FOUR)]
    records = ask(folder(tmp_path, template("How many <Z> <C> <M> <S>s?", "Z C M S", nodes)))
    by_answer = Counter(record["answer"] for record in records)
    assert min(by_answer[str(n)] for n in range(4)) > 20


def test_null_keeps_a_parameter_empty(tmp_path: Path) -> None:
    nodes = [node("scene", []), node("filter_unique", [0], *FOUR), node("query_color", [1])]
    empty = [{"type": "NULL", "params": ["<C>"]}, {"type": "NULL", "params": ["<S>"]}]
    records = ask(folder(tmp_path, template("<Z> <C> <M> <S>?", "Z C M S", nodes, empty)))
    functions = {n["function"] for record in records for n in record["program"]}
    assert len(records) > 150
    assert {"filter_size", "filter_material"} <= functions
    assert not {"filter_color", "filter_shape"} & functions
    assert {record["question"].rstrip("?").split()[-1] for record in records} == {"thing"}


def test_out_neq_keeps_results_apart(tmp_path: Path) -> None:
    nodes = [
        node("scene", []), node("filter_unique", [0], *FOUR), node("query_size", [1]),
        node("scene", []), node("filter_unique", [3], "Z2", "C2", "M2", "S2"),
        node("query_size", [4]), node("equal_size", [2, 5]),
    ]  # fmt: skip
    names = "Z C M S Z2 C2 M2 S2"
    apart = [{"type": "OUT_NEQ", "params": [1, 4]}]
    same = 0
    for constraints in (apart, []):
        made = folder(tmp_path / str(len(constraints)), template("x?", names, nodes, constraints))
        for record in ask(made):
            unique = [
                result
                for step, result in zip(
                    record["program"], engine.run(record["program"], record["scene"]), strict=True
                )
                if step["function"] == "unique"
            ]
            assert not constraints or unique[0] != unique[1]
            same += unique[0] == unique[1]
    assert same > 10  # without the constraint it does happen


def test_neq_is_read_as_the_original_reads_it(tmp_path: Path) -> None:
    nodes = [
        node("scene", []), node("filter_unique", [0], *FOUR),
        node("relate_filter_count", [1], "R", "Z2", "C2", "M2", "S2"),
    ]  # fmt: skip
    neq = [{"type": "NEQ", "params": ["<C>", "<C2>"]}]
    records = ask(folder(tmp_path, template("x?", "Z C M S R Z2 C2 M2 S2", nodes, neq)))
    both = 0
    for record in records:
        colors = [
            n["value_inputs"][0] for n in record["program"] if n["function"] == "filter_color"
        ]
        assert len(set(colors)) <= 1  # two values that differ are dropped
        both += len(colors) == 2
    assert both > 5


def test_a_parameter_used_twice_keeps_its_value(tmp_path: Path) -> None:
    nodes = [
        node("scene", []), node("filter_unique", [0], *FOUR),
        node("relate_filter_unique", [1], "R", "Z2", "C2", "M2", "S2"),
        node("relate_filter_exist", [2], "R", "Z3", "C3", "M3", "S3"),
    ]  # fmt: skip
    names = "Z C M S R Z2 C2 M2 S2 Z3 C3 M3 S3"
    records = ask(folder(tmp_path, template("<R>?", names, nodes)))
    assert len(records) > 50
    for record in records:
        relations = [n["value_inputs"] for n in record["program"] if n["function"] == "relate"]
        assert len(relations) == 2
        assert relations[0] == relations[1]


def test_an_impossible_template_gives_nothing(tmp_path: Path) -> None:
    nodes = [node("scene", []), node("filter_count", [0], *FOUR)]
    impossible = template("x?", "Z C M S", nodes, [{"type": "OUT_NEQ", "params": [1, 1]}])
    possible = template("How many <Z> <C> <M> <S>s?", "Z C M S", nodes)
    records = ask(folder(tmp_path, impossible, possible), count=20)
    assert {record["question_family_index"] for record in records} == {1}


def test_the_limit_on_visits_only_leaves_questions_out(made: Made) -> None:
    limited = GeneratorSettings(max_visits=60)
    few = QuestionGenerator(made.templates, limited).generate(made.scenes, seed=3)
    assert 0 < len(few) <= len(made.questions)
    assert len(wrong_answers(few, from_table(made.scenes.table, "clevr"))) == 0


def test_scenes_without_objects_or_with_foreign_strings() -> None:
    codes = np.array([[17, 10, 12, 15], [2, 11, 18, 16]])  # an odd colour, an odd shape
    table = _native.scene_table(
        counts=[2, 0],
        codes=codes,
        position=np.array([[0.0, 0.0, 0.7], [2.0, 2.0, 0.35]]),
        strings=["pink", "cone"],
    )
    records = generate_questions(from_table(table, "clevr"), seed=1)
    assert records
    assert all(record["image_index"] == 0 or record["answer"] in ("0", "no") for record in records)
    assert not any("pink" in str(record["program"]) for record in records)


def test_more_objects_than_fit_are_refused() -> None:
    table = _native.scene_table(
        counts=[65], codes=np.full((65, 4), [2, 10, 12, 15]), position=np.zeros((65, 3))
    )
    with pytest.raises(DataError, match="64 objects"):
        generate_questions(from_table(table, "clevr"))


@pytest.mark.parametrize(
    "settings",
    [{"per_scene": 0}, {"block": 0}, {"trivial": 1.0}],
)
def test_bad_settings_are_explained(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        QuestionGenerator(read_templates(), GeneratorSettings(**settings))


def test_a_block_must_be_asked_from_its_start(made: Made) -> None:
    generator = QuestionGenerator(made.templates)
    with pytest.raises(ConfigError, match="begin a block"):
        generator.generate(made.scenes, seed=0, first=100)
