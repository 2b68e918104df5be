"""Batches: padding, targets, drawn answers, and pictures that have no features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from data.vqa_cases import write_store, write_vqa2
from pyvqa.data.region_store import ZeroRegions, open_regions
from pyvqa.data.vqa_batch import VqaItems, answer_draws, answer_scores, sample_answers
from pyvqa.data.vqa_files import find_files, read_questions
from pyvqa.data.vqa_process import Choices, Processed, process
from pyvqa.errors import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Processed:
    files = find_files(write_vqa2(tmp_path_factory.mktemp("vqa") / "raw"), "vqa2")
    given = {n: read_questions(*files[n]) for n in ("train", "val", "test")}
    return process(given, Choices(answers=5))


def test_batch(data: Processed, tmp_path: Path) -> None:
    table = data.splits["train"]
    pictures = write_store(tmp_path / "s.safetensors", list(table.image_names))
    items = VqaItems(table, data.vocabulary, open_regions([tmp_path / "s.safetensors"]))
    batch = items.batch([7, 3, 11])
    assert batch.rows.tolist() == [7, 3, 11]
    assert batch.ids.tolist() == table.question_ids[[7, 3, 11]].tolist()
    assert batch.questions.shape == (3, int(batch.lengths.max()))
    for k, row in enumerate((7, 3, 11)):
        words = table.words[table.word_offsets[row] : table.word_offsets[row + 1]].tolist()
        assert batch.questions[k].tolist() == words + [0] * (batch.questions.shape[1] - len(words))
        picture = pictures[table.image_names[table.images[row]]]
        np.testing.assert_array_equal(
            batch.regions.features[k, : len(picture.features)], picture.features
        )
    assert batch.answers.tolist() == table.answers[[7, 3, 11]].tolist()


def test_an_empty_question_is_one_unknown_word(data: Processed) -> None:
    table, vocabulary = data.splits["train"], data.vocabulary
    empty = table.word_offsets.copy()
    empty[:] = 0
    items = VqaItems(table, vocabulary, ZeroRegions(4))
    object.__setattr__(items, "table", type(table)(**{**vars(table), "word_offsets": empty}))
    batch = items.batch([0, 1])
    assert batch.questions.tolist() == [[vocabulary.unknown]] * 2
    assert batch.lengths.tolist() == [1, 1]


def test_unknown_answers(data: Processed) -> None:
    table = data.splits["val"]
    row = int(np.flatnonzero(table.answers < 0)[0])
    items = VqaItems(table, data.vocabulary, ZeroRegions(4))
    assert items.batch([row]).answers.tolist() == [-1]
    assert items.batch([row], unknown_answer=4).answers.tolist() == [4]


def test_answers_are_drawn_as_often_as_people_gave_them(data: Processed) -> None:
    table = data.splits["train"]
    row = int(np.argmax(np.diff(table.choice_offsets)))
    begin, end = table.choice_offsets[row : row + 2]
    counts = table.choice_counts[begin:end]
    assert len(counts) > 1
    draws = (np.arange(1000) + 0.5) / 1000
    drawn = sample_answers(table, np.full(1000, row), draws)
    share = [int((drawn == answer).sum()) for answer in table.choices[begin:end]]
    np.testing.assert_allclose(share, 1000 * counts / counts.sum(), atol=1)


def test_draws_depend_on_seed_epoch_and_item_alone(data: Processed) -> None:
    assert np.array_equal(answer_draws(10, 5, 2), answer_draws(50, 5, 2)[:10])
    assert not np.array_equal(answer_draws(10, 5, 2), answer_draws(10, 5, 3))
    assert not np.array_equal(answer_draws(10, 5, 2), answer_draws(10, 6, 2))
    table = data.splits["train"]
    items = VqaItems(table, data.vocabulary, ZeroRegions(4))
    draws = answer_draws(len(items), 1, 0)
    together = items.batch(range(20), draws).answers
    alone = torch.cat([items.batch([k], draws).answers for k in range(20)])
    assert torch.equal(together, alone)
    assert not torch.equal(together, items.batch(range(20)).answers)


def test_without_human_answers_the_one_answer_stays(data: Processed) -> None:
    table = data.splits["test"]
    assert sample_answers(table, np.arange(3), np.zeros(3)).tolist() == [-1, -1, -1]


def test_answer_scores(data: Processed) -> None:
    table = data.splits["train"]
    scores = answer_scores(table, np.arange(20), 5)
    worth = {0: 0.0, 1: 0.3, 2: 0.6, 3: 0.9}
    for row in range(20):
        given = [table.strings[n] for n in table.humans[10 * row : 10 * row + 10]]
        expected = [worth.get(given.count(a), 1.0) for a in data.vocabulary.answers]
        assert scores[row].tolist() == pytest.approx(expected)


def test_pictures_without_features(data: Processed, tmp_path: Path) -> None:
    table = data.splits["train"]
    write_store(tmp_path / "s.h5", list(table.image_names)[2:])
    with pytest.raises(
        DataError, match=r"s.h5: no features for 2 of 20 pictures, the first is COCO"
    ):
        VqaItems(table, data.vocabulary, open_regions([tmp_path / "s.h5"]))
