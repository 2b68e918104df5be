"""Processes that train and may be killed; see `runner`."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def environment() -> dict[str, str]:
    """What a process of `runner.py` needs to find the package and the tests' stage."""
    root = str(Path(__file__).resolve().parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root}


class Runner:
    """Client of the server in `runner.py`."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("runner.py")
        self._server = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def start(self, out: Path, *overrides: str, **request: Any) -> int:
        """Start training into `out`; give the process id."""
        request = {"out": str(out), "overrides": list(overrides), **request}
        return int(self._ask({"start": request})["pid"])

    def wait(self, pid: int) -> int:
        """Wait for a process to end; give its exit code, negative for a signal."""
        return int(self._ask({"wait": pid})["code"])

    def has_ended(self, pid: int) -> bool:
        return bool(self._ask({"poll": pid})["ended"])

    def wait_until_step(self, pid: int, out: Path, step: int) -> None:
        """Wait until a process has logged `step` (every third one is)."""
        timing = out / "timing.jsonl"
        for _ in range(2400):
            if timing.is_file() and f'"step": {step},' in timing.read_text():
                return
            assert not self.has_ended(pid), "the run ended before that step"
            time.sleep(0.025)
        raise AssertionError(f"no step {step} within a minute")

    def train(self, out: Path, *overrides: str, **request: Any) -> int:
        return self.wait(self.start(out, *overrides, **request))

    def start_ranks(self, out: Path, ranks: int, *overrides: str, **request: Any) -> list[int]:
        """Start one process per rank."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        job = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(ranks)}
        return [
            self.start(out, *overrides, environment={**job, "RANK": str(rank)}, **request)
            for rank in range(ranks)
        ]

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=60)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


@pytest.fixture(scope="session")
def runner() -> Iterator[Runner]:
    one = Runner()
    yield one
    one.close()


@pytest.fixture(scope="session")
def whole_run(runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert runner.train(out) == 0
    return out


def content(run: Path) -> dict[str, bytes]:
    """Everything a run has produced, timings aside."""
    files = (path for path in run.rglob("*") if path.is_file())
    skipped = {"timing.jsonl", ".lock"}
    return {str(p.relative_to(run)): p.read_bytes() for p in files if p.name not in skipped}


def assert_same_run(one: Path, other: Path, *, same_config: bool = True) -> None:
    """Hold two runs to equal bytes in networks, optimisers, counters, logs and models."""
    first, second = content(one), content(other)
    if not same_config:
        assert first.pop("config.yaml") != second.pop("config.yaml")
    assert sorted(first) == sorted(second)
    assert [name for name in first if first[name] != second[name]] == []
