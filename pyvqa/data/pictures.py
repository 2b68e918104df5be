"""Picture files in, RGB tensors out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pyvqa.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 40_000_000  # of a picture; what is larger is no picture of a scene, or a trap


def read_picture(path: str | Path) -> Tensor:
    """Read a JPEG, PNG or WebP file as people see it: uint8 [H, W, 3], red, green, blue.

    Turned upright by its EXIF tag; transparent parts lie on white.

    Raises:
        DataError: there is no such file, it is none of these formats, damaged or too large.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(
                    f"{path}: {image.width}x{image.height} pixels; pictures of at most "
                    f"{MOST_PIXELS // 1_000_000} million are read, scale it down"
                )
            return torch.from_numpy(np.array(_flat(ImageOps.exif_transpose(image))))
    except UnidentifiedImageError as error:
        raise DataError(f"{path}: not a picture in JPEG, PNG or WebP format") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be read as a picture ({error})") from error


def read_pictures(
    paths: Iterable[str | Path], *, ahead: int = 16, workers: int = 1
) -> Iterator[Tensor]:
    """Read picture files in order, up to `ahead` before they are asked for, in `workers` threads.

    Raises:
        DataError: as `read_picture`, when the turn comes to that picture.
    """
    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(read_picture, path))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _flat(image: Image.Image) -> Image.Image:
    """Lay a picture on white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    on_top = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), on_top).convert("RGB")
