"""Region features of many pictures in one file, read picture by picture.

Two kinds of file, with the same content:

    .h5             features [n, N, D] float16 or float32, rois and norm_rois [n, N, 4] float32,
                    nb_regions [n], image_names [n]; rows beyond a picture's regions are ignored
    .safetensors    the regions of all pictures one after the other: no padding, faster to read

Where the package's own detector made it, its attribute or entry `origin` says which one
(`pyvqa.data.region_origin`). An epoch over a store larger than memory leaves the process no larger,
and worker processes forked from the one that opened a store may read it.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa.data.mapped import RowReader, Tables, Texts, check_offsets
from pyvqa.data.region_origin import RegionOrigin
from pyvqa.errors import DataError

FORMAT, VERSION = "pyvqa-regions", "1"

# What to do where there is no store.
_MAKE_ONE = (
    "make one of the published features (trainval_36.zip, 25 GB, and test2015_36.zip, 17 GB, of "
    "bottom-up-attention) with `pyvqa prepare bottom-up-tsv`, of a folder of .pth or .npz files "
    "with `pyvqa prepare region-files`, or of any pictures, such as those of `pyvqa synth vqa2`, "
    "with `pyvqa prepare features`"
)

Rows = NDArray[np.int64]


class Regions(NamedTuple):
    """Regions of B pictures, padded with zeros to the N of the picture that has most."""

    features: Tensor  # [B, N, D] float32
    boxes: Tensor  # [B, N, 4] float32: x1, y1, x2, y2 in pixels
    norm_boxes: Tensor  # [B, N, 4] float32: the same as shares of the picture's width and height
    counts: Tensor  # [B] int64: regions of each picture

    @property
    def valid(self) -> Tensor | None:
        """Say which regions are there: bool [B, N], or None where all are."""
        most = self.features.shape[1]
        if bool((self.counts == most).all()):
            return None
        return torch.arange(most, device=self.counts.device) < self.counts[:, None]


class RegionStore(Protocol):
    """What a batch needs of a store."""

    width: int  # D
    origin: RegionOrigin | None  # none: not made by this package's detector

    def rows_of(self, names: Sequence[str]) -> Rows:
        """Find pictures by name; raises DataError saying how many are missing."""

    def read(self, rows: Sequence[int] | Rows) -> Regions:
        """Read the regions of some pictures; raises DataError on NaN or a damaged file."""


def open_regions(paths: Sequence[str | Path], width: int | None = None) -> RegionStore:
    """Open one store, or several that hold pictures of the same data set.

    Raises:
        DataError: a file is no store, stores differ in width or detector, or are not `width` wide.
    """
    if not paths:
        raise DataError(f"no feature store is given; {_MAKE_ONE}")
    stores = [open_file(path) for path in paths]
    wanted = stores[0].width if width is None else width
    for store in stores:
        if store.width != wanted:
            raise DataError(
                f"{store.path}: features are {store.width} numbers wide, {wanted} are needed; use "
                "the features that the model was trained on, or set the model's width"
            )
    if len(stores) == 1:
        return stores[0]
    makers = {store.origin.weights: store for store in stores if store.origin is not None}
    if len(makers) > 1:
        one, other = list(makers.values())[:2]
        raise DataError(
            f"{one.path} and {other.path}: made by different detectors, whose features do not "
            "compare; extract one of them again"
        )
    return JoinedRegions(stores)


def open_file(path: str | Path) -> FileRegions:
    """Open one store; raises DataError where the file is none."""
    path = Path(path)
    kinds: dict[str, Callable[[Path], FileRegions]]
    kinds = {".h5": H5Regions, ".safetensors": PackedRegions}
    if path.suffix not in kinds:
        raise DataError(f"{path}: not a feature store (.h5 or .safetensors); {_MAKE_ONE}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; {_MAKE_ONE}")
    return kinds[path.suffix](path)


class FileRegions(ABC):
    """What both kinds of file have in common: names, widths, padding and checks."""

    path: Path
    width: int
    dtype: np.dtype[Any]
    names: Sequence[str]
    counts: Rows  # [n]
    origin: RegionOrigin | None

    def __len__(self) -> int:
        return len(self.names)

    def _index_names(self) -> None:
        self._row = {name: k for k, name in enumerate(self.names)}
        if len(self._row) < len(self.names):
            twice = next(n for k, n in enumerate(self.names) if self._row[n] != k)
            raise DataError(f"{self.path}: the picture {twice!r} stands twice; make the file again")

    def find(self, name: str) -> int | None:
        """Find the row of a picture under any spelling of its name."""
        rows = (self._row.get(spelling) for spelling in _spellings(name))
        return next((row for row in rows if row is not None), None)

    def rows_of(self, names: Sequence[str]) -> Rows:
        """Find pictures: names -> rows; raises DataError saying how many are missing."""
        return _rows_of(names, self.find, str(self.path))

    def read(self, rows: Sequence[int] | Rows) -> Regions:
        """Read the regions of some pictures.

        Raises:
            DataError: a number is not finite, or the file is damaged.
        """
        counts = self.counts[np.asarray(rows, dtype=np.int64)]
        most = max(1, int(counts.max(initial=0)))
        full = bool((counts == most).all())  # then no padding has to be cleared
        make = np.empty if full else np.zeros
        features = make((len(counts), most, self.width), dtype=self.dtype)
        boxes = np.zeros((2, len(counts), most, 4), dtype=np.float32)
        for k, (row, count) in enumerate(zip(rows, counts.tolist(), strict=True)):
            if count:
                self._fill(int(row), features[k, :count], boxes[0, k, :count], boxes[1, k, :count])
        floats = torch.from_numpy(features).float()
        self._check_finite(floats, rows)
        pixels, shares = torch.from_numpy(boxes).unbind(0)
        return Regions(floats, pixels, shares, torch.from_numpy(counts))

    def _check_finite(self, features: Tensor, rows: Sequence[int] | Rows) -> None:
        if bool(torch.isfinite(features.sum())):
            return
        bad = ~torch.isfinite(features.flatten(1)).all(1)
        if bool(bad.any()):
            name = self.names[int(rows[int(bad.nonzero()[0, 0])])]
            raise DataError(
                f"{self.path}: the features of {name} hold NaN or infinity; extract them again"
            )

    @abstractmethod
    def _fill(
        self, row: int, features: NDArray[Any], boxes: NDArray[Any], norm_boxes: NDArray[Any]
    ) -> None:
        """Read one picture's regions into arrays of their size."""


