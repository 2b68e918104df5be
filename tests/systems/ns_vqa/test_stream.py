"""The stream of world questions is a pure function of seed, epoch and index."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pyvqa.data.vocabulary import END, START, UNKNOWN, inverse
from pyvqa.errors import ConfigError, DataError, PyvqaError
from pyvqa.systems.ns_vqa.config import WorldDataConfig
from pyvqa.systems.ns_vqa.data import Batch
from pyvqa.systems.ns_vqa.stream import (
    WorldQuestions,
    fresh_questions,
    stream_vocabulary,
    template_folders,
)

OWN = template_folders(["own"])
VOCABULARY = stream_vocabulary(OWN)
PLAIN = {"blocks": 1, "unknown": 0.0, "lower": 0.0}


def stream(batch_size: int = 64, seed: int = 5, **settings: float) -> WorldQuestions:
    data = WorldDataConfig(templates=["own"], **{**PLAIN, **settings})  # type: ignore[arg-type]
    return WorldQuestions(OWN, VOCABULARY, data, batch_size, seed)


def equal(a: Batch, b: Batch) -> bool:
    return (
        torch.equal(a.questions, b.questions)
        and torch.equal(a.programs, b.programs)
        and torch.equal(a.ids, b.ids)
        and a.lengths == b.lengths
    )


def test_batches_do_not_depend_on_what_was_asked_before() -> None:
    used = stream(unknown=0.05, lower=0.5)
    later = [used.batch(1, k, 0, 1) for k in (7, 0, 7)]
    fresh = stream(unknown=0.05, lower=0.5)
    assert equal(fresh.batch(1, 7, 0, 1), later[0])
    assert equal(later[0], later[2])
    assert not equal(later[0], later[1])
    assert not equal(stream(seed=6, unknown=0.05, lower=0.5).batch(1, 7, 0, 1), later[0])


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_share_the_global_batch(ranks: int) -> None:
    source = stream(unknown=0.05, lower=0.5)
    whole = source.batch(0, 2, 0, 1)
    parts = [source.batch(0, 2, rank, ranks) for rank in range(ranks)]
    assert torch.equal(torch.cat([p.questions for p in parts]), whole.questions)
    assert torch.equal(torch.cat([p.programs for p in parts]), whole.programs)
    assert [n for part in parts for n in part.lengths] == whole.lengths


@pytest.mark.parametrize("sort_batches", [1, 8])
def test_an_epoch_takes_every_question_once(sort_batches: int) -> None:
    source = stream(batch_size=50, sort_batches=sort_batches)
    ids = torch.cat([source.batch(0, k, 0, 1).ids for k in range(len(source))])
    assert len(source) == 50
    assert len(ids.unique()) >= 2490  # a scene or two may have had fewer than ten questions
    lengths = source.batch(0, 3, 0, 1).lengths
    spread = max(lengths) - min(lengths)
    assert spread < 12 if sort_batches > 1 else spread > 12


def test_rows_are_framed_and_epochs_differ() -> None:
    source = stream()
    batch, other = source.batch(0, 0, 0, 1), source.batch(1, 0, 0, 1)
    for rows in (batch.questions, batch.programs):
        assert (rows[:, 0] == START).all()
        assert ((rows == END).sum(1) == 1).all()
    assert [int(n) for n in (batch.questions == END).int().argmax(1) + 1] == batch.lengths
    assert batch.questions.shape != other.questions.shape or not torch.equal(
        batch.questions, other.questions
    )


def test_free_typing_changes_first_letters_and_hides_words() -> None:
    plain, typed = stream().batch(0, 0, 0, 1), stream(unknown=0.1, lower=0.5).batch(0, 0, 0, 1)
    words = inverse(VOCABULARY.words)
    changed = plain.questions != typed.questions
    assert changed.any()
    for old, new in zip(
        plain.questions[changed].tolist(), typed.questions[changed].tolist(), strict=True
    ):
        assert new == UNKNOWN or words[new] == words[old][0].lower() + words[old][1:]
    firsts = [words[k] for k in typed.questions[:, 1].tolist()]
    assert 0.2 < sum(word[0].islower() for word in firsts) / len(firsts) < 0.8
    hidden = (typed.questions == UNKNOWN).sum() / (plain.questions > UNKNOWN).sum()
    assert 0.05 < float(hidden) < 0.15
    assert torch.equal(plain.programs, typed.programs)
    assert torch.equal(typed.questions == END, plain.questions == END)


def test_the_vocabulary_has_all_tokens_of_the_language() -> None:
    assert len(VOCABULARY.functions) == 44
    assert len(VOCABULARY.answers) == 32
    words = set(VOCABULARY.words)
    assert {word[0].lower() + word[1:] for word in words if word[0] != "<"} <= words


def test_fresh_questions_have_programs_that_give_their_answers() -> None:
    data = fresh_questions(OWN[0], VOCABULARY, seed=3, blocks=1)
    assert data.executor is not None
    assert len(data) >= 2490
    rewards = data.executor.rewards(data.programs[:, 1:].long(), data.scenes, data.answers)
    assert rewards.mean() == 1.0
    other = fresh_questions(OWN[0], VOCABULARY, seed=4, blocks=1)
    assert not torch.equal(data.answers[:100], other.answers[:100])


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        ([], ConfigError, "data.templates names no folder"),
        (["own", ""], ConfigError, "empty name"),
        (["own", "/no/such/folder"], DataError, "/no/such/folder: no such folder"),
    ],
)
def test_missing_templates_end_in_one_line(
    names: list[str], error: type[PyvqaError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        template_folders(names)
    assert "\n" not in str(caught.value)


def test_a_vocabulary_of_other_templates_is_refused(tmp_path: Path) -> None:
    small = stream_vocabulary(OWN)
    del small.words["item"]
    source = WorldQuestions(OWN, small, WorldDataConfig(blocks=1), 64, 5)
    with pytest.raises(DataError, match="'item' is not in the vocabulary"):
        source.batch(0, 0, 0, 1)
