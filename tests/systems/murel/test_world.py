"""The way to a MuRel that looks at pictures: the recipe's own commands, then questions to it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import pyvqa
from pyvqa import systems
from pyvqa.cli import main as cli
from pyvqa.data.region_origin import PictureRegions, RegionOrigin
from pyvqa.errors import CheckpointError, DataError
from pyvqa.evidence import read_answers
from pyvqa.files import sha256
from pyvqa.systems import find_detector, find_model
from pyvqa.systems.murel.answer import UNKNOWN, answer_look, answer_texts, look
from pyvqa.systems.murel.folder import read_model, write_model

CONFIGS = Path(pyvqa.__file__).parent / "systems/murel/configs"
WIDTH, REGIONS = 32, 6  # of the small detector's features; of a picture
PAIR = "{mm_dim: 6, chunks: 2, rank: 2, dropout_input: 0.0}"
SMALL = {
    "synth": "--size 96x64 --samples 1 --workers 0 --scenes 2 --questions-per-scene 5",
    "prepare features": f"--device cpu --regions {REGIONS} --model DETECTOR",
    "eval": "--device cpu --explain 3",
    "train": f"network.region_dim={WIDTH} network.classify='{PAIR}' network.question.hidden=8 "
    "train.device=cpu train.steps=2 train.batch_size=4 train.validate_every=2 schedule.warmup=0",
    "train murel/world": f"network.relation.fusion='{PAIR}' "
    f"network.relation.pairwise='{{coordinates: {PAIR}, features: {PAIR}}}'",
    "train murel/attention-world": f"network.attention.fusion='{PAIR}' network.attention.width=4",
}


class Place(NamedTuple):
    folder: Path
    detector: Path
    picture: Path
    question: str


def commands(recipe: str) -> list[list[str]]:
    """Give what the head of a recipe tells to type."""
    head = (CONFIGS / f"{recipe}.yaml").read_text(encoding="utf-8").partition("stage:")[0]
    text = re.sub(r"\\\n# +", "", head)
    return [shlex.split(line) for line in re.findall(r"^#   pyvqa (.+)$", text, re.M)]


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, sighted_models: dict[str, Path]) -> Place:
    """A folder in which all commands of both recipes have been given, made small."""
    folder = tmp_path_factory.mktemp("world")
    shutil.copytree(sighted_models["detector"], folder / "DETECTOR")
    with inside(folder):
        for words in commands("world") + commands("attention-world"):
            names = (" ".join(words[:2]), words[0])
            more = [part for name in names for part in shlex.split(SMALL.get(name, ""))]
            assert cli.main([*words, *more]) == 0, words
    raw = json.loads((folder / "data/world/v2_OpenEnded_mscoco_val2014_questions.json").read_text())
    first = raw["questions"][0]
    picture = folder / f"data/world/images/val2014/COCO_val2014_{first['image_id']:012d}.png"
    return Place(folder, folder / "DETECTOR", picture, first["question"])


def ask(
    place: Place, capsys: pytest.CaptureFixture[str], *arguments: object, model: str = "murel-world"
) -> tuple[int, str, str]:
    with inside(place.folder):
        code = cli.main(["ask", f"runs/{model}", str(place.picture), *map(str, arguments)])
    out, err = capsys.readouterr()
    assert "Traceback" not in out + err
    return code, out, err


def test_the_recipes_name_every_step() -> None:
    named = [" ".join(words[:2]) for words in commands("world")]
    assert named == [
        *("synth vqa2", "synth vqa2", "prepare vqa2", "prepare features", "prepare features"),
        *("train murel/world", "eval runs/murel-world"),
    ]
    assert [words[:2] for words in commands("attention-world")] == [
        ["train", "murel/attention-world"]
    ]


def test_the_model_remembers_the_detector(place: Place) -> None:
    origin = read_model(find_model(place.folder / "runs/murel-world")).origin
    weights = sha256(place.detector / "detector.safetensors")
    assert origin == RegionOrigin(detector="DETECTOR", weights=weights, regions=REGIONS)


@pytest.mark.parametrize("model", ["murel-world", "attention-world"])
def test_a_picture_is_answered_as_its_stored_features_are(
    model: str, place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, data = tmp_path / "page.html", tmp_path / "answer.json"
    files = ("--html", page, "--json", data)
    code, out, err = ask(place, capsys, place.question, *files, model=model)
    assert (code, err) == (0, "")
    assert f"seen: {REGIONS} regions in {place.picture.name} (96 x 64)" in out
    assert "read the question" in out
    [answer] = read_answers(data)
    assert "its best region has a score of" in answer.warnings[-1]  # the detector is untrained
    assert all("is not in the vocabulary" in warning for warning in answer.warnings[:-1])
    assert answer.text in read_model(find_model(place.folder / f"runs/{model}")).vocabulary.answers
    assert answer.canvas is not None
    assert answer.canvas.image is not None
    assert all(region.box and 0 <= region.weight <= 1 for region in answer.canvas.regions)
    assert any(step.regions for step in answer.steps)
    assert answer.canvas.image in page.read_text(encoding="utf-8")
    if model == "murel-world":
        stored = read_answers(place.folder / "results/murel-world/evidence.json")[0]
        assert stored.question == place.question
        assert answer.score == pytest.approx(stored.score, abs=2e-3)
        assert [len(step.regions) > 0 for step in answer.steps[1:-1]] == [True] * 3


def test_from_python(place: Place) -> None:
    with inside(place.folder):
        answer = pyvqa.load("runs/murel-world").answer(place.picture, "How many cubes are there?")
    assert answer.score is not None
    assert len(answer.alternatives) == 4


@pytest.mark.parametrize(
    ("question", "text", "warning"),
    [
        ("How many zebras are there?", None, "the word 'zebras' is not in the vocabulary"),
        ("zebra <b>", UNKNOWN, "the question holds no word that is known"),
        ("", UNKNOWN, "the question is empty"),
        ("?!", UNKNOWN, "the question is empty"),
    ],
)
def test_odd_questions_are_doubted(
    question: str,
    text: str | None,
    warning: str,
    place: Place,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "page.html"
    code, out, err = ask(place, capsys, question, "--html", page)
    assert (code, err) == (0, "")
    assert warning in out
    assert (out.startswith(f"answer      {UNKNOWN}\n")) == (text == UNKNOWN)
    assert "<b>" not in page.read_text(encoding="utf-8")


def test_a_picture_without_regions_and_one_unlike_all(place: Place) -> None:
    model = read_model(find_model(place.folder / "runs/murel-world"))
    picture = torch.zeros(64, 96, 3, dtype=torch.uint8)

    def nothing(_: torch.Tensor) -> PictureRegions:
        return PictureRegions(torch.zeros(0, 4), torch.zeros(0, WIDTH), torch.zeros(0), ())

    answer = answer_look(model, look(model, picture, nothing), "How many cubes are there?")
    assert (answer.text, answer.score) == (UNKNOWN, None)
    assert answer.warnings[0] == "no regions were found in the picture"

    def doubtful(_: torch.Tensor) -> PictureRegions:
        boxes = torch.tensor([[1.0, 2, 30, 40], [5, 5, 50, 50]])
        scores = torch.tensor([0.2, 0.4])
        return PictureRegions(boxes, torch.ones(2, WIDTH), scores, ("red cube", "blue cube"))

    seen = look(model, picture, doubtful)
    answer = answer_look(model, seen, "How many cubes are there?")
    assert "its best region has a score of 40 %" in answer.warnings[-1]
    assert [region.label for region in seen.canvas.regions] == ["region 1", "region 2"]
    asked = ["How many cubes are there?", "What color is the ball?"]
    both = answer_texts(model, seen.regions, asked)
    assert both == [answer_look(model, seen, text).text for text in asked]
    assert answer_texts(model, seen.regions, []) == []
    with pytest.raises(DataError, match="600 characters"):
        answer_look(model, seen, "a" * 600)
    with pytest.raises(DataError, match=f"{WIDTH} numbers each are needed"):
        look(model, picture, lambda p: doubtful(p)._replace(features=torch.ones(2, 3)))


def test_a_detector_that_moved_is_named(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved"
    shutil.move(place.detector, moved)
    try:
        code, _, err = ask(place, capsys, place.question)
        assert (code, err.count("\n")) == (1, 1)
        assert "no model here has it" in err
        assert "--detector" in err
        code, out, _ = ask(place, capsys, place.question, "--detector", moved)
        assert code == 0
        assert out.startswith("answer")
        code, _, err = ask(place, capsys, place.question, "--detector", "ns-vqa-clevr")
        assert (code, err.count("\n")) == (1, 1)
        assert "its detector is another one" in err
    finally:
        shutil.move(moved, place.detector)


def test_a_shipped_detector_is_known_by_its_weights() -> None:
    folder = find_model("ns-vqa-clevr")
    weights = sha256(folder / "detector.safetensors")
    origin = RegionOrigin(detector="runs/long-gone", weights=weights, regions=16)
    assert find_detector(origin) == folder
    with pytest.raises(CheckpointError, match="no model here has it"):
        find_detector(RegionOrigin(detector="ns-vqa-clevr", weights="0" * 64, regions=16))


def test_foreign_features_are_explained(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = read_model(find_model(place.folder / "runs/murel-world"))
    write_model(tmp_path, model._replace(origin=None), "# Of other features\n")
    assert cli.main(["ask", str(tmp_path), str(place.picture), "How many?"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "was not trained on features of `pyvqa prepare features`" in err
    assert "pyvqa eval --features STORE --explain N" in err


def test_options_of_the_other_system_are_refused(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ask(place, capsys, "How many?", "--grammar")
    assert code == 1
    assert "--grammar is for ns-vqa models" in err
    words = ["ask", "ns-vqa-clevr", str(place.picture), "How many?", "--detector", "x"]
    assert cli.main(words) == 1
    assert "takes no detector of another one" in capsys.readouterr().err


def test_the_demo_asks_it_too(
    place: Place,
    tmp_path: Path,
    sighted_models: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    words: list[Any] = ["demo", "--scenes", 2, "--questions", 8, "--out", tmp_path]
    words += ["--model", sighted_models["nothing"], "--murel", "runs/murel-world"]
    with inside(place.folder):
        assert cli.main([str(word) for word in words]) == 0
    told = capsys.readouterr().out
    assert "8 everyday questions about the same pictures, answered with runs/murel-world" in told
    page = (tmp_path / "murel.html").read_text(encoding="utf-8")
    assert f"page: {tmp_path / 'murel.html'}" in told
    assert "Questions answered by relating regions" in page
    data = json.loads(re.findall(r'<script id="data"[^>]*>(.*?)</script>', page)[0])
    assert len(data["answers"]) == 8
    assert all("expected" in answer and answer["steps"] for answer in data["answers"])
    assert {canvas["title"] for canvas in data["canvases"]} <= {
        "CLEVR_demo_000000.png",
        "CLEVR_demo_000001.png",
    }
    assert all(canvas["image"].startswith("data:image/") for canvas in data["canvases"])
    with inside(place.folder):
        assert cli.main(["demo", "--scenes", "1", "--questions", "2", "--out", str(tmp_path),
                         "--model", str(sighted_models["nothing"]),
                         "--murel", "ns-vqa-clevr"]) == 1  # fmt: skip
    assert "is no MuRel model" in capsys.readouterr().err


def test_a_model_put_into_the_zoo_is_found(
    place: Place,
    tmp_path: Path,
    sighted_models: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    zoo = tmp_path / "zoo"
    shutil.copytree(find_model(place.folder / "runs/murel-world"), zoo / "murel-world")
    shutil.copytree(place.detector, zoo / "eyes")
    monkeypatch.setattr(systems, "ZOO", zoo)
    assert cli.main(["ask", "murel-world", str(place.picture), place.question]) == 0
    assert f"seen: {REGIONS} regions" in capsys.readouterr().out  # by the detector in the zoo
    words = ["demo", "--scenes", "1", "--questions", "3", "--out", str(tmp_path / "demo")]
    assert cli.main([*words, "--model", str(sighted_models["nothing"])]) == 0
    assert "answered with murel-world" in capsys.readouterr().out
    assert (tmp_path / "demo/murel.html").is_file()
