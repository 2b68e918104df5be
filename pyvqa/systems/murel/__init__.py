"""MuRel: relational reasoning over the regions of a picture (Cadene et al. 2019)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.data.region_origin import FindRegions, RegionOrigin
    from pyvqa.systems.murel.answer import Murel


def load(folder: Path, find_regions: Callable[[RegionOrigin], FindRegions]) -> Murel:
    """Load a model folder; `find_regions` gives the detector of its features, once it is needed."""
    from pyvqa.systems.murel.answer import Murel
    from pyvqa.systems.murel.folder import read_model

    return Murel(folder, read_model(folder), find_regions)
