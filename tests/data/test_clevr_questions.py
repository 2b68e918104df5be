"""Question preprocessing: words, vocabularies, h5 files, samples, and what is wrong with files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pyvqa.cli.main import main
from pyvqa.data.clevr_questions import (
    ClevrQuestions,
    ClevrVocabulary,
    build_vocabulary,
    encode_questions,
    expand_words,
    global_families,
    sample_any,
    sample_name,
    sample_per_family,
    split_words,
)
from pyvqa.data.vocabulary import build_table, check_table, extend_table, inverse
from pyvqa.errors import DataError
from pyvqa.programs.questions import read_questions

SCENE = {"inputs": [], "function": "scene", "value_inputs": []}
RED = {"inputs": [0], "function": "filter_color", "value_inputs": ["red"]}
COUNT = {"inputs": [1], "function": "count", "value_inputs": []}
MORE = [SCENE, RED, COUNT, SCENE, {"inputs": [3], "function": "count", "value_inputs": []}]
MORE = [*MORE, {"inputs": [2, 4], "function": "less_than", "value_inputs": []}]
QUESTIONS: list[dict[str, Any]] = [
    {"question": "How many red things are there?", "answer": "2", "program": [SCENE, RED, COUNT]},
    {"question": "Are there fewer red things, or not; say.", "answer": "yes", "program": MORE},
    {"question": "How many things?", "answer": "10", "program": [SCENE, {**COUNT, "inputs": [0]}]},
]


def write(folder: Path, questions: list[dict[str, Any]]) -> Path:
    entries = [
        {"image_index": 3 + k, "question_index": k, "question_family_index": k % 2, **question}
        for k, question in enumerate(questions)
    ]
    path = folder / "questions.json"
    path.write_text(json.dumps({"info": {}, "questions": entries}))
    return path


def test_words():
    text = "Are there fewer red things, or not; say."
    words = ["Are", "there", "fewer", "red", "things", ",", "or", "not", ";", "say"]
    assert split_words(text) == words
    assert split_words("two  spaces?") == ["two", "", "spaces"]  # as the original splits


def test_tables():
    table = build_table(["b", "a", "b", "10", "9"], minimum=1)
    assert inverse(table) == ["<NULL>", "<START>", "<END>", "<UNK>", "10", "9", "a", "b"]
    assert inverse(build_table(["b", "a", "b"], minimum=2))[4:] == ["b"]
    assert extend_table(table, ["z", "a", "c"]) == {**table, "z": 8, "c": 9}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([1, 2], "not a table of token -> number"),
        ({"<NULL>": "0"}, "not a table of token -> number"),
        ({"<NULL>": 0, "<START>": 1, "<END>": 2, "<UNK>": 5}, "numbers are not 0..3"),
        ({"<NULL>": 0, "<START>": 2, "<END>": 1, "<UNK>": 3}, "<START> must be number 1, it is 2"),
        ({"a": 0}, "<NULL> must be number 0, it is missing"),
    ],
)
def test_broken_tables_are_explained(table, message):
    with pytest.raises(DataError, match=message):
        check_table(table, "vocab.json: words")


@pytest.mark.parametrize(
    ("mode", "program"),
    [
        ("prefix", ["less_than", "count", "filter_color[red]", "scene", "count", "scene"]),
        ("postfix", ["scene", "filter_color[red]", "count", "scene", "count", "less_than"]),
    ],
)
def test_encoding(tmp_path, mode, program):
    table = read_questions(write(tmp_path, QUESTIONS))
    vocabulary = build_vocabulary(table, mode=mode)
    encoded = encode_questions(table, vocabulary, mode=mode)
    names = inverse(vocabulary.functions)
    row = [names[t] for t in encoded.programs[1]]
    assert row == ["<START>", *program, "<END>"]
    assert [names[t] for t in encoded.programs[2]][4:] == ["<NULL>"] * 4
    words = inverse(vocabulary.words)
    first = ["<START>", "How", "many", "red", "things", "are", "there", "<END>"]
    assert [words[t] for t in encoded.questions[0]] == [*first, *["<NULL>"] * 4]
    assert [inverse(vocabulary.answers)[a] for a in encoded.answers] == ["2", "yes", "10"]
    assert encoded.image_index.tolist() == [3, 4, 5]
    assert encoded.original_index.tolist() == [0, 1, 2]
    assert encoded.families.tolist() == [0, 1, 0]


def test_chain_mode_names_the_program_that_is_none(tmp_path):
    table = read_questions(write(tmp_path, QUESTIONS))
    with pytest.raises(DataError, match="question 1: the program is no chain"):
        build_vocabulary(table, mode="chain")
    chains = read_questions(write(tmp_path, QUESTIONS[:1]))
    vocabulary = build_vocabulary(chains, mode="chain")
    row = encode_questions(chains, vocabulary, mode="chain").programs[0]
    assert [inverse(vocabulary.functions)[t] for t in row][1:4] == [
        "scene",
        "filter_color[red]",
        "count",
    ]


def test_unknown_words_functions_and_answers(tmp_path):
    vocabulary = build_vocabulary(read_questions(write(tmp_path, QUESTIONS)))
    new = {"question": "How many mauve things?", "answer": "2", "program": [SCENE, RED, COUNT]}
    table = read_questions(write(tmp_path, [new]))
    with pytest.raises(DataError, match="question 0: the word 'mauve' is not in the vocabulary"):
        encode_questions(table, vocabulary)
    row = encode_questions(table, vocabulary, encode_unknown=True).questions[0]
    assert row[3] == 3
    expanded = expand_words(vocabulary, build_vocabulary(table))
    assert expanded.words == {**vocabulary.words, "mauve": len(vocabulary.words)}
    assert expanded.functions == vocabulary.functions
    assert encode_questions(table, expanded).questions[0, 3] == len(vocabulary.words)
    blue = {**new, "question": "How many things?"}
    blue["program"] = [SCENE, {**RED, "value_inputs": ["blue"]}, COUNT]
    with pytest.raises(DataError, match=r"the function 'filter_color\[blue\]' is not in"):
        encode_questions(read_questions(write(tmp_path, [blue])), vocabulary, encode_unknown=True)
    with pytest.raises(DataError, match="the answer '7' is not in"):
        encode_questions(
            read_questions(write(tmp_path, [{**QUESTIONS[2], "answer": 7}])), vocabulary
        )


def test_missing_parts(tmp_path):
    vocabulary = build_vocabulary(read_questions(write(tmp_path, QUESTIONS)))
    bare = [{"question": q["question"]} for q in QUESTIONS]
    encoded = encode_questions(read_questions(write(tmp_path, bare)), vocabulary)
    assert encoded.programs is None
    assert encoded.answers is None
    some = [QUESTIONS[0], {**QUESTIONS[1], "program": []}]
    encoded = encode_questions(read_questions(write(tmp_path, some)), vocabulary)
    assert not encoded.programs[1].any()
    with pytest.raises(DataError, match="question 1: has no answer while others have one"):
        encode_questions(read_questions(write(tmp_path, [QUESTIONS[0], bare[1]])), vocabulary)


@pytest.mark.parametrize(
    ("files", "families", "expected"),
    [
        (["zero_hop.json", "two_hop.json"], [5, 5], [89, 83]),  # the generator counts per file
        (["zero_hop.json", "two_hop.json"], [89, 83], [89, 83]),  # the release through all
        (["mine.json", "two_hop.json"], [5, 5], [5, 5]),
    ],
)
def test_families_are_numbered_through(tmp_path, files, families, expected):
    questions = [
        {**QUESTIONS[0], "template_filename": file, "question_family_index": family}
        for file, family in zip(files, families, strict=True)
    ]
    assert global_families(read_questions(write(tmp_path, questions))).tolist() == expected


def some_questions(count: int = 40) -> ClevrQuestions:
    rows = np.zeros((count, 5), dtype=np.int32)
    rows[:, 0], rows[:, 1], rows[:, 2] = 1, 4, 2
    numbers = np.arange(count, dtype=np.int64)
    return ClevrQuestions(rows, numbers, numbers, rows.copy(), numbers % 4 + 4, numbers % 7)


def test_sampling_walks_a_permutation():
    questions = some_questions()
    walk = np.random.RandomState(3).permutation(40)
    kept, room = [], dict.fromkeys(range(7), 2)
    for row in walk.tolist():
        family = int(questions.families[row])
        if room[family]:
            room[family] -= 1
            kept.append(row)
    assert sample_per_family(questions.families, 2, 3).tolist() == kept
    assert sample_any(40, 5, 3).tolist() == walk[:5].tolist()
    assert sample_per_family(questions.families, 100, 3).tolist() == walk.tolist()
    assert sample_name(3, None, None) == "clevr_train_3questions_per_family.h5"
    assert sample_name(5, 200, 7) == "clevr_train_200_questions_07.h5"


def test_files_come_back_as_they_were(tmp_path):
    questions = some_questions()
    questions.write(tmp_path / "q.h5")
    again = ClevrQuestions.read(tmp_path / "q.h5")
    for name in vars(questions):
        np.testing.assert_array_equal(getattr(again, name), getattr(questions, name))
    part = again.take([5, 2])
    assert part.original_index.tolist() == [5, 2]
    bare = ClevrQuestions(questions.questions, questions.image_index, questions.original_index)
    bare.write(tmp_path / "bare.h5")
    assert ClevrQuestions.read(tmp_path / "bare.h5").programs is None


def broken(path: Path, change: Any) -> Path:
    some_questions().write(path)
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def replaced(name: str, value: Any) -> Any:
    def change(file: h5py.File) -> None:
        del file[name]
        if value is not None:
            file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (replaced("questions", None), "lacks the dataset 'questions'"),
        (replaced("image_idxs", None), "lacks the dataset 'image_idxs'"),
        (
            replaced("answers", np.zeros(39, dtype=np.int64)),
            "answers has 39 rows, questions has 40",
        ),
        (replaced("answers", np.zeros(40)), "answers is float64"),
        (replaced("questions", np.zeros(40, dtype=np.int32)), "questions is int32 of shape"),
        (replaced("answers", -np.ones(40, dtype=np.int64)), "answers holds numbers outside"),
        (
            replaced("questions", np.zeros((40, 5), dtype=np.int32)),
            "questions, row 0: does not begin",
        ),
        (
            replaced("programs", np.full((40, 5), 7, dtype=np.int32)),
            "programs, row 0: does not begin",
        ),
        (
            replaced("answers", h5py.ExternalLink("other.h5", "x")),
            "not a dataset stored in this file",
        ),
        (replaced("answers", h5py.SoftLink("/image_idxs")), "not a dataset stored in this file"),
        (
            lambda file: replaced("answers", None)(file) or file.create_group("answers"),
            "not a dataset",
        ),
    ],
)
def test_broken_files_are_explained(tmp_path, change, message):
    path = broken(tmp_path / "q.h5", change)
    with pytest.raises(DataError, match=message) as caught:
        ClevrQuestions.read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_off_files_are_refused(tmp_path):
    some_questions().write(tmp_path / "q.h5")
    content = (tmp_path / "q.h5").read_bytes()
    for part in range(64):
        (tmp_path / "cut.h5").write_bytes(content[: len(content) * part // 64])
        with pytest.raises(DataError, match=r"cut\.h5"):
            ClevrQuestions.read(tmp_path / "cut.h5")
    with pytest.raises(DataError, match="no such file"):
        ClevrQuestions.read(tmp_path / "absent.h5")
    with pytest.raises(DataError, match="no such file"):
        ClevrQuestions.read(tmp_path)


def test_tokens_outside_the_vocabulary_are_named(tmp_path):
    vocabulary = build_vocabulary(read_questions(write(tmp_path, QUESTIONS)))
    questions = some_questions()
    questions.questions[11, 1] = 99
    with pytest.raises(DataError, match=r"q\.h5: questions, row 11: number 99"):
        questions.check_ids(vocabulary, "q.h5")


# The commands --------------------------------------------------------------------------------


def test_prepare_builds_uses_and_expands(tmp_path, capsys):
    source = write(tmp_path, QUESTIONS)
    vocab, out = tmp_path / "vocab.json", tmp_path / "q.h5"
    build = ["prepare", "clevr-questions", "--questions", str(source)]
    assert main([*build, "--vocab-out", str(vocab), "--out", str(out)]) == 0
    assert "3 questions of up to 12 words, programs: 8 tokens" in capsys.readouterr().out
    assert ClevrVocabulary.read(vocab) == build_vocabulary(read_questions(source))
    assert main([*build, "--vocab-in", str(vocab), "--out", str(tmp_path / "again.h5")]) == 0
    first, second = ClevrQuestions.read(out), ClevrQuestions.read(tmp_path / "again.h5")
    np.testing.assert_array_equal(first.questions, second.questions)

    new = write(tmp_path, [{**QUESTIONS[0], "question": "How many mauve things are there?"}])
    use = ["prepare", "clevr-questions", "--questions", str(new), "--vocab-in", str(vocab)]
    assert main([*use, "--out", str(out)]) == 1
    assert "mauve" in capsys.readouterr().err
    bigger = tmp_path / "bigger.json"
    expand = [*use, "--expand-vocab", "--vocab-out", str(bigger), "--out", str(out)]
    assert main(expand) == 0
    assert "mauve" in ClevrVocabulary.read(bigger).words
    assert main([*use, "--encode-unk", "--out", str(out)]) == 0
    assert ClevrQuestions.read(out).questions[0, 3] == 3


def test_prepare_samples(tmp_path, capsys):
    some_questions().write(tmp_path / "q.h5")
    sample = ["prepare", "clevr-sample", "--questions", str(tmp_path / "q.h5"), "--seed", "3"]
    assert main([*sample, "--per-family", "2", "--out", str(tmp_path / "few")]) == 0
    few = ClevrQuestions.read(tmp_path / "few/clevr_train_2questions_per_family.h5")
    assert np.bincount(few.families).tolist() == [2] * 7
    named = ["--random", "5", "--index", "4", "--out", str(tmp_path / "few")]
    assert main([*sample, *named]) == 0
    assert len(ClevrQuestions.read(tmp_path / "few/clevr_train_5_questions_04.h5")) == 5
    assert main([*sample, "--out", str(tmp_path / "mine.h5")]) == 0
    assert len(ClevrQuestions.read(tmp_path / "mine.h5")) == 35
    assert main([*sample, "--per-family", "0", "--out", str(tmp_path / "x.h5")]) == 1
    assert "at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --vocab-out to build a vocabulary"),
        (["--vocab-out", "v.json", "--expand-vocab"], "--expand-vocab needs --vocab-in"),
        (["--vocab-in", "absent.json"], "absent.json: no such file"),
    ],
)
def test_prepare_explains_itself(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path, QUESTIONS)
    out = ["--out", str(tmp_path / "q.h5")]
    assert main(["prepare", "clevr-questions", "--questions", str(source), *out, *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "q.h5").exists()
