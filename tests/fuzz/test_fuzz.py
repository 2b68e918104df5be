"""The fuzz targets in short: seeds, kept findings and some thousand mutations of each.

`python tests/fuzz/run_fuzz.py` runs them for longer, under libFuzzer where clang++ is there.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import run_fuzz as fuzzing

CASES = 20_000

pytestmark = pytest.mark.fuzz


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    toolchain = fuzzing.find_toolchain(folder, allow_clang=False)
    if toolchain is None:
        pytest.skip("no C++ compiler that links the address and undefined-behaviour sanitizers")
    return fuzzing.build(toolchain, list(fuzzing.TARGETS), folder, optimise="-O0")


def explain(done: subprocess.CompletedProcess[str]) -> str:
    return f"exit status {done.returncode}\n{done.stderr[-6000:]}"


@pytest.mark.parametrize("target", list(fuzzing.TARGETS))
def test_target_has_nothing_to_report(
    target: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    done = fuzzing.fuzz(programs[target], target, tmp_path, runs=CASES)
    assert done.returncode == 0, explain(done)
    assert re.search(rf"^Done {CASES} runs", done.stderr, re.MULTILINE), explain(done)


def test_every_seed_folder_belongs_to_a_target() -> None:
    folders = {path.name for path in (fuzzing.HERE / "corpus").iterdir()}
    assert folders <= set(fuzzing.TARGETS)


def test_a_broken_rule_is_reported(tmp_path: Path) -> None:
    """The harness itself: a target that overruns its input must not pass."""
    toolchain = fuzzing.find_toolchain(tmp_path, allow_clang=False)
    if toolchain is None:
        pytest.skip("no C++ compiler that links the address and undefined-behaviour sanitizers")
    source = tmp_path / "broken.cpp"
    source.write_text(
        '#include "targets/fuzz.h"\n'
        'extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {\n'
        "  volatile uint8_t last = size > 40 ? data[size] : uint8_t{0};\n"
        "  return last * 0;\n"
        "}\n"
    )
    program = tmp_path / "broken"
    command = [toolchain.compiler, *fuzzing.FLAGS, toolchain.link, f"-I{fuzzing.HERE}"]
    command += [str(source), str(fuzzing.HERE / "driver.cpp"), "-o", str(program)]
    subprocess.run(command, check=True)
    done = fuzzing.fuzz(program, "masks", tmp_path, runs=CASES)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr, explain(done)
    assert len(list(tmp_path.glob("masks-crash-*"))) == 1
