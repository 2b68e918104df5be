"""24,000 genuine VQA v2 questions without pictures: what the recipe `murel/questions-only` learns.

Its prior is the most frequent answer of each question type, which the network is not told.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyvqa.cli import main as cli
from pyvqa.files import read_json

REAL = os.environ.get("PYVQA_REAL")
ROOT = Path(REAL or "") / "vqa2_subset"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (REAL and ROOT.is_dir()), reason="PYVQA_REAL has no vqa2_subset"),
]

PARTS = ("train", "val", "test")
SHORT = ["train.epochs=0", "train.steps=60", "train.validate_every=30", "train.checkpoint_every=10",
         "train.log_every=5", "data.val_limit=400"]  # fmt: skip
_RUN = """
import sys, torch
torch.set_num_threads(1)
from pyvqa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vqa2") / "data"
    named = []
    for part in PARTS:
        named += ["--questions", f"{part}={ROOT}/questions_{part}.json.gz"]
        named += ["--annotations", f"{part}={ROOT}/annotations_{part}.json.gz"]
    assert cli.main(["prepare", "vqa2", *named, "--answers", "2000", "--out", str(out)]) == 0
    return out


def start(data: Path, out: Path, *overrides: str) -> subprocess.Popen[bytes]:
    values = [f"data.root={data}", "train.device=cpu", *overrides]
    command = ["train", "murel/questions-only", "--out", str(out), *values]
    return subprocess.Popen([sys.executable, "-c", _RUN, *command])


def finish(process: subprocess.Popen[bytes]) -> int:
    """Wait for a run to end well; give the most memory it held, in bytes."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


def test_it_beats_the_prior_of_question_types_within_a_gigabyte(data: Path, tmp_path: Path) -> None:
    assert finish(start(data, tmp_path / "run")) < 1e9
    ours = prior = count = 0.0
    for part in PARTS[1:]:
        out = tmp_path / part
        command = ["eval", str(tmp_path / "run"), "--root", str(data), "--split", part]
        assert cli.main([*command, "--without-pictures", "--out", str(out)]) == 0
        result = json.loads((out / "result.json").read_text())
        expected = read_json(ROOT / "expected_accuracy.json")["parts"][part]["type_prior"]
        assert result["questions"] == expected["questions"]
        ours += result["questions"] * result["vqa"]["overall"]
        prior += result["questions"] * expected["overall"]
        count += result["questions"]
    assert ours / count >= prior / count + 2


def test_a_killed_run_continues_to_the_same_bits(data: Path, tmp_path: Path) -> None:
    finish(start(data, tmp_path / "whole", *SHORT))
    killed = start(data, tmp_path / "killed", *SHORT)
    deadline = time.monotonic() + 300
    while not (tmp_path / "killed/checkpoints/00000020").is_dir():
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    finish(start(data, tmp_path / "killed", *SHORT))
    whole, other = tmp_path / "whole", tmp_path / "killed"
    files = [path.relative_to(whole) for path in sorted(whole.rglob("*.safetensors"))]
    assert len(files) >= 4
    for file in (Path("log.jsonl"), *files):
        assert (whole / file).read_bytes() == (other / file).read_bytes(), file
