"""The libraries that the kernels are measured against, where they are installed and work."""

from __future__ import annotations

import functools
from types import ModuleType

import pytest
import torch


@functools.cache
def find_torchvision() -> ModuleType | None:
    """Return torchvision.ops if its compiled ops answer, else None.

    It often imports beside a torch that it was not built for and then has no ops.
    """
    try:
        import torchvision
        from torchvision import ops

        ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError):
        return None
    del torchvision
    return ops


def torchvision_ops() -> ModuleType:
    """Return torchvision.ops, or skip the benchmark: `make bench-rivals` has it."""
    found = find_torchvision()
    if found is None:
        pytest.skip("no torchvision with working ops beside this torch (see make bench-rivals)")
    return found


def versions() -> dict[str, str]:
    """Name -> version of torch and of the rivals that are installed."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"torch": torch.__version__}
    for name in ("torchvision", "pycocotools"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
