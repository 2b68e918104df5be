"""Two ranks compute what one computes, and a rank that is lost is missed and named."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pyvqa.errors import ConfigError, TrainingError
from pyvqa.train.checkpoint import read_tensors
from pyvqa.train.distributed import choose_device, join
from pyvqa.train.settings import TrainConfig

from .conftest import Runner, assert_same_run, environment

# Batch normalisation sees one share at a time, so without it here.
PLAIN = ("normalise=false", "train.best=")
EXACT = (*PLAIN, "dropout=0.0", "noise=0.0", "sample=false")


def _numbers(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def _assert_close_logs(one: Path, other: Path) -> None:
    first, second = _numbers(one), _numbers(other)
    assert [line["step"] for line in first] == [line["step"] for line in second]
    for a, b in zip(first, second, strict=True):
        for name in a.keys() - {"kind"}:
            assert a[name] == pytest.approx(b[name], rel=1e-6, abs=1e-6), (a["step"], name)


def _train_ranks(runner: Runner, out: Path, *overrides: str) -> None:
    pids = runner.start_ranks(out, 2, *overrides)
    assert [runner.wait(pid) for pid in pids] == [0, 0]


def test_two_ranks_compute_what_one_does(runner: Runner, tmp_path: Path) -> None:
    assert runner.train(tmp_path / "one", *EXACT) == 0
    _train_ranks(runner, tmp_path / "two", *EXACT)
    _assert_close_logs(tmp_path / "one", tmp_path / "two")
    one = read_tensors(tmp_path / "one" / "checkpoints" / "00000040" / "main.safetensors")
    two = read_tensors(tmp_path / "two" / "checkpoints" / "00000040" / "main.safetensors")
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-5)


def test_two_ranks_draw_what_two_micro_batches_draw(runner: Runner, tmp_path: Path) -> None:
    """Dropout, noise and sampling included."""
    assert runner.train(tmp_path / "one", *PLAIN, "train.accumulate=2") == 0
    _train_ranks(runner, tmp_path / "two", *PLAIN)
    _assert_close_logs(tmp_path / "one", tmp_path / "two")


def test_micro_batches_sum_up_to_the_batch(runner: Runner, tmp_path: Path) -> None:
    for parts in (1, 5):  # 8 items and, at the end of an epoch, 4: uneven and empty shares.
        overrides = (*EXACT, f"train.accumulate={parts}")
        assert runner.train(tmp_path / str(parts), *overrides) == 0
    _assert_close_logs(tmp_path / "1", tmp_path / "5")


def test_killed_ranks_continue_exactly(runner: Runner, tmp_path: Path) -> None:
    _train_ranks(runner, tmp_path / "whole")
    pids = runner.start_ranks(tmp_path / "run", 2, step_seconds=0.02)
    runner.wait_until_step(pids[0], tmp_path / "run", 15)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert [runner.wait(pid) for pid in pids] == [-signal.SIGKILL] * 2
    _train_ranks(runner, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_signal_to_one_rank_pauses_all(runner: Runner, tmp_path: Path) -> None:
    pids = runner.start_ranks(tmp_path / "run", 2, step_seconds=0.02)
    runner.wait_until_step(pids[0], tmp_path / "run", 12)
    os.kill(pids[1], signal.SIGTERM)
    assert [runner.wait(pid) for pid in pids] == [0, 143]
    assert 12 <= int((tmp_path / "run" / "checkpoints" / "last").read_text()) < 40


@pytest.mark.parametrize("lost", [0, 1])
def test_killed_rank_is_named(runner: Runner, tmp_path: Path, lost: int) -> None:
    messages = tmp_path / "messages"
    pids = runner.start_ranks(tmp_path / "run", 2, step_seconds=0.02, messages=str(messages))
    runner.wait_until_step(pids[0], tmp_path / "run", 12)
    started = time.monotonic()
    os.kill(pids[lost], signal.SIGKILL)
    assert runner.wait(pids[1 - lost]) == 1
    assert time.monotonic() - started < 30
    runner.wait(pids[lost])
    errors = [line for line in messages.read_text().splitlines() if line.startswith("error:")]
    # Rank 0 also keeps the job's store here; with it, the names of the others are gone.
    expected = "rank 1 is lost" if lost == 1 else "the job's first rank, or its launcher, is gone"
    assert len(errors) == 1
    assert expected in errors[0]


def test_hanging_rank_is_named(runner: Runner, tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    pids = runner.start_ranks(
        tmp_path / "run", 2, "train.lost_after=3", step_seconds=0.02, messages=str(messages)
    )
    runner.wait_until_step(pids[0], tmp_path / "run", 12)
    started = time.monotonic()
    os.kill(pids[1], signal.SIGSTOP)
    assert runner.wait(pids[0]) == 1
    assert time.monotonic() - started < 30
    os.kill(pids[1], signal.SIGKILL)
    runner.wait(pids[1])
    assert "rank 1 is lost: no sign of life for 3 s" in messages.read_text()


def test_rank_that_fails_says_why_to_the_others(runner: Runner, tmp_path: Path) -> None:
    messages = tmp_path / "messages"
    # The poisoned item is in one rank's share only; both see that the mean is not finite.
    pids = runner.start_ranks(tmp_path / "run", 2, *PLAIN, "poison=3", messages=str(messages))
    assert [runner.wait(pid) for pid in pids] == [1, 1]
    errors = [line for line in messages.read_text().splitlines() if line.startswith("error:")]
    assert len(errors) == 2
    assert sum("first non-finite tensor: batch.inputs" in line for line in errors) == 1


def _torchrun(request: dict[str, object], *options: str) -> subprocess.CompletedProcess[str]:
    script = str(Path(__file__).with_name("runner.py"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launcher, *options, script, json.dumps(request)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=400, env=environment(), check=False
    )


def test_torchrun_ends_and_names_the_lost_rank(tmp_path: Path) -> None:
    request = {"out": str(tmp_path / "run"), "overrides": [], "die_at_update": 20, "die_as_rank": 1}
    job = _torchrun(request)
    assert job.returncode != 0
    assert "error: rank 1 is lost" in job.stderr
    last = tmp_path / "run" / "checkpoints" / "last"
    assert last.read_text() == "00000020\n"
    # Written just before the rank died.
    assert time.time() - last.stat().st_mtime < 30


@pytest.mark.slow
def test_torchrun_restarts_and_the_run_ends_as_if_nothing_had_been(
    runner: Runner, tmp_path: Path
) -> None:
    _train_ranks(runner, tmp_path / "whole")
    request = {"out": str(tmp_path / "run"), "overrides": [], "die_at_update": 20, "die_as_rank": 1}
    job = _torchrun(request, "--max-restarts=1")
    assert job.returncode == 0, job.stderr
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_one_process_stands_alone() -> None:
    with join(TrainConfig(device="cpu")) as ranks:
        assert (ranks.rank, ranks.ranks) == (0, 1)
        assert ranks.any([True, False]) == [True, False]
        assert ranks.broadcast_json({"a": [1.5]}) == {"a": [1.5]}
        ranks.wait()


def test_local_error_is_not_blamed_on_others() -> None:
    with join(TrainConfig(device="cpu")) as ranks, pytest.raises(RuntimeError, match="mine"):
        with ranks.explained():
            raise RuntimeError("mine")


def test_unknown_device_is_explained() -> None:
    with pytest.raises(ConfigError, match="must be auto, cpu, cuda"):
        choose_device("gpu")
    assert choose_device("cpu") == torch.device("cpu")


def test_device_that_is_not_there_is_explained() -> None:
    with pytest.raises(ConfigError, match="start fewer ranks"):
        choose_device("cuda:99")


def test_ranks_that_do_not_meet_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1", "WORLD_SIZE": "2", "RANK": "1"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="did not find each other"):
        with join(TrainConfig(device="cpu", timeout=1.0)):
            pass
