"""NS-VQA: questions parsed into programs, executed on scenes (Yi et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.systems.ns_vqa.answer import NsVqa


def load(folder: Path) -> NsVqa:
    """Load a model folder."""
    from pyvqa.systems.ns_vqa.answer import NsVqa

    return NsVqa.read(folder)
