"""Processing rules that a small case shows, and the folder that holds the result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.vqa_cases import write_vqa2
from pyvqa.data.vqa_files import Questions, find_files, read_questions
from pyvqa.data.vqa_process import Choices, frequent_words, process, top_answers
from pyvqa.data.vqa_questions import QuestionTable, VqaData, VqaVocabulary
from pyvqa.errors import ConfigError, DataError


def questions(answers: list[str], texts: list[str] | None = None, first: int = 0) -> Questions:
    n = len(answers)
    return Questions(
        ids=list(range(first, first + n)),
        images=[f"COCO_train2014_{k // 2:012d}.jpg" for k in range(n)],
        texts=["what is it"] * n if texts is None else texts,
        answers=list(answers),
        humans=[[answer, answer, "odd"] for answer in answers],
        types=["what is"] * n,
        answer_types=["other"] * n,
        labelled=True,
        subset="train2014",
    )


def test_equally_frequent_answers_come_in_reverse_order() -> None:
    part = questions(["b", "a", "c", "a", "b", "d"])
    assert top_answers(part, 3) == ["b", "a", "d"]
    assert top_answers(part, 99) == ["b", "a", "d", "c"]  # as many as there are


def test_words_count_before_questions_are_dropped() -> None:
    part = questions(["yes", "yes", "rare"], ["a b", "a c", "a d d"])
    done = process({"train": part}, Choices(answers=1))
    assert done.vocabulary.words == ("", "a", "b", "c", "d", "UNK")
    assert done.rare == 1
    assert done.splits["train"].question_ids.tolist() == [0, 1]
    assert frequent_words(part.texts, Choices(min_words=1)) == ["a", "d"]


def test_unknown_answers_stay_in_val_without_a_number() -> None:
    val = questions(["yes", "new"], ["a zebra", ""], first=10)
    done = process({"train": questions(["yes"] * 4), "val": val}, Choices())
    table = done.splits["val"]
    assert table.answers.tolist() == [0, -1]
    assert table.strings[table.answer_texts[1]] == "new"
    unknown = done.vocabulary.unknown
    assert table.words.tolist() == [unknown, unknown]
    assert table.word_offsets.tolist() == [0, 2, 2]


def test_a_question_may_hold_the_word_unk() -> None:
    """The naive tokeniser keeps capitals; the later of two equal words is the one that counts."""
    part = questions(["yes"] * 2, ["UNK a", "zebra"])
    done = process({"train": part}, Choices(tokeniser="naive"))
    assert done.vocabulary.words == ("", "UNK", "a", "zebra", "UNK")
    assert done.splits["train"].words.tolist() == [4, 2, 3]


def test_visual_genome_brings_words_but_no_answers() -> None:
    train = questions(["yes"] * 20 + ["no"] * 20)
    val = questions(["yes"] * 10, first=100)
    genome = questions(["yes", "yes", "no", "grass"], ["who", "is", "it", "new"], first=900)
    given = {"train": train, "val": val, "test": questions(["yes"], ["who"], first=990)}
    choices = Choices(trainval=True, genome_answers=1)
    done = process(given, choices, genome=genome)
    assert done.vocabulary.words[-3:] == ("UNK", "new", "who")
    assert done.vocabulary.answers == ("yes", "no")
    assert done.genome == 2  # `no` is not frequent enough in Visual Genome, `grass` no class
    assert done.splits["train"].question_ids.tolist()[-2:] == [900, 901]
    assert done.splits["test"].words.tolist() == [done.vocabulary.word_numbers["who"]]
    with pytest.raises(ConfigError, match="trainval"):
        process(given, Choices(), genome=genome)


def test_five_percent_are_kept_and_nothing_is_lost() -> None:
    part = questions([str(k % 5) for k in range(200)])
    done = process({"train": part}, Choices(trainval=True))
    train, val = (done.splits[n].question_ids.tolist() for n in ("train", "val"))
    assert len(val) == 10
    assert sorted(train + val) == part.ids
    again = process({"train": part}, Choices(trainval=True, seed=1))
    assert again.splits["train"].question_ids.tolist() != train


def test_normalised_answers() -> None:
    part = questions(["Two", "2", "2 ", "yes"])
    done = process({"train": part}, Choices(), normalise=lambda text: text.strip().lower())
    assert done.vocabulary.answers == ("2", "yes", "two")


def test_refusals() -> None:
    unlabelled = replace(questions(["a"]), labelled=False, answers=[None])
    with pytest.raises(DataError, match="training questions have no annotations"):
        process({"train": unlabelled}, Choices())
    with pytest.raises(DataError, match="val questions have no annotations"):
        process({"train": questions(["a"]), "val": unlabelled}, Choices(trainval=True))
    with pytest.raises(DataError, match="1 questions with a known answer cannot be cut"):
        process({"train": questions(["a"])}, Choices(trainval=True))
    for wrong in ({"answers": 0}, {"tokeniser": "words"}, {"seed": -1}, {"min_words": -1}):
        with pytest.raises(ConfigError):
            Choices(**wrong)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = find_files(write_vqa2(tmp_path / "raw"), "vqa2")
    given = {n: read_questions(*files[n]) for n in ("train", "val", "test")}
    done = process(given, Choices(answers=6), test_dev=[5000, 5002])
    splits = {name: (table, done.subsets[name]) for name, table in done.splits.items()}
    VqaData.write(tmp_path / "data", {"dataset": "vqa2"}, done.vocabulary, splits)
    return tmp_path / "data"


def test_the_folder_is_mapped(folder: Path) -> None:
    data = VqaData(folder)
    assert data.splits == ["train", "val", "test"]
    assert data.subset("test") == "test2015"
    train, test = data.split("train"), data.split("test")
    assert isinstance(train.words, np.memmap)
    assert not train.words.flags.writeable
    assert train.labelled
    assert not test.labelled
    assert test.test_dev.tolist() == [1, 0, 1, 0, 0, 0, 0, 0]
    assert data.about["splits"]["train"]["questions"] == len(train)
    assert train.texts[:2] == [train.texts[0], train.texts[1]]


def test_a_folder_made_twice_is_the_same(folder: Path, tmp_path: Path) -> None:
    data = VqaData(folder)
    splits = {name: (data.split(name), data.subset(name)) for name in data.splits}
    VqaData.write(tmp_path / "again", {"dataset": "vqa2"}, data.vocabulary, splits)
    for file in sorted(folder.iterdir()):
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def test_damaged_folders_are_explained(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no dataset.json; make the folder with"):
        VqaData(tmp_path)
    with pytest.raises(DataError, match=r"no split 'dev' \(has: train, val, test\)"):
        VqaData(folder).split("dev")
    file = folder / "val.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-9])
    with pytest.raises(DataError, match="cut off"):
        QuestionTable.read(file)
    file.write_bytes(content[:4])
    with pytest.raises(DataError, match="not a safetensors file"):
        QuestionTable.read(file)
    file.write_bytes(content.replace(b'"version": "1"', b'"version": "9"'))
    with pytest.raises(DataError, match="version 9"):
        QuestionTable.read(file)
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    vocabulary["answers"] = vocabulary["answers"][:2]
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary))
    with pytest.raises(DataError, match="answers: holds numbers from"):
        VqaData(folder).split("train")


def test_another_vocabulary_is_refused() -> None:
    ours = VqaVocabulary(("", "a", "UNK"), ("yes", "no"))
    ours.require_same(VqaVocabulary(("", "a", "UNK"), ("yes", "no")), "data", "model")
    with pytest.raises(DataError, match=r"data: 2 answers, but model has 2; number 1 is 'no' here"):
        ours.require_same(VqaVocabulary(("", "a", "UNK"), ("yes", "maybe")), "data", "model")
    with pytest.raises(DataError, match=r"number 3 is nothing here and 'b' there"):
        ours.require_same(VqaVocabulary(("", "a", "UNK", "b"), ("yes", "no")), "data", "model")
