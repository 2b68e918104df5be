"""A run that is killed, paused or starved ends with the bits of one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from .conftest import Runner, assert_same_run, content


def test_whole_run_has_what_it_should(whole_run: Path) -> None:
    names = set(content(whole_run))
    networks = {"helper.safetensors", "main.safetensors"}
    last = {*networks, "optimiser-helper.safetensors", "optimiser-main.safetensors",
            "counters.safetensors", "meta.json"}  # fmt: skip
    assert {f"checkpoints/00000040/{name}" for name in last} <= names
    assert {f"model/{name}" for name in networks} <= names
    assert {f"best_accuracy/{name}" for name in networks} <= names
    assert (whole_run / "checkpoints" / "last").read_text() == "00000040\n"


def test_repeating_a_finished_run_changes_nothing(
    runner: Runner, whole_run: Path, tmp_path: Path
) -> None:
    assert runner.train(tmp_path / "run") == 0
    before = content(tmp_path / "run")
    assert runner.train(tmp_path / "run") == 0
    assert content(tmp_path / "run") == before
    assert_same_run(tmp_path / "run", whole_run)


def _killed_run(runner: Runner, out: Path, draw: random.Random, workers: int) -> int:
    """Kill at random moments until the run gets through; give how many kills struck."""
    kills = 0
    for _ in range(3):
        pid = runner.start(
            out, f"train.workers={workers}", fsync_seconds=0.008, step_seconds=0.01
        )  # fmt: skip
        time.sleep(draw.uniform(0.05, 0.6))
        os.kill(pid, signal.SIGKILL)
        kills += runner.wait(pid) == -signal.SIGKILL
    assert runner.train(out, f"train.workers={workers}") == 0
    return kills


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments(
    runner: Runner, whole_run: Path, tmp_path: Path, seed: int
) -> None:
    kills = _killed_run(runner, tmp_path / "run", random.Random(seed), workers=seed % 2)
    assert kills >= 1
    assert_same_run(tmp_path / "run", whole_run, same_config=seed % 2 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6, 26))
def test_killed_at_many_random_moments(
    runner: Runner, whole_run: Path, tmp_path: Path, seed: int
) -> None:
    _killed_run(runner, tmp_path / "run", random.Random(seed), workers=seed % 3)
    assert_same_run(tmp_path / "run", whole_run, same_config=seed % 3 == 0)


def _disk_calls(runner: Runner, folder: Path) -> int:
    assert runner.train(folder / "counted", count_to=str(folder / "calls")) == 0
    return int((folder / "calls").read_text())


def _assert_survives_kill_in_save(runner: Runner, whole_run: Path, out: Path, call: int) -> None:
    assert runner.train(out, kill_at=call) == -signal.SIGKILL
    assert runner.train(out) == 0
    assert_same_run(out, whole_run)


def test_killed_inside_the_save(runner: Runner, whole_run: Path, tmp_path: Path) -> None:
    calls = _disk_calls(runner, tmp_path)
    assert calls > 60
    chosen = [1, 2, calls, *random.Random(5).sample(range(3, calls), 9)]
    for call in chosen:
        _assert_survives_kill_in_save(runner, whole_run, tmp_path / str(call), call)


@pytest.mark.slow
def test_killed_at_every_call_of_the_save(runner: Runner, whole_run: Path, tmp_path: Path) -> None:
    for call in range(1, _disk_calls(runner, tmp_path) + 1):
        _assert_survives_kill_in_save(runner, whole_run, tmp_path / str(call), call)


@pytest.mark.parametrize("workers", [1, 2])
def test_worker_count_changes_nothing(
    runner: Runner, whole_run: Path, tmp_path: Path, workers: int
) -> None:
    assert runner.train(tmp_path / "run", f"train.workers={workers}") == 0
    assert_same_run(tmp_path / "run", whole_run, same_config=False)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("workers", [0, 2])
def test_signal_pauses_and_the_same_command_continues(
    runner: Runner, whole_run: Path, tmp_path: Path, number: int, code: int, workers: int
) -> None:
    overrides = [f"train.workers={workers}"]
    pid = runner.start(tmp_path / "run", *overrides, step_seconds=0.05)
    runner.wait_until_step(pid, tmp_path / "run", 12)
    started = time.monotonic()
    # As Ctrl-C does and schedulers do: the workers get it too.
    os.killpg(pid, number)
    assert runner.wait(pid) == code
    assert time.monotonic() - started < 10
    last = (tmp_path / "run" / "checkpoints" / "last").read_text()
    assert 0 < int(last) < 40
    assert not list((tmp_path / "run").rglob("*.tmp-*"))
    assert runner.train(tmp_path / "run", *overrides) == 0
    ours, theirs = content(tmp_path / "run"), content(whole_run)
    assert ours["log.jsonl"] == theirs["log.jsonl"]
    for name in theirs:
        if "00000040" in name or "model" in name or "best" in name:
            assert ours[name] == theirs[name], name


def test_signal_during_validation_does_not_wait_for_it(
    runner: Runner, whole_run: Path, tmp_path: Path
) -> None:
    pid = runner.start(tmp_path / "run", validate_seconds=60.0)
    runner.wait_until_step(pid, tmp_path / "run", 9)
    time.sleep(0.3)
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    assert runner.wait(pid) == 143
    assert time.monotonic() - started < 10
    # The update before it is saved, the validation is made up for.
    assert int((tmp_path / "run" / "checkpoints" / "last").read_text()) == 10
    assert runner.train(tmp_path / "run") == 0
    assert content(tmp_path / "run")["log.jsonl"] == content(whole_run)["log.jsonl"]


def test_second_signal_stops_at_once(runner: Runner, tmp_path: Path) -> None:
    pid = runner.start(tmp_path / "run", step_seconds=60.0, slow_from=3)
    runner.wait_until_step(pid, tmp_path / "run", 3)
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    assert not runner.has_ended(pid)
    os.kill(pid, signal.SIGTERM)
    assert runner.wait(pid) == -signal.SIGTERM
    assert time.monotonic() - started < 10


def test_full_disk_is_one_line_and_costs_nothing(
    runner: Runner, whole_run: Path, tmp_path: Path
) -> None:
    pid = runner.start(tmp_path / "run", step_seconds=0.05)
    runner.wait_until_step(pid, tmp_path / "run", 15)
    os.kill(pid, signal.SIGTERM)
    assert runner.wait(pid) == 143
    before = content(tmp_path / "run")
    messages = tmp_path / "messages"
    # No file may grow beyond this: what the system says on a full disk, without filling one.
    assert runner.train(tmp_path / "run", largest_file=900, messages=str(messages)) == 1
    errors = [line for line in messages.read_text().splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "cannot be written" in errors[0]
    after = content(tmp_path / "run")
    kept = {name: text for name, text in after.items() if "checkpoints" in name}
    assert kept == {name: text for name, text in before.items() if "checkpoints" in name}
    assert runner.train(tmp_path / "run") == 0
    assert content(tmp_path / "run")["log.jsonl"] == content(whole_run)["log.jsonl"]
