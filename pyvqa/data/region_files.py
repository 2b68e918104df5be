"""Region features in the files that others publish, and the two stores that we write.

Published: bottom-up TSV (base64 columns), folders of `.pth` files (MuRel, BLOCK) and folders of
`.npz` files.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa.data.mapped import TableWriter, Texts, writing
from pyvqa.data.region_origin import RegionOrigin
from pyvqa.data.region_store import FORMAT, VERSION, FileRegions
from pyvqa.errors import DataError
from pyvqa.files import atomic_write

Floats = NDArray[np.float32]


class Picture(NamedTuple):
    """The regions of one picture."""

    name: str
    features: NDArray[Any]  # [N, D]
    boxes: Floats  # [N, 4] pixels
    norm_boxes: Floats  # [N, 4] shares of width and height


# ---- reading ---------------------------------------------------------------------------------


def read_bottom_up(path: str | Path, name: Callable[[int], str]) -> Iterator[Picture]:
    """Read a bottom-up attention TSV: image_id, width, height, boxes, base64 boxes and features.

    `name` makes a picture's name from its id.

    Raises:
        DataError: naming the line that is not such a row.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            yield _bottom_up_row(line, f"{path}: line {number}", name)


def _bottom_up_row(line: bytes, where: str, name: Callable[[int], str]) -> Picture:
    columns = line.rstrip(b"\r\n").split(b"\t")
    if len(columns) != 6:
        raise DataError(
            f"{where}: {len(columns)} columns where image_id, image_w, image_h, num_boxes, boxes, "
            "features are expected; is it a bottom-up attention file?"
        )
    try:
        image, width, height, count = (int(column) for column in columns[:4])
        boxes, features = (binascii.a2b_base64(column) for column in columns[4:])
    except ValueError as error:
        raise DataError(f"{where}: a column is damaged ({error})") from error
    if count < 1 or len(boxes) != 16 * count or not features or len(features) % (4 * count):
        raise DataError(
            f"{where}: {count} boxes, but {len(boxes)} bytes of boxes and {len(features)} of "
            "features; the line is damaged or cut off"
        )
    box = np.frombuffer(boxes, dtype="<f4").reshape(count, 4)
    feature = np.frombuffer(features, dtype="<f4").reshape(count, -1)
    return Picture(name(image), feature, box, _shares(box, width, height, where))


def _shares(boxes: Floats, width: float, height: float, where: str) -> Floats:
    if width <= 0 or height <= 0:
        raise DataError(f"{where}: a picture of {width} x {height} pixels cannot be")
    size = np.array([width, height, width, height], dtype=np.float32)
    return np.divide(boxes, size, dtype=np.float32)


def list_files(folder: str | Path) -> list[Path]:
    """List a folder's `.pth` or `.npz` files, whichever it holds; raises DataError."""
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; check the path")
    kinds = {suffix: sorted(folder.glob(f"*{suffix}")) for suffix in (".pth", ".npz")}
    found = [files for files in kinds.values() if files]
    if len(found) != 1:
        what = "both .pth and .npz" if found else "neither .pth nor .npz"
        raise DataError(f"{folder}: holds {what} files; name a folder with one kind, one a picture")
    return found[0]


def read_file(path: Path) -> Picture:
    """Read the regions of one picture from a `.pth` or `.npz` file; raises DataError."""
    return _read_pth(path) if path.suffix == ".pth" else _read_npz(path)


def _read_pth(path: Path) -> Picture:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no type for what a broken or hostile file may cause
        raise DataError(f"{path}: not a file of tensors ({type(error).__name__})") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no dictionary of tensors; is it a feature file?")
    arrays = []
    for key in ("pooled_feat", "rois", "norm_rois"):
        value = content.get(key)
        if not isinstance(value, torch.Tensor):
            raise DataError(f"{path}: lacks the tensor {key!r}; is it a feature file?")
        arrays.append(value.float().numpy())
    return _checked(path.stem, *arrays, where=str(path))


