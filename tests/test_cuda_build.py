"""The CUDA side builds without a GPU and beside a CPU torch: compiles, links, loads, registers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from host_cuda.compiling import CSRC, HOST_CUDA, made_once, source_digest

ARCHITECTURES = ("75", "80", "86", "89", "90", "100", "120")
SOURCES = sorted(CSRC.rglob("*.cu"))
GLUE = sorted(CSRC.rglob("*_cuda.cpp"))
TORCH = Path(torch.__file__).parent
NVCC_FLAGS = (
    "-std=c++20",
    "-O3",
    "-Werror=all-warnings",
    "-Xptxas=-v",
    "-Xcompiler=-fPIC",
    f"-I{CSRC}",
    f"-I{HOST_CUDA}",
)
GLUE_FLAGS = (
    "-std=c++20",
    "-fPIC",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-DTORCH_TARGET_VERSION=0x020a000000000000ULL",
    f"-I{CSRC}",
    "-isystem",
    str(TORCH / "include"),
)
LINK_FLAGS = (
    "-Wl,--no-as-needed,-z,defs,--exclude-libs,ALL",
    f"-L{TORCH / 'lib'}",
    "-ltorch",
    "-ltorch_cpu",
    "-lrt",
    "-lpthread",
    "-ldl",
)

named = pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)


@pytest.fixture(scope="module")
def nvcc() -> str:
    found = shutil.which("nvcc")
    if found is None:
        pytest.skip("no nvcc on the PATH")
    return found


def _object(nvcc: str, source: Path, architecture: str) -> Path:
    command = [nvcc, *NVCC_FLAGS, f"-arch=sm_{architecture}", "-c", str(source)]
    name = f"{source.stem}-sm_{architecture}-{source_digest(command, source)}.o"
    return made_once(name, lambda made: [*command, "-o", str(made)])


def _toolkit(nvcc: str) -> Path:
    """The folder that nvcc itself calls its top: the program on the PATH may be a wrapper."""
    command = [nvcc, "--dryrun", str(SOURCES[0])]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    top = re.search(r"TOP=(.*)", said)
    assert top is not None, said
    return Path(top[1]).resolve()


def test_there_are_kernels_to_look_at() -> None:
    assert CSRC / "execute" / "execute_cuda.cu" in SOURCES
    assert CSRC / "execute" / "execute_cuda.cpp" in GLUE


@named
def test_kernels_compile_without_warnings(nvcc: str, source: Path) -> None:
    _object(nvcc, source, "90")


@named
def test_registers_are_not_spilled(nvcc: str, source: Path) -> None:
    """Kernels named *_wide are for rare, large inputs and may spill."""
    made = _object(nvcc, source, "90")
    log = made.with_name(f"{made.name}.log").read_text()
    spills = re.findall(r"Function properties for (\S+)\s.*?(\d+) bytes spill stores", log)
    assert spills
    assert [name for name, stores in spills if stores != "0" and "_wide" not in name] == []


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@named
def test_kernels_compile_for_every_architecture(nvcc: str, source: Path, architecture: str) -> None:
    _object(nvcc, source, architecture)


def test_checks_of_the_stand_in_are_real_cuda(nvcc: str) -> None:
    """What tests/host_cuda tries its header with compiles for a device as well."""
    _object(nvcc, HOST_CUDA / "execution_model.cu", "90")


def test_library_loads_beside_this_torch_and_registers(nvcc: str) -> None:
    """Linked as cmake/Cuda.cmake does: stable ABI glue, kernels and the static CUDA runtime."""
    toolkit, cxx = _toolkit(nvcc), shutil.which("g++")
    runtime = next(iter(sorted(toolkit.rglob("libcudart_static.a"))), None)
    if runtime is None or cxx is None:
        pytest.skip("no static CUDA runtime or no g++")
    parts = [_object(nvcc, source, "90") for source in SOURCES]
    for glue in GLUE:
        command = [cxx, *GLUE_FLAGS, "-isystem", str(toolkit / "include"), "-c", str(glue)]
        name = f"{glue.stem}-glue-{source_digest(command, glue)}.o"
        parts.append(made_once(name, lambda made, command=command: [*command, "-o", str(made)]))
    link = [cxx, "-shared", *map(str, parts), str(runtime), *LINK_FLAGS]
    name = f"_ops_cuda-{source_digest(link, GLUE[0])}.so"
    library = made_once(name, lambda made: [*link, "-o", str(made)])
    done = subprocess.run(
        [sys.executable, "-c", _REGISTERED, str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    on_cpu, on_cuda = (set(line.split()) for line in done.stdout.splitlines())
    assert on_cuda
    assert on_cuda == on_cpu  # every op with a CPU kernel has a CUDA kernel


_REGISTERED = """
import sys
import torch
import pyvqa._core
if torch.version.cuda is None:
    torch.ops.load_library(sys.argv[1])
ops = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("pyvqa::")]
for key in ("CPU", "CUDA"):
    print(*(o for o in ops if torch._C._dispatch_has_kernel_for_dispatch_key(o, key)))
"""