class PackedRegions(FileRegions):
    """A `.safetensors` store: regions one after the other, read by position."""

    def __init__(self, path: str | Path) -> None:
        """Read names and places; raises DataError."""
        tables = Tables(path)
        layout = {"features": ("f", 2), "boxes": ("f", 2), "norm_boxes": ("f", 2)}
        tables.require(FORMAT, VERSION, layout | {"offsets": ("i", 1)} | Texts.layout("names"))
        self.path = tables.path
        place = tables.places["features"]
        self.width, self.dtype = place.shape[1], place.dtype
        self.origin = _origin(tables.metadata.get("origin"), self.path)
        self.names = list(Texts.read(tables, "names"))
        self._offsets = np.array(tables.map("offsets"), dtype=np.int64)
        check_offsets(self._offsets, place.shape[0], f"{path}: offsets")
        if len(self._offsets) != len(self.names) + 1:
            raise DataError(f"{path}: {len(self.names)} names, {len(self._offsets) - 1} pictures")
        for name in ("boxes", "norm_boxes"):
            found = tables.places[name]
            if found.shape != (place.shape[0], 4) or found.dtype != np.float32:
                raise DataError(f"{path}: {name} is not float32 [{place.shape[0]}, 4]")
        self.counts = np.diff(self._offsets)
        self._readers = {n: RowReader(self.path, tables.places[n]) for n in layout}
        self._index_names()

    def _fill(
        self, row: int, features: NDArray[Any], boxes: NDArray[Any], norm_boxes: NDArray[Any]
    ) -> None:
        begin = int(self._offsets[row])
        self._readers["features"].read(begin, features)
        self._readers["boxes"].read(begin, boxes)
        self._readers["norm_boxes"].read(begin, norm_boxes)


class H5Regions(FileRegions):
    """An `.h5` store; every process opens the file for itself when it first reads."""

    def __init__(self, path: str | Path) -> None:
        """Read names and shapes; raises DataError."""
        self.path = Path(path)
        self._opened: tuple[int, h5py.File] | None = None
        try:
            with h5py.File(self.path, "r") as file:
                self._read_head(file)
        except OSError as error:
            raise DataError(f"{path}: not a readable h5 file ({error}); make it again") from error
        self._index_names()

    def _read_head(self, file: h5py.File) -> None:
        features = _h5_table(file, "features", "f", 3, self.path)
        if features.dtype not in (np.float16, np.float32):
            raise DataError(f"{self.path}: features are {features.dtype}, not float16 or float32")
        pictures, most, self.width = features.shape
        self.dtype = features.dtype
        self.origin = _origin(file.attrs.get("origin"), self.path)
        for name in ("rois", "norm_rois"):
            if _h5_table(file, name, "f", 3, self.path).shape != (pictures, most, 4):
                raise DataError(f"{self.path}: {name} is not of shape [{pictures}, {most}, 4]")
        self.counts = np.asarray(_h5_table(file, "nb_regions", "iu", 1, self.path)[...], np.int64)
        if self.counts.size and (self.counts.min() < 0 or self.counts.max() > most):
            raise DataError(f"{self.path}: nb_regions has numbers outside 0..{most}")
        names = _h5_table(file, "image_names", "SO", 1, self.path)
        if h5py.check_string_dtype(names.dtype) is None:
            raise DataError(f"{self.path}: image_names are not texts")
        self.names = [name.decode("utf-8", "replace") for name in names[...].tolist()]
        if not len(self.names) == len(self.counts) == pictures:
            raise DataError(
                f"{self.path}: {pictures} pictures, {len(self.counts)} counts, {len(self.names)} "
                "names; make the file again"
            )

    def _file(self) -> h5py.File:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), h5py.File(self.path, "r"))
        return self._opened[1]

    def _fill(
        self, row: int, features: NDArray[Any], boxes: NDArray[Any], norm_boxes: NDArray[Any]
    ) -> None:
        try:
            file, count = self._file(), len(features)
            file["features"].read_direct(features, np.s_[row, :count])
            file["rois"].read_direct(boxes, np.s_[row, :count])
            file["norm_rois"].read_direct(norm_boxes, np.s_[row, :count])
        except (OSError, KeyError) as error:
            raise DataError(f"{self.path}: {self.names[row]}: cannot be read ({error})") from error


