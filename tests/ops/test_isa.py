"""One binary for every CPU: how the instruction set is chosen, and what its objects may export."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from host_cuda.compiling import (
    CSRC,
    FAST,
    ISA_FLAGS,
    RELEASE,
    ROOT,
    Unit,
    build,
    compile_unit,
    kernel_units,
    run,
)

from pyvqa import ops

RANK = ["base", "avx2", "avx512"]


def kernel_sources() -> list[str]:
    """The files that the build compiles once per instruction set."""
    text = (ROOT / "cmake" / "Ops.cmake").read_text()
    return re.findall(
        r"csrc/(\S+)", " ".join(re.findall(r"pyvqa_isa_sources\((.*?)\)", text, re.S))
    )


def test_there_are_kernels_to_look_at() -> None:
    assert "execute/execute_kernel.cpp" in kernel_sources()


@pytest.mark.parametrize("flags", [("-O0",), RELEASE], ids=["debug", "release"])
@pytest.mark.parametrize("isa", ISA_FLAGS)
@pytest.mark.parametrize("source", kernel_sources())
def test_isa_objects_share_no_symbols(source: str, isa: str, flags: tuple[str, ...]) -> None:
    """A weak symbol with AVX-512 code could become the copy that the whole library uses."""
    if shutil.which("nm") is None:
        pytest.skip("no nm on the PATH")
    (unit,) = kernel_units(source, (isa,))
    made = compile_unit(unit, flags)
    listed = subprocess.run(["nm", "-C", str(made)], capture_output=True, text=True, check=True)
    symbols = re.findall(r"^[0-9a-f]* +(\w) (.*)$", listed.stdout, re.M)
    assert [name for kind, name in symbols if kind in "WVuwv"] == []
    exported = [name for kind, name in symbols if kind in "TDBR"]
    assert exported
    assert all(re.search(rf"_{isa}\b", name) for name in exported), exported


def test_environment_asks_for_a_lower_set() -> None:
    program = build(
        "isa_name", [Unit(ROOT / "tests/ops/isa_name.cpp"), Unit(CSRC / "common/isa.cpp")], FAST
    )

    def chosen(asked: str) -> str:
        return run(program, PYVQA_ISA=asked).stdout.strip()

    best = chosen("")
    assert chosen("base") == "base"
    assert chosen("avx2") == min(best, "avx2", key=RANK.index)
    assert chosen("avx512") == best  # never above what the CPU has
    assert chosen("sse9") == best


def test_op_reports_the_set() -> None:
    assert ops.isa() in RANK
