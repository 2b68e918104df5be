"""Small C++ programs for tests: compiled once per content, kept under build/tests."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CSRC = ROOT / "csrc"
HOST_CUDA = ROOT / "tests" / "host_cuda"
FUZZ = ROOT / "tests" / "fuzz"
CACHE = ROOT / "build" / "tests"

COMMON_FLAGS = ("-std=c++20", "-Wall", "-Wextra", "-Wshadow", "-Werror", f"-I{CSRC}")
FAST = ("-O2",)
RELEASE = ("-O3", "-fPIC")  # as the build compiles kernels
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
_X86 = platform.machine() in ("x86_64", "AMD64")
ISA_FLAGS: dict[str, tuple[str, ...]] = (
    {"base": ("-march=x86-64-v2",), "avx2": _AVX2, "avx512": _AVX2 + _AVX512}
    if _X86
    else {"base": ()}
)


@dataclass(frozen=True)
class Unit:
    """A source file and the flags that it alone gets."""

    source: Path
    flags: tuple[str, ...] = ()

    def language(self) -> tuple[str, ...]:
        return ("-x", "c++") if self.source.suffix == ".cu" else ()


def kernel_units(source: str, isas: Iterable[str] = ("base",)) -> list[Unit]:
    """A CPU kernel file once per instruction set, as the build compiles it."""
    return [
        Unit(
            CSRC / source,
            (
                *ISA_FLAGS[isa],
                "-ffp-contract=off",
                "-fno-exceptions",
                f"-DPV_ISA={isa}",
                f"-DPV_ISA_{isa}=1",
            ),
        )
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


def compile_unit(unit: Unit, flags: tuple[str, ...] = ()) -> Path:
    """Compile one source file; an object with the same content is made once.

    Fails the test with the compiler's words if it does not compile.
    """
    command = [compiler(), *COMMON_FLAGS, *flags, *unit.flags, *unit.language()]
    name = f"{unit.source.stem}-{source_digest(command, unit.source)}.o"
    return made_once(name, lambda made: [*command, "-c", str(unit.source), "-o", str(made)])


def build(name: str, units: list[Unit], flags: tuple[str, ...]) -> Path:
    """Compile `units` and link them into a program."""
    objects = [str(compile_unit(unit, flags)) for unit in units]
    digest = hashlib.sha256(" ".join([*objects, *flags]).encode()).hexdigest()[:16]
    command = [compiler(), *flags, *objects]
    return made_once(f"{name}-{digest}", lambda made: [*command, "-o", str(made)])


def made_once(name: str, command: Callable[[Path], list[str]]) -> Path:
    """Return the file `name` of the cache, made by `command` (which is told where) if it is new.

    What the command said stands beside it in `<name>.log`.
    """
    target = CACHE / name
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        made = Path(work) / name
        done = subprocess.run(command(made), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.fail(f"{' '.join(done.args)}\n{done.stderr}", pytrace=False)
        target.with_name(f"{name}.log").write_text(done.stderr)
        made.replace(target)  # whole or not at all, also beside another test process
    return target


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


def source_digest(command: list[str], source: Path) -> str:
    version = subprocess.run([command[0], "--version"], capture_output=True, check=True).stdout
    headers = sorted(p for folder in (CSRC, HOST_CUDA, FUZZ) for p in folder.rglob("*.h"))
    parts = [version, " ".join(command).encode(), *(p.read_bytes() for p in [*headers, source])]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]
