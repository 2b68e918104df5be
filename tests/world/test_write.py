"""Data sets without pictures: official layout, interruption, workers, refusals, the command."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pyvqa import files
from pyvqa.cli.main import main
from pyvqa.errors import ConfigError, DataError
from pyvqa.programs.scenes import read_scenes
from pyvqa.world.questions import GeneratorSettings
from pyvqa.world.template_files import read_templates
from pyvqa.world.write import LAYOUTS, Dataset, DatasetSettings

from . import engine
from .making import folder, node, template

SCENES = 100  # three small blocks, the last one short
COMMAND_SCENES = 300  # two blocks of the command's size
FORMS = [form for form, layout in LAYOUTS.items() if not layout.needs_pictures]


def settings(form: str = "clevr", **changes: Any) -> DatasetSettings:
    given = {"format": form, "split": "val", "scenes": SCENES}
    return DatasetSettings(**(given | {"questions": GeneratorSettings(block=40)} | changes))


def dataset(out: Path, form: str = "clevr", **changes: Any) -> Dataset:
    templates = read_templates(None, LAYOUTS[form].language)
    return Dataset(out, settings(form, **changes), templates)


def content(out: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    for form in FORMS:
        dataset(out, form).make()
    return out


@pytest.fixture(scope="module")
def command_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("command_reference")
    for form in FORMS:
        dataset(out, form, scenes=COMMAND_SCENES, questions=GeneratorSettings()).make()
    return out


def test_layout_and_truth_of_questions(reference: Path) -> None:
    scenes = json.loads((reference / "scenes/CLEVR_val_scenes.json").read_text())
    questions = json.loads((reference / "questions/CLEVR_val_questions.json").read_text())
    assert set(scenes) == {"info", "scenes"}
    assert set(questions) == {"info", "questions"}
    assert scenes["info"]["split"] == questions["info"]["split"] == "val"
    assert [s["image_index"] for s in scenes["scenes"]] == list(range(SCENES))
    assert [q["question_index"] for q in questions["questions"]] == list(range(10 * SCENES))
    for question in questions["questions"]:
        scene = scenes["scenes"][question["image_index"]]
        assert question["image_filename"] == scene["image_filename"]
        assert engine.answer(question["program"], scene) == question["answer"]
    assert len(read_scenes(reference / "scenes/CLEVR_val_scenes.json")) == SCENES


def test_layout_and_truth_of_expressions(reference: Path) -> None:
    scenes = json.loads((reference / "scenes/clevr_ref+_val_scenes.json").read_text())["scenes"]
    entries = json.loads((reference / "refexps/clevr_ref+_val_refexps.json").read_text())["refexps"]
    assert [o["idx"] for o in scenes[0]["objects"]] == list(range(1, len(scenes[0]["objects"]) + 1))
    assert not {"obj_mask", "obj_bbox"} & set(scenes[0])
    assert [e["refexp_index"] for e in entries] == list(range(len(entries)))
    for entry in entries:
        results = engine.run(entry["program"], scenes[entry["image_index"]])
        assert results == [step["_output"] for step in entry["program"]]


def test_fields_are_those_of_genuine_files(reference: Path) -> None:
    real = engine.real_folder() / "clevr_original"
    for name, key, missing in (
        ("scenes/CLEVR_{}_scenes.json", "scenes", set()),
        ("questions/CLEVR_{}_questions.json", "questions", set()),
        ("scenes/clevr_ref+_{}_scenes.json", "scenes", {"obj_mask", "obj_bbox"}),
        ("refexps/clevr_ref+_{}_refexps.json", "refexps", set()),
    ):
        made = json.loads((reference / name.format("val")).read_text())
        genuine = json.loads((real / name.format("train")).read_text())
        assert set(genuine) == set(made)
        assert set(genuine["info"]) == set(made["info"])
        a, b = made[key][0], genuine[key][0]
        assert set(b) - set(a) == missing
        assert set(a) <= set(b)
        for field in set(a) & set(b):
            assert type(a[field]) is type(b[field])
        if key == "scenes":
            assert set(a["objects"][0]) == set(b["objects"][0])
            assert set(a["relationships"]) == set(b["relationships"])
            assert set(a["directions"]) == set(b["directions"])
        else:
            assert set(a["program"][0]) == set(b["program"][0])


def test_report_counts_everything(reference: Path) -> None:
    report = json.loads((reference / "reports/clevr_val_balance.json").read_text())["balance"]
    questions = json.loads((reference / "questions/CLEVR_val_questions.json").read_text())
    answers = [q["answer"] for q in questions["questions"]]
    assert report["all"]["answers"] == {a: answers.count(a) for a in set(answers)}
    assert sum(f["questions"] for f in report["families"]) == len(answers)
    assert [f["family"] for f in report["families"]] == list(range(90))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(reference: Path, tmp_path: Path, form: str, workers: int) -> None:
    made = dataset(tmp_path, form)
    told: list[int] = []
    made.make(workers, told.append)
    assert sorted(told) == [20, 40, 40]
    expected = content(reference)
    assert all(expected[name] == found for name, found in content(tmp_path).items())
    assert len(content(tmp_path)) == 3


def test_an_interrupted_run_is_continued(reference: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop_after_two(_: int, seen: list[int] = []) -> None:  # noqa: B006
        seen.append(1)
        if len(seen) == 2:
            raise Stop

    with pytest.raises(Stop):
        dataset(tmp_path).make(0, stop_after_two)
    again = dataset(tmp_path)
    assert again.finished() == {0, 1}
    assert not again.is_complete()
    assert not again.entries_path.exists()
    assert not again.scenes_path.exists()
    (again.work / "block-2.tmp-1").mkdir()  # left by a killed process
    before = (again.work / "block-0" / "entries").stat().st_mtime_ns
    remade: list[int] = []

    def note(count: int) -> None:
        remade.append(count)
        assert (again.work / "block-0" / "entries").stat().st_mtime_ns == before

    again.make(0, note)
    assert again.is_complete()
    expected = content(reference)
    assert all(expected[name] == found for name, found in content(tmp_path).items())


def test_killed_the_same_command_ends_in_the_same_files(
    command_reference: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "pyvqa.cli.main", "synth", "clevr", "--no-images"]
    command += ["--out", str(tmp_path), "--scenes", str(COMMAND_SCENES), "--workers", "1"]
    moments = [tmp_path / ".synth-clevr_val" / "block-0", tmp_path / "scenes"]
    killed = 0
    for moment in moments:  # a block is there; the files are being put together
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not moment.exists():
            time.sleep(0.002)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed > 0
    finished = subprocess.run(command, capture_output=True, check=False, text=True)
    assert finished.returncode == 0, finished.stderr
    expected = content(command_reference)
    found = content(tmp_path)
    assert len(found) == 3
    assert all(expected[name] == data for name, data in found.items())


@pytest.mark.slow
def test_processes_share_the_work(command_reference: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", "-m", "pyvqa.cli.synth", "clevr", "--no-images"]
    command += ["--out", str(tmp_path), "--scenes", str(COMMAND_SCENES)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("zero_hop.json") == 1
    expected = content(command_reference)
    assert len(content(tmp_path)) == 3
    assert all(expected[name] == data for name, data in content(tmp_path).items())


def test_more_scenes_begin_like_fewer(reference: Path, tmp_path: Path) -> None:
    dataset(tmp_path, scenes=80).make()
    small = json.loads((tmp_path / "questions/CLEVR_val_questions.json").read_text())["questions"]
    large = json.loads((reference / "questions/CLEVR_val_questions.json").read_text())["questions"]
    assert large[: len(small)] == small


def test_other_settings_are_refused(tmp_path: Path) -> None:
    first = dataset(tmp_path, scenes=10)
    with pytest.raises(ConfigError, match=r"other settings \(seed\)"):
        dataset(tmp_path, scenes=10, seed=1)
    first.make()
    with pytest.raises(ConfigError, match=r"other settings \(scenes\)"):
        dataset(tmp_path, scenes=11)
    made = folder(
        tmp_path / "templates",
        template("How many <S>s?", "S", [node("scene", []), node("filter_count", [0], "S")]),
    )
    with pytest.raises(ConfigError, match=r"other settings \(templates\)"):
        Dataset(tmp_path, settings(scenes=10), made)
    assert dataset(tmp_path, scenes=10).is_complete()


def test_files_of_another_origin_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "questions" / "CLEVR_val_questions.json"
    path.parent.mkdir()
    path.write_text("mine")
    with pytest.raises(DataError, match="another origin"):
        dataset(tmp_path)
    assert content(tmp_path) == {"questions/CLEVR_val_questions.json": b"mine"}
    dataset(tmp_path, split="train", scenes=5).make()
    assert path.read_text() == "mine"


@pytest.mark.parametrize("changes", [{"scenes": 0}, {"split": ""}, {"split": "../up"}])
def test_bad_settings_are_explained(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"scenes|split"):
        dataset(tmp_path, **changes)
    assert content(tmp_path) == {}


def test_a_full_disk_leaves_nothing_half_written(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every seventh forced write fails; going on after each failure gives the same files."""
    calls = {"n": 0}
    real_sync = files.sync

    def failing(path: Path) -> None:
        calls["n"] += 1
        if calls["n"] % 7 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_sync(path)

    monkeypatch.setattr(files, "sync", failing)
    expected = content(reference)
    messages: list[str] = []
    for _ in range(30):
        made = dataset(tmp_path)
        try:
            made.make()
            break
        except DataError as error:
            messages.append(str(error))
        for path in (made.entries_path, made.scenes_path):
            if path is not None and path.exists():
                assert path.read_bytes() == expected[str(path.relative_to(tmp_path))]
    assert len(messages) > 2
    assert all("free some space" in message for message in messages)
    assert content(tmp_path) == {name: expected[name] for name in content(tmp_path)}
    assert len(content(tmp_path)) == 3


