"""All CUDA kernels and their glue as one torch library that runs on the host.

`load()` builds it and gives `torch.ops.pyvqa_host_cuda`, which has every op of `torch.ops.pyvqa`
under its name and takes CPU tensors. The kernels run in tests/host_cuda/cuda_on_host.h, one thread
at a time, so keep inputs small.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

import torch

from host_cuda.compiling import (
    CSRC,
    CUDA_ON_HOST,
    HOST_CUDA,
    Unit,
    compile_unit,
    compiler,
    made_once,
)

TORCH = Path(torch.__file__).parent
OVERLAY = HOST_CUDA / "overlay"
FLAGS = (
    "-O2",
    "-fPIC",
    "-ffp-contract=off",  # as the device compiles decisions; see cmake/InstructionSets.cmake
    "-DTORCH_TARGET_VERSION=0x020a000000000000ULL",
    "-iquote",
    str(OVERLAY),
    *CUDA_ON_HOST,
    "-isystem",
    str(TORCH / "include"),
)
REGISTER = ("-include", str(OVERLAY / "register_on_host.h"))


def units() -> list[Unit]:
    glue = [CSRC / "ops.cpp", *sorted(CSRC.rglob("*_cuda.cpp"))]
    kernels = sorted(CSRC.rglob("*_cuda.cu"))
    plain = [CSRC / "common" / "isa.cpp"]
    return [Unit(p, REGISTER) for p in glue] + [Unit(p) for p in kernels + plain]


@functools.cache
def load() -> Any:
    """Build and load the library; skips the test where there is no compiler."""
    objects = [str(compile_unit(unit, FLAGS)) for unit in units()]
    links = ["-Wl,--no-as-needed", f"-L{TORCH / 'lib'}", "-ltorch", "-ltorch_cpu"]
    command = [compiler(), "-shared", *objects, *links]
    digest = hashlib.sha256(" ".join(command).encode()).hexdigest()[:16]
    library = made_once(f"_ops_host_cuda-{digest}.so", lambda made: [*command, "-o", str(made)])
    torch.ops.load_library(str(library))
    return torch.ops.pyvqa_host_cuda
