"""Evaluation from pictures: perfect eyes, eyes with one flaw, and networks on the command line."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pyvqa.cli.main import main
from pyvqa.errors import CheckpointError, DataError
from pyvqa.evidence import read_answers
from pyvqa.systems import find_model, load
from pyvqa.systems.ns_vqa.config import PerceptionConfig
from pyvqa.systems.ns_vqa.evaluate import Evaluation, Looked, evaluate, pictures_of, read_split
from pyvqa.systems.ns_vqa.folder import ParserPart, read_parser, write_model
from pyvqa.systems.ns_vqa.seeing import SeenParts, Sight, parsed_scenes
from tests.systems.ns_vqa.seeing_eyes import PerfectEyes, Thing, Things, light_parts, perfect_eyes
from tests.world.pictures import dataset

SCENES = 10
PARSER = "ns-vqa-clevr"


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    """Ten small pictures with a hundred questions; their numbers begin at 0 and leave none out."""
    root = tmp_path_factory.mktemp("world")
    dataset(root, scenes=SCENES).make()
    return root


@pytest.fixture(scope="module")
def model() -> Any:
    return load(PARSER)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    """The shipped parser with light networks that take anything for objects."""
    folder = tmp_path_factory.mktemp("model")
    detector, attributes = light_parts()
    write_model(
        folder,
        "# test\n",
        parser=ParserPart(*read_parser(find_model(PARSER))),
        detector=detector,
        attributes=attributes,
        perception=PerceptionConfig(score=0.0, suppression=False),
        dtype=torch.float32,
    )
    return folder


def look(root: Path, eyes: PerfectEyes, home: Path, split: str = "val") -> Looked:
    parts = SeenParts(
        home, Sight(eyes, at_once=2), pictures_of(root, split, read_split(root, split))
    )
    parts.look(parts.missing(), lambda _: None)
    return Looked(parts.read(), eyes.detector.config)


def judged(
    root: Path, model: Any, home: Path, spoil: Callable[[int, Things], Things] | None = None
) -> Evaluation:
    eyes = perfect_eyes(root, "val", *([] if spoil is None else [spoil]))
    return evaluate(model, root, "val", looked=look(root, eyes, home))


@pytest.fixture(scope="module")
def perfect(world, model, tmp_path_factory) -> dict[str, Any]:
    return judged(world, model, tmp_path_factory.mktemp("seen")).result


# ---- perfect eyes


def test_perfect_eyes_see_everything(perfect):
    objects = perfect["objects"]
    assert perfect["accuracy"] == perfect["program_acc"] == 1.0
    assert perfect["questions"] == 10 * SCENES
    assert perfect["pictures"] == objects["scenes"] == SCENES
    assert objects["paired_by"] == "mask"
    assert objects["recall"] == objects["precision"] == {"iou_50": 1.0, "iou_70": 1.0}
    assert objects["mean_mask_iou"] == objects["scenes_right"] == 1.0
    assert set(objects["attribute_accuracy"].values()) == {1.0}
    assert set(objects["relation_accuracy"].values()) == {1.0}
    assert objects["position_error"]["percentile_95"] < 1e-6
    assert perfect["coco"]["bbox"]["AP"] == perfect["coco"]["segm"]["AP"] == pytest.approx(1.0)
    assert perfect["wrong_answers"]["total"] == 0


def test_parsed_scenes_give_the_same_answers(world, model, tmp_path):
    looked = look(world, perfect_eyes(world, "val"), tmp_path)
    found = evaluate(model, world, "val", looked=looked)
    path = tmp_path / "parsed.json"
    path.write_text(json.dumps(parsed_scenes(looked.pictures)))
    assert evaluate(model, world, "val", scenes=str(path)).answers == found.answers
    scene = json.loads(path.read_text())["scenes"][3]
    assert scene["image_index"] == 3
    assert list(scene["objects"][0]) == ["shape", "size", "material", "color", "position"]


def test_what_was_seen_is_unpacked_as_it_was(world, tmp_path):
    eyes = perfect_eyes(world, "val", lambda k, things: things if k else [])
    sight = Sight(eyes)
    looked = look(world, eyes, tmp_path)
    fresh = list(sight.look([picture.path for picture in looked.pictures]))
    assert len(fresh[0].objects) == 0
    for picture, seen in zip(looked.pictures, fresh, strict=True):
        again = picture.seen()
        assert again.objects == seen.objects
        assert torch.equal(again.found.masks.bits, seen.found.masks.bits)
        for name in ("boxes", "scores", "labels"):
            assert torch.equal(getattr(again.found, name), getattr(seen.found, name))


# ---- one flaw: the numbers it must lower, and no others


def recolor(_: int, things: Things) -> Things:
    for thing in things:
        color = thing.known["color"]
        thing.known["color"] = "blue" if color != "blue" else "red"
    return things


def drop(k: int, things: Things) -> Things:
    return things[1:] if k < 5 else things


def duplicate(k: int, things: Things) -> Things:
    return [*things, Thing(dict(things[0].known), things[0].mask, 0.5)] if k < 5 else things


def invent(k: int, things: Things) -> Things:
    nowhere = torch.zeros_like(things[0].mask)
    nowhere[:3, :3] = True
    return [*things, Thing(dict(things[0].known), nowhere)] if k < 5 else things


def mirror(_: int, things: Things) -> Things:
    for thing in things:
        x, y, z = thing.known["position"]
        thing.known["position"] = [-x, y, z]
    return things


def shrink(_: int, things: Things) -> Things:
    for thing in things:  # to three fifths, pixel by pixel
        y, x = thing.mask.nonzero(as_tuple=True)
        cut = len(y) - -(-3 * len(y) // 5)
        thing.mask[y[:cut], x[:cut]] = False
    return things


def flat(value: Any, place: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {place: value}
    found = {}
    for key, item in value.items():
        found |= flat(item, f"{place}.{key}" if place else key)
    return found


def differences(result: dict[str, Any], perfect: dict[str, Any]) -> dict[str, Any]:
    """What of the objects' numbers is not as perfect eyes have it."""
    was, now = flat(perfect["objects"]), flat(result["objects"])
    return {k: v for k, v in now.items() if k not in was or was[k] != v}


