"""Three hundred damaged VQA inputs by the command line: one line, exit code 1, nothing written.

Question and annotation files, feature files and stores, data folders and result files. Every case
is a pure function of its number, so a failure can be repeated by its name alone.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from data.vqa_cases import write_store, write_vqa2

from pyvqa.cli import main as cli
from pyvqa.data.region_store import open_regions
from pyvqa.data.vqa_questions import VqaData
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import (
    AttentionConfig,
    FusionConfig,
    NetworkConfig,
    QuestionConfig,
)
from pyvqa.systems.murel.folder import Model, write_model

pytestmark = pytest.mark.fuzz
WIDTH = 6  # of features

Action = Callable[[], int]  # a command; gives its exit code
QUESTIONS = "v2_OpenEnded_mscoco_{}_questions.json"
ANNOTATIONS = "v2_mscoco_{}_annotations.json"


class Place:
    """Where one case works: sound inputs, a folder for damaged ones, and an empty output."""

    def __init__(self, sound: Path, folder: Path) -> None:
        self.sound, self.folder, self.out = sound, folder, folder / "out"
        self.out.mkdir()

    def raw(self) -> Path:
        return Path(shutil.copytree(self.sound / "raw", self.folder / "raw"))

    def edited(self, name: str, edit: Callable[[Any], object]) -> Path:
        """The raw files with one of them changed."""
        raw = self.raw()
        content = json.loads((raw / name).read_text())
        edit(content)
        (raw / name).write_text(json.dumps(content))
        return raw

    def prepare(self, *arguments: object) -> Action:
        given = ["prepare", *map(str, arguments), "--out", str(self.out / "made.h5")]
        return lambda: cli.main(given)

    def vqa2(self, raw: Path) -> Action:
        return self.prepare("vqa2", "--root", raw)

    def evaluate(
        self, *more: object, data: Path | None = None, model: Path | None = None
    ) -> Action:
        where = ["--root", data or self.sound / "data", "--split", "val", "--device", "cpu"]
        given = ["eval", model or self.sound / "model", *where, *more]
        return lambda: cli.main([str(part) for part in given])

    def train(self, *values: str) -> Action:
        """Train on sound data but for `values`; a run that comes to nothing leaves its settings."""
        given = [f"data.root={self.sound}/data", f"data.features=[{self.sound}/store.h5]", *values]
        return lambda: cli.main(["train", "murel/vqa2", "--out", f"{self.folder}/run", *given])


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vqa")
    write_vqa2(folder / "raw")
    assert cli.main(["prepare", "vqa2", "--root", f"{folder}/raw", "--out", f"{folder}/data"]) == 0
    data = VqaData(folder / "data")
    names = list(data.split("val").image_names)
    write_store(folder / "store.h5", names, WIDTH)
    write_store(folder / "store.safetensors", names, WIDTH)
    network = NetworkConfig(
        region_dim=WIDTH,
        question=QuestionConfig(word_dim=3, hidden=4, attention_hidden=2),
        relation=None,
        attention=AttentionConfig(fusion=FusionConfig(type="linear_sum", mm_dim=4)),
        classify=FusionConfig(type="linear_sum", mm_dim=4),
    )
    vocabulary = data.vocabulary
    built = build_network(network, vocabulary.words, len(vocabulary.answers))
    (folder / "model").mkdir()
    write_model(folder / "model", Model(built, network, vocabulary), "# Untrained\n")
    return folder


# ---- ways to damage ------------------------------------------------------------------------------


def file_cut(place: Place, rng: random.Random) -> Action:
    """A file that ends early, plain or compressed."""
    raw = place.raw()
    file = raw / rng.choice([QUESTIONS, ANNOTATIONS]).format(rng.choice(["train2014", "val2014"]))
    content = file.read_bytes()
    if rng.random() < 0.4:
        file.unlink()
        file, content = file.with_name(file.name + ".gz"), gzip.compress(content, mtime=0)
    file.write_bytes(content[: rng.randrange(len(content) - 1)])
    return place.vqa2(raw)


def question_fields(place: Place, rng: random.Random) -> Action:
    """A question that lacks something, or holds the wrong kind of thing."""
    edits: list[Callable[[Any], object]] = [
        lambda q: q.pop(rng.choice(["question", "question_id", "image_id"])),
        lambda q: q.update(question=rng.choice([None, 3, [], {}])),
        lambda q: q.update(question_id=rng.choice([None, "3", 1.5, True, -1, 2**63])),
        lambda q: q.update(image_id=rng.choice([None, "9", 0.5, [1]])),
        lambda q: q.update(coco_split=rng.choice([3, "", "a/b", None])),
    ]
    edit = rng.choice(edits)
    name = QUESTIONS.format(rng.choice(["train2014", "val2014"]))
    return place.vqa2(place.edited(name, lambda c: edit(rng.choice(c["questions"]))))


def annotation_fields(place: Place, rng: random.Random) -> Action:
    """An annotation that lacks something, or holds the wrong kind of thing."""
    edits: list[Callable[[Any], object]] = [
        lambda a: a.pop(rng.choice(["answers", "question_id", "question_type"])),
        lambda a: a.pop("multiple_choice_answer"),
        lambda a: a.update(answers=rng.choice([None, [], {}, [1], ["yes", None], [{}]])),
        lambda a: rng.choice(a["answers"]).pop("answer"),
        lambda a: rng.choice(a["answers"]).update(answer=rng.choice([None, 2, []])),
        lambda a: a.update(multiple_choice_answer=rng.choice([None, 2, []])),
        lambda a: a.update(answer_type=rng.choice([2, None, []])),
        lambda a: a.update(question_id=rng.choice([10**9, "3", None])),
    ]
    edit = rng.choice(edits)
    name = ANNOTATIONS.format(rng.choice(["train2014", "val2014"]))
    return place.vqa2(place.edited(name, lambda c: edit(rng.choice(c["annotations"]))))


def lists_changed(place: Place, rng: random.Random) -> Action:
    """Entries missing, repeated, of the wrong kind, or the list itself."""
    kind = rng.choice(["questions", "annotations"])
    name = (QUESTIONS if kind == "questions" else ANNOTATIONS).format("train2014")
    edits: list[Callable[[Any], object]] = [
        lambda c: c[kind].append(rng.choice(c[kind])),
        lambda c: c[kind].append(rng.choice([3, "x", None, []])),
        lambda c: c.update({kind: rng.choice([None, 3, {}, "x"])}),
        lambda c: c.pop(kind),
        lambda c: c.update(data_subtype=3) if kind == "questions" else c.update({kind: []}),
    ]
    return place.vqa2(place.edited(name, rng.choice(edits)))


def annotations_missing(place: Place, rng: random.Random) -> Action:
    """Questions without annotations: some, all, or no file."""
    if rng.random() < 0.3:
        raw = place.raw()
        (raw / ANNOTATIONS.format("train2014")).unlink()
        return place.vqa2(raw)
    name = ANNOTATIONS.format(rng.choice(["train2014", "val2014"]))

    def edit(content: Any) -> None:
        for _ in range(rng.randrange(1, 9)):
            content["annotations"].pop(rng.randrange(len(content["annotations"])))

    return place.vqa2(place.edited(name, edit))


def no_such_thing(place: Place, rng: random.Random) -> Action:
    """Missing files and folders, and files of another kind."""
    noise = place.folder / "noise.json"
    noise.write_bytes(bytes(rng.randrange(256) for _ in range(rng.randrange(40))))
    other = place.folder / "other.json"
    other.write_text(rng.choice(["[1]", "{}", "null", "7", '"a"', '{"questions": 1}']))
    path = rng.choice([noise, other, place.folder / "nowhere"])
    return rng.choice(
        [
            place.vqa2(path),
            place.prepare("vgenome", "--root", path),
            place.prepare("vqa2", "--questions", f"train={path}"),
            place.prepare("region-files", "--source", path),
            place.prepare("bottom-up-tsv", "--tsv", path, "--names", "id"),
            place.evaluate("--without-pictures", data=path),
            place.evaluate("--features", path),
            place.evaluate("--without-pictures", model=path),
            place.train(f"data.root={path}"),
            place.train(f"data.features=[{path}]"),
        ]
    )


def tsv_damaged(place: Place, rng: random.Random) -> Action:
    """A bottom-up file with a broken line, a picture twice, or features of two widths."""
    lines = []
    for image in range(4):
        arrays = np.ones((2, 4), np.float32), np.ones((2, 3), np.float32)
        packed = [base64.b64encode(a.tobytes()) for a in arrays]
        lines.append([str(image).encode(), b"10", b"20", b"2", *packed])
    line = rng.choice(lines)
    column = rng.randrange(6)
    if rng.random() < 0.2:
        lines.append(rng.choice(lines))
    elif rng.random() < 0.2:
        line[5] = base64.b64encode(np.full((2, rng.choice([2, 4])), 1, np.float32).tobytes())
    elif rng.random() < 0.2:
        line[5] = base64.b64encode(np.full((2, 3), rng.choice([np.nan, np.inf]), "f4").tobytes())
    elif column in (0, 1, 2, 3):
        line[column] = rng.choice([b"", b"x", b"1.5", b"0" if column else b"-"])
    else:
        line[column] = line[column][: rng.randrange(len(line[column]) - 4)]
    file = place.folder / "a.tsv"
    file.write_bytes(b"".join(b"\t".join(columns) + b"\n" for columns in lines))
    return place.prepare("bottom-up-tsv", "--tsv", file, "--names", "id")


def feature_files(place: Place, rng: random.Random) -> Action:
    """A folder with a file that is cut off, lacks a tensor or holds one of the wrong shape."""
    folder = place.folder / "features"
    folder.mkdir()
    shapes = {"pooled_feat": (2, 3), "rois": (2, 4), "norm_rois": (2, 4)}
    for k in range(3):
        content: dict[str, Any] = {key: torch.ones(shape) for key, shape in shapes.items()}
        if k == 1:
            key = rng.choice(list(shapes))
            content[key] = rng.choice(
                [torch.ones(3, 3), torch.ones(4), torch.full((2, 3), np.nan), "text", None]
            )
        torch.save(content, folder / f"{k}.pth")
    if rng.random() < 0.4:
        file = folder / "1.pth"
        file.write_bytes(file.read_bytes()[: rng.randrange(400)])
    return place.prepare("region-files", "--source", folder)


def store_damaged(place: Place, rng: random.Random) -> Action:
    """A store that is cut off, holds NaN, is of another width or lacks pictures."""
    names = list(VqaData(place.sound / "data").split("val").image_names)
    kind = rng.choice(["h5", "safetensors"])
    path = place.folder / f"s.{kind}"
    content = (place.sound / f"store.{kind}").read_bytes()
    way = rng.randrange(4)
    if way == 0:
        path.write_bytes(content[: rng.randrange(len(content) // 2)])
    elif way == 1:
        write_store(path, names, rng.choice([WIDTH - 1, WIDTH + 1, 64]))
    elif way == 2:
        write_store(path, rng.sample(names, rng.randrange(len(names) - 1)) or ["another"])
    else:
        write_store(path, names)
        if kind == "h5":
            with h5py.File(path, "r+") as file:
                file["features"][rng.randrange(len(names)), 0, 0] = rng.choice([np.nan, np.inf])
        else:
            store = open_regions([path])
            begin = store._readers["features"]._place.start  # type: ignore[attr-defined]
            with path.open("r+b") as raw:
                raw.seek(begin + 4 * rng.randrange(len(names)))
                raw.write(np.float32(np.nan).tobytes())

    return place.evaluate("--features", path)


def folder_damaged(place: Place, rng: random.Random) -> Action:
    """A prepared folder with a file that is missing, cut off, or of another run."""
    folder = Path(shutil.copytree(place.sound / "data", place.folder / "data"))
    file = folder / rng.choice(["dataset.json", "vocabulary.json", "val.safetensors"])
    content = file.read_bytes()
    way = rng.randrange(3)
    if way == 0:
        file.unlink()
    elif way == 1:
        file.write_bytes(content[: rng.randrange(len(content) - 4)])
    elif file.suffix == ".json":
        file.write_text(rng.choice(["{}", "[]", '{"words": 3, "answers": []}', '{"words": []}']))
    else:
        other = place.folder / "other"
        write_vqa2(other, train=9)
        made = place.folder / "few"
        few = ["--answers", "1", "--out", str(made)]
        assert cli.main(["prepare", "vqa2", "--root", str(other), *few]) == 0
        return place.evaluate("--without-pictures", data=made)
    return place.evaluate("--without-pictures", data=folder)


def results_damaged(place: Place, rng: random.Random) -> Action:
    """A result file with unknown, missing or repeated questions, or of another kind."""
    ids = VqaData(place.sound / "data").split("val").question_ids.tolist()
    results: list[Any] = [{"question_id": k, "answer": "yes"} for k in ids]
    edits: list[Callable[[], object]] = [
        lambda: results.append({"question_id": rng.randrange(20, 99), "answer": "no"}),
        lambda: results.append(results[rng.randrange(20)]),
        lambda: results.pop(rng.randrange(20)),
        lambda: rng.choice(results).pop("answer"),
        lambda: rng.choice(results).update(question_id=rng.choice([None, "1", 1.5])),
        lambda: results.append(rng.choice([3, "x", None, []])),
    ]
    rng.choice(edits)()
    file = place.folder / "results.json"
    file.write_text(json.dumps(results))
    return place.evaluate(model=file)


CASES: list[tuple[Callable[[Place, random.Random], Action], int]] = [
    (file_cut, 40),
    (question_fields, 40),
    (annotation_fields, 40),
    (lists_changed, 30),
    (annotations_missing, 20),
    (no_such_thing, 30),
    (tsv_damaged, 25),
    (feature_files, 15),
    (store_damaged, 25),
    (folder_damaged, 20),
    (results_damaged, 15),
]


@pytest.mark.parametrize(
    ("damage", "number"),
    [pytest.param(d, n, id=f"{d.__name__}-{n}") for d, count in CASES for n in range(count)],
)
def test_one_line_and_nothing_written(
    damage: Callable[[Place, random.Random], Action],
    number: int,
    sound: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = Place(sound, tmp_path)
    action = damage(place, random.Random(f"{damage.__name__}-{number}"))
    capsys.readouterr()
    code = action()
    out, err = capsys.readouterr()
    assert code == 1, f"exit code {code}\n{out}{err}"
    assert err.startswith("pyvqa: ")
    assert err.count("\n") == 1, err
    assert "unexpected" not in err, err
    assert list(place.out.rglob("*")) == []


def test_there_are_three_hundred() -> None:
    assert sum(count for _, count in CASES) == 300
