"""Streams of images: pure functions of seed and number, for any number of worker processes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from pyvqa.errors import ConfigError
from pyvqa.world import (
    GeneratorSettings,
    Quality,
    QuestionStream,
    Sample,
    SceneSettings,
    read_templates,
    stream,
    visible,
)
from pyvqa.world.masks import least_area

from . import engine

QUALITY = Quality(96, 64, samples=1)
SETTINGS = GeneratorSettings(block=4)


def take(count: int, **arguments: Any) -> list[Sample]:
    given = {"seed": 3, "quality": QUALITY, "settings": SETTINGS} | arguments
    return list(itertools.islice(stream(**given), count))


def equal(a: Sample, b: Sample) -> bool:
    tensors = zip(a[1:4], b[1:4], strict=True)
    return (
        a.scene == b.scene
        and a.questions == b.questions
        and all(torch.equal(x, y) for x, y in tensors)
    )


def test_an_image_comes_with_all_that_belongs_to_it() -> None:
    samples = take(6)
    assert [s.scene["image_index"] for s in samples] == list(range(6))
    for sample in samples:
        count = len(sample.scene["objects"])
        assert sample.picture.shape == (64, 96, 3)
        assert sample.picture.dtype == torch.uint8
        assert sample.masks.shape == (count, 64, 96)
        assert sample.masks.dtype == torch.bool
        assert int(sample.masks.sum(0).max()) == 1
        assert int(sample.masks.flatten(1).sum(1).min()) >= least_area((64, 96))
        assert sample.boxes.shape == (count, 4)
        for mask, (x, y, w, h) in zip(sample.masks, sample.boxes.tolist(), strict=True):
            assert int(mask[y : y + h, x : x + w].sum()) == int(mask.sum())
        assert len(sample.questions) == 10
        for question in sample.questions:
            assert question["image_filename"] == sample.scene["image_filename"]
            assert engine.answer(question["program"], sample.scene) == question["answer"]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    alone, shared = take(10), take(10, workers=workers)
    assert all(map(equal, alone, shared))


def test_a_stream_can_be_taken_up_later() -> None:
    assert all(map(equal, take(12)[8:], take(4, first_block=2)))
    assert not equal(take(1)[0], take(1, seed=4)[0])


def test_expressions_know_what_is_hidden() -> None:
    templates = read_templates(None, "clevr-ref")
    settings = GeneratorSettings(block=10, false_premise=1)
    samples = take(20, templates=templates, settings=settings, scenes=SceneSettings(least=8))
    kinds = {step["type"] for s in samples for e in s.questions for step in e["program"]}
    assert "filter_visible" in kinds
    assert any(e["program"][-1]["_output"] == [] for s in samples for e in s.questions)
    assert samples[0].scene["objects"][0]["idx"] == 1
    assert min(len(s.scene["objects"]) for s in samples) >= 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"workers": -1}, "workers=-1"),
        ({"first_block": -2}, "first_block=-2"),
        ({"quality": Quality(4, 4)}, "4x4"),
        ({"settings": GeneratorSettings(per_scene=0)}, "questions per scene"),
    ],
)
def test_bad_arguments_are_explained_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stream(**arguments)


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_on_the_way_stay_one_line(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visible, "_MOST_ATTEMPTS", 20)
    crowded = SceneSettings(least=10)
    with pytest.raises(ConfigError, match="no scene of"):
        take(1, quality=Quality(800, 16), scenes=crowded, workers=workers)


def test_question_streams_without_pictures() -> None:
    own = read_templates(None, "clevr")
    questions = QuestionStream([own], 5, settings=SETTINGS)
    first, second = itertools.islice(questions, 2)
    assert len(first.scenes) == 4
    assert second.questions.text == questions.block(1).questions.text != first.questions.text
    with pytest.raises(ConfigError, match="at least one"):
        QuestionStream([], 5)
