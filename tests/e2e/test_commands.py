"""Installed commands, run from the outside as a user does."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pyvqa import _native, evidence
from pyvqa.systems import ZOO

pytestmark = pytest.mark.e2e

MODEL = "ns-vqa-clevr"
needs_model = pytest.mark.skipif(
    not (ZOO / MODEL / "config.yaml").is_file(), reason=f"the model {MODEL} is not in this tree"
)


def run(
    *arguments: object, cwd: Path | None = None, timeout: int = 120
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pyvqa.cli.main", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=cwd, timeout=timeout, env=environment
    )


def test_info() -> None:
    done = run("info")
    assert (done.returncode, done.stderr) == (0, "")
    assert "execute" in done.stdout


def test_execute(world_files: Any, tmp_path: Path) -> None:
    files = ("--scenes", world_files.scenes, "--questions", world_files.questions)
    done = run("execute", "--language", "clevr", *files, "--out", "a.json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads((tmp_path / "a.json").read_text())["accuracy"] == 1.0


def test_error_codes(tmp_path: Path) -> None:
    for arguments, code in [
        (("execute", "--scenes", "none", "--questions", "none"), 1),
        (("execute",), 2),
        (("nothing",), 2),
        ((), 2),
        (("--help",), 0),
    ]:
        assert run(*arguments, cwd=tmp_path).returncode == code, arguments
    assert list(tmp_path.iterdir()) == []


@needs_model
def test_demo(tmp_path: Path) -> None:
    done = run("demo", "--scenes", 30, "--questions", 300, "--out", "here", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match("30 (scenes|pictures), 300 questions", done.stdout)
    assert done.stdout.count("\nQ: ") == done.stdout.count("\nA: ") == 3
    names = sorted(p.name for p in (tmp_path / "here").iterdir())
    assert names == ["answers.json", "images", "index.html"]
    answers = evidence.read_answers(tmp_path / "here" / "answers.json")
    assert len(answers) == 50
    assert all(answer.steps and answer.canvas for answer in answers)
    pictures = {answer.canvas.title for answer in answers if answer.canvas}
    assert {p.name for p in (tmp_path / "here" / "images").iterdir()} == pictures
    for answer in answers:
        assert answer.canvas is not None
        assert answer.canvas.kind == "picture"
        assert answer.canvas.image is None
        assert all(region.mask and region.box for region in answer.canvas.regions)
    assert len({answer.category for answer in answers}) == 5
    page = (tmp_path / "here" / "index.html").read_text()
    assert len(re.findall("data:image/(?:png|jpeg);base64,", page)) == len(pictures)
    assert answers[0].question.replace("'", "\\u0027") in page or answers[0].question in page
    total = next(line for line in done.stdout.splitlines() if line.startswith("all "))
    assert float(total.split()[-2]) >= 99.0


@needs_model
def test_demo_is_repeatable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("demo", "--scenes", 5, "--questions", 50, "--out", name, cwd=tmp_path)
    first, second = ((tmp_path / name / "answers.json").read_bytes() for name in ("a", "b"))
    assert first == second


def test_pictures_of_the_world_and_of_its_scene_file(tmp_path: Path) -> None:
    """At full size and quality: what `synth` wrote, `render` shows again from the file alone."""
    done = run("synth", "clevr-mini", "--scenes", 4, "--out", "mini", "--page", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    scenes = tmp_path / "mini" / "CLEVR_mini_coco_anns.json"
    done = run("render", "--scenes", scenes, "--out", "again", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    given = json.loads(scenes.read_text())["scenes"]
    made = json.loads((tmp_path / "again" / "scenes.json").read_text())["scenes"]
    for a, b in zip(given, made, strict=True):
        assert (tmp_path / "again" / "images" / a["image_filename"]).stat().st_size > 50_000
        for one, other in zip(a["objects"], b["objects"], strict=True):
            first, second = (
                _native.coco_rle_decode(item["mask"]["counts"], 320, 480) > 0
                for item in (one, other)
            )
            assert (first & second).sum() >= 0.99 * (first | second).sum()


def test_demo_with_senseless_numbers(tmp_path: Path) -> None:
    done = run("demo", "--scenes", 0, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "--scenes" in done.stderr


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C ends a command with 130 and one line."""
    script = "import time; from pyvqa.cli import main as cli; import sys; print('on', flush=True);"
    script += "sys.exit(cli.explained(lambda: time.sleep(60) or 0))"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "on\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "pyvqa: interrupted\n"
    assert process.returncode == 130


def test_a_full_disk(world_files: Any, tmp_path: Path) -> None:
    """A file system without room: one line, exit code 1, nothing half-written."""
    files = ("--scenes", world_files.scenes, "--questions", world_files.questions)
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from pyvqa.cli import main as cli\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    out = tmp_path / "answers.json"
    command = [sys.executable, "-B", "-c", script, "execute", *map(str, files), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{out}: cannot be written" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_standard_output_on_a_full_device() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "pyvqa.cli.main", "info"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("pyvqa: No space left on device; ")
