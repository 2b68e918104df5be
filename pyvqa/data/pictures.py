"""Pictures of any kind in, RGB tensors out."""

from __future__ import annotations

import base64
import io
import struct
import warnings
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from pyvqa.errors import DataError

# Pillow warns of large files, which are refused below, and of odd tags, which do not matter. A
# filter around each call would not be safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\.")

FORMATS = ("JPEG", "PNG", "WEBP")
MOST_PIXELS = 40_000_000  # of a picture; what is larger is no picture of a scene, or a trap
MOST_BYTES = 64 * 2**20  # of a file
SHOWN_SIDE = 1600  # pixels of the longest side of the picture that a page carries

# What Pillow's readers raise on damaged files, beside those of its own.
_DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


def as_picture(source: Any) -> Tensor:
    """Take a picture in any form: uint8 [H, W, 3], red, green, blue.

    `source`: a path, a Pillow image, or an array or tensor of uint8, [H, W] or [H, W, 1, 3 or 4].

    Raises:
        DataError: it is none of these, empty, damaged or too large.
    """
    if isinstance(source, str | Path):
        return read_picture(source)
    if isinstance(source, Image.Image):
        with _explained("the picture"):
            return _tensor(source, "the picture")
    if isinstance(source, np.ndarray | Tensor):
        return _from_array(source)
    raise DataError(
        f"a {type(source).__name__} is no picture; give a path, a Pillow image, or an array or "
        "tensor of uint8 [H, W, 3]"
    )


def read_picture(path: str | Path) -> Tensor:
    """Read a JPEG, PNG or WebP file as people see it: uint8 [H, W, 3], red, green, blue.

    Turned upright by its EXIF tag; transparent parts lie on white; of an animation the first
    picture; 16-bit values by their upper half.

    Raises:
        DataError: there is no such file, it is none of these formats, damaged or too large.
    """
    _check_file(Path(path))
    with _explained(str(path)), Image.open(path, formats=FORMATS) as image:
        return _tensor(image, str(path))


def read_pictures(
    paths: Iterable[str | Path], *, ahead: int = 16, workers: int = 1
) -> Generator[Tensor, None, None]:
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


def shrink_picture(picture: Tensor, longest: int) -> Tensor:
    """Scale a picture down smoothly so that no side is longer: uint8 [H, W, 3] -> [h, w, 3]."""
    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(picture.cpu().numpy())
    return torch.from_numpy(np.array(image.resize(size, Image.Resampling.BILINEAR)))


def picture_address(picture: Tensor) -> str:
    """Give a picture, uint8 [H, W, 3], as an address that holds it, for pages.

    JPEG or PNG, the shorter; scaled down where it is large.
    """
    image = Image.fromarray(shrink_picture(picture, SHOWN_SIDE).cpu().numpy())
    files = {}
    for name, options in (("jpeg", {"quality": 90}), ("png", {})):
        buffer = io.BytesIO()
        image.save(buffer, name, **options)
        files[name] = buffer.getvalue()
    name = min(files, key=lambda kind: len(files[kind]))
    return f"data:image/{name};base64,{base64.b64encode(files[name]).decode('ascii')}"


def _check_file(path: Path) -> None:
    if not path.exists():
        raise DataError(f"{path}: there is no such file; check the path")
    if path.is_dir():
        raise DataError(f"{path}: is a folder, a picture file is expected")
    if not path.is_file():
        raise DataError(f"{path}: is no ordinary file; give a picture in JPEG, PNG or WebP format")
    size = path.stat().st_size
    if size == 0:
        raise DataError(f"{path}: the file is empty; fetch or save the picture again")
    if size > MOST_BYTES:
        raise DataError(
            f"{path}: {size / 2**20:.0f} MB; picture files of at most {MOST_BYTES >> 20} MB are "
            "read, scale it down"
        )


@contextmanager
def _explained(where: str) -> Iterator[None]:
    """Turn what Pillow raises on a damaged or foreign file into one line."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise DataError(
            f"{where}: not a picture in JPEG, PNG or WebP format; save it as one of these"
        ) from error
    except _DAMAGE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{where}: damaged or cut off ({reason:.120}); fetch it again") from error


def _tensor(image: Image.Image, where: str) -> Tensor:
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{where}: {image.width} x {image.height} pixels; pictures of at most "
            f"{MOST_PIXELS // 1_000_000} million are read, scale it down"
        )
    if image.width * image.height == 0:
        raise DataError(f"{where}: has no pixels")
    return torch.from_numpy(np.array(_flat(ImageOps.exif_transpose(image))))


def _flat(image: Image.Image) -> Image.Image:
    """Make a picture red, green and blue, and lay it on white."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would cut off at 255
        upper = np.clip(np.asarray(image, dtype=np.int64) >> 8, 0, 255)
        return Image.fromarray(upper.astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    on_top = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), on_top).convert("RGB")


def _from_array(source: NDArray[Any] | Tensor) -> Tensor:
    array = source.detach().cpu().numpy() if isinstance(source, Tensor) else source
    shape = list(array.shape)
    if array.dtype != np.uint8:
        raise DataError(
            f"the picture is of {array.dtype}, uint8 in 0..255 is needed; scale and convert it"
        )
    if len(shape) == 3 and shape[0] in (1, 3, 4) and shape[2] not in (1, 3, 4):
        raise DataError(
            f"the picture is {shape}, channels must come last: [H, W, 3]; "
            "permute its axes with (1, 2, 0)"
        )
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)):
        raise DataError(f"the picture is {shape}; [H, W] or [H, W, 1, 3 or 4] is needed")
    if 0 in shape:
        raise DataError(f"the picture is {shape}: it has no pixels")
    if shape[0] * shape[1] > MOST_PIXELS:
        raise DataError(
            f"the picture is {shape}; at most {MOST_PIXELS // 1_000_000} million pixels are read, "
            "scale it down"
        )
    if len(shape) == 3 and shape[2] == 3:
        return torch.from_numpy(np.array(array))
    grey = array[..., 0] if len(shape) == 3 and shape[2] == 1 else array
    return torch.from_numpy(np.array(_flat(Image.fromarray(np.ascontiguousarray(grey)))))
