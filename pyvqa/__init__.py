"""Five visual-reasoning systems on one C++/CUDA core."""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

try:
    __version__ = metadata.version("pyvqa")
except metadata.PackageNotFoundError:  # a source tree that was built in place
    __version__ = "0.0.0"

if TYPE_CHECKING:
    from pyvqa.systems import load as load

__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    # Systems bring h5py, omegaconf and more: `import pyvqa` alone stays as cheap as torch.
    if name == "load":
        from pyvqa.systems import load

        return load
    raise AttributeError(f"module 'pyvqa' has no attribute {name!r}")
