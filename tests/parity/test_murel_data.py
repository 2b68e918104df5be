"""Processing, splits, sampling and batches against files made by the original code."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyvqa.data.region_files import Picture, read_file, region_writer
from pyvqa.data.region_store import open_regions
from pyvqa.data.vqa_batch import VqaItems, sample_answers
from pyvqa.data.vqa_files import find_files, find_genome, read_genome, read_ids, read_questions
from pyvqa.data.vqa_process import Choices, Processed, process
from pyvqa.data.vqa_questions import QuestionTable, VqaData, VqaVocabulary
from pyvqa.data.vqa_text import TOKENISERS

NAME = re.compile(
    r"(?P<dataset>\w+?)_processed_nans(?P<nans>\d+)_min(?P<min>\d+)_(?P<tokeniser>mcb|naive|nltk)"
    r"(?:_(?P<split>train|trainval))?"
)


def settings(case: Path) -> tuple[str, Choices]:
    """Read from a kit file's name how it was made."""
    found = NAME.fullmatch(case.stem)
    assert found, case.name
    trainval = found["split"] == "trainval" or found["dataset"] == "tdiuc"
    choices = Choices(int(found["nans"]), int(found["min"]), found["tokeniser"], trainval)
    return found["dataset"], choices


def prepared(kit: Path, dataset: str, choices: Choices, genome: bool = False) -> Processed:
    """Process a data set of the kit from its raw files."""
    files = find_files(kit / f"{dataset}_raw", dataset)
    dev = files.pop("test-dev", None)
    return process(
        {n: read_questions(q, a, first_human=dataset == "tdiuc") for n, (q, a) in files.items()},
        choices,
        test_dev=read_ids(dev[0]) if dev else (),
        genome=read_genome(find_genome(kit / "vgenome_raw"), choices.split_words)
        if genome
        else None,
    )


def word_lists(table: QuestionTable) -> list[list[int]]:
    bounds = table.word_offsets.tolist()
    return [table.words[a:b].tolist() for a, b in pairwise(bounds)]


def answer_sets(table: QuestionTable, row: int) -> tuple[list[int], list[int]]:
    begin, end = table.choice_offsets[row : row + 2]
    return table.choices[begin:end].tolist(), table.choice_counts[begin:end].tolist()


def number_table(words: dict[str, int]) -> tuple[str, ...]:
    """The words of a kit's table in the order of their numbers, the padding in front."""
    return ("", *sorted(words, key=words.__getitem__))


@pytest.mark.kit("murel", "*_processed_*.json")
def test_processing(case: Path, tmp_path: Path) -> None:
    expected = json.loads(case.read_text())
    dataset, choices = settings(case)
    ours = prepared(case.parent, dataset, choices)
    splits = {name: (table, ours.subsets[name]) for name, table in ours.splits.items()}
    VqaData.write(tmp_path / "data", {}, ours.vocabulary, splits)  # what was written is compared
    data = VqaData(tmp_path / "data")
    assert data.vocabulary.words == number_table(expected["word_to_wid"])
    assert list(data.vocabulary.answers) == expected["aid_to_ans"]
    for name in ("val", "test"):
        if f"{name}set" in expected:
            compare(data.split(name), expected[f"{name}set"], data.vocabulary, choices)
    if "is_qid_testdev" in expected:
        test = data.split("test")
        flagged = test.question_ids[test.test_dev.astype(bool)].tolist()
        assert flagged == [int(k) for k, v in expected["is_qid_testdev"].items() if v]
    order = expected.get("train_question_ids_in_order_after_95pct")
    train = data.split("train")
    if order is None:
        compare(train, expected["trainset"], data.vocabulary, choices, sets=True)
        return
    assert train.question_ids.tolist() == order
    val = data.split("val")
    assert val.question_ids.tolist() == expected["val_question_ids_in_order_after_5pct"]
    place = {q["question_id"]: k for k, q in enumerate(expected["trainset"]["questions"])}
    for table in (train, val):
        rows = [place[number] for number in table.question_ids.tolist()]
        chosen = {k: [v[r] for r in rows] for k, v in lists(expected["trainset"]).items()}
        compare(table, chosen, data.vocabulary, choices, sets=dataset != "tdiuc")
    for name, images in expected.get("image_names_first5", {}).items():
        table = data.split(name)
        assert [table.image_names[k] for k in table.images[:5]] == images


