"""Rendered pictures of world scenes as canvases of evidence (`pyvqa.evidence`)."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.evidence import Canvas, Mask, Region
from pyvqa.programs.clevr import ATTRIBUTES
from pyvqa.world.masks import Masks
from pyvqa.world.png import encode_png


def picture_canvas(
    picture: NDArray[np.uint8], ids: NDArray[np.int16], codes: NDArray[np.uint16], title: str
) -> Canvas:
    """Make the canvas of a picture [H, W, 3] whose regions are its scene's N objects.

    `ids` [H, W] tells which object each pixel shows, `codes` [N, 4] the objects' string codes.
    """
    height, width = ids.shape
    counts = Masks.of(ids[None], np.array([len(codes)], dtype=np.int32)).coco()
    regions = tuple(
        _region(mask, (height, width), row)
        for mask, row in zip(counts, codes.tolist(), strict=True)
    )
    address = "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode("ascii")
    return Canvas(
        kind="picture", width=width, height=height, title=title, image=address, regions=regions
    )


def _region(counts: str, size: tuple[int, int], codes: list[int]) -> Region:
    _, (x, y, width, height) = _native.coco_rle_measure(counts, *size)
    values = {n: _native.KNOWN_STRINGS[c] for n, c in zip(ATTRIBUTES, codes, strict=True)}
    return Region(
        box=(float(x), float(y), float(x + width), float(y + height)),
        mask=Mask(size=size, counts=counts),
        label="{size} {color} {material} {shape}".format(**values),
        attributes=values,
    )
