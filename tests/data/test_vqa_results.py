"""Result files: the servers' layout, test-dev apart, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from data.vqa_cases import write_vqa2
from pyvqa.data.vqa_files import find_files, read_ids, read_questions
from pyvqa.data.vqa_process import Choices, process
from pyvqa.data.vqa_results import read_results, write_logits, write_results
from pyvqa.errors import DataError


def test_submission(tmp_path: Path) -> None:
    files = find_files(write_vqa2(tmp_path / "raw"), "vqa2")
    given = {n: read_questions(*files[n]) for n in ("train", "test")}
    done = process(given, Choices(), test_dev=read_ids(files["test-dev"][0]))
    table = done.splits["test"]
    said = [f"answer {k}" for k in range(8)]
    written = write_results(tmp_path / "out", "test2015", table, said, done.vocabulary.answers)
    assert [path.name for path in written] == [
        "OpenEnded_mscoco_test2015_model_results.json",
        "OpenEnded_mscoco_test-dev2015_model_results.json",
    ]
    assert json.loads(written[0].read_text())[1] == {"question_id": 5001, "answer": "answer 1"}
    assert read_results(written[0]) == dict(zip(range(5000, 5008), said, strict=True))
    assert list(read_results(written[1])) == [5000, 5002, 5004, 5006]
    answers = json.loads((tmp_path / "out/aid_to_ans.json").read_text())
    assert answers == list(done.vocabulary.answers)
    with pytest.raises(DataError, match="7 predictions for 8 questions"):
        write_results(tmp_path / "out", "test2015", table, said[:-1], answers)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds a dictionary"),
        ([{"question_id": 1}], "entry 0 is not"),
        ([{"question_id": "1", "answer": "a"}], "entry 0 is not"),
        ([{"question_id": 1, "answer": "a"}] * 2, r"question 1 is answered twice \(entry 1\)"),
    ],
)
def test_broken_result_files(tmp_path: Path, content: object, message: str) -> None:
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_results(tmp_path / "r.json")


def test_logits(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    ids = np.arange(5)
    write_logits(tmp_path / "l.h5", ids, iter([logits[:3], logits[3:]]), ["yes", "no", "é"])
    with h5py.File(tmp_path / "l.h5") as file:
        assert file["question_id"][...].tolist() == ids.tolist()
        assert [text.decode() for text in file["answers"][...]] == ["yes", "no", "é"]
        np.testing.assert_allclose(file["logits"][...], logits, atol=2e-3)
    with pytest.raises(DataError, match="logits of 3 questions where 5 are"):
        write_logits(tmp_path / "l.h5", ids, iter([logits[:3]]), ["yes", "no", "é"])
