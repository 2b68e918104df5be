"""Data sets with pictures: official formats, truth of everything said, interruption, refusals."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.cli.main import main
from pyvqa.data import pieces
from pyvqa.errors import ConfigError, DataError
from pyvqa.programs.scenes import read_scenes
from pyvqa.world import blocks
from pyvqa.world.layouts import LAYOUTS
from pyvqa.world.questions import GeneratorSettings
from pyvqa.world.scenes import SceneSettings
from pyvqa.world.staging import Quality

from . import engine
from .pictures import HEIGHT, SCENES, WIDTH, content, dataset

Json = dict[str, Any]
FALSE = GeneratorSettings(block=50, false_premise=2)
# file of ours -> the genuine one of the same layout
FILES = {
    "scenes/CLEVR_val_scenes.json": "scenes/CLEVR_{}_scenes.json",
    "questions/CLEVR_val_questions.json": "questions/CLEVR_{}_questions.json",
    "instances_val.json": "instances_{}.json",
    "scenes/clevr_ref+_val_scenes.json": "scenes/clevr_ref+_{}_scenes.json",
    "refexps/clevr_ref+_val_refexps.json": "refexps/clevr_ref+_{}_refexps.json",
    "CLEVR_mini_coco_anns.json": "CLEVR_mini_coco_anns.json",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three formats in one folder; the first two share their pictures."""
    out = tmp_path_factory.mktemp("made")
    dataset(out).make()
    dataset(out, "clevr-ref", questions=FALSE).make()
    dataset(out, "clevr-mini").make()
    return out


def read(path: Path) -> Json:
    value: Json = json.loads(path.read_text())
    return value


def picture(path: Path) -> np.ndarray[Any, Any]:
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(path.read_bytes()))
    assert image.mode == "RGBA"
    return np.asarray(image)


def test_pictures_are_opaque_and_named_as_the_scenes_say(made: Path) -> None:
    for folder, scenes in (
        ("images/val", "scenes/CLEVR_val_scenes.json"),
        ("images", "CLEVR_mini_coco_anns.json"),
    ):
        records = read(made / scenes)["scenes"]
        names = [record["image_filename"] for record in records]
        stem = "CLEVR_mini" if folder == "images" else "CLEVR_val"
        assert names == [f"{stem}_{k:06d}.png" for k in range(SCENES)]
        assert {p.name for p in (made / folder).glob("*.png")} == set(names)
        for record in records[:5]:
            found = picture(made / folder / record["image_filename"])
            assert found.shape == (HEIGHT, WIDTH, 4)
            assert np.all(found[..., 3] == 255)
            assert found[..., :3].std() > 5
    same = (made / "images/CLEVR_mini_000003.png").read_bytes()
    assert (made / "images/val/CLEVR_val_000003.png").read_bytes() == same


def shape_of(value: Any) -> Any:
    """Describe keys and types; a list by its items, a dictionary of numbers by its values."""
    if isinstance(value, dict):
        if value and all(key.isdecimal() for key in value):
            return {"<number>": shape_of(next(iter(value.values())))}
        return {key: shape_of(inner) for key, inner in value.items()}
    if isinstance(value, list):
        kinds = [shape_of(inner) for inner in value]
        return [kinds[0]] if kinds and all(kind == kinds[0] for kind in kinds) else ["..."]
    return type(value).__name__


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("genuine", ["clevr_original/train", "clevr_rendered/val"])
def test_keys_and_types_are_those_of_genuine_files(made: Path, name: str, genuine: str) -> None:
    folder, split = genuine.split("/")
    path = engine.real_folder() / folder / FILES[name].format(split)
    if not path.is_file():
        pytest.skip(f"{path.name} is not there")
    ours, theirs = read(made / name), read(path)
    assert set(ours) == set(theirs)
    assert shape_of(ours["info"]) == shape_of(theirs["info"])
    for key in set(theirs) - {"info"}:
        for record in ours[key][:40]:
            _same_shape(record, theirs[key][0])
    if "categories" in theirs:
        assert ours["categories"] == theirs["categories"]


