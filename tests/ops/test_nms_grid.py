"""The grid of kept boxes: the result without it, in nearly linear time and little memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from host_cuda.compiling import (
    ISA_FLAGS,
    RELEASE,
    ROOT,
    SANITIZED,
    Unit,
    build,
    kernel_units,
    need_sanitizers,
    run,
)

from ops.helpers import run_python
from pyvqa import ops

RANK = list(ISA_FLAGS)


def driver(isa: str, flags: tuple[str, ...] = RELEASE) -> Path:
    source = ROOT / "tests" / "ops" / "nms_driver.cpp"
    units = [
        Unit(source, ("-ffp-contract=off", f"-DPV_ISA={isa}")),
        *kernel_units("nms/nms_kernel.cpp", (isa,)),
    ]
    return build(f"nms_driver_{isa}", units, flags)


def check(program: Path, seed: int, rounds: int) -> None:
    done = run(program, "equal", str(seed), str(rounds))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("all equal\n")


@pytest.mark.parametrize("isa", ISA_FLAGS)
def test_hard_boxes_are_decided_as_without_the_grid(isa: str) -> None:
    """Random and nearly equal boxes of all sizes, shapes and places, overlaps on the threshold."""
    if RANK.index(isa) > RANK.index(ops.isa()):
        pytest.skip(f"this CPU has no {isa}")
    check(driver(isa), seed=1, rounds=25)


@pytest.mark.fuzz
@pytest.mark.parametrize("isa", sorted({"base", ops.isa()}))
def test_sanitizers_have_nothing_to_report(isa: str) -> None:
    need_sanitizers()
    check(driver(isa, SANITIZED), seed=1001, rounds=6)


@pytest.mark.fuzz
@pytest.mark.slow
def test_many_hard_boxes() -> None:
    check(driver(ops.isa()), seed=2001, rounds=2000)


@pytest.mark.parametrize("kind", ["sizes", "grows"])
def test_comparisons_grow_with_the_boxes(kind: str) -> None:
    """Sides of 1 to 1000 in one picture, or a picture that grows: about as many for each box.

    All pairs would be 64 times as many for 8 times the boxes.
    """

    def comparisons(boxes: int) -> int:
        done = run(driver(ops.isa()), "comparisons", kind, str(boxes))
        pairs, kept = (int(number) for number in done.stdout.split())
        assert kept > boxes / 3  # most boxes have to be compared with others that stay
        return pairs

    few, many = comparisons(20_000), comparisons(160_000)
    assert few < 80 * 20_000
    assert many < 8 * few


_MEMORY = """
from pathlib import Path
import torch
import pyvqa.ops
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
count, groups, dtype = {count}, {groups}, torch.{dtype}
generator = torch.Generator().manual_seed(0)
corner = torch.rand(count, 2, generator=generator, dtype=dtype) * 3000
boxes = torch.cat([corner, corner + torch.rand(count, 2, generator=generator, dtype=dtype) * 60], 1)
scores = torch.rand(count, generator=generator, dtype=dtype)
idxs = torch.randint(0, groups, (count,), generator=generator)
arguments = (idxs if groups > 1 else None, 0.5, False, False, False)
torch.ops.pyvqa.nms(boxes[:100], scores[:100], None, *arguments[1:])
Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
before = peak()
keep = torch.ops.pyvqa.nms(boxes, scores, *arguments)
print((peak() - before - 8 * len(keep)) / count)
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("groups", [1, 50, 400_000])
def test_working_memory_is_64_bytes_a_box(dtype: str, groups: int) -> None:
    if not os.access("/proc/self/clear_refs", os.W_OK):
        pytest.skip("the system does not tell the peak of memory in use")
    count = 400_000
    used = float(run_python(_MEMORY.format(count=count, groups=groups, dtype=dtype)))
    assert 9 < used < 66  # a page here and there on top