def causes(result: dict[str, Any]) -> set[str]:
    return {k for k, n in flat(result["wrong_answers"]).items() if n and k != "total"}


def test_wrong_colours_are_the_attributes_mistake(world, model, perfect, tmp_path):
    result = judged(world, model, tmp_path, recolor).result
    changed = differences(result, perfect)
    assert changed.pop("attribute_accuracy.color") == 0
    assert changed.pop("scenes_right") == 0
    assert changed
    assert all(name.startswith("confusions.color.") for name in changed)
    assert result["accuracy"] < 1
    assert causes(result) == {"attributes.color"}
    assert result["wrong_answers"]["total"] == round((1 - result["accuracy"]) * 100)


def test_missing_objects_are_the_detectors_mistake(world, model, perfect, tmp_path):
    result = judged(world, model, tmp_path, drop).result
    changed = differences(result, perfect)
    total = perfect["objects"]["true"]
    assert changed.pop("recall.iou_50") == changed.pop("recall.iou_70") == (total - 5) / total
    assert (changed.pop("missing"), changed.pop("scenes_right")) == (5, 0.5)
    assert changed.pop("seen") == changed.pop("paired") == total - 5
    assert {k.split(".")[0] for k in changed} <= {"position_error"}
    assert causes(result) == {"detector.missing"}
    assert result["coco"]["segm"]["AP"] < 1


@pytest.mark.parametrize("spoil", [duplicate, invent])
def test_extra_objects_are_the_detectors_mistake(world, model, perfect, tmp_path, spoil):
    result = judged(world, model, tmp_path, spoil).result
    changed = differences(result, perfect)
    total = perfect["objects"]["true"]
    assert changed.pop("precision.iou_50") == changed.pop("precision.iou_70") == total / (total + 5)
    assert changed == {"extra": 5, "seen": total + 5, "scenes_right": 0.5}
    assert causes(result) == {"detector.extra"}


def test_mirrored_positions_are_a_mistake_of_relations(world, model, perfect, tmp_path):
    result = judged(world, model, tmp_path, mirror).result
    changed = differences(result, perfect)
    assert changed.pop("relation_accuracy.left_right") == 0
    assert changed.pop("relation_accuracy.all") == 0.5
    assert set(changed) == {"position_error.mean", "position_error.percentile_95"}
    assert causes(result) == {"relations.position"}


def test_smaller_masks_lower_the_overlap_alone(world, model, perfect, tmp_path):
    result = judged(world, model, tmp_path, shrink).result
    changed = differences(result, perfect)
    assert 0.6 <= changed.pop("mean_mask_iou") < 0.66
    assert changed == {"recall.iou_70": 0, "precision.iou_70": 0}
    assert result["accuracy"] == 1
    assert result["coco"]["segm"]["AP50"] == pytest.approx(1.0)
    assert result["coco"]["segm"]["AP75"] == 0


