"""Build the fuzz targets and run them: `python tests/fuzz/run_fuzz.py --seconds 60`.

With clang++ the targets run under libFuzzer, which follows coverage. Where clang++ is missing the
same targets are built with g++ and driven by driver.cpp, which mutates the corpus at random. Both
carry the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE.parents[1] / "csrc"
READER_SOURCES = ("native/json.cpp", "native/scene_draft.cpp", "native/scene_reader.cpp")
# Target -> what it is linked with.
TARGETS: dict[str, tuple[str, ...]] = {
    "json": ("native/json.cpp",),
    "scenes": READER_SOURCES,
    "questions": ("native/json.cpp", "native/question_reader.cpp"),
    "masks": ("masks/masks_kernel.cpp",),
    "coco_eval": (),
    "compile": ("execute/execute_kernel.cpp",),
    "execute": ("execute/execute_kernel.cpp",),
}
TEXT_TARGETS = ("json", "scenes", "questions")
FLAGS = ("-std=c++20", "-g", "-fno-omit-frame-pointer", "-ffp-contract=off")
FLAGS += ("-fno-sanitize-recover=all", f"-I{SOURCES}", "-DPV_ISA=base", "-DPV_ISA_base=1")
FLAGS += ("-DPYVQA_BASE_ONLY", "-DPYVQA_LIBFUZZER")  # one instruction set, libFuzzer's entry point


@dataclass(frozen=True)
class Toolchain:
    """A compiler and how it makes a fuzzer of a target."""

    compiler: str
    sanitizers: str  # for every object file
    link: str
    driver: bool  # whether driver.cpp takes libFuzzer's place

    @property
    def words(self) -> str:
        engine = "driver.cpp, random mutation without coverage" if self.driver else "libFuzzer"
        return f"{self.compiler}, {engine}"


def builds(toolchain: Toolchain, folder: Path) -> bool:
    """Try the toolchain on a target that does nothing."""
    source = folder / "nothing.cpp"
    source.write_text(
        "#include <cstddef>\n#include <cstdint>\n"
        'extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }\n'
        + ("int main() { return 0; }\n" if toolchain.driver else "")
    )
    out = folder / "nothing"
    command = [toolchain.compiler, *FLAGS, toolchain.link, str(source), "-o", str(out)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        return False
    run = [str(out)] if toolchain.driver else [str(out), "-runs=1"]
    return subprocess.run(run, capture_output=True, check=False).returncode == 0


def find_toolchain(folder: Path, allow_clang: bool = True) -> Toolchain | None:
    """Return clang++ with libFuzzer, else g++ with our driver, else None."""
    both = "-fsanitize=address,undefined"
    fuzzer = "-fsanitize=fuzzer-no-link,address,undefined"
    names = [os.environ["CLANGXX"]] if "CLANGXX" in os.environ else []
    names += ["clang++", *(f"clang++-{version}" for version in range(22, 13, -1))]
    candidates = [
        Toolchain(name, fuzzer, "-fsanitize=fuzzer,address,undefined", False)
        for name in names
        if allow_clang
    ]
    candidates += [Toolchain(name, both, both, True) for name in ("g++", "c++")]
    usable = (tool for tool in candidates if shutil.which(tool.compiler) and builds(tool, folder))
    return next(usable, None)


def compile_object(toolchain: Toolchain, optimise: str, source: Path, out: Path) -> None:
    """Compile one source file; raise with the compiler's words."""
    flags = [*FLAGS, optimise, toolchain.sanitizers]
    command = [toolchain.compiler, *flags, "-c", str(source), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")


def build(
    toolchain: Toolchain, targets: Sequence[str], folder: Path, optimise: str = "-O1"
) -> dict[str, Path]:
    """Build the targets, each source once; return target -> program."""
    sources = {SOURCES / name for target in targets for name in TARGETS[target]}
    sources |= {HERE / "targets" / f"{target}.cpp" for target in targets}
    if toolchain.driver:
        sources.add(HERE / "driver.cpp")
    objects = {source: folder / f"{source.parent.name}_{source.stem}.o" for source in sources}
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(lambda item: compile_object(toolchain, optimise, *item), objects.items()))
    programs = {}
    for target in targets:
        parts = [HERE / "targets" / f"{target}.cpp", *(SOURCES / name for name in TARGETS[target])]
        parts += [HERE / "driver.cpp"] if toolchain.driver else []
        programs[target] = folder / f"fuzz_{target}"
        command = [toolchain.compiler, toolchain.link, *(str(objects[part]) for part in parts)]
        subprocess.run([*command, "-o", str(programs[target])], check=True)
    return programs


def fuzz(
    program: Path, target: str, folder: Path, *, seconds: int = 0, runs: int = -1, seed: int = 1
) -> subprocess.CompletedProcess[str]:
    """Run one target; new inputs and crashes go to `folder`, never into the corpus."""
    found = folder / f"found_{target}"
    found.mkdir(parents=True, exist_ok=True)
    command = [str(program), f"-max_total_time={seconds}", f"-runs={runs}", f"-seed={seed}"]
    command += ["-max_len=4096", f"-artifact_prefix={folder}/{target}-", "-print_final_stats=1"]
    if target in TEXT_TARGETS:
        command.append(f"-dict={HERE / 'json.dict'}")
    command.append(str(found))
    corpus = HERE / "corpus" / target
    command += [str(corpus)] if corpus.is_dir() else []
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    """Run the chosen targets and say how each ended."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep programs, new inputs and crashes here")
    args = parser.parse_args()
    unknown = set(args.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown target {', '.join(sorted(unknown))}")
    folder = args.out or Path(tempfile.mkdtemp(prefix="pyvqa-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    toolchain = find_toolchain(folder)
    if toolchain is None:
        sys.stdout.write("no C++ compiler with sanitizers was found\n")
        return 1
    sys.stdout.write(f"fuzzing with {toolchain.words}; files in {folder}\n")
    programs = build(toolchain, args.targets or list(TARGETS), folder)
    failed = 0
    for target, program in programs.items():
        done = fuzz(program, target, folder, seconds=args.seconds, seed=args.seed)
        last = [line for line in done.stderr.splitlines() if line.startswith("Done ")]
        sys.stdout.write(f"{target}: {last[-1] if last else 'FAILED'}\n")
        if done.returncode != 0:
            failed += 1
            sys.stdout.write(done.stderr[-4000:])
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
