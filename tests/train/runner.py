"""Run the tiny stage in processes that may be killed.

Started as a script it is a server that forks one process per request, so that torch is imported
once: requests are JSON lines, `{"start": {...}}` gives `{"pid"}`, `{"wait": pid}` gives `{"code"}`
(negative for a signal), `{"poll": pid}` gives `{"ended"}`. Under torchrun, `runner.py REQUEST`
carries out a single request.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from pyvqa.errors import PyvqaError
from pyvqa.train.config import load_config
from pyvqa.train.distributed import join
from pyvqa.train.logging import show_messages
from pyvqa.train.loop import fit
from pyvqa.train.run import Run
from pyvqa.train.stage import Stage
from tests.train import tiny


def train(out: str, overrides: list[str], **changes: Any) -> int:
    """Do what the command line does, with the tests' stage; give the exit code."""
    try:
        stage = changed_stage(**changes)
        config_file = Path(__file__).with_name("tiny.yaml")
        config = load_config(config_file, overrides, tiny.TinyConfig)
        with join(config.train) as ranks:
            run = Run.open(out, config, writer=ranks.rank == 0)
            outcome = fit(run, stage, config, ranks)
            run.close()
        return 128 + outcome.signal if outcome.signal else 0
    except PyvqaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def changed_stage(
    *,
    step_seconds: float = 0.0,
    slow_from: int = 0,
    validate_seconds: float = 0.0,
    die_at_update: int = -1,
    die_as_rank: int = 0,
) -> Stage:
    """Slow the stage down, or have it die by SIGKILL at an update (before any restart)."""

    def step(state: Any, batch: Any) -> Any:
        rank = int(os.environ.get("RANK", "0"))
        is_first = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
        update = state.counters["updates"]
        time.sleep(step_seconds if update >= slow_from else 0.0)
        if update == die_at_update and rank == die_as_rank and is_first:
            os.kill(os.getpid(), signal.SIGKILL)
        return tiny.step(state, batch)

    def validate(state: Any, config: Any) -> Any:
        time.sleep(validate_seconds)
        return tiny.validate(state, config)

    return dataclasses.replace(tiny.STAGE, step=step, validate=validate)


def slow_or_fatal_disk(fsync_seconds: float, kill_at: int, count_to: str) -> None:
    """Make saving slow, or deadly at its n-th fsync or rename; count these into a file."""
    real = {"fsync": os.fsync, "replace": os.replace}
    calls = 0

    def before() -> None:
        nonlocal calls
        calls += 1
        if count_to:
            Path(count_to).write_text(str(calls))
        if calls == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def fsync(descriptor: int) -> None:
        before()
        time.sleep(fsync_seconds)
        real["fsync"](descriptor)

    def replace(source: Any, target: Any) -> None:
        before()
        real["replace"](source, target)

    os.fsync, os.replace = fsync, replace  # type: ignore[assignment]


def carry_out(request: dict[str, Any]) -> int:
    """Set the process up as a request says, and train."""
    torch.set_num_threads(1)
    os.environ.update(request.pop("environment", {}))
    disk = [request.pop(key, default) for key, default in DISK.items()]
    if disk != list(DISK.values()):
        slow_or_fatal_disk(*disk)
    messages = request.pop("messages", "")  # A file to take stderr.
    if messages:
        descriptor = os.open(messages, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 2)
    limit = request.pop("largest_file", 0)
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    show_messages()
    return train(**request)


PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT
DISK: dict[str, Any] = {"fsync_seconds": 0.0, "kill_at": 0, "count_to": ""}


def serve() -> None:
    """Answer requests until stdin closes."""
    # Optimisers import this on first use, which would cost every process most of its time.
    importlib.import_module("torch._dynamo")
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                code = 70
                os.setpgid(0, 0)
                try:
                    code = carry_out(request["start"])
                except BaseException:
                    traceback.print_exc()
                finally:
                    sys.stderr.flush()
                    os._exit(code)
            answer: dict[str, Any] = {"pid": pid}
        elif "poll" in request:
            answer = {"ended": os.waitid(os.P_PID, request["poll"], PEEK) is not None}
        else:
            _, status = os.waitpid(request["wait"], 0)
            answer = {"code": os.waitstatus_to_exitcode(status)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(carry_out(json.loads(sys.argv[1])))
    serve()
