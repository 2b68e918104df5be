"""Build backend: scikit-build-core, told where the target environment's torch lives.

With build isolation, `requires = ["torch"]` would make pip fetch the newest torch (gigabytes) only
to read a few headers, and without it CMake finds none. pip runs the isolated build with the
target's interpreter, so `sysconfig` still names the user's site-packages: we look there first and
ask for torch only when the environment has none.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from scikit_build_core import build as _base
from scikit_build_core.build import build_sdist as build_sdist
from scikit_build_core.build import get_requires_for_build_sdist as get_requires_for_build_sdist
from scikit_build_core.build import (
    prepare_metadata_for_build_editable as prepare_metadata_for_build_editable,
)
from scikit_build_core.build import (
    prepare_metadata_for_build_wheel as prepare_metadata_for_build_wheel,
)

_HEADER = Path("include/torch/csrc/stable/library.h")
_FALLBACK = "torch==2.13.0"  # headers only: the built library serves every torch >= 2.10


def _candidates() -> Iterator[Path]:
    if os.environ.get("PYVQA_TORCH_DIR"):
        yield Path(os.environ["PYVQA_TORCH_DIR"])
    spec = importlib.util.find_spec("torch")
    if spec is not None and spec.origin:
        yield Path(spec.origin).parent
    for scheme in ("purelib", "platlib"):
        yield Path(sysconfig.get_path(scheme)) / "torch"
    if os.environ.get("VIRTUAL_ENV"):
        yield from Path(os.environ["VIRTUAL_ENV"]).glob("lib/python*/site-packages/torch")


def _torch_dir() -> Path | None:
    return next((path for path in _candidates() if (path / _HEADER).is_file()), None)


def _export() -> None:
    found = _torch_dir()
    if found is None:
        raise RuntimeError(
            "pyvqa: no torch >= 2.10 found to build against; run `pip install torch` first, "
            "or set PYVQA_TORCH_DIR to an installed torch package folder"
        )
    os.environ["PYVQA_TORCH_DIR"] = str(found)


def _requires(base: list[str]) -> list[str]:
    return base if _torch_dir() is not None else [*base, _FALLBACK]


def get_requires_for_build_wheel(config_settings=None):
    return _requires(_base.get_requires_for_build_wheel(config_settings))


def get_requires_for_build_editable(config_settings=None):
    return _requires(_base.get_requires_for_build_editable(config_settings))


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _export()
    return _base.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _export()
    return _base.build_editable(wheel_directory, config_settings, metadata_directory)
