"""Where region features come from: which detector looked at the pictures, and what it said.

A feature store made by `pyvqa prepare features` carries its origin, training hands it on to the
model folder, and whoever asks the model about a picture looks with the same detector.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import Tensor

from pyvqa.errors import DataError


class PictureRegions(NamedTuple):
    """What a detector says about the regions of one picture, the likeliest object first."""

    boxes: Tensor  # [N, 4] float32: x1, y1, x2, y2 in pixels
    features: Tensor  # [N, D] float32
    scores: Tensor  # [N] probability of the likeliest class of objects
    names: tuple[str, ...]  # N: that class in words


# Picture, uint8 [H, W, 3] -> its regions.
FindRegions = Callable[[Tensor], PictureRegions]


@dataclass(kw_only=True)
class RegionOrigin:
    """The detector of this package that found the regions of a feature store."""

    detector: str  # the model that it was part of, as it was called
    weights: str  # SHA-256 of the file of its weights
    regions: int  # of a picture, at most

    def to_text(self) -> str:
        """Write it down as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def of_text(cls, text: object, where: str) -> RegionOrigin:
        """Read it back; `where` begins the error.

        Raises:
            DataError: it is no such text.
        """
        try:
            found = json.loads(text) if isinstance(text, str) else None
        except ValueError:
            found = None
        if not isinstance(found, Mapping) or not _fits(found):
            raise DataError(f"{where}: what it says of its origin is damaged; make it again")
        return cls(**found)


def _fits(found: Mapping[str, Any]) -> bool:
    kinds = {"detector": str, "weights": str, "regions": int}
    same = found.keys() == kinds.keys()
    return same and all(type(found[name]) is kind for name, kind in kinds.items())
