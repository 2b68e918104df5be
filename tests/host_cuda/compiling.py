"""Small C++ programs for tests: compiled once per content, kept under build/tests."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
HOST_CUDA = ROOT / "tests" / "host_cuda"
FUZZ = ROOT / "tests" / "fuzz"

COMMON_FLAGS = ("-std=c++20", "-Wall", "-Wextra", "-Wshadow", "-Werror", f"-I{CSRC}")
FAST = ("-O2",)
SANITIZED = (
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
)
# nvcc's dialect for an ordinary compiler: the stand-in for cuda_runtime.h comes first.
CUDA_ON_HOST = (f"-I{HOST_CUDA / 'include'}", f"-I{HOST_CUDA}")

# The flags of cmake/InstructionSets.cmake.
_AVX2 = ("-mavx2", "-mfma", "-mf16c", "-mbmi", "-mbmi2", "-mpopcnt", "-mlzcnt")
_AVX512 = ("-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mprefer-vector-width=512")
ISA_FLAGS: dict[str, tuple[str, ...]] = {
    "base": ("-march=x86-64-v2",),
    "avx2": _AVX2,
    "avx512": _AVX2 + _AVX512,
}


@dataclass(frozen=True)
class Unit:
    """A source file and the flags that it alone gets."""

    source: Path
    flags: tuple[str, ...] = ()

    def language(self) -> tuple[str, ...]:
        return ("-x", "c++") if self.source.suffix == ".cu" else ()


def kernel_units(source: str, isas: tuple[str, ...] = ("base",)) -> list[Unit]:
    """A CPU kernel file once per instruction set, as the build compiles it."""
    return [
        Unit(CSRC / source, (*ISA_FLAGS[isa], "-ffp-contract=off", f"-DPV_ISA={isa}"))
        for isa in isas
    ]


def compiler() -> str:
    """The C++ compiler, or skip the test."""
    found = shutil.which(os.environ.get("CXX", "g++"))
    if found is None:
        pytest.skip("no g++ on the PATH")
    return found


@functools.cache
def has_sanitizers() -> bool:
    """Say whether programs can be linked and started with AddressSanitizer."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "empty.cpp"
        source.write_text("int main() { return 0; }\n")
        program = Path(folder) / "empty"
        command = [compiler(), *SANITIZED, str(source), "-o", str(program)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            return False
        return run(program).returncode == 0


def need_sanitizers() -> None:
    if not has_sanitizers():
        pytest.skip("the sanitizers' run-time libraries are not installed")


def build(name: str, units: list[Unit], flags: tuple[str, ...]) -> Path:
    """Compile and link `units`; a program with the same content is built once.

    Fails the test with the compiler's words if it does not compile.
    """
    cxx = compiler()
    folder = ROOT / "build" / "tests" / f"{name}-{_digest(cxx, units, flags)}"
    program = folder / name
    if program.exists():
        return program
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{name}-") as work:
        objects = []
        for number, unit in enumerate(units):
            target = Path(work) / f"{number}.o"
            _run_compiler(
                [cxx, *COMMON_FLAGS, *flags, *unit.flags, *unit.language()]
                + ["-c", str(unit.source), "-o", str(target)]
            )
            objects.append(str(target))
        made = Path(work) / name
        _run_compiler([cxx, *flags, *objects, "-o", str(made)])
        folder.mkdir(exist_ok=True)
        made.replace(program)  # whole or not at all, also beside another test process
    return program


def run(
    program: Path, *arguments: str, timeout: float = 600, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a built program and return what it said."""
    return subprocess.run(
        [str(program), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        # Leaks are not what these programs look for, and finding them needs ptrace.
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0", **environment},
    )


def _run_compiler(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stderr}", pytrace=False)


def _digest(cxx: str, units: list[Unit], flags: tuple[str, ...]) -> str:
    version = subprocess.run([cxx, "--version"], capture_output=True, check=True).stdout
    parts = [version, repr((flags, units)).encode()]
    headers = [p for folder in (CSRC, HOST_CUDA, FUZZ) for p in folder.rglob("*.h")]
    for path in [*sorted(headers), *(unit.source for unit in units)]:
        parts.append(path.read_bytes())
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