def _same_shape(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, dict) and not any(key.isdecimal() for key in a):
        assert set(a) == set(b)
        for key in a:
            _same_shape(a[key], b[key])
    elif isinstance(a, dict):
        assert list(a) == [str(k + 1) for k in range(len(a))]
        _same_shape(a["1"], b["1"])
    elif isinstance(a, list) and a and b and type(a[0]) is type(b[0]):
        _same_shape(a[0], b[0])


def test_all_masks_are_the_same_and_enough(made: Path) -> None:
    mini = read(made / "CLEVR_mini_coco_anns.json")["scenes"]
    ref = read(made / "scenes/clevr_ref+_val_scenes.json")["scenes"]
    plain = read(made / "scenes/CLEVR_val_scenes.json")["scenes"]
    annotations = iter(read(made / "instances_val.json")["annotations"])
    for a, b, c in zip(mini, ref, plain, strict=True):
        whole = np.zeros((HEIGHT, WIDTH), dtype=int)
        for number, (item, other, bare) in enumerate(
            zip(a["objects"], b["objects"], c["objects"], strict=True), 1
        ):
            assert {k: item[k] for k in bare} == bare
            assert other == bare | {"idx": number}
            mask = _native.coco_rle_decode(item["mask"]["counts"], HEIGHT, WIDTH)
            runs = _native.rle_decode_rows(b["obj_mask"][str(number)], HEIGHT, WIDTH)
            assert item["mask"]["size"] == [HEIGHT, WIDTH]
            assert np.array_equal(mask, runs)
            annotation = next(annotations)
            assert annotation["segmentation"] == item["mask"]
            assert annotation["area"] == mask.sum() >= 200 * HEIGHT * WIDTH / (320 * 480)
            x, y, width, height = annotation["bbox"]
            assert mask[y : y + height, x : x + width].sum() == mask.sum()
            left, top, wide, high = b["obj_bbox"][str(number)]
            assert left <= x
            assert top <= y
            assert left + wide >= x + width
            assert top + high >= y + height
            whole += mask
        assert whole.max() == 1
    assert next(annotations, None) is None


def test_pictures_show_their_masks(made: Path) -> None:
    """Colour changes at the outline: inside an object's mask it is not that of the ground."""
    for scene in read(made / "CLEVR_mini_coco_anns.json")["scenes"][:20]:
        found = picture(made / "images" / scene["image_filename"]).astype(int)
        for item in scene["objects"]:
            if item["material"] != "rubber" or item["color"] not in ("red", "blue", "green"):
                continue
            mask = _native.coco_rle_decode(item["mask"]["counts"], HEIGHT, WIDTH).astype(bool)
            red, green, blue = found[mask][:, :3].mean(0)
            strongest = {"red": red, "green": green, "blue": blue}[item["color"]]
            assert strongest == max(red, green, blue)


def test_every_question_and_expression_is_true(made: Path) -> None:
    scenes = read(made / "scenes/CLEVR_val_scenes.json")["scenes"]
    questions = read(made / "questions/CLEVR_val_questions.json")["questions"]
    assert [q["question_index"] for q in questions] == list(range(10 * SCENES))
    for question in questions:
        scene = scenes[question["image_index"]]
        assert engine.answer(question["program"], scene) == question["answer"]
    path = made / "scenes/clevr_ref+_val_scenes.json"
    ref = read(path)["scenes"]
    table = read_scenes(path, "clevr-ref").table
    starts = np.concatenate([[0], np.cumsum(table.counts)])
    entries = read(made / "refexps/clevr_ref+_val_refexps.json")["refexps"]
    seen = 0
    for entry in entries:
        k = entry["image_index"]
        classes = table.visibility[starts[k] : starts[k + 1]].tolist()
        results = engine.run(entry["program"], ref[k] | {"visibility": classes})
        assert results == [step["_output"] for step in entry["program"]]
        seen += any(step["type"] == "filter_visible" for step in entry["program"])
    assert seen > 20
    empty = [e for e in entries if e["program"][-1]["_output"] == []]
    assert len(empty) > 1.9 * SCENES


