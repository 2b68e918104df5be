"""MuRel: relational reasoning over the regions of a picture (Cadene et al. 2019)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.systems.murel.folder import Model


def load(folder: Path) -> Model:
    """Load a model folder."""
    from pyvqa.systems.murel.folder import read_model

    return read_model(folder)
