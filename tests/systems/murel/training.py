"""Small runs of the stage: data, settings, and processes that can be killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data.vqa_cases import write_store, write_vqa2

from pyvqa.cli.main import main
from pyvqa.data.vqa_questions import VqaData
from pyvqa.systems import STAGES
from pyvqa.train.config import load_config
from pyvqa.train.distributed import join
from pyvqa.train.loop import fit
from pyvqa.train.run import Run
from pyvqa.train.stage import resolve_stage

WIDTH = 6
PAIR = "{mm_dim: 6, chunks: 2, rank: 2, dropout_input: 0.0}"
SMALL = [
    f"network.region_dim={WIDTH}",
    "network.question={word_dim: 5, hidden: 6, attention_hidden: 4, dropout: 0.0}",
    "schedule.warmup=0", "schedule.milestones=[]", "optim.lr=0.02", "train.workers=0",
    "train.device=cpu", "train.log_every=1", "train.checkpoint_every=2", "train.batch_size=8",
    "train.validate_every=0", "train.best=", "train.epochs=0", "train.steps=4",
]  # fmt: skip
NETWORKS = {
    "vqa2": [
        "network.relation.fusion={mm_dim: 8, chunks: 2, rank: 2, dropout_input: 0.0}",
        f"network.relation.pairwise={{coordinates: {PAIR}, features: {PAIR}}}",
        f"network.classify={PAIR}",
    ],
    "attention-vqa2": [f"network.attention.fusion={PAIR}", f"network.classify={PAIR}"],
}
NAMES = sorted(NETWORKS)


def make_data(folder: Path) -> Path:
    """Prepare a tiny VQA v2 with a feature store for all its pictures."""
    write_vqa2(folder / "raw", train=40, val=12, test=6)
    data = folder / "data"
    assert main(["prepare", "vqa2", "--root", f"{folder}/raw", "--out", str(data)]) == 0
    splits = VqaData(data)
    names = {name for split in splits.splits for name in splits.split(split).image_names}
    write_store(folder / "store.safetensors", sorted(names), WIDTH)
    return folder


def values(name: str, folder: Path, *more: str) -> list[str]:
    data = [f"data.root={folder}/data", f"data.features=[{folder}/store.safetensors]"]
    return [*SMALL, *NETWORKS.get(name, []), *data, *more]


def train(name: str, folder: Path, out: Path, *more: str) -> list[dict[str, Any]]:
    """Run a recipe, made small, to its end; give its log."""
    stage = resolve_stage("murel/answers", STAGES)
    config = load_config(f"murel/{name}", values(name, folder, *more), stage.config_type)
    with join(config.train) as ranks:
        run = Run.open(out, config)
        fit(run, stage, config, ranks)
        run.close()
    return log_of(out)


def log_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


_RUN = """
import sys, torch
torch.set_num_threads(1)
from pyvqa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(
    name: str, folder: Path, out: Path, *more: str, **environment: str
) -> subprocess.Popen[str]:
    """Begin the same in a process of its own."""
    command = [sys.executable, "-c", _RUN, "train", f"murel/{name}", *values(name, folder, *more)]
    return subprocess.Popen(
        [*command, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def kill_test(name: str, folder: Path, tmp_path: Path, kills: int) -> int:
    """Kill a run at random moments until it is through; give how many kills struck.

    What it leaves must be, byte for byte, what a run leaves that nothing disturbed.
    """
    settings = ("train.steps=12", "train.workers=1", "train.validate_every=6",
                "train.best=accuracy_top1", "network.question.dropout=0.25")  # fmt: skip
    began = time.monotonic()
    whole = start(name, folder, tmp_path / "whole", *settings)
    assert whole.wait(120) == 0, whole.stderr.read()
    length = time.monotonic() - began
    chance = random.Random(name)
    struck = 0
    for _ in range(kills):
        process = start(name, folder, tmp_path / "killed", *settings)
        try:
            process.wait(chance.uniform(0.5, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        struck += process.wait() == -signal.SIGKILL
    final = start(name, folder, tmp_path / "killed", *settings)
    assert final.wait(120) == 0, final.stderr.read()
    files = [p.relative_to(tmp_path / "whole") for p in sorted((tmp_path / "whole").rglob("*"))]
    results = [f for f in files if f.suffix == ".safetensors" or f.name == "log.jsonl"]
    assert len(results) >= 5
    for file in results:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()
    return struck