def run(*arguments: str) -> int:
    return main(["synth", *arguments])


def test_the_command(
    command_reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("clevr-ref", "--no-images", "--out", str(tmp_path), "--scenes", "300")
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "zero_hop.json" in printed
    assert "left out without pictures: obj_mask, obj_bbox" in printed
    name = "refexps/clevr_ref+_val_refexps.json"
    assert (tmp_path / name).read_bytes() == (command_reference / name).read_bytes()
    assert run(*arguments) == 0
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-images", "--page"), "--page shows pictures"),
        (("--no-images", "--samples", "4"), "--samples is about pictures"),
        (("--no-images", "--false-premise", "2"), "no false-premise form"),
        (("--no-images", "--scenes", "0"), "at least one"),
        (("--no-images", "--seed", "-1"), "seed"),
        (("--no-images", "--workers", "-1"), "--workers -1"),
        (("--no-images", "--questions-per-scene", "0"), "questions per scene"),
        (("--no-images", "--split", "a/b"), "split 'a/b'"),
        (("--no-images", "--templates", "/nowhere"), "/nowhere: no such folder"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run("clevr", "--out", str(tmp_path / "out"), "--scenes", "3", *arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not (tmp_path / "out").exists()


def test_bad_templates_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "t", template("x <Q>?", "S", [node("scene", []), node("count", [0])]))
    code = run(
        "clevr", "--no-images", "--out", str(tmp_path / "o"), "--scenes", "3",
        "--templates", str(tmp_path / "t"),
    )  # fmt: skip
    assert code == 1
    assert "made.json, template 0: placeholder <Q> is no parameter" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_ctrl_c_keeps_the_finished_blocks(tmp_path: Path) -> None:
    made = dataset(tmp_path, scenes=20)
    with pytest.raises(KeyboardInterrupt):
        made.make(0, lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert made.finished() == {0}
    counts = json.loads((made.work / "block-0" / "balance.json").read_text())
    assert sum(map(sum, counts)) == 200