def lists(part: dict[str, Any]) -> dict[str, list[Any]]:
    return {key: part[key] for key in ("questions", "annotations")}


def compare(
    table: QuestionTable,
    expected: dict[str, Any],
    vocabulary: VqaVocabulary,
    choices: Choices,
    *,
    sets: bool = False,
) -> None:
    """Compare a split with the original's list of questions and annotations."""
    questions = expected["questions"]
    assert table.question_ids.tolist() == [q["question_id"] for q in questions]
    assert word_lists(table) == [q["question_wids"] for q in questions]
    names = [table.image_names[k] for k in table.images.tolist()]
    assert names == [q["image_name"] for q in questions]
    for k, question in enumerate(questions):
        assert choices.split_words(table.texts[k]) == question["question_tokens"]
        numbers = [vocabulary.words[n] for n in word_lists(table)[k]] if k < 5 else None
        assert numbers is None or numbers == question["question_tokens_UNK"]
    for k, annotation in enumerate(expected.get("annotations", [])):
        assert table.strings[table.answer_texts[k]] == annotation["answer"]
        # The original gave the last class to answers that are none.
        number = int(table.answers[k])
        legacy = len(vocabulary.answers) - 1 if number < 0 else number
        assert legacy == annotation["answer_id"]
        if sets:
            found = (annotation["answers_id"], annotation["answers_count"])
            assert answer_sets(table, k) == found
            assert [vocabulary.answers[n] for n in found[0]] == annotation["answers_word"]


@pytest.mark.kit("murel", "tokenizers.json")
def test_tokenisers(case: Path) -> None:
    for entry in json.loads(case.read_text()):
        for name in entry.keys() & TOKENISERS.keys():
            assert TOKENISERS[name](entry["text"]) == entry[name], (name, entry["text"])


@pytest.mark.kit("murel", "vqa2vg_merge.json")
def test_merge_with_visual_genome(case: Path) -> None:
    expected = json.loads(case.read_text())
    found = re.fullmatch(
        r"VQA2\.train\.nans,(\d+)_minwcount,(\d+)_nlp,(\w+)_proc_split,trainval"
        r"\+VG\.train\.nans,(\d+)_.*",
        expected["subdir_processed"],
    )
    assert found
    choices = Choices(
        int(found[1]), int(found[2]), found[3], trainval=True, genome_answers=int(found[4])
    )
    ours = prepared(case.parent, "vqa2", choices, genome=True)
    assert ours.vocabulary.words == number_table(expected["word_to_wid"])
    assert list(ours.vocabulary.answers) == expected["aid_to_ans"]
    train, val = ours.splits["train"], ours.splits["val"]
    first, more = expected["lengths"]
    assert (len(train), ours.genome) == (first + more, more)
    words = word_lists(train)
    assert words[: len(expected["vqa2_first20_wids"])] == expected["vqa2_first20_wids"]
    for k, question in enumerate(expected["vg_questions"], first):
        assert train.question_ids[k] == question["question_id"]
        assert words[k] == question["question_wids"]
        assert train.image_names[train.images[k]] == str(question["image_id"])
    for k, annotation in enumerate(expected["vg_annotations"], first):
        assert train.strings[train.answer_texts[k]] == annotation["answer"]
        assert train.answers[k] == annotation["answer_id"]
    for k, (number, numbers, answer) in enumerate(expected["val_after_sync"]):
        assert (val.question_ids[k], val.answers[k]) == (number, answer)
        assert word_lists(val)[k] == numbers


