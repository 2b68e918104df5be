"""PNG files of pictures: quick to write, small for rendered pictures, the same bytes each time."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPES = {3: 2, 4: 6}  # by channels: RGB, RGBA
_AVERAGE = 3  # the filter: what differs from the mean of the left and the upper neighbour


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Return the PNG file of a picture [H, W, 3] or, with alpha, [H, W, 4].

    Rendered pictures are smooth apart from their grain: after the filter no sequence of bytes comes
    again, so that Huffman codes alone are both smaller than the usual search and ten times faster.
    """
    height, width, channels = picture.shape
    rows = picture.reshape(height, width * channels)
    packer = zlib.compressobj(1, zlib.DEFLATED, 15, 9, zlib.Z_HUFFMAN_ONLY)
    data = packer.compress(_filtered(rows, channels).tobytes()) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOR_TYPES[channels], 0, 0, 0)
    return _SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def opaque(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add the alpha channel of official pictures, 255 everywhere: [..., 3] -> [..., 4]."""
    out = np.full((*picture.shape[:-1], 4), 255, dtype=np.uint8)
    out[..., :3] = picture
    return out


def _filtered(rows: NDArray[np.uint8], channels: int) -> NDArray[Any]:
    out = np.empty((rows.shape[0], rows.shape[1] + 1), dtype=np.uint8)
    out[:, 0] = _AVERAGE
    mean = np.zeros(rows.shape, dtype=np.uint16)
    mean[1:] = rows[:-1]
    mean[:, channels:] += rows[:, :-channels]
    np.subtract(rows, (mean >> 1).astype(np.uint8), out=out[:, 1:])
    return out


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
