"""Programs against the originals: linearisation, every step of random programs, executor answers.

Kits of NS-VQA hold `executor_*.json.gz` and `clevr/`, kits of IEP-Ref `text_and_programs.json`,
`symbolic_random.json` and `data/refexps_*.json` beside `data/scenes_*.json`.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyvqa import _native
from pyvqa.ops import Kind, Trace, execute, execute_trace
from pyvqa.programs import clevr, linear
from pyvqa.programs.explain import set_members
from pyvqa.programs.linear import Node
from pyvqa.programs.questions import compile_programs, read_questions
from pyvqa.programs.run import answer_texts, run_file, traces
from pyvqa.programs.scenes import Scenes, from_table, read_scenes

INVALID = "__INVALID__"
KINDS = {
    Kind.ERROR: "error",
    Kind.NONE: "none",
    Kind.INTEGER: "int",
    Kind.STRING: "str",
    Kind.OBJECT: "obj",
    Kind.SET: "set",
}


def load(path: Path) -> Any:
    content = path.read_bytes()
    return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)


def packed(scenes: list[Any], language: str) -> Scenes:
    content = json.dumps({"scenes": scenes}).encode()
    return from_table(_native.read_scenes(content, language == "clevr-ref"), language)


# ---- IEP-Ref -------------------------------------------------------------------------------------


@pytest.mark.kit("iep_ref", "text_and_programs.json")
def test_linearisation(case: Path) -> None:
    kit = load(case)
    entries = load(case.parent / "data" / "refexps_train.json")["refexps"]
    programs = {entry["refexp_index"]: entry["program"] for entry in entries}
    assert kit["linearise"]
    for expected in kit["linearise"]:
        nodes = linear.parse_nodes(programs[expected["refexp_index"]])
        assert linear.is_chain(nodes) == expected["is_chain"]
        assert ";".join(linear.to_prefix(nodes)) == expected["prefix"]
        assert ";".join(linear.to_postfix(nodes)) == expected["postfix"]
        rebuilt = linear.from_prefix(expected["prefix"].split(";"))
        assert rebuilt == linear.parse_nodes(expected["prefix_to_list"])


@pytest.mark.kit("iep_ref", "text_and_programs.json")
def test_function_strings(case: Path) -> None:
    kit = load(case)
    assert {name: linear.num_inputs(name) for name in kit["num_inputs"]} == kit["num_inputs"]
    for text, expected in kit["str_to_function"].items():
        name, values = linear.split_function(text)
        assert {"function": name, "value_inputs": list(values)} == expected
        assert linear.function_string(Node(name, values, ())) == text


def ref_value(trace: Trace, row: int, position: int, strings: list[str]) -> Any:
    """One step's result as the original's engine returns it."""
    kind, value = int(trace.step_kind[row, position]), int(trace.step_value[row, position])
    if kind == Kind.SET:
        return sorted(set_members(trace.step_sets[row, position].numpy()))
    if kind == Kind.STRING:
        return strings[value]
    if kind == Kind.BOOLEAN:
        return bool(value)
    return INVALID if kind in (Kind.NOT_REACHED, Kind.ERROR) else value


def ordered(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


@pytest.mark.kit("iep_ref", "symbolic_random.json")
def test_random_programs(case: Path) -> None:
    cases = load(case)["cases"]
    scenes = read_scenes(case.parent / "data" / "scenes_train.json", "clevr-ref")
    entries = [
        {"refexp": "", "image_index": c["image_index"], "program": c["program"]} for c in cases
    ]
    questions = _native.read_questions(json.dumps({"refexps": entries}).encode())
    compiled = compile_programs(questions, "clevr-ref")
    rows = scenes.rows(questions.image_index)
    trace = execute_trace(compiled.rows, compiled.table, rows, scenes.packed)
    for row, expected in enumerate(cases):
        last = len(expected["program"]) - 1
        for node, output in enumerate(expected["outputs"]):
            found = ref_value(trace, row, last - node, scenes.strings)
            assert found == ordered(output), f"case {row}, node {node}"
            assert type(found) is type(output)
        stopped = len(expected["outputs"]) - 1
        if not expected["valid"]:
            assert trace.kind[row] == Kind.ERROR
            reached = trace.step_kind[row, : last - stopped + 1]
            assert bool((reached == Kind.NOT_REACHED).all()), f"case {row} went on"
        assert ordered(expected["outputs"][-1]) == ordered(expected["answer"])


@pytest.mark.kit("iep_ref", "data/refexps_*.json")
def test_every_node_of_the_expressions(case: Path) -> None:
    scenes = read_scenes(case.with_name(case.name.replace("refexps", "scenes")), "clevr-ref")
    questions = read_questions(case)
    compiled = compile_programs(questions, "clevr-ref")
    rows = scenes.rows(questions.image_index)
    entries = load(case)["refexps"]
    found = traces(scenes, questions, compiled, rows, "clevr-ref")
    for entry, outcomes in zip(entries, found, strict=True):
        for node, outcome in zip(entry["program"], outcomes, strict=True):
            objects = outcome.value if outcome.kind is Kind.OBJECT else sorted(outcome.objects)
            assert objects == ordered(node["_output"])
    result = run_file(scenes, questions, "clevr-ref")
    assert (result.accuracy, len(result.entries)) == (1.0, len(entries))


# ---- NS-VQA --------------------------------------------------------------------------------------


def clevr_value(kind: int, value: int, words: Any, strings: list[str]) -> list[Any]:
    """One result as the kit writes it: [kind, value]."""
    name = KINDS[Kind(kind)]
    if kind == Kind.SET:
        return [name, list(set_members(words))]
    if kind == Kind.STRING:
        return [name, strings[value]]
    return [name, value if kind in (Kind.INTEGER, Kind.OBJECT) else None]


def clevr_trace(trace: Trace, row: int, strings: list[str]) -> list[list[Any]]:
    """All steps of a row in the order of execution, as the kit writes them."""
    steps = []
    for position in range(trace.step_kind.shape[1] - 1, -1, -1):
        kind = int(trace.step_kind[row, position])
        if kind != Kind.NOT_REACHED:
            words = trace.step_sets[row, position].numpy()
            steps.append(clevr_value(kind, int(trace.step_value[row, position]), words, strings))
    return steps


@pytest.mark.kit("ns_vqa", "executor_answers.json.gz")
def test_answers_of_gold_programs(case: Path) -> None:
    for split, expected in load(case).items():
        folder = case.parent / "clevr"
        scenes = read_scenes(folder / "scenes" / f"CLEVR_{split}_scenes.json")
        questions = read_questions(folder / "questions" / f"CLEVR_{split}_questions.json")
        result = run_file(scenes, questions, "clevr")
        assert [entry["answer"] for entry in result.entries] == expected
        assert result.accuracy == 1.0


@pytest.mark.kit("ns_vqa", "executor_valid_*.json.gz")
def test_traces_of_gold_programs(case: Path) -> None:
    split = case.name.removeprefix("executor_valid_").removesuffix(".json.gz")
    folder = case.parent / "clevr"
    scenes = read_scenes(folder / "scenes" / f"CLEVR_{split}_scenes.json")
    questions = read_questions(folder / "questions" / f"CLEVR_{split}_questions.json")
    compiled = compile_programs(questions)
    rows = scenes.rows(questions.image_index)
    trace = execute_trace(compiled.rows, compiled.table, rows, scenes.packed)
    at = {int(index): row for row, index in enumerate(questions.question_index)}
    expected = load(case)
    assert len(expected) == len(questions)
    for entry in expected:
        row = at[entry["question_index"]]
        assert clevr_trace(trace, row, scenes.strings) == entry["trace"]


@pytest.mark.kit("ns_vqa", "executor_adversarial.json.gz")
def test_adversarial_programs(case: Path) -> None:
    """Malformed, mutated and odd programs on empty, tied, huge and strange scenes: results equal,
    and the machine's register equal after every token.
    """
    kit = load(case)
    scenes = packed(load(case.with_name("executor_adversarial_scenes.json.gz"))["scenes"], "clevr")
    tokens = kit["idx_to_token"]
    table = clevr.instruction_table(tokens)
    length = max(len(c["program"]) for c in kit["cases"])
    # Padding must not supply an end that a program lacks: an id beyond the table would be an error,
    # so pad with <NULL>, which is skipped.
    programs = np.full((len(kit["cases"]), length), tokens.index("<NULL>"), dtype=np.int32)
    for row, entry in enumerate(kit["cases"]):
        programs[row, : len(entry["program"])] = entry["program"]
    ids = torch.from_numpy(programs)
    rows = torch.tensor([entry["scene"] for entry in kit["cases"]])
    found = execute(ids, table, rows, scenes.packed, with_sets=True)
    trace = execute_trace(ids, table, rows, scenes.packed)
    texts = answer_texts(found, scenes.strings)
    for row, entry in enumerate(kit["cases"]):
        words = found.sets[row].numpy()
        result = clevr_value(int(found.kind[row]), int(found.value[row]), words, scenes.strings)
        assert result == entry["result"], f"case {row} ({entry['kind']})"
        assert texts[row] == entry["answer"], f"case {row} ({entry['kind']})"
        steps = clevr_trace(trace, row, scenes.strings)
        assert steps == entry["trace"], f"case {row} ({entry['kind']})"
