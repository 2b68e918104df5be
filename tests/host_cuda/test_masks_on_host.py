"""CUDA kernels for masks on the host: in several orders of the threads, and under sanitizers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from host_cuda import compiling
from host_cuda.compiling import CSRC, HOST_CUDA, Unit, build, kernel_units, run

KERNELS = ("masks", "match", "runs")


def driver(flags: tuple[str, ...], kernel_flags: tuple[str, ...] = ()) -> Path:
    kernels = kernel_units("masks/masks_kernel.cpp")
    units = [
        Unit(HOST_CUDA / "masks_driver.cpp"),
        *(Unit(CSRC / "masks" / f"{name}_cuda.cu") for name in KERNELS),
        *(replace(unit, flags=unit.flags + kernel_flags) for unit in kernels),
    ]
    return build("masks_driver", units, flags + compiling.CUDA_ON_HOST)


@pytest.mark.parametrize("order", ["forward", "backward", "1", "2"])
@pytest.mark.parametrize("sanitized", [False, True], ids=["plain", "sanitized"])
def test_kernels_equal_the_cpus(sanitized: bool, order: str) -> None:
    if sanitized:
        compiling.need_sanitizers()
    program = driver(compiling.SANITIZED if sanitized else compiling.FAST)
    cases = "12" if sanitized else "60"
    done = run(program, cases, PYVQA_HOST_CUDA_ORDER=order)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{cases} cases are equal" in done.stdout


def test_they_equal_the_kernels_of_other_processors_too() -> None:
    """Without x86's vector instructions the CPU kernels are plain C++."""
    done = run(driver(compiling.FAST, ("-U__SSE2__",)), "60")
    assert done.returncode == 0, done.stdout + done.stderr
