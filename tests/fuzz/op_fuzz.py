"""Call the public ops with random input in a sanitizer build.

    python tests/fuzz/op_fuzz.py --calls 2000000

The kernels are built with the address and undefined-behaviour sanitizers and loaded into an
ordinary Python. tests/fuzz/op_calls/<op>.py says how to call an op at random: an exception that
names what is wrong is fine, a report of a sanitizer or an unexplained exception is not. A call is a
pure function of (seed, name, number), so what failed can be repeated alone:
`--seed S --only NAME --first NUMBER --calls 1`.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import mmap
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CALLS = HERE / "op_calls"
BUILD = ROOT / "build" / "sanitized"
ISAS = ("avx512", "avx2", "base")  # the calls are shared out among them
NOTE_BYTES = 256  # where the name of the running call is kept, readable after a crash


def sanitizer_runtime() -> str | None:
    """Return the libraries to load before Python, None where the compiler has none."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        return None
    found = []
    for name in ("libasan.so", "libubsan.so"):
        command = [compiler, f"-print-file-name={name}"]
        path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(path).is_absolute():
            return None
        found.append(str(Path(path).resolve()))
    return " ".join(found)


def build_package(jobs: int = 2) -> Path:
    """Build the libraries with sanitizers; return a folder to import pyvqa from.

    Raises RuntimeError with the build's last words.
    """
    import pybind11
    import torch

    package = BUILD / "package" / "pyvqa"
    options = {
        "PYVQA_SANITIZE": "address,undefined,float-cast-overflow",
        "PYVQA_CUDA": "OFF",
        "PYVQA_TORCH_DIR": Path(torch.__file__).parent,
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_CXX_FLAGS_RELEASE": "-O1 -g1",
        "CMAKE_INSTALL_PREFIX": BUILD / "package",
    }
    ninja = shutil.which("ninja", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if ninja is None or cmake is None:
        raise RuntimeError("cmake or ninja is missing")
    settings = [f"-D{name}={value}" for name, value in options.items()]
    settings.append(f"-DCMAKE_MAKE_PROGRAM={ninja}")
    run_step([cmake, "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", *settings])
    run_step([cmake, "--build", str(BUILD), "--parallel", str(jobs)])
    run_step([cmake, "--install", str(BUILD), "--component", "pyvqa"])
    for source in (ROOT / "pyvqa").iterdir():
        target = package / source.name
        if source.suffix != ".so" and not target.exists() and not target.is_symlink():
            target.symlink_to(source)
    return package.parent


def run_step(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{(done.stdout + done.stderr)[-4000:]}")


def start(
    package: Path,
    *,
    calls: int,
    seconds: float,
    seed: int,
    only: str = "",
    first: int = 0,
    isa: str = "avx512",
) -> subprocess.CompletedProcess[str]:
    """Run the calls in a Python with the sanitized kernels of one instruction set."""
    runtime = sanitizer_runtime()
    if runtime is None:
        raise RuntimeError("the compiler has no run-time libraries for its sanitizers")
    with tempfile.NamedTemporaryFile() as note:
        note.write(b" " * NOTE_BYTES)
        note.flush()
        command = [sys.executable, str(Path(__file__).resolve()), "--inside", note.name]
        command += ["--calls", str(calls), "--seconds", str(seconds), "--seed", str(seed)]
        command += ["--only", only, "--first", str(first)]
        environment = {
            **os.environ,
            "LD_PRELOAD": runtime,
            "PYTHONPATH": str(package),
            "OMP_NUM_THREADS": "1",
            "PYVQA_ISA": isa,
            # Python leaks by design; a huge request must fail with an exception, not end the run.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode != 0:
            running = Path(note.name).read_bytes().decode().strip()
            done.stderr += f"\nwhile running {running}\n"
        return done


class Call(NamedTuple):
    """A random call; one that takes long comes in every so many rounds only."""

    make: Callable[[random.Random], None]
    every: int


def named_calls(only: str) -> dict[str, Call]:
    """Every random call, as `op file.name`."""
    sys.path.insert(0, str(HERE))
    found = {}
    for path in sorted(CALLS.glob("*.py")):
        if path.stem == "__init__":
            continue
        module = importlib.import_module(f"op_calls.{path.stem}")
        rare: dict[str, int] = getattr(module, "EVERY", {})
        for name, call in module.CALLS.items():
            found[f"{path.stem}.{name}"] = Call(call, 1 if only else rare.get(name, 1))
    chosen = {name: call for name, call in found.items() if only in ("", name)}
    if not chosen:
        sys.exit(f"no random call is named {only!r}; there are {', '.join(found)}")
    return chosen


def numbered(calls: dict[str, Call], first: int) -> Iterator[tuple[str, int]]:
    """Names in turn, round after round, with the number of the round."""
    for number in itertools.count(first):
        yield from ((name, number) for name, call in calls.items() if number % call.every == 0)


def inside(args: argparse.Namespace) -> int:
    """Make the calls; the name of the running one stands in the note."""
    calls = named_calls(args.only)
    counts = dict.fromkeys(calls, 0)
    end = time.monotonic() + args.seconds if args.seconds else float("inf")
    with open(args.inside, "r+b") as file, mmap.mmap(file.fileno(), NOTE_BYTES) as note:
        for name, number in itertools.islice(numbered(calls, args.first), args.calls):
            text = f"--seed {args.seed} --only {name} --first {number} --calls 1"
            note[:] = text.encode().ljust(NOTE_BYTES)
            calls[name].make(random.Random(f"{args.seed}:{name}:{number}"))
            counts[name] += 1
            if time.monotonic() > end:
                break
    for name, count in counts.items():
        sys.stdout.write(f"{name}: {count:,} calls\n")
    sys.stdout.write(f"{sum(counts.values())} calls without a report\n")
    return 0


def main() -> int:
    """Build, run, and say how it ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--calls", type=int, default=2_000_000, help="in all (2,000,000)")
    parser.add_argument("--seconds", type=float, default=0, help="stop after this time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="NAME", help="one kind of call")
    parser.add_argument("--first", type=int, default=0, help="number of the first call")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        return inside(args)
    package = build_package()
    for number, isa in enumerate(ISAS):
        done = start(
            package,
            calls=-(-args.calls // len(ISAS)),
            seconds=args.seconds / len(ISAS),
            seed=args.seed + number,
            only=args.only,
            first=args.first,
            isa=isa,
        )
        sys.stdout.write(f"{isa}\n{done.stdout}{done.stderr[-6000:]}\n")
        sys.stdout.flush()
        if done.returncode != 0:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
