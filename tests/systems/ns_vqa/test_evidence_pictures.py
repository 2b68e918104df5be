"""Answers about pictures: reasons, confidence, and doubt where an answer would be a guess."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pyvqa
from pyvqa import evidence
from pyvqa.data.clevr_questions import encode_words
from pyvqa.data.pictures import picture_address
from pyvqa.errors import CheckpointError, DataError
from pyvqa.nn.images import fit_scale
from pyvqa.ops import pack_masks, unpack_masks
from pyvqa.systems.ns_vqa.build import prepare_pictures
from pyvqa.systems.ns_vqa.config import DetectorConfig, PerceptionConfig
from pyvqa.systems.ns_vqa.evidence import (
    UNKNOWN,
    answer_seen,
    picture_canvas,
    picture_doubts,
    picture_remarks,
)
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.decode import greedy, likeliest
from pyvqa.systems.ns_vqa.perception import Found, Seen, _within, count_unsure

HEIGHT, WIDTH = 120, 180


@cache
def model() -> Any:
    return pyvqa.load("ns-vqa-clevr")


def ground(height: int = HEIGHT, width: int = WIDTH) -> torch.Tensor:
    return torch.full((height, width, 3), 120, dtype=torch.uint8)


OBJECTS = [
    ("red", "metal", "cube", "large", [-2.0, 0.0, 0.7]),
    ("red", "rubber", "sphere", "small", [0.0, 1.0, 0.35]),
    ("blue", "rubber", "cylinder", "large", [2.0, -1.0, 0.7]),
]
SCORES = (0.98, 0.96, 0.92)


def discs(places: list[tuple[int, int]]) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    masks = [(y - v) ** 2 + (x - u) ** 2 <= 60 for u, v in places]
    return torch.stack(masks) if masks else torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool)


def found(places: list[tuple[int, int]], scores: tuple[float, ...]) -> Found:
    boxes = torch.tensor([[u - 8, v - 8, u + 8, v + 8] for u, v in places]).view(-1, 4)
    labels = torch.ones(len(places), dtype=torch.int64)
    return Found(boxes.float(), torch.tensor(scores), labels, pack_masks(discs(places)))


def scene(count: int = 3, unsure: int = 0) -> Seen:
    places = [(20, 30), (48, 40), (76, 20)][:count]
    names = ("color", "material", "shape", "size", "position")
    objects = [dict(zip(names, known, strict=True)) for known in OBJECTS[:count]]
    return Seen(found(places, SCORES[:count]), objects, unsure)


def ask(question: str, seen: Seen | None = None, **options: Any) -> evidence.Answer:
    return answer_seen(model(), ground(), seen or scene(), question, **options)


# ---- answers


@pytest.mark.parametrize(
    ("question", "text", "items"),
    [
        ("How many red things are there?", "2", [0, 1]),
        ("What color is the large cylinder?", "blue", [2]),
        ("What shape is the tiny thing?", "sphere", [1]),
        ("Is there a green cube?", "no", [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("grammar", [False, True])
def test_confidence_is_that_of_reading_and_seeing(
    question: str, text: str, items: list[int], grammar: bool
) -> None:
    answer = ask(question, grammar=grammar)
    assert (answer.text, answer.warnings) == (text, ())
    seeing = math.prod(SCORES[i] for i in items)
    assert answer.score is not None
    assert 0.97 * seeing < answer.score <= seeing + 1e-4
    assert answer.steps[-1].value == text
    assert [r.item for r in answer.steps[0].regions] == [0, 1, 2]
    assert all(other.score < 0.1 for other in answer.alternatives)
    assert sorted(o.score for o in answer.alternatives)[::-1] == [
        o.score for o in answer.alternatives
    ]


def test_the_only_one_of_several_is_a_third_as_sure() -> None:
    answer = ask("What color is the thing?")
    assert answer.score is not None
    assert 0.97 * SCORES[0] / 3 < answer.score <= SCORES[0] / 3 + 1e-4
    assert answer.warnings[0].startswith(
        "3 objects fit where the question means one; the large red"
    )


def test_evidence_is_json_and_points_at_the_objects(tmp_path: Path) -> None:
    answer = ask("How many cubes are there?", title="a <b> picture")
    evidence.write_answers(tmp_path / "a.json", [answer])
    assert evidence.read_answers(tmp_path / "a.json") == [answer]
    assert evidence.from_json(json.loads(json.dumps(evidence.to_json(answer)))) == answer
    assert answer.canvas is not None
    assert (answer.canvas.width, answer.canvas.height, answer.canvas.title) == (
        *(WIDTH, HEIGHT),
        "a <b> picture",
    )
    first = answer.canvas.regions[0]
    assert first.box == (12, 22, 28, 38)
    assert first.label == "large red metal cube"
    assert first.attributes["position"] == "-2.0, 0.0, 0.7"
    assert first.weight == pytest.approx(0.98)


def test_pictures_are_stored_in_the_shorter_form_and_scaled_down() -> None:
    assert picture_address(ground()).startswith("data:image/png;base64,")
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert picture_address(torch.from_numpy(noise)).startswith("data:image/jpeg;base64,")
    nothing = pack_masks(torch.zeros(0, 4000, 10, dtype=torch.bool))
    found_none = Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), nothing)
    canvas = picture_canvas(ground(4000, 10), Seen(found_none, []))
    assert (canvas.height, canvas.width) == (4000, 10)
    assert canvas.image is not None
    assert len(canvas.image) < 2000


# ---- doubt


@pytest.mark.parametrize(
    ("question", "warning"),
    [
        ("What color is the zebra?", "the word 'zebra' is not known"),
        ("How many crimson cubes are there?", "the word 'crimson' is not known"),
        ("What color is the purple cube?", "there is no such object"),
        ("🧊?", "the word '🧊' is not known"),
    ],
)
def test_what_cannot_be_read_is_no_confident_guess(question: str, warning: str) -> None:
    answer = ask(question)
    assert (answer.text, answer.score) == (UNKNOWN, None)
    assert any(warning in text for text in answer.warnings), answer.warnings
    assert answer.steps
    assert UNKNOWN not in [other.text for other in answer.alternatives]


def test_without_objects_nothing_is_known() -> None:
    answer = ask("How many cubes are there?", scene(0))
    assert answer.text == UNKNOWN
    assert "no objects were found in the picture" in answer.warnings
    assert [other.text for other in answer.alternatives][:1] == ["0"]


@pytest.mark.parametrize(("question", "message"), [(" \n", "empty"), ("a" * 513, "513 characters")])
def test_what_is_no_question_is_refused(question: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ask(question)


def test_pictures_unlike_a_scene() -> None:
    chance = np.random.default_rng(0)
    noise = torch.from_numpy(chance.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    dark, green = ground() // 4, ground() * torch.tensor([0, 1, 0], dtype=torch.uint8)
    assert picture_doubts(ground(), scene()) == []
    for picture in (noise, dark, green):
        [doubt] = picture_doubts(picture, scene())
        assert doubt.startswith("the picture does not look like a CLEVR scene")
    assert answer_seen(model(), dark, scene(), "How many cubes are there?").text == UNKNOWN
    [doubt] = picture_doubts(ground(), scene(unsure=4))
    assert doubt.startswith("most of what was found is uncertain: 3 objects are sure, 4")


def test_remarks_do_not_hide_the_answer() -> None:
    assert picture_remarks(ground(320, 480), scene()) == []
    [small] = picture_remarks(ground(64, 96), scene())
    assert "only 96 x 64" in small
    [upright] = picture_remarks(ground(480, 320), scene())
    assert "320 x 480" in upright
    [unsure] = picture_remarks(ground(320, 480), scene(unsure=1))
    assert unsure == "1 more thing may be objects and were left out"
    assert ask("How many cubes are there?", scene(unsure=1)).text == "1"


@pytest.mark.parametrize("name", ["clevr_original", "clevr_rendered"])
def test_genuine_pictures_look_like_scenes(name: str) -> None:
    import os

    from pyvqa.data.pictures import read_picture

    folder = Path(os.environ.get("PYVQA_REAL", "nowhere")) / name / "images"
    files = sorted(folder.rglob("*.png"))[::10]
    if not files:
        pytest.skip("PYVQA_REAL names no folder with genuine pictures")
    for file in files:
        assert picture_doubts(read_picture(file), scene()) == [], file


# ---- the likeliest programs


@pytest.mark.parametrize("held", [False, True])
def test_likeliest_programs_begin_with_the_greedy_one(held: bool) -> None:
    parser, vocabulary = model().parser, model().vocabulary
    grammar = Grammar(model().functions) if held else None
    rows = encode_words(["What color is the big zebra"], vocabulary.words, encode_unknown=True)
    memory = parser.encode(torch.from_numpy(rows).long())
    few, many = (likeliest(parser, memory, width, grammar=grammar) for width in (3, 8))
    assert few.programs.shape[0] == 3
    assert torch.equal(many.probability, many.probability.sort(descending=True).values)
    assert len(set(map(tuple, many.programs.tolist()))) == 8
    assert 0 < float(many.probability.sum()) <= 1 + 1e-5
    assert float(few.probability[0]) <= float(many.probability[0]) + 1e-6
    best = greedy(parser, memory, grammar=grammar)
    assert best.tolist()[0] in many.programs.tolist()


# ---- seeing


def test_unsure_things_are_counted_once_and_not_on_objects() -> None:
    settings = PerceptionConfig(score=0.8)
    places = [(20, 30), (21, 31), (48, 40), (49, 40), (76, 20)]
    everything = found(places, (0.95, 0.5, 0.6, 0.7, 0.2))
    kept = everything.select(torch.tensor([0]))
    assert count_unsure(everything, kept, settings) == 1  # one is on the object, one scores 0.2
    assert count_unsure(kept, kept, settings) == 0


def test_large_pictures_are_described_smaller() -> None:
    masks = discs([(20, 30), (76, 20)])
    picture, dense = _within(ground(), pack_masks(masks), WIDTH)
    assert torch.equal(dense, masks)
    small, halved = _within(ground(), pack_masks(masks), WIDTH // 2)
    assert (small.shape, halved.shape) == ((60, 90, 3), (2, 60, 90))
    assert torch.equal(halved, masks[:, 1::2, 1::2])
    assert unpack_masks(pack_masks(halved)).equal(halved)
    assert picture.shape == (HEIGHT, WIDTH, 3)


def test_boxes_of_large_pictures_are_in_their_own_pixels() -> None:
    config = DetectorConfig(short_side=32, long_side=60, pixels="imagenet")
    batch = prepare_pictures(config, [ground(640, 961), ground(40, 60)])
    assert batch.originals == [(640, 961), (40, 60)]
    assert batch.scales == [fit_scale((640, 961), 32, 60), fit_scale((40, 60), 32, 60)]
    assert batch.sizes[0] == (32, 48)


# ---- models


def test_a_detector_alone_can_be_loaded(sighted_models: dict[str, Path]) -> None:
    alone = pyvqa.load(sighted_models["detector"])
    assert not alone.has_eyes
    assert alone.detector.network.classes == 49
    with pytest.raises(CheckpointError, match="holds no parser, so it cannot read questions"):
        alone.parse("How many cubes are there?")
    with pytest.raises(CheckpointError, match="holds no attributes, so it cannot see pictures"):
        alone.answer(ground(), "How many cubes are there?")


def test_a_folder_without_networks(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("system: ns-vqa\nparser: null\n")
    with pytest.raises(CheckpointError, match="describes no network"):
        pyvqa.load(tmp_path)


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (1, 1), (700, 90), (1300, 1950)])
def test_pictures_of_any_shape_are_seen(shape: tuple[int, int], sighted_models: Any) -> None:
    sighted = pyvqa.load(sighted_models["everything"])
    [seen] = sighted.eyes.see([ground(*shape)])
    assert (seen.found.masks.height, seen.found.masks.width) == shape
    assert len(seen.objects) == len(seen.found.masks) == len(seen.found.boxes)
    if len(seen.objects):
        assert float(seen.found.boxes[:, 2].max()) <= shape[1]
        assert all(np.isfinite(known["position"]).all() for known in seen.objects)
    few = replace(sighted, perception=PerceptionConfig(score=0.99))
    [seen] = few.eyes.see([ground(*shape)])
    assert seen.objects == []
