"""`pyvqa synth` with pictures: what it writes, kills, full disks, places that cannot be written."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyvqa.cli import main as cli

SCENES = 60
SMALL = ("--size", "96x64", "--samples", "1")


def synth(*arguments: object) -> int:
    return cli.main(["synth", *map(str, arguments)])


def content(out: Path) -> dict[str, bytes]:
    """Return every file below a folder."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def started(out: Path, workers: int, scenes: int = SCENES) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pyvqa.cli.main", "synth", "clevr", "--out", str(out)]
    command += ["--scenes", str(scenes), "--workers", str(workers), *SMALL]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    assert synth("clevr", "--out", out, "--scenes", SCENES, *SMALL) == 0
    return out


def test_what_is_written_and_printed(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(n for n in content(reference) if not n.endswith(".png")) == [
        "instances_val.json",
        "questions/CLEVR_val_questions.json",
        "reports/clevr_val_balance.json",
        "scenes/CLEVR_val_scenes.json",
    ]
    assert sum(name.startswith("images/val/CLEVR_val_") for name in content(reference)) == SCENES
    assert synth("clevr", "--out", reference, "--scenes", SCENES, *SMALL) == 0
    printed = capsys.readouterr().out
    assert "complete already" in printed
    assert "zero_hop.json" in printed
    assert str(reference / "images" / "val") in printed
    assert synth("clevr-mini", "--out", tmp_path, "--scenes", 3, *SMALL) == 0
    names = ["images/CLEVR_mini_000000.png", "images/CLEVR_mini_000002.png"]
    assert set(names) <= set(content(tmp_path))
    assert "CLEVR_mini_coco_anns.json" in capsys.readouterr().out


def test_expressions_without_a_referent_on_request(tmp_path: Path) -> None:
    arguments = ("clevr-ref", "--out", tmp_path, "--scenes", 20, *SMALL)
    assert synth(*arguments, "--false-premise", 2) == 0
    entries = json.loads((tmp_path / "refexps/clevr_ref+_val_refexps.json").read_text())["refexps"]
    empty = [e for e in entries if e["program"][-1]["_output"] == []]
    assert 30 <= len(empty) <= 40


@pytest.mark.parametrize("moments", [3, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_moments(reference: Path, tmp_path: Path, moments: int) -> None:
    """kill -9, the same command again, and so on: in the end nothing tells of it."""
    before = time.monotonic()
    assert started(tmp_path / "timing", 1).wait() == 0
    takes = time.monotonic() - before
    draw = random.Random(moments)
    out, killed = tmp_path / "killed-0", 0
    for k in range(moments):
        process = started(out, workers=k % 3)
        # The last two thirds of a run: what comes before is the start of Python.
        time.sleep(takes * draw.uniform(0.3, 0.6 if k == 0 else 0.95) / (1 + 0.2 * k))
        is_late = process.poll() is not None
        process.kill()
        process.wait()
        killed += not is_late
        if is_late:  # it was through: there is nothing left to interrupt
            assert content(out) == content(reference)
            out = tmp_path / f"killed-{k + 1}"
    assert killed > 0
    assert started(out, workers=1).wait() == 0
    assert content(out) == content(reference)


def test_killed_while_pictures_are_made_and_moved(reference: Path, tmp_path: Path) -> None:
    work = tmp_path / ".synth-clevr_val"
    killed = 0
    for moment in (work / "block-0", work / "pictures-0", tmp_path / "images", tmp_path / "scenes"):
        process = started(tmp_path, workers=0)
        while process.poll() is None and not moment.exists():
            time.sleep(0.001)
        killed += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert killed > 0
    assert started(tmp_path, workers=2).wait() == 0
    assert content(tmp_path) == content(reference)


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    process = started(tmp_path, workers=2, scenes=2000)
    while process.poll() is None and not list(tmp_path.glob(".synth-clevr_val/pictures-*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.read() == "pyvqa: interrupted\n"
    assert process.wait() == 130
    assert not (tmp_path / "images").exists()


LIMITED = (
    "import resource, signal, sys\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "limit = int(sys.argv[1])\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
    "from pyvqa.cli import main as cli\n"
    "sys.exit(cli.main(sys.argv[2:]))\n"
)


@pytest.mark.parametrize("limit", [100, 8_000, 500_000])
def test_a_full_disk(reference: Path, tmp_path: Path, limit: int) -> None:
    """No room for the note of the settings, a picture, a block, or the official file."""
    command = [sys.executable, "-B", "-c", LIMITED, str(limit), "synth", "clevr", *SMALL]
    command += ["--out", str(tmp_path), "--scenes", str(SCENES), "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"pyvqa: .*cannot be written.*\n", done.stderr), done.stderr
    expected = content(reference)
    finished = {n: data for n, data in content(tmp_path).items() if not n.startswith(".synth")}
    assert all(expected[name] == data for name, data in finished.items())
    assert "reports/clevr_val_balance.json" not in finished
    assert started(tmp_path, workers=1).wait() == 0
    assert content(tmp_path) == expected


def test_places_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deeper"):
        assert synth("clevr", "--out", out, "--scenes", 3, *SMALL) == 1
        printed = capsys.readouterr()
        assert printed.out == ""
        assert re.fullmatch(r"pyvqa: .*/file.* cannot be written .*\n", printed.err)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "images").write_text("in the way")
    assert synth("clevr", "--out", tmp_path / "out", "--scenes", 3, *SMALL) == 1
    assert re.fullmatch(r"pyvqa: .*images.* cannot be written .*\n", capsys.readouterr().err)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clevr", "--size", "480"), "--size 480: expected width x height"),
        (("clevr", "--size", "480x-3"), "expected width x height"),
        (("clevr", "--size", "8x8"), "each side must lie within"),
        (("clevr", "--samples", "0"), "--samples 0: at least one"),
        (("clevr", "--false-premise", "1"), "no false-premise form"),
        (("clevr-ref", "--false-premise", "-1"), "must not be negative"),
        (("clevr-ref", "--size", "100x100"), "sides of 3:2 or 4:3"),
        (("clevr-mini", "--no-images"), "cannot do without images"),
        (("clevr-mini", "--templates", "x"), "holds no text; leave out --templates"),
        (("clevr-mini", "--questions-per-scene", "3"), "leave out --questions-per-scene"),
        (("clevr-mini", "--false-premise", "3"), "leave out --false-premise"),
        (("vqacp2",), "vqacp2 has no split 'val'; choose one of train, test"),
        (("tdiuc", "--false-premise", "1"), "no false-premise form"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert synth(*arguments, "--out", tmp_path / "out", "--scenes", 3) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("form", "split", "labelled"),
    [
        ("vqa2", "train", True),
        ("vqa2", "test", False),
        ("vqacp2", "test", True),
        ("tdiuc", "val", True),
    ],
)
def test_the_vqa_family(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, split: str, labelled: bool
) -> None:
    arguments = (form, "--out", tmp_path, "--scenes", 5, "--split", split, *SMALL, "--page")
    assert synth(*arguments, "--workers", 0) == 0
    printed = capsys.readouterr().out.splitlines()
    page = tmp_path / "reports" / f"{form}_{split}.html"
    assert printed[-1] == str(page)
    assert printed[0].split() == ["question", "type", "questions", "answers", *TOP]
    [instances] = (tmp_path / "annotations").iterdir()
    images = json.loads(instances.read_text())["images"]
    folder = tmp_path / "images" / images[0]["file_name"].split("_")[1]
    assert sorted(p.name for p in folder.iterdir()) == [image["file_name"] for image in images]
    assert all(str(image["id"]).zfill(12) in image["file_name"] for image in images)
    written = {p.name for p in tmp_path.glob("*.json")}
    assert sum("questions" in name for name in written) == 1
    assert sum("annotations" in name for name in written) == labelled
    text = page.read_text()
    [found] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    for picture in json.loads(found)["pictures"]:
        assert len(picture["lines"]) == 10
        assert all(bool(line["answer"]) == labelled for line in picture["lines"])


TOP = ("top", "answer", "its", "share")


@pytest.mark.parametrize("form", ["clevr", "clevr-mini", "clevr-ref"])
def test_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    arguments = (form, "--out", tmp_path, "--scenes", 30, *SMALL, "--page")
    assert synth(*arguments) == 0
    page = tmp_path / "reports" / f"{form}_val.html"
    assert capsys.readouterr().out.splitlines()[-1] == str(page)
    text = page.read_text()
    [found] = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    data = json.loads(found)
    assert len(data["pictures"]) == 24
    for k, picture in enumerate(data["pictures"]):
        assert picture["title"].endswith(f"_{k:06d}.png")
        assert len(picture["labels"]) == len(picture["masks"]) >= 3
        assert picture["size"] == [64, 96]
        assert len(picture["lines"]) == (0 if form == "clevr-mini" else 10)
        for line in picture["lines"]:
            assert ("objects" in line) == (form == "clevr-ref")
            assert bool(line["answer"]) == (form == "clevr")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    page.unlink()
    assert synth(*arguments) == 0  # of a finished data set as well
    assert page.read_text() == text