def _read_npz(path: Path) -> Picture:
    """Read `x` [N, D] or [D, N] and `bbox` [N, 4], with `image_w` and `image_h`."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {k: file[k] for k in ("x", "bbox", "image_w", "image_h") if k in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataError(f"{path}: not a readable npz file ({error})") from error
    except Exception as error:  # zipfile and zlib have errors of their own
        raise DataError(f"{path}: damaged ({type(error).__name__})") from error
    missing = [key for key in ("x", "bbox", "image_w", "image_h") if key not in found]
    if missing:
        raise DataError(f"{path}: lacks {missing[0]!r} (has: {', '.join(sorted(found))})")
    if any(found[key].dtype.kind not in "fiu" for key in found):
        raise DataError(f"{path}: holds something other than numbers")
    boxes, features = found["bbox"].astype(np.float32), found["x"]
    if features.ndim == 2 and len(boxes) == features.shape[1] and len(boxes) != len(features):
        features = features.T
    sizes = (found["image_w"].size, found["image_h"].size)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or sizes != (1, 1):
        raise DataError(f"{path}: `bbox` is not [N, 4], or width or height not one number")
    width, height = (float(np.ravel(found[key])[0]) for key in ("image_w", "image_h"))
    shares = _shares(boxes, width, height, str(path))
    return _checked(path.stem, features, boxes, shares, where=str(path))


def _checked(
    name: str, features: NDArray[Any], boxes: Floats, shares: Floats, *, where: str
) -> Picture:
    sizes = [array.shape for array in (features, boxes, shares)]
    if features.ndim != 2 or sizes[1:] != [(len(features), 4)] * 2:
        raise DataError(f"{where}: sizes {sizes} where [N, D], [N, 4] and [N, 4] are expected")
    return Picture(name, features, boxes, shares)


def read_store(store: FileRegions) -> Iterator[Picture]:
    """Go through a store, to write it in the other form."""
    for row, name in enumerate(store.names):
        regions = store.read([row])
        count = int(regions.counts[0])
        arrays = (array[0, :count].numpy() for array in regions[:3])
        yield Picture(name, *arrays)


# ---- writing ---------------------------------------------------------------------------------

Write = Callable[[Picture], None]


@contextmanager
def region_writer(
    path: str | Path, dtype: str = "float16", origin: RegionOrigin | None = None
) -> Iterator[Write]:
    """Write a store picture by picture; it appears under its name when the body ends well.

    `path` ends in .h5 or .safetensors; `dtype` is how features are kept, float16 or float32;
    `origin` says which detector of this package they are of, if they are.

    Raises:
        DataError: another ending, a picture comes twice, features differ in width, are not finite
            or too large for float16.
    """
    path = Path(path)
    kinds = {".h5": _h5_writer, ".safetensors": _packed_writer}
    if path.suffix not in kinds:
        raise DataError(f"{path}: a store's name ends in .h5 or .safetensors")
    seen: set[str] = set()
    with kinds[path.suffix](path, np.dtype(dtype), origin) as write:

        def checked(picture: Picture) -> None:
            if picture.name in seen:
                raise DataError(f"{path}: the picture {picture.name} comes twice; give it once")
            seen.add(picture.name)
            write(picture._replace(features=_converted(picture, np.dtype(dtype))))

        yield checked
        if not seen:
            raise DataError(f"{path}: not a single picture was given")


def _converted(picture: Picture, dtype: np.dtype[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        features = np.ascontiguousarray(picture.features, dtype=dtype)
    if np.isfinite(features).all() and all(np.isfinite(b).all() for b in picture[2:]):
        return features
    if np.isfinite(picture.features).all() and np.isfinite(picture.boxes).all():
        raise DataError(f"{picture.name}: features are too large for {dtype}; use --dtype float32")
    raise DataError(f"{picture.name}: features or boxes hold NaN or infinity; extract them again")


@contextmanager
def _packed_writer(
    path: Path, dtype: np.dtype[Any], origin: RegionOrigin | None
) -> Iterator[Write]:
    names: list[str] = []
    offsets = [0]
    boxes: list[tuple[bytes, bytes]] = []
    head = {"format": FORMAT, "version": VERSION}
    with writing(path, head if origin is None else {**head, "origin": origin.to_text()}) as tables:

        def write(picture: Picture) -> None:
            tables.grow("features", picture.features)
            names.append(picture.name)
            offsets.append(offsets[-1] + len(picture.features))
            pair = [np.ascontiguousarray(b, np.float32).tobytes() for b in picture[2:]]
            boxes.append((pair[0], pair[1]))

        yield write
        _finish_packed(tables, names, offsets, boxes)


def _finish_packed(
    tables: TableWriter,
    names: Sequence[str],
    offsets: Sequence[int],
    boxes: Sequence[tuple[bytes, bytes]],
) -> None:
    for k, name in enumerate(("boxes", "norm_boxes")):
        joined = b"".join(pair[k] for pair in boxes)
        tables.add(name, np.frombuffer(joined, np.float32).reshape(-1, 4))
    tables.add("offsets", np.array(offsets, dtype=np.int64))
    for name, table in Texts.of(names).tables("names").items():
        tables.add(name, table)


@contextmanager
def _h5_writer(path: Path, dtype: np.dtype[Any], origin: RegionOrigin | None) -> Iterator[Write]:
    names: list[str] = []
    counts: list[int] = []
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_write(path))
        file = stack.enter_context(h5py.File(temporary, "w"))
        datasets: list[h5py.Dataset] = []
        if origin is not None:
            file.attrs["origin"] = origin.to_text()

        def write(picture: Picture) -> None:
            if not datasets:
                datasets.extend(_h5_datasets(file, picture, dtype))
            width = datasets[0].shape[2]
            if picture.features.shape[1] != width:
                raise DataError(
                    f"{picture.name}: features are {picture.features.shape[1]} numbers wide, "
                    f"those before {width}; all must be of one width"
                )
            row, count = len(names), len(picture.features)
            for dataset, values in zip(datasets, picture[1:], strict=True):
                room = max(dataset.shape[1], count)
                dataset.resize((_room(row, dataset.shape[0]), room, dataset.shape[2]))
                dataset[row, :count] = values
            names.append(picture.name)
            counts.append(count)

        yield write
        for dataset in datasets:
            dataset.resize(len(names), axis=0)
        file["nb_regions"] = np.array(counts, dtype=np.int32)
        file["image_names"] = np.array([name.encode() for name in names])


def _h5_datasets(file: h5py.File, picture: Picture, dtype: np.dtype[Any]) -> list[h5py.Dataset]:
    count, width = picture.features.shape
    made = []
    for name, size, kind in (("features", width, dtype), ("rois", 4, "f4"), ("norm_rois", 4, "f4")):
        shape, most = (1, max(1, count), size), (None, None, size)
        made.append(file.create_dataset(name, shape, kind, maxshape=most, chunks=shape))
    return made


def _room(row: int, room: int) -> int:
    """Let a growing dataset double, so that it is resized a few times only."""
    return room if row < room else max(64, 2 * room)