def test_the_commands_read_what_was_written(made: Path, tmp_path: Path) -> None:
    for language, scenes, questions in (
        ("clevr", "scenes/CLEVR_val_scenes.json", "questions/CLEVR_val_questions.json"),
        ("clevr-ref", "scenes/clevr_ref+_val_scenes.json", "refexps/clevr_ref+_val_refexps.json"),
    ):
        out = tmp_path / f"{language}.json"
        arguments = ["execute", "--language", language, "--scenes", str(made / scenes)]
        assert main([*arguments, "--questions", str(made / questions), "--out", str(out)]) == 0
        assert read(out)["accuracy"] == 1.0
    arguments = ["prepare", "clevr-questions", "--questions"]
    arguments += [str(made / "questions/CLEVR_val_questions.json")]
    arguments += ["--vocab-out", str(tmp_path / "v.json"), "--out", str(tmp_path / "q.h5")]
    assert main(arguments) == 0


def test_pycocotools_loads_the_instances(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = pytest.importorskip("pycocotools.coco").COCO(str(made / "instances_val.json"))
    assert len(coco.getImgIds()) == SCENES
    annotations = coco.loadAnns(coco.getAnnIds())
    assert [a["id"] for a in annotations] == list(range(1, len(annotations) + 1))
    for annotation in annotations[:50]:
        mask = coco.annToMask(annotation)
        rows, columns = np.nonzero(mask)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert annotation["bbox"] == [int(side) for side in box]
        assert annotation["area"] == mask.sum()
        assert (
            coco.loadCats(annotation["category_id"])[0]["name"]
            == (annotation["attributes"]["shape"])
        )


@pytest.mark.parametrize("form", LAYOUTS)
@pytest.mark.parametrize("workers", [1, 3])
def test_workers_change_nothing(made: Path, tmp_path: Path, form: str, workers: int) -> None:
    changes = {"questions": FALSE} if form == "clevr-ref" else {}
    told: list[int] = []
    dataset(tmp_path, form, **changes).make(workers, told.append)
    assert sum(told) == SCENES
    expected = content(made)
    assert all(expected[name] == data for name, data in content(tmp_path).items())


def test_more_scenes_begin_like_fewer(made: Path, tmp_path: Path) -> None:
    dataset(tmp_path, scenes=10).make()
    expected = content(made)
    for name, data in content(tmp_path).items():
        assert not name.endswith(".png") or expected[name] == data
    few = read(tmp_path / "questions/CLEVR_val_questions.json")["questions"]
    assert read(made / "questions/CLEVR_val_questions.json")["questions"][: len(few)] == few


class Stop(Exception):
    """Ends the work at a chosen moment."""


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_run_is_continued(made: Path, tmp_path: Path, after: int) -> None:
    told: list[int] = []

    def stop(count: int) -> None:
        told.append(count)
        if len(told) == after:
            raise Stop

    with pytest.raises(Stop):
        dataset(tmp_path).make(0, stop)
    again = dataset(tmp_path)
    assert not again.is_complete()
    assert not (tmp_path / "images").exists()
    (again.work / "pictures-99.tmp-1").mkdir()  # left by a killed process
    times = {p: p.stat().st_mtime_ns for p in again.work.rglob("*.png")}
    assert len(times) >= blocks.PICTURES
    kept: list[bool] = []
    again.make(0, lambda _: kept.append(all(p.stat().st_mtime_ns == times[p] for p in times)))
    assert all(kept)
    expected = content(made)
    assert {n for n in expected if "val/" in n} <= set(content(tmp_path))
    assert all(expected[name] == data for name, data in content(tmp_path).items())


def test_interrupted_while_publishing(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are moved one by one; whatever has been moved is not made again."""
    left = [33]

    def few(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop
        source.rename(target)

    with monkeypatch.context() as patched:
        patched.setattr(pieces, "os", SimpleNamespace(replace=few))
        with pytest.raises(Stop):
            dataset(tmp_path).make()
    assert 0 < len(list((tmp_path / "images/val").iterdir())) < SCENES
    again = dataset(tmp_path)
    assert not again.is_complete()
    monkeypatch.setattr(blocks.Maker, "write_pictures", None)
    again.make()
    expected = content(made)
    assert all(expected[name] == data for name, data in content(tmp_path).items())


def test_interrupted_while_the_pieces_are_removed(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def few(folder: Path, ignore_errors: bool = False) -> None:
        if ignore_errors:
            return
        (folder / "block-0" / "scenes").unlink()
        raise Stop

    with monkeypatch.context() as patched:
        patched.setattr(pieces, "shutil", SimpleNamespace(rmtree=few))
        with pytest.raises(Stop):
            dataset(tmp_path).make()
    assert len(list(tmp_path.glob(".synth-*"))) == 1
    assert dataset(tmp_path).is_complete()
    expected = content(made)
    assert all(expected[name] == data for name, data in content(tmp_path).items())


def test_formats_share_pictures_only_of_the_same_settings(tmp_path: Path) -> None:
    dataset(tmp_path, scenes=5).make()
    with pytest.raises(DataError, match=r"CLEVR_val_000000.png of another origin"):
        dataset(tmp_path, "clevr-ref", scenes=5, seed=1)
    with pytest.raises(DataError, match="another origin"):
        dataset(tmp_path, "clevr-ref", scenes=5, pictures=Quality(WIDTH, HEIGHT, samples=2))
    before = {p: p.read_bytes() for p in (tmp_path / "images/val").iterdir()}
    dataset(tmp_path, "clevr-ref", scenes=7).make()
    assert len(list((tmp_path / "images/val").iterdir())) == 7
    assert all(p.read_bytes() == data for p, data in before.items())
    dataset(tmp_path, split="train", scenes=3).make()
    assert len(list((tmp_path / "images/train").iterdir())) == 3


def test_pictures_of_another_origin_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "images" / "val" / "CLEVR_val_000002.png"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"CLEVR_val_000002.png of another origin"):
        dataset(tmp_path, scenes=5)
    assert content(tmp_path) == {"images/val/CLEVR_val_000002.png": b"mine"}


def test_a_picture_that_was_taken_away_is_missed(tmp_path: Path) -> None:
    work = dataset(tmp_path, scenes=5)
    work.make_blocks()
    shutil.rmtree(work.work / "pictures-0")
    with pytest.raises(DataError, match="was taken away"):
        work.publish()
    assert not work.is_complete()


def test_a_picture_that_does_not_fit_its_masks_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    areas = blocks.visible_areas
    monkeypatch.setattr(blocks, "visible_areas", lambda ids, counts: areas(ids, counts) + 1)
    with pytest.raises(RuntimeError, match="do not fit their masks"):
        dataset(tmp_path, scenes=5).make()
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("clevr-mini", {"pictures": None}, "cannot do without images"),
        ("clevr", {"pictures": Quality(WIDTH, HEIGHT, samples=0)}, "0 samples"),
        ("clevr", {"scene": SceneSettings(width=8)}, "8x320"),
        ("clevr-ref", {"scene": SceneSettings(width=100)}, "must have sides of 3:2 or 4:3"),
        ("clevr", {"questions": FALSE}, "no false-premise form"),
    ],
)
def test_bad_settings_are_explained(tmp_path: Path, form: str, changes: Json, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataset(tmp_path, form, **changes)
    assert content(tmp_path) == {}


def test_cogent_conditions_hold_in_pictures_too(tmp_path: Path) -> None:
    scene = SceneSettings(width=WIDTH, height=HEIGHT, condition="a")
    dataset(tmp_path, scenes=20, scene=scene).make()
    for record in read(tmp_path / "scenes/CLEVR_val_scenes.json")["scenes"]:
        for item in record["objects"]:
            cold = item["color"] in ("gray", "blue", "brown", "yellow")
            assert item["shape"] == "sphere" or cold == (item["shape"] == "cube")
