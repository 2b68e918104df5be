"""Three hundred damaged inputs through the commands: one line, exit code 1, nothing written.

Every case is a pure function of its number, so a failure can be repeated by its name alone.
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest

from pyvqa.cli import main as cli
from pyvqa.evidence import Answer, Step, write_answers

pytestmark = pytest.mark.fuzz


class Place:
    """Where one case works: sound input files, a folder for damaged ones, and an empty output."""

    def __init__(self, world: Any, sound: Path, folder: Path) -> None:
        self.world, self.sound, self.folder, self.out = world, sound, folder, folder / "out"
        self.out.mkdir()

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def edited(self, source: Path, edit: Callable[[Any], object]) -> Path:
        content = json.loads(source.read_bytes())
        edit(content)
        return self.write("edited.json", json.dumps(content).encode())

    def execute(
        self, scenes: Path | None = None, questions: Path | None = None, language: str = "clevr"
    ) -> list[str]:
        sound = self.world.expressions if language == "clevr-ref" else self.world.questions
        files = ["--scenes", scenes or self.world.scenes, "--questions", questions or sound]
        out = ["--out", self.out / "answers.json"]
        return ["execute", "--language", language, *map(str, [*files, *out])]

    def prepare(self, questions: Path) -> list[str]:
        files = ["--questions", questions, "--vocab-out", self.out / "v.json"]
        out = ["--out", self.out / "q.h5"]
        return ["prepare", "clevr-questions", *map(str, [*files, *out])]

    def sample(self, file: Path) -> list[str]:
        out = ["--per-family", "1", "--out", str(self.out / "few")]
        return ["prepare", "clevr-sample", "--questions", str(file), *out]

    def train(self, *settings: str) -> list[str]:
        sound = [
            f"data.questions=[{self.sound}]",
            f"data.vocabulary={self.sound.parent}/vocab.json",
        ]
        out = ["--out", str(self.out / "run")]
        return ["train", "ns-vqa/parser-pretrain", *sound, *settings, *out]


@pytest.fixture(scope="session")
def sound_h5(world_files: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("h5")
    files = ["--questions", world_files.questions, "--vocab-out", folder / "vocab.json"]
    out = ["--out", folder / "questions.h5"]
    assert cli.main(["prepare", "clevr-questions", *map(str, [*files, *out])]) == 0
    return folder / "questions.h5"


# ---- ways to damage ------------------------------------------------------------------------------


def json_cut(place: Place, rng: random.Random) -> list[str]:
    """A file that ends early."""
    name = rng.choice(["scenes", "questions", "expressions"])
    content = getattr(place.world, name).read_bytes()
    cut = place.write("cut.json", content[: rng.randrange(len(content) - 1)])
    if name == "scenes":
        return place.execute(scenes=cut, language=rng.choice(["clevr", "clevr-ref"]))
    if name == "expressions":
        return place.execute(questions=cut, language="clevr-ref")
    return rng.choice([place.prepare(cut), place.execute(questions=cut)])


def gzip_damaged(place: Place, rng: random.Random) -> list[str]:
    """A compressed file that is cut off or has a changed byte."""
    content = bytearray(gzip.compress(place.world.questions.read_bytes(), mtime=0))
    if rng.random() < 0.5:
        content = content[: rng.randrange(1, len(content) - 1)]
    else:
        content[rng.randrange(20, len(content))] ^= 1 << rng.randrange(8)
    file = place.write("damaged.json.gz", bytes(content))
    return rng.choice([place.prepare(file), place.execute(questions=file)])


def no_such_thing(place: Place, rng: random.Random) -> list[str]:
    """Missing files, folders, empty files, noise."""
    noise = place.write("noise.json", bytes(rng.randrange(256) for _ in range(rng.randrange(40))))
    other = rng.choice(
        ["[1, 2]", "{}", '"text"', "null", "7", '{"scenes": 3}', '{"questions": {}}']
    )
    wrong = place.write("wrong.json", other.encode())
    path = rng.choice([place.folder / "missing.json", place.folder, noise, wrong])
    return rng.choice(
        [
            place.execute(scenes=path),
            place.execute(questions=path),
            place.prepare(path),
            place.sample(path),
            ["view", str(path), "--out", str(place.out / "view.html")],
        ]
    )


def scene_fields(place: Place, rng: random.Random) -> list[str]:
    """A scene that lacks a field or holds the wrong kind of value."""
    where = rng.randrange(12)

    def edit(content: Any) -> None:
        scene = content["scenes"][where]
        thing = rng.choice(scene["objects"])
        rng.choice(
            [
                lambda: thing.pop(rng.choice(["color", "shape", "size", "material"])),
                lambda: thing.pop("3d_coords"),
                lambda: thing.update({rng.choice(["color", "shape"]): rng.choice([3, None, []])}),
                lambda: thing.update({"3d_coords": rng.choice([[1, 2], "xyz", [1, "2", 3], {}])}),
                lambda: scene.update({"objects": rng.choice([{}, 7, "none", [1], [[]]])}),
                lambda: scene.update({"image_index": rng.choice(["first", [], 1.5])}),
                lambda: scene.update({"directions": rng.choice([{}, 3, {"right": [1]}])}),
                lambda: scene["relationships"].update({"left": rng.choice([[[99]], 7, [["a"]]])}),
                lambda: content["scenes"].__setitem__(where, rng.choice([3, "scene", []])),
                lambda: content["scenes"].__setitem__(where, content["scenes"][where - 1]),
            ]
        )()

    return place.execute(scenes=place.edited(place.world.scenes, edit), language="clevr-ref")


def question_fields(place: Place, rng: random.Random) -> list[str]:
    """A question whose program or reference to a scene is broken."""

    def edit(content: Any) -> None:
        entry = rng.choice(content["questions"])
        node = rng.choice(entry["program"])
        rng.choice(
            [
                lambda: node.update({"function": rng.choice(["filter_colour", "", "scenes"])}),
                lambda: node.update({"function": rng.choice([3, None, []])}),
                lambda: node.update({"inputs": rng.choice([[99], [-1], ["a"], 3, [1.5]])}),
                lambda: node.update({"value_inputs": rng.choice([["pink"], ["left", "x"], 7])}),
                lambda: entry.update({"program": rng.choice([7, "scene", {}, [3]])}),
                lambda: entry.update({"image_index": rng.choice([12, -1, 10**12, "one", None])}),
                lambda: entry.pop("image_index"),
                lambda: entry.update({"question": rng.choice([3, None, []])}),
                lambda: entry.update({"answer": rng.choice([[], {}, [1]])}),
            ]
        )()

    return place.execute(questions=place.edited(place.world.questions, edit))


def other_kind(place: Place, rng: random.Random) -> list[str]:
    """Files that do not belong together."""
    return rng.choice(
        [
            place.execute(questions=place.world.expressions),
            place.execute(questions=place.world.questions, language="clevr-ref"),
            place.execute(scenes=place.world.questions),
            place.execute(questions=place.world.scenes),
            place.execute(questions=place.edited(place.world.questions, strip_programs)),
            place.prepare(place.world.scenes),
            place.sample(place.world.questions),
        ]
    )


def strip_programs(content: Any) -> None:
    for question in content["questions"]:
        del question["program"]


def h5_damaged(place: Place, rng: random.Random) -> list[str]:
    """An h5 file that is cut off, lacks a data set, or holds one of the wrong shape or type."""
    content = place.sound.read_bytes()
    if rng.random() < 0.4:
        return place.sample(place.write("cut.h5", content[: rng.randrange(len(content) // 2)]))
    file = place.write("changed.h5", content)
    names = ["questions", "image_idxs", "orig_idxs", "question_families"]
    with h5py.File(file, "r+") as h5:
        name = rng.choice(names)
        old = h5[name][...]
        del h5[name]
        way = rng.randrange(4)
        if way == 1:
            h5[name] = old[: len(old) // 2]
        elif way == 2:
            h5[name] = old.astype("float64") + 0.5
        elif way == 3:
            h5[name] = old.reshape(1, *old.shape)
    return place.sample(file)


def config_typo(place: Place, rng: random.Random) -> list[str]:
    """A setting that does not exist, or a value of the wrong type."""
    key = rng.choice(
        [
            "train.batch_size",
            "train.seed",
            "optim.lr",
            "optim.name",
            "parser.hidden",
            "data.questions",
        ]
    )
    group, _, name = key.partition(".")
    at = rng.randrange(1, len(name))
    wrong = rng.choice(
        [
            f"{group}.{name[:at]}{name[at + 1 :]}=1" if len(name) > 2 else f"{group}.{name}x=1",
            f"{group}.{name[:at]}x{name[at:]}=1",
            f"{group[:-1]}.{name}=1",
            "train.batch_size=many",
            "optim.lr=[1]",
            "train.seed=0.5",
            "optim.name=adamm",
            "train.batch_size=-3",
        ]
    )
    return place.train(wrong)


def answers_file(place: Place, rng: random.Random) -> list[str]:
    """A page asked for an answers file that breaks its format."""
    file = place.folder / "answers.json"
    write_answers(file, [Answer(text="a", steps=(Step(words="w"),)) for _ in range(3)])
    content = json.loads(file.read_bytes())
    answer = rng.choice(content["answers"])
    rng.choice(
        [
            lambda: answer.pop("text"),
            lambda: answer.update({"colour": 1}),
            lambda: answer["steps"][0].update({"inputs": [rng.randrange(9)]}),
            lambda: answer["steps"][0].update({"kind": "x" * rng.randrange(5)}),
            lambda: answer["steps"][0].update({"regions": [{"item": rng.randrange(9)}]}),
            lambda: answer.update({"score": rng.choice(["1", [], True])}),
            lambda: content.update({"version": rng.randrange(2, 99)}),
        ]
    )()
    file.write_text(json.dumps(content))
    return ["view", str(file), "--out", str(place.out / "view.html")]


CASES: list[tuple[Callable[[Place, random.Random], list[str]], int]] = [
    (json_cut, 70),
    (gzip_damaged, 35),
    (no_such_thing, 40),
    (scene_fields, 40),
    (question_fields, 40),
    (other_kind, 15),
    (h5_damaged, 25),
    (config_typo, 20),
    (answers_file, 15),
]


@pytest.mark.parametrize(
    ("damage", "number"),
    [pytest.param(d, n, id=f"{d.__name__}-{n}") for d, count in CASES for n in range(count)],
)
def test_one_line_and_nothing_written(
    damage: Callable[[Place, random.Random], list[str]],
    number: int,
    world_files: Any,
    sound_h5: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Place(world_files, sound_h5, tmp_path)
    arguments = damage(place, random.Random(f"{damage.__name__}-{number}"))
    code = cli.main(arguments)
    out, err = capsys.readouterr()
    assert code == 1, f"{' '.join(arguments)}: exit code {code}\n{out}{err}"
    assert err.startswith("pyvqa: ")
    assert err.count("\n") == 1, err
    assert "unexpected" not in err, err
    assert list(place.out.rglob("*")) == []
    if damage is config_typo:
        typed = arguments[-3].partition("=")[0]  # the setting in question is named
        assert typed in err or f"unknown key {typed.partition('.')[0]}" in err


def test_there_are_three_hundred() -> None:
    assert sum(count for _, count in CASES) == 300


def test_sound_input_passes(
    world_files: Any, sound_h5: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the cases damage is in order before they do."""
    place = Place(world_files, sound_h5, tmp_path)
    assert cli.main(place.execute()) == 0
    assert cli.main(place.execute(language="clevr-ref")) == 0
    assert cli.main(place.prepare(world_files.questions)) == 0
    assert cli.main(place.sample(sound_h5)) == 0
    assert capsys.readouterr().err == ""
