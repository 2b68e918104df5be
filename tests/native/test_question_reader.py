"""Question and expression files: read as plain Python reads them, broken ones refused."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from reader_files import content_of, encode, known_files, make_questions, shuffled
from reader_reference import questions_by_json, questions_of_table

from pyvqa import _native


def same(data: bytes) -> None:
    assert questions_of_table(_native.read_questions(data)) == questions_by_json(data)


@pytest.mark.parametrize("kind", ["questions", "refexps"])
def test_release_layout(kind: str) -> None:
    content = make_questions(1, kind=kind)
    same(encode(content))
    same(encode(content, separators=(",", ":"), ensure_ascii=False))
    table = _native.read_questions(encode(content))
    assert table.kind == kind
    assert len(table) == 12
    assert table.has_outputs.tolist() == [int(kind == "refexps")] * 12


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["questions", "refexps"])
def test_keys_come_in_any_order(kind: str, seed: int) -> None:
    content = make_questions(seed, kind=kind)
    table = _native.read_questions(encode(shuffled(content, random.Random(seed))))
    assert questions_of_table(table) == questions_by_json(encode(content))


def test_generator_layout() -> None:
    content = make_questions(2)
    answers = [True, False, 3, "red", 0, None, 10, "yes", -1, "no", "2", "metal"]
    for entry, answer in zip(content["questions"], answers, strict=True):
        entry["answer"] = answer
        for node in entry["program"]:
            node["type"] = node.pop("function")
            node["side_inputs"] = node.pop("value_inputs")
            node["_output"] = [{"deep": [1, {"deeper": "x"}]}]
    same(encode(content))
    table = _native.read_questions(encode(content))
    assert table.answers[:6] == ["yes", "no", "3", "red", "0", None]
    assert table.has_outputs.sum() == 0


def test_test_split_has_neither_answers_nor_programs() -> None:
    content = make_questions(3)
    for entry in content["questions"]:
        for key in ("answer", "program", "question_family_index", "template_filename"):
            del entry[key]
    same(encode(content))
    table = _native.read_questions(encode(content))
    assert table.answers == [None] * 12
    assert table.family_index.tolist() == [-1] * 12
    assert table.program_offsets.tolist() == [0] * 13
    assert table.input_offsets.tolist() == [0]


def test_null_counts_as_missing() -> None:
    content = make_questions(4)
    for key in ("answer", "program", "question_index", "question_family_index", "image_filename"):
        content["questions"][5][key] = None
    same(encode(content))


def test_values_are_joined_as_in_the_vocabulary() -> None:
    nodes = [
        {"inputs": [], "function": "scene", "value_inputs": []},
        {
            "inputs": [0],
            "type": "filter_ordinal",
            "value_inputs": ["the first one of the", "from left"],
        },
        {"inputs": [1], "function": "odd", "value_inputs": ["", ""]},
        {"inputs": [2], "function": "odder", "value_inputs": [""]},
        {"function": "no inputs at all"},
    ]
    content = {"questions": [{"image_index": 0, "question": "?", "program": nodes}]}
    table = _native.read_questions(encode(content))
    assert table.functions == [
        "scene",
        "filter_ordinal[the first one of the,from left]",
        "odd[,]",
        "odder[]",
        "no inputs at all",
    ]
    assert table.node_functions.dtype == table.inputs.dtype == np.int32
    assert table.inputs.tolist() == [0, 1, 2]
    assert table.input_offsets.tolist() == [0, 0, 1, 2, 3, 3]


def test_functions_are_numbered_once() -> None:
    table = _native.read_questions(encode(make_questions(5, count=200)))
    assert len(set(table.functions)) == len(table.functions)
    assert table.node_functions.max() == len(table.functions) - 1


def test_last_of_equal_keys_counts() -> None:
    data = (
        b'{"questions":[{"image_index":9,"question":"old"}],"questions":[{"image_index":0,'
        b'"question":"a","question":"b","program":[{"inputs":[],"function":"x"},'
        b'{"inputs":[0],"inputs":[],"function":"y"}],"program":[{"inputs":[],"function":"z",'
        b'"value_inputs":["1"],"value_inputs":["2"]}],"answer":true,"answer":null}]}'
    )
    same(data)
    table = _native.read_questions(data)
    assert table.questions == ["b"]
    assert [table.functions[k] for k in table.node_functions] == ["z[2]"]


@pytest.mark.parametrize(
    ("output", "expected"),
    [([2, 0], [2, 0]), (3, [3]), ([], []), ("__INVALID__", None), ([1, "x"], None), (True, None)],
)
def test_expressions_name_their_objects(output: Any, expected: list[int] | None) -> None:
    content = make_questions(6, count=3, kind="refexps")
    content["refexps"][1]["program"][-1]["_output"] = output
    same(encode(content))
    table = _native.read_questions(encode(content))
    assert table.has_outputs[1] == (expected is not None)
    begin, end = table.output_offsets[1:3]
    assert table.outputs[begin:end].tolist() == (expected or [])


def edited(path: str, value: Any = None, remove: bool = False, kind: str = "questions") -> bytes:
    """Return a file whose entry 3 has one field changed or removed."""
    content = make_questions(7, kind=kind)
    at: Any = content[kind][3]
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        at = at[key]
    if remove:
        del at[last]
    else:
        at[last] = value
    return encode(content)


WRONG = [
    ("question", 3, "expected a string, found a number"),
    ("image_index", -1, "image_index is negative"),
    ("image_index", None, "expected an integer, found null"),
    ("question_family_index", -1, "family index is out of range"),
    ("question_family_index", 2**31, "family index is out of range"),
    ("answer", 1.5, "expected an integer, found a decimal number"),
    ("answer", ["red"], "an answer must be text, an integer, true, false or null"),
    ("program", "scene", "expected a list, found a string"),
    ("program.1", 3, "expected an object, found a number"),
    ("program.1.function", None, "expected a string, found null"),
    ("program.1.function", "", "program node 1 has no 'function' or 'type'"),
    ("program.1.inputs", [1], "node 1 takes its input from node 1, which does not come before it"),
    ("program.1.inputs", [2], "node 1 takes its input from node 2, which does not come before it"),
    ("program.1.inputs", [-1], "node 1 takes its input from node -1, which does not come before"),
    ("program.0.inputs", [0], "node 0 takes its input from node 0, which does not come before it"),
    ("program.1.inputs", ["0"], "expected an integer, found a string"),
    ("program.1.inputs", None, "expected a list, found null"),
    ("program.1.value_inputs", [3], "expected a string, found a number"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_fields_are_named(path: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^question 3: .*{message}.*, byte [0-9]+ ") as caught:
        _native.read_questions(edited(path, value))
    assert "\n" not in str(caught.value)


MISSING = [
    ("questions", "question", "question 3: the entry has no 'question'"),
    ("refexps", "refexp", "refexp 3: the entry has no 'refexp'"),
    ("questions", "image_index", "question 3: the entry has no 'image_index'"),
    ("questions", "program.1.function", "question 3: program node 1 has no 'function' or 'type'"),
]


@pytest.mark.parametrize(("kind", "path", "message"), MISSING)
def test_missing_fields_are_named(kind: str, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}, byte [0-9]+ "):
        _native.read_questions(edited(path, remove=True, kind=kind))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the file has neither 'questions' nor 'refexps'"),
        ({"scenes": []}, "the file has neither 'questions' nor 'refexps'"),
        ({"questions": [], "refexps": []}, "the file has both 'questions' and 'refexps'"),
        ([], "expected an object, found a list"),
    ],
)
def test_other_files_are_refused(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}, byte [0-9]+ "):
        _native.read_questions(encode(content))


@pytest.mark.parametrize("kind", ["questions", "refexps"])
def test_truncation_is_always_seen(kind: str) -> None:
    data = encode(make_questions(8, kind=kind))
    for part in range(64):
        with pytest.raises(ValueError, match=r"byte [0-9]+ "):
            _native.read_questions(data[: len(data) * part // 64])


@pytest.mark.fuzz
@pytest.mark.parametrize("kind", ["questions", "refexps"])
def test_flipped_bits_never_pass_for_something_else(kind: str) -> None:
    rng = random.Random(9)
    original = encode(make_questions(9, count=3, kind=kind))
    outcomes = {"read": 0, "refused": 0}
    for _ in range(600):
        data = bytearray(original)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            table = _native.read_questions(bytes(data))
        except ValueError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert questions_of_table(table) == questions_by_json(bytes(data))
    assert min(outcomes.values()) > 100


def test_known_files() -> None:
    files = known_files("*CLEVR*questions*.json*", "*refexps*.json*")
    if not files:
        pytest.skip("neither PYVQA_REAL nor PYVQA_PARITY names a folder with question files")
    for file in files:
        same(content_of(file))
