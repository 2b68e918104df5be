"""Random tables, programs and scenes through the interpreter (tests/fuzz/targets/execute.cpp)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from host_cuda.compiling import (
    FUZZ,
    ISA_FLAGS,
    RELEASE,
    SANITIZED,
    Unit,
    build,
    kernel_units,
    need_sanitizers,
    run,
)

HARNESS = FUZZ / "targets" / "execute.cpp"
KERNEL = "execute/execute_kernel.cpp"


def _check(program: Path, programs: str, seed: str) -> None:
    done = run(program, programs, seed)
    assert done.returncode == 0, done.stdout + done.stderr
    found = dict(re.findall(r"(\w+) (\d+)", done.stdout))
    for kind in ("none", "integer", "string", "object", "set"):
        assert int(found[kind]) > 100, done.stdout


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", ["1", "2"])
def test_sanitizers_have_nothing_to_report(seed: str) -> None:
    need_sanitizers()
    units = [Unit(HARNESS, ("-DPYVQA_BASE_ONLY",)), *kernel_units(KERNEL)]
    _check(build("execute_fuzz_sanitized", units, SANITIZED), "30000", seed)


@pytest.mark.fuzz
@pytest.mark.slow
def test_sanitizers_have_nothing_to_report_on_any_instruction_set() -> None:
    """The lanes of lockstep.h run on AVX-512 alone; a million programs."""
    need_sanitizers()
    units = [Unit(HARNESS), *kernel_units(KERNEL, ISA_FLAGS)]
    _check(build("execute_fuzz_all_sanitized", units, SANITIZED), "1000000", "4")


@pytest.mark.fuzz
def test_instruction_sets_agree() -> None:
    units = [Unit(HARNESS), *kernel_units(KERNEL, ISA_FLAGS)]
    _check(build("execute_fuzz", units, RELEASE), "200000", "3")