class Careless:
    """A model that writes the program of another question."""

    def __init__(self, model: Any, question: int, other: int) -> None:
        self._model, self._question, self._other = model, question, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def write_programs(self, *args: Any, **options: Any) -> torch.Tensor:
        programs = self._model.write_programs(*args, **options)
        programs[self._question] = programs[self._other]
        return programs


def test_a_wrong_program_is_the_parsers_mistake(world, model, tmp_path):
    gold = json.loads((world / "questions/CLEVR_val_questions.json").read_text())["questions"]
    kinds = [q["program"][-1]["function"] for q in gold]
    count, query = kinds.index("count"), next(k for k, f in enumerate(kinds) if "query" in f)
    looked = look(world, perfect_eyes(world, "val"), tmp_path)
    found = evaluate(Careless(model, count, query), world, "val", looked=looked)
    assert causes(found.result) == {"parser.program"}
    assert found.result["wrong_answers"]["total"] == 1
    assert found.result["objects"]["scenes_right"] == 1
    assert found.errors is not None
    (error,) = found.errors
    assert (error["question"], error["expected"]) == (
        gold[count]["question"],
        gold[count]["answer"],
    )
    assert (error["stage"], error["kind"]) == ("parser", "program")


def test_a_file_that_contradicts_its_scenes_is_named(world, model, tmp_path):
    root = copied(world, tmp_path / "root")
    content = read_json(root / "questions/CLEVR_val_questions.json")
    content["questions"][0]["answer"] = "11"
    write_json(root / "questions/CLEVR_val_questions.json", content)
    assert causes(judged(root, model, tmp_path / "seen").result) == {"gold.gold"}


# ---- what is known of the truth


def copied(world: Path, root: Path) -> Path:
    shutil.copytree(world, root)
    return root


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def mini_file(root: Path) -> dict[str, Any]:
    """The scenes with masks, renumbered and in another order, as CLEVR-mini's file has them."""
    scenes = read_json(root / "scenes/CLEVR_val_scenes.json")["scenes"]
    annotations = iter(read_json(root / "instances_val.json")["annotations"])
    for scene in scenes:
        for known in scene["objects"]:
            known["mask"] = next(annotations)["segmentation"]
    scenes.reverse()
    for number, scene in enumerate(scenes):
        scene["image_index"] = number
    return {"info": {}, "scenes": scenes}


def test_masks_of_a_mini_file_are_found_by_the_pictures_name(world, model, perfect, tmp_path):
    root = copied(world, tmp_path / "root")
    eyes = perfect_eyes(root, "val")
    content = mini_file(root)
    write_json(root / "CLEVR_mini_coco_anns.json", content)
    (root / "instances_val.json").unlink()
    result = evaluate(model, root, "val", looked=look(root, eyes, tmp_path / "seen")).result
    assert result["objects"] == perfect["objects"]
    assert result["coco"].pop("instances") == "CLEVR_mini_coco_anns.json"
    assert result["coco"]["segm"]["AP"] == pytest.approx(1.0)
    content["scenes"].pop()  # now it is of other pictures, and of no use
    write_json(root / "CLEVR_mini_coco_anns.json", content)
    result = evaluate(model, root, "val", looked=look(root, eyes, tmp_path / "seen")).result
    assert result["objects"]["paired_by"] == "position"
    assert result["objects"]["recall"] == {"within_0.5": 1.0}
    assert result["coco"] is None


def test_without_scenes_and_answers_questions_are_still_answered(world, model, tmp_path):
    root = copied(world, tmp_path / "root")
    eyes = perfect_eyes(root, "val")
    expected = evaluate(model, root, "val", looked=look(root, eyes, tmp_path / "a")).answers
    content = read_json(root / "questions/CLEVR_val_questions.json")
    for question in content["questions"]:
        del question["answer"], question["program"]
    write_json(root / "questions/CLEVR_val_questions.json", content)
    (root / "scenes/CLEVR_val_scenes.json").unlink()
    looked = look(root, eyes, tmp_path / "b")
    found = evaluate(model, root, "val", looked=looked)
    assert found.answers == expected
    assert found.result["accuracy"] is found.result["objects"] is found.errors is None
    with pytest.raises(DataError, match="states no answers"):
        evaluate(model, root, "val", looked=looked, explain=1, errors_first=True)