@pytest.mark.kit("murel", "vqa2vg_merge.json")
def test_visual_genome_alone(case: Path) -> None:
    expected = json.loads(case.read_text())["vg_before"]
    questions = read_genome(find_genome(case.parent / "vgenome_raw"), TOKENISERS["mcb"])
    ours = process({"train": questions}, Choices(len(expected["aid_to_ans"])))
    assert list(ours.vocabulary.answers) == expected["aid_to_ans"]
    assert len(ours.splits["train"]) == expected["n"]
    assert len(ours.vocabulary.words) - 1 == expected["n_words"]


def processed_train(kit: Path) -> list[Processed]:
    """The kit's VQA v2 in every configuration; it does not say which one a file was made with."""
    files = sorted(kit.glob("vqa2_processed_*_train.json"))
    return [prepared(kit, "vqa2", settings(file)[1]) for file in files]


@pytest.mark.kit("murel", "vqa2_answer_sampling.json")
def test_answer_sampling(case: Path) -> None:
    """The original drew with NumPy's global generator; its numbers give its answers."""
    expected = json.loads(case.read_text())
    matches = []
    for done in processed_train(case.parent):
        train = done.splits["train"]
        count = len(expected["samples"])
        draws = np.random.RandomState(expected["seed"]).random_sample(count)
        rows = np.arange(count)
        drawn = sample_answers(train, rows, draws).tolist()
        pairs = zip(train.question_ids[:count].tolist(), drawn, strict=True)
        matches.append([list(pair) for pair in pairs] == expected["samples"])
    assert any(matches)


@pytest.mark.kit("murel", "vqa2_features.npz")
@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_features_and_batch(case: Path, tmp_path: Path, kind: str) -> None:
    """A folder of .pth files through our stores into the original's batch."""
    archive = np.load(case)
    keys = ("pooled_feat", "rois", "norm_rois")
    with region_writer(tmp_path / f"store.{kind}", "float32") as write:
        for name in sorted({key.rpartition("/")[0] for key in archive.files}):
            file = tmp_path / f"{name}.pth"
            torch.save({k: torch.from_numpy(archive[f"{name}/{k}"]) for k in keys}, file)
            picture = read_file(file)
            assert isinstance(picture, Picture)
            assert picture.name == name
            write(picture)
    store = open_regions([tmp_path / f"store.{kind}"])
    expected = np.load(case.with_name("vqa2_val_batch.npz"))
    columns = json.loads(case.with_name("vqa2_val_batch.json").read_text())
    ours, val, batch = next(
        (done, done.splits["val"], batch)
        for done in processed_train(case.parent)
        for batch in [VqaItems(done.splits["val"], done.vocabulary, store).batch(columns["index"])]
        if np.array_equal(batch.questions, expected["question"])
    )
    assert batch.ids.tolist() == columns["question_id"]
    assert batch.regions.counts.tolist() == columns["nb_regions"]
    names = [val.image_names[k] for k in val.images[: len(batch.rows)]]
    assert names == columns["image_name"]
    types = [val.type_names[k] for k in val.types[: len(batch.rows)]]
    assert types == columns["question_type"]
    answers = [val.strings[k] for k in val.answer_texts[: len(batch.rows)]]
    assert answers == columns["answer"]
    assert batch.answers.tolist() == columns["answer_id"] == expected["class_id"][:, 0].tolist()
    np.testing.assert_array_equal(batch.questions, expected["question"])
    np.testing.assert_array_equal(batch.lengths, expected["lengths"][:, 0])
    np.testing.assert_array_equal(batch.regions.features, expected["visual"])
    np.testing.assert_array_equal(batch.regions.boxes, expected["coord"])
    np.testing.assert_array_equal(batch.regions.norm_boxes, expected["norm_coord"])
    test = ours.splits["test"]
    VqaItems(test, ours.vocabulary, store)  # every picture of the test split has features
    for item in json.loads(case.with_name("vqa2_test_items.json").read_text()):
        k = item["index"]
        assert test.question_ids[k] == item["question_id"]
        assert test.image_names[test.images[k]] == item["image_name"]
        assert bool(test.test_dev[k]) == item["is_testdev"]
