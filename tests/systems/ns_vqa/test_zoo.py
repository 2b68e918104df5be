"""The shipped model: complete, small, and right about fresh questions and pictures of the world."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
import torch
from safetensors import safe_open

import pyvqa
from pyvqa.programs.clevr import VALUES
from pyvqa.systems import ZOO
from pyvqa.systems.ns_vqa.reasoning import Executor
from pyvqa.systems.ns_vqa.trial import try_eyes
from pyvqa.world.questions import QuestionGenerator
from pyvqa.world.scenes import WorldScenes, sample_scenes
from pyvqa.world.staging import Quality, stage
from pyvqa.world.template_files import read_templates
from pyvqa.world.visible import sample_visible_scenes

FOLDER = ZOO / "ns-vqa-clevr"
NETWORKS = ("parser", "detector", "attributes")
FILES = {"config.yaml", "vocab.json", "card.md", *(f"{name}.safetensors" for name in NETWORKS)}


@cache
def model() -> Any:
    return pyvqa.load("ns-vqa-clevr")


@cache
def scenes() -> WorldScenes:
    return sample_scenes(20_261_124, 0, 200)


def test_the_folder_is_complete_and_small() -> None:
    assert {path.name for path in FOLDER.iterdir()} == FILES
    for network in NETWORKS:
        path = FOLDER / f"{network}.safetensors"
        assert path.stat().st_size <= 8 * 2**20
        with safe_open(path, "pt") as file:
            kinds = {file.get_tensor(name).dtype for name in file.keys()}
        assert kinds - {torch.int64} == {torch.float16}  # batch norms count in whole numbers


@pytest.mark.parametrize("heading", ["Data", "Command", "Time", "Scores", "Limits"])
def test_the_card_tells_where_it_comes_from(heading: str) -> None:
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    assert f"## {heading}\n" in card
    section = card.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert len(section.strip()) > 40


def test_the_card_names_the_files_own_sizes() -> None:
    card = (FOLDER / "card.md").read_text(encoding="utf-8")
    vocabulary = json.loads((FOLDER / "vocab.json").read_text(encoding="utf-8"))
    assert f"{len(vocabulary['question_token_to_idx'])} words" in card
    networks = (model().parser, model().eyes.detector.network, model().eyes.attributes.network)
    for network in networks:
        assert f"{sum(p.numel() for p in network.parameters()):,} weights" in card


def test_the_vocabulary_is_of_the_whole_language() -> None:
    vocabulary = model().vocabulary
    assert len(vocabulary.functions) == 44
    assert len(vocabulary.answers) == 32
    assert {value for values in VALUES.values() for value in values} <= set(vocabulary.words)


def test_fresh_questions_of_the_world_are_answered() -> None:
    packed = scenes().pack()
    questions = QuestionGenerator(read_templates()).generate(packed, seed=20_261_124)
    assert len(questions) >= 1990
    programs = model().write_programs(questions.text)
    rows = torch.from_numpy(questions.scene).long()
    answers = Executor.of(packed, model().vocabulary).run(programs, rows).texts
    pairs = zip(questions.text, answers, questions.answers(), strict=True)
    wrong = [(text, got, right) for text, got, right in pairs if got != right]
    assert len(wrong) <= 0.001 * len(questions), wrong


def test_a_question_does_not_depend_on_its_batch() -> None:
    texts = ["How many red things are there?", "Is there a big cube left of the small sphere?"]
    together = model().write_programs(texts * 9)
    alone = torch.cat([model().write_programs([text]) for text in texts])
    assert torch.equal(together, alone.repeat(9, 1))


@pytest.mark.parametrize(
    ("typed", "program"),
    [
        ("How many red things are there?", ["count", "filter_color[red]", "scene"]),
        ("how many red things are there", ["count", "filter_color[red]", "scene"]),
        (" HOW many Red  things are there ?", ["count", "filter_color[red]", "scene"]),
        (
            "what color is the big metal cube",
            ["query_color", "unique", "filter_shape[cube]", "filter_material[metal]",
             "filter_size[large]", "scene"],
        ),
        ("are there any tiny green balls?",
         ["exist", "filter_shape[sphere]", "filter_color[green]", "filter_size[small]", "scene"]),
    ],
)  # fmt: skip
def test_questions_may_be_typed_freely(typed: str, program: list[str]) -> None:
    assert model().parse(typed) == program


def test_an_answer_comes_with_its_steps() -> None:
    scene = scenes().records("val")[0]
    answer = model().answer(scene, "how many things are there?")
    assert answer.text == str(len(scene["objects"]))
    assert [step.name for step in answer.steps] == ["scene", "count"]


def test_fresh_pictures_of_the_world_are_understood() -> None:
    world, _, _ = sample_visible_scenes(20_261_125, 0, 24)
    trial = try_eyes(model().eyes, world)
    assert trial.claimed == trial.found == trial.objects
    wrong = sum(trial.objects - right for right in trial.right.values())
    assert wrong <= 1
    questions = QuestionGenerator(read_templates()).generate(world.pack(), seed=3)
    programs = model().write_programs(questions.text)
    rows = torch.from_numpy(questions.scene).long()
    answers = Executor.of(trial.scenes, model().vocabulary).run(programs, rows).texts
    right = [a == b for a, b in zip(answers, questions.answers(), strict=True)]
    assert sum(right) >= 0.98 * len(right)


def test_a_picture_is_answered_with_what_was_seen() -> None:
    world, _, _ = sample_visible_scenes(20_261_126, 0, 1)
    picture = stage(world).render(Quality(480, 320)).picture[0]
    answer = model().answer(picture, "how many things are there?")
    assert answer.text == str(len(world.records("val")[0]["objects"]))
    assert answer.score is not None
    assert answer.score > 0.5
    assert answer.canvas is not None
    assert len(answer.canvas.regions) == int(answer.text)
    assert not answer.warnings