def test_masks_that_do_not_fit_are_one_line(world, model, tmp_path):
    root = copied(world, tmp_path / "root")
    looked = look(root, perfect_eyes(root, "val"), tmp_path / "seen")
    good = read_json(root / "instances_val.json")
    for change, message in (
        (lambda a: a.update(segmentation={"size": [6, 4], "counts": [24]}), "do not fit"),
        (lambda a: a.update(segmentation=[[1, 1, 5, 1, 5, 5]]), "not given as run lengths"),
        (lambda a: a["attributes"].update(color="mauve"), "not the objects of its scene"),
        (lambda a: a.pop("image_id"), "has no 'image_id'"),
    ):
        content = json.loads(json.dumps(good))
        change(content["annotations"][0])
        write_json(root / "instances_val.json", content)
        with pytest.raises(DataError, match=message) as caught:
            evaluate(model, root, "val", looked=looked)
        assert "instances_val.json" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_questions_about_other_pictures_are_refused(world, tmp_path):
    root = copied(world, tmp_path / "root")
    content = read_json(root / "questions/CLEVR_val_questions.json")
    content["questions"][7]["image_filename"] = "CLEVR_val_000005.png"
    content["questions"][7]["image_index"] = 4
    for question in content["questions"][:7]:
        question["image_index"], question["image_filename"] = 0, "CLEVR_val_000000.png"
    content["questions"] = content["questions"][:8]
    write_json(root / "questions/CLEVR_val_questions.json", content)
    with pytest.raises(DataError, match="question 7 is about image_index 4"):
        pictures_of(root, "val", read_split(root, "val"))


def test_with_fewer_questions_only_their_pictures_are_looked_at(world):
    found = pictures_of(world, "val", read_split(world, "val", limit=15))
    assert found.image_index == [0, 1]
    assert [path.name for path in found.paths] == ["CLEVR_val_000000.png", "CLEVR_val_000001.png"]


# ---- what is kept


def test_other_pictures_or_options_are_seen_anew(world, tmp_path):
    root = copied(world, tmp_path / "root")
    pictures = pictures_of(root, "val", read_split(root, "val"))
    eyes = perfect_eyes(root, "val")
    home = tmp_path / "seen"
    parts = SeenParts(home, Sight(eyes, at_once=2), pictures)
    assert parts.missing() == [0, 1]  # of four batches each
    parts.look([1], lambda _: None)
    assert SeenParts(home, Sight(eyes, at_once=2), pictures).missing() == [0]
    assert SeenParts(home, Sight(eyes, at_once=3), pictures).missing() == [0]  # twelve at a time
    assert len(SeenParts(home, Sight(eyes, at_once=1), pictures).missing()) == 3
    assert SeenParts(home, Sight(eyes, 2, "bfloat16"), pictures).missing() == [0, 1]
    os.utime(pictures.paths[0], (1, 1))
    changed = SeenParts(home, Sight(eyes, at_once=2), pictures)
    assert changed.missing() == [0, 1]
    changed.look([0, 1], lambda _: None)
    changed.clean()
    assert list(home.iterdir()) == [changed.folder]
    with torch.no_grad():
        next(eyes.attributes.network.parameters()).add_(1)
    assert SeenParts(home, Sight(eyes, at_once=2), pictures).missing() == [0, 1]


def test_damaged_parts_and_weights_are_explained(world, tmp_path):
    pictures = pictures_of(world, "val", read_split(world, "val"))
    parts = SeenParts(tmp_path, Sight(perfect_eyes(world, "val")), pictures)
    parts.look(parts.missing(), lambda _: None)
    path = parts.folder / "part-00000.json"
    path.write_text(path.read_text().replace('"score"', '"sure"', 1))
    with pytest.raises(DataError, match=r"part-00000\.json: damaged"):
        parts.read()

    def break_position(_: int, things: Things) -> Things:
        things[0].known["position"][1] = float("nan")
        return things

    parts = SeenParts(tmp_path, Sight(perfect_eyes(world, "val", break_position)), pictures)
    path.unlink()
    with pytest.raises(CheckpointError, match="not finite"):
        parts.look(parts.missing(), lambda _: None)


# ---- the command, with networks


def command(model: Path, root: Path, out: Path, *more: str) -> list[str]:
    return ["eval", str(model), "--root", str(root), "--split", "val", "--out", str(out),
            "--pictures-at-once", "1", "--device", "cpu", *more]  # fmt: skip


