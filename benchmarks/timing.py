"""How every benchmark here times: both sides in turn, the fastest run of each.

Processor time of one thread, so that other work on the machine adds little; the fastest run,
because what it adds is never negative. Results are collected as rows of one table, which the end
of the run prints (conftest.py).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from pyvqa import ops

SLACK = 0.7  # a measured ratio may fall this far below its target before a benchmark fails
ROWS: list[Row] = []


class Row(NamedTuple):
    """One comparison."""

    op: str
    case: str
    rival: str
    rival_ms: float
    ours_ms: float
    target: float  # the ratio to reach; 0 where there is none

    @property
    def ratio(self) -> float:
        return self.rival_ms / self.ours_ms


def seconds(run: Callable[[], object]) -> float:
    """Processor time of this thread: waiting for other programs on a busy machine is not in it."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def fastest_pair(
    ours: Callable[[], object], rival: Callable[[], object], budget: float = 2.0
) -> tuple[float, float]:
    """Seconds of the fastest run of each, both taking turns for about `budget` seconds in all.

    The faster side gets several runs a turn, so that both get a similar share of the time.
    """
    first_ours = min(seconds(ours) for _ in range(2))
    first_rival = seconds(rival)
    turns = max(3, min(200, int(budget / 2 / max(first_rival, 1e-7))))
    share = max(1, min(50, int(first_rival / max(first_ours, 1e-7))))
    best_ours, best_rival = first_ours, first_rival
    for _ in range(turns):
        best_rival = min(best_rival, seconds(rival))
        best_ours = min(best_ours, *(seconds(ours) for _ in range(share + 1)))
    return best_ours, best_rival


def compare(
    op: str,
    case: str,
    *,
    ours: Callable[[], object],
    rival: Callable[[], object],
    rival_name: str,
    target: float = 0.0,
    hold: float | None = None,
) -> Row:
    """Time both on one thread, add a row to the table and hold the ratio to its target.

    `hold` takes the target's place as what is held where the target itself is out of reach.
    The caller has checked that both sides agree.
    """
    torch.set_num_threads(1)
    ours_seconds, rival_seconds = fastest_pair(ours, rival)
    row = Row(op, case, rival_name, rival_seconds * 1e3, ours_seconds * 1e3, target)
    ROWS.append(row)
    held = target if hold is None else hold
    assert row.ratio >= SLACK * held, (
        f"{op}, {case}: {row.ratio:.1f} times as fast as {rival_name}, wanted {held:g}"
    )
    return row


def processor() -> str:
    """The processor's name, as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [
        line.split(":", 1)[1].strip()
        for line in (info.read_text().splitlines() if info.is_file() else [])
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def table(versions: dict[str, str]) -> str:
    """The rows as Markdown, below the machine and the versions that they were measured on."""
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"One thread of {processor()} ({ops.isa()} kernels); {told}. Milliseconds, fastest run.",
        "",
        "| op | case | rival | rival | ours | ratio | target |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in ROWS:
        target = f"{row.target:g}" if row.target else ""
        lines.append(
            f"| {row.op} | {row.case} | {row.rival} | {row.rival_ms:.3g} | {row.ours_ms:.3g} "
            f"| {row.ratio:.1f} | {target} |"
        )
    return "\n".join(lines) + "\n"