def _origin(text: object, path: Path) -> RegionOrigin | None:
    return None if text is None else RegionOrigin.of_text(text, str(path))


def _h5_table(file: h5py.File, name: str, kinds: str, dimensions: int, path: Path) -> h5py.Dataset:
    link = file.get(name, getlink=True)
    data = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise DataError(f"{path}: lacks the dataset {name!r}; is it a store of region features?")
    if data.dtype.kind not in kinds or data.ndim != dimensions:
        raise DataError(f"{path}: {name} is {data.dtype} of shape {data.shape}; make it again")
    return data


class JoinedRegions:
    """Several stores as one: rows of the first, then rows of the second, and so on."""

    def __init__(self, stores: Sequence[FileRegions]) -> None:
        self.stores = stores
        self.width = stores[0].width
        self.origin = _joint_origin(stores)
        self._starts = np.cumsum([0, *(len(store) for store in stores)])

    def find(self, name: str) -> int | None:
        """Find the row of a picture in the first store that has it."""
        for store, start in zip(self.stores, self._starts.tolist(), strict=False):
            row = store.find(name)
            if row is not None:
                return int(row + start)
        return None

    def rows_of(self, names: Sequence[str]) -> Rows:
        """Find pictures: names -> rows; raises DataError saying how many are missing."""
        return _rows_of(names, self.find, ", ".join(str(store.path) for store in self.stores))

    def read(self, rows: Sequence[int] | Rows) -> Regions:
        """Read the regions of some pictures; raises DataError."""
        chosen = np.asarray(rows, dtype=np.int64)
        owner = np.searchsorted(self._starts, chosen, side="right") - 1
        places = [np.flatnonzero(owner == k) for k in range(len(self.stores))]
        parts = [
            store.read(chosen[place] - start) if len(place) else None
            for store, place, start in zip(self.stores, places, self._starts, strict=False)
        ]
        found = [
            (p, torch.from_numpy(at)) for p, at in zip(parts, places, strict=True) if p is not None
        ]
        most = max((part.features.shape[1] for part, _ in found), default=1)
        size = (len(chosen), most)
        result = Regions(
            torch.zeros(*size, self.width),
            torch.zeros(*size, 4),
            torch.zeros(*size, 4),
            torch.zeros(len(chosen), dtype=torch.int64),
        )
        for part, at in found:
            for whole, piece in zip(result[:3], part[:3], strict=True):
                whole[at, : piece.shape[1]] = piece
            result.counts[at] = part.counts
        return result


def _joint_origin(stores: Sequence[FileRegions]) -> RegionOrigin | None:
    """Give the origin of stores by one detector, with the most regions; none if one has none."""
    known = [store.origin for store in stores if store.origin is not None]
    return max(known, key=lambda origin: origin.regions) if len(known) == len(stores) else None


class ZeroRegions:
    """Nothing to see: every picture has the same number of regions with features of zero.

    What a network answers from the question alone is measured with this store.
    """

    origin: RegionOrigin | None = None

    def __init__(self, width: int, regions: int = 1) -> None:
        self.width, self.regions = width, regions

    def rows_of(self, names: Sequence[str]) -> Rows:
        """Know every picture."""
        return np.zeros(len(names), dtype=np.int64)

    def read(self, rows: Sequence[int] | Rows) -> Regions:
        """Give zeros."""
        size = (len(rows), self.regions)
        boxes = torch.zeros(*size, 4)
        counts = torch.full((len(rows),), self.regions, dtype=torch.int64)
        return Regions(torch.zeros(*size, self.width), boxes, boxes.clone(), counts)


def _spellings(name: str) -> Iterator[str]:
    """Say under which names a picture's features may be kept."""
    yield name
    stem = name.removesuffix(".jpg")
    yield stem
    match = re.fullmatch(r"COCO_\w+_(\d{12})", stem)
    if match is not None:  # a store of train2014 and val2014 together knows ids only
        yield f"COCO_{match[1]}"


def _rows_of(names: Sequence[str], find: Any, where: str) -> Rows:
    rows = [find(name) for name in names]
    missing = [name for name, row in zip(names, rows, strict=True) if row is None]
    if missing:
        raise DataError(
            f"{where}: no features for {len(missing):,} of {len(names):,} pictures, the first is "
            f"{missing[0]}; add the store that has them, or {_MAKE_ONE}"
        )
    return np.array(rows, dtype=np.int64)