def contents(out: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in out.iterdir() if p.is_file() and p.name != "speed.json"}


@pytest.fixture(scope="module")
def undisturbed(world, model_folder, tmp_path_factory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("out")
    assert main(command(model_folder, world, out, "--explain", "2", "--errors-first")) == 0
    return contents(out)


def test_the_command_writes_everything_and_looks_once(
    world, model_folder, undisturbed, tmp_path, capsys
):
    arguments = command(model_folder, world, tmp_path, "--explain", "2", "--errors-first")
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for words in ("recall, mask IoU 0.5", "all right", "wrong answers come from", "10 pictures"):
        assert words in printed
    assert contents(tmp_path) == undisturbed
    names = {"answers", "scenes_parsed", "errors", "evidence", "result"}
    assert set(undisturbed) == {f"{name}.json" for name in names}
    result = json.loads(undisturbed["result.json"])
    assert result["objects"]["seen"] > 0  # chance weights see something
    assert result["accuracy"] < 1
    wrong = result["wrong_answers"]
    assert wrong.pop("total") == len(json.loads(undisturbed["errors.json"])["errors"]) > 0
    assert sum(flat(wrong).values()) == round((1 - result["accuracy"]) * result["questions"])
    for answer in read_answers(tmp_path / "evidence.json"):
        assert answer.is_right is False
        assert answer.canvas is not None
        assert (answer.canvas.kind, answer.canvas.width) == ("picture", 96)
        assert answer.canvas.image is not None
    assert json.loads((tmp_path / "speed.json").read_text())["pictures"] == SCENES
    assert main(arguments) == 0
    assert contents(tmp_path) == undisturbed
    assert "pictures" not in json.loads((tmp_path / "speed.json").read_text())


def test_a_killed_evaluation_ends_as_if_nothing_had_been(
    world, model_folder, undisturbed, tmp_path
):
    arguments = command(model_folder, world, tmp_path, "--explain", "2", "--errors-first")
    process = subprocess.Popen(
        [sys.executable, "-m", "pyvqa.cli.main", *arguments], stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".seen/*/part-00001.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (folder,) = tmp_path.glob(".seen/*")
    (folder / "part-00002.json.tmp-4000000").write_text("{")
    assert not (tmp_path / "result.json").exists()
    assert main(arguments) == 0
    assert contents(tmp_path) == undisturbed
    assert not list(tmp_path.rglob("*.tmp-*"))


@pytest.mark.slow
def test_ten_kills_at_random_moments(world, model_folder, undisturbed, tmp_path):
    arguments = command(model_folder, world, tmp_path, "--explain", "2", "--errors-first")
    run = [sys.executable, "-m", "pyvqa.cli.main", *arguments]
    began = time.monotonic()
    subprocess.run(run, check=True, stdout=subprocess.DEVNULL, timeout=300)
    length = time.monotonic() - began
    chance = random.Random(0)
    for _ in range(10):
        shutil.rmtree(tmp_path)
        process = subprocess.Popen(run, stdout=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.4, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert main(arguments) == 0
        assert contents(tmp_path) == undisturbed


@pytest.mark.slow
def test_two_processes_share_the_pictures(world, model_folder, undisturbed, tmp_path):
    arguments = command(model_folder, world, tmp_path, "--explain", "2", "--errors-first")[1:]
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "pyvqa.cli.evaluate", *arguments],
        check=True, timeout=300,
    )  # fmt: skip
    assert contents(tmp_path) == undisturbed


def test_without_a_folder_nothing_is_left_behind(
    world, model_folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    arguments = ["--root", str(world), "--split", "val", "--max-questions", "5"]
    assert main(["eval", str(model_folder), *arguments, "--precision", "bfloat16"]) == 0
    assert "1 pictures" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--errors-first"], "add --explain N"),
        (["--pictures-at-once", "0"], "--pictures-at-once must be at least 1"),
        (["--device", "cuda"], "torch sees no CUDA device"),
        ([], "has no detector and no attribute network, so it cannot look at pictures; add --sc"),
    ],
)
def test_mistakes_are_one_line(world, tmp_path, capsys, monkeypatch, more, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_model(tmp_path, "# test\n", parser=ParserPart(*read_parser(find_model(PARSER))))
    assert main(["eval", str(tmp_path), "--root", str(world), "--split", "val", *more]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
