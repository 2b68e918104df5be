"""CUDA kernels on the host: the execution model itself, and each kernel against its CPU twin."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from host_cuda import compiling
from host_cuda.compiling import CSRC, HOST_CUDA, Unit, build, kernel_units, run

ORDERS = ("forward", "backward", "1", "2")  # of the threads of a block


def _flags(sanitized: bool) -> tuple[str, ...]:
    if sanitized:
        compiling.need_sanitizers()
    return (compiling.SANITIZED if sanitized else compiling.FAST) + compiling.CUDA_ON_HOST


def _execution_model(sanitized: bool) -> Path:
    units = [Unit(HOST_CUDA / "execution_model.cu")]
    return build("execution_model", units, _flags(sanitized))


def _execute_driver(sanitized: bool) -> Path:
    units = [
        Unit(HOST_CUDA / "execute_driver.cpp"),
        Unit(CSRC / "execute" / "execute_cuda.cu"),
        *kernel_units("execute/execute_kernel.cpp"),
    ]
    return build("execute_driver", units, _flags(sanitized))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("sanitized", [False, True], ids=["plain", "sanitized"])
def test_execution_model(sanitized: bool, order: str) -> None:
    done = run(_execution_model(sanitized), PYVQA_HOST_CUDA_ORDER=order)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all checks passed" in done.stdout


def test_a_missing_barrier_shows_in_another_order() -> None:
    program = _execution_model(sanitized=False)
    seen = {run(program, "race", PYVQA_HOST_CUDA_ORDER=order).stdout for order in ORDERS}
    assert len(seen) > 1


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        ("deadlock", "waits at a barrier that others never reach"),
        ("mask", "is not in the mask of its warp-wide operation"),
    ],
)
def test_misuse_is_named(misuse: str, message: str) -> None:
    done = run(_execution_model(sanitized=False), misuse)
    assert done.returncode != 0
    assert message in done.stderr


def test_shared_memory_has_guarded_ends() -> None:
    done = run(_execution_model(sanitized=True), "overflow")
    assert done.returncode != 0
    assert re.search("out of bounds|global-buffer-overflow", done.stderr)


@pytest.mark.parametrize("order", ["forward", "3"])
@pytest.mark.parametrize("sanitized", [False, True], ids=["plain", "sanitized"])
def test_execute_equals_the_cpu_kernel(sanitized: bool, order: str) -> None:
    programs = "150" if sanitized else "400"
    done = run(_execute_driver(sanitized), programs, PYVQA_HOST_CUDA_ORDER=order)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {k: int(n) for k, n in re.findall(r"(\w+) (\d+)", done.stdout)}
    # The comparison means little unless every kind of result is well represented.
    for kind in ("integer", "string", "object", "set"):
        assert kinds[kind] > 100, done.stdout
