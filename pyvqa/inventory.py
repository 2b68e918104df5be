"""What this installation is made of: versions, devices, kernels (`pyvqa info`)."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import pyvqa
from pyvqa import _build_info, _core

_PACKAGES = ("torch", "numpy", "h5py", "omegaconf", "safetensors", "plotly")
_BACKENDS = ("CPU", "CUDA")


def inventory() -> dict[str, Any]:
    """Describe the installation, ready for `json.dumps`."""
    return {
        "versions": {
            "pyvqa": pyvqa.__version__,
            "python": platform.python_version(),
            **_versions(),
        },
        "compiler": _build_info.COMPILER,
        "built_beside_torch": _build_info.TORCH,
        "isa": _core.isa(),
        "threads": torch.get_num_threads(),
        "fast_bfloat16": _fast_bfloat16(),
        "cuda_missing": _core.cuda_missing(),
        "cuda_architectures": _build_info.CUDA_ARCHITECTURES,
        "devices": _devices(),
        "models": _models(),
        "kernels": _kernels(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def _models() -> list[str]:
    """Name the shipped models."""
    folders = (Path(pyvqa.__file__).parent / "zoo").glob("*/config.yaml")
    return sorted(path.parent.name for path in folders)


def _devices() -> list[str]:
    names = [f"cpu ({platform.machine()})"]
    if torch.cuda.is_available():
        names += [
            f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())
        ]
    return names


def _fast_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 matrices in hardware."""
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in probes)


def _kernels() -> dict[str, dict[str, bool]]:
    """Return every registered op of ours and the devices it has a kernel for."""
    names = sorted(n for n in torch._C._dispatch_get_all_op_names() if n.startswith("pyvqa::"))
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    found = {n.removeprefix("pyvqa::"): {b: has(n, b) for b in _BACKENDS} for n in names}
    # Ops without a tensor (isa) belong to no device.
    return {name: where for name, where in found.items() if any(where.values())}
