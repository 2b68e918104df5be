"""NS-VQA's question preprocessing and sampling against files made by the original scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest

from pyvqa.data.clevr_questions import (
    ClevrQuestions,
    ClevrVocabulary,
    build_vocabulary,
    encode_questions,
    expand_words,
    sample_any,
    sample_per_family,
)
from pyvqa.programs.questions import read_questions


def vocabulary_text(vocabulary: ClevrVocabulary, tmp_path: Path) -> list[tuple[str, list]]:
    """Write a vocabulary and read it back with its key order."""
    vocabulary.write(tmp_path / "vocab.json")
    return ordered(tmp_path / "vocab.json")


def ordered(path: Path) -> list[tuple[str, list]]:
    return [(name, list(table.items())) for name, table in json.loads(path.read_text()).items()]


def assert_same_file(path: Path, case: Path) -> None:
    """Compare an h5 file of ours with the recorded datasets: names, dtypes, shapes, values."""
    expected = np.load(case)
    with h5py.File(path) as file:
        assert sorted(file) == sorted(expected)
        for name in expected:
            assert file[name].dtype == expected[name].dtype, name
            np.testing.assert_array_equal(file[name][...], expected[name], err_msg=name)


@pytest.mark.kit("ns_vqa", "clevr_h5/*.npz")
def test_preprocessing(case: Path, tmp_path: Path):
    folder = case.parent
    split, variant = re.fullmatch(r"clevr_(\w+?)_(\w+)", case.stem).groups()
    table = read_questions(folder.parent / f"clevr/questions/CLEVR_{split}_questions.json")
    mode = next((m for m in ("postfix", "chain") if variant.endswith(m)), "prefix")
    encode_unknown = variant == "unk"
    if variant == "unk":
        vocabulary = build_vocabulary(table, minimum=60)
        assert vocabulary_text(vocabulary, tmp_path) == ordered(folder / "vocab_unk.json")
    elif variant == "expand":
        start = ClevrVocabulary.read(folder / "vocab_expand_in.json")
        vocabulary = expand_words(start, build_vocabulary(table))
        assert vocabulary_text(vocabulary, tmp_path) == ordered(folder / "vocab_expand_out.json")
    elif split == "train":
        vocabulary = build_vocabulary(table, mode=mode)
        assert vocabulary_text(vocabulary, tmp_path) == ordered(folder / "clevr_vocab.json")
    else:
        vocabulary = ClevrVocabulary.read(folder / "clevr_vocab.json")
    encoded = encode_questions(table, vocabulary, mode=mode, encode_unknown=encode_unknown)
    encoded.write(tmp_path / "questions.h5")
    assert_same_file(tmp_path / "questions.h5", case)


@pytest.mark.kit("ns_vqa", "clevr_h5/*.h5")
def test_original_files_are_read_and_written(case: Path, tmp_path: Path):
    questions = ClevrQuestions.read(case)
    questions.check_ids(ClevrVocabulary.read(case.parent / "clevr_vocab.json"), case)
    questions.write(tmp_path / "copy.h5")
    assert_same_file(tmp_path / "copy.h5", case.with_suffix(".npz"))


@pytest.mark.kit("ns_vqa", "sample_questions.json")
def test_sampling(case: Path):
    questions = ClevrQuestions.read(case.parent / "clevr_h5/clevr_train_questions.h5")
    for name, run in json.loads(case.read_text()).items():
        options = dict(zip(run["args"][::2], run["args"][1::2], strict=True))
        if int(options.get("--random_sample", 0)):
            size = int(options.get("--max_sample", 2000))
            rows = sample_any(len(questions), size, run["numpy_seed"])
        else:
            per_family = int(options.get("--n_questions_per_family", 5))
            rows = sample_per_family(questions.families, per_family, run["numpy_seed"])
        chosen = questions.take(rows)
        assert chosen.original_index.tolist() == run["orig_idxs"], name
        assert {
            "answers": chosen.answers,
            "image_idxs": chosen.image_index,
            "orig_idxs": chosen.original_index,
            "programs": chosen.programs,
            "question_families": chosen.families,
            "questions": chosen.questions,
        }.keys() == run["dtypes"].keys()
        for attribute, (dtype, shape) in {
            "questions": run["dtypes"]["questions"],
            "programs": run["dtypes"]["programs"],
        }.items():
            value = getattr(chosen, attribute)
            assert (str(value.dtype), list(value.shape)) == (dtype, shape), (name, attribute)
