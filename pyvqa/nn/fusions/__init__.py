"""Ten ways of bringing two vectors together, by the names of their papers."""

from __future__ import annotations

import inspect

from pyvqa.nn.fusions.base import Fusion
from pyvqa.nn.fusions.block import Block, BlockTucker, Mutan, Tucker
from pyvqa.nn.fusions.concat import CatMlp, Mcb
from pyvqa.nn.fusions.pooling import LinearSum, Mfb, Mfh, Mlb

__all__ = ["FUSIONS", "Block", "Fusion", "fusion_options"]

FUSIONS: dict[str, type[Fusion]] = {
    "block": Block,
    "block_tucker": BlockTucker,
    "mutan": Mutan,
    "tucker": Tucker,
    "mlb": Mlb,
    "mfb": Mfb,
    "mfh": Mfh,
    "mcb": Mcb,
    "linear_sum": LinearSum,
    "cat_mlp": CatMlp,
}


def fusion_options(kind: str) -> list[str]:
    """Name the options that a fusion has beside its widths."""
    parameters = inspect.signature(FUSIONS[kind]).parameters.values()
    return [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
