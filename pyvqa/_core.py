"""Load the compiled libraries: the one place that knows where they are."""

from __future__ import annotations

from pathlib import Path

import torch

import pyvqa

_cuda_error: str | None = None


def _find(name: str) -> Path | None:
    # An editable install has two package folders: the sources and the built files.
    candidates = (Path(folder) / name for folder in pyvqa.__path__)
    return next((path for path in candidates if path.is_file()), None)


def _load() -> None:
    global _cuda_error
    ops = _find("_ops.so")
    if ops is None:
        raise ImportError(
            "pyvqa's kernels (_ops.so) are missing: install the package with `pip install .`; "
            "a bare source tree holds no compiled code"
        )
    torch.ops.load_library(str(ops))  # type: ignore[no-untyped-call]
    cuda = _find("_ops_cuda.so")
    if cuda is None:
        from pyvqa import _build_info

        _cuda_error = _build_info.CUDA_MISSING or "the library _ops_cuda.so is missing"
        return
    try:
        torch.ops.load_library(str(cuda))  # type: ignore[no-untyped-call]
    except OSError as error:  # CPU work must go on where, say, the driver is too old
        _cuda_error = str(error)


def cuda_missing() -> str | None:
    """Return why the CUDA kernels cannot be used, None where they are loaded."""
    return _cuda_error


def isa() -> str:
    """Return the instruction set of the CPU kernels: base, avx2 or avx512."""
    return str(torch.ops.pyvqa.isa())


_load()
