"""Large tables in one safetensors file: written as a stream, read by memory map or by position.

The header stands in a space of fixed size, so that the first table may grow while it is written
and nothing is ever held in memory as a whole.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pyvqa.errors import DataError
from pyvqa.files import atomic_write

_HEADER = 8192  # bytes for the header with its length, filled up with spaces
_LARGEST_HEADER = 10_000_000
_KINDS = {
    "U8": np.uint8,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "F32": np.float32,
}
_NAMES = {np.dtype(kind): name for name, kind in _KINDS.items()}


class TableWriter:
    """Append tables to an open file; use `writing`, which publishes it when all went well."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._tables: dict[str, dict[str, Any]] = {}
        self._growing: str | None = None
        file.write(b" " * _HEADER)
        self._end = 0

    def add(self, name: str, values: NDArray[Any]) -> None:
        """Write a whole table."""
        self.grow(name, values)
        self._close()

    def grow(self, name: str, rows: NDArray[Any]) -> None:
        """Write rows of a table whose length is not known yet; no other table in between."""
        if self._growing != name:
            self._close()
            self._open(name, rows)
        table = self._tables[name]
        if rows.shape[1:] != tuple(table["shape"][1:]) or _NAMES[rows.dtype] != table["dtype"]:
            raise DataError(
                f"{name}: rows of {rows.dtype} {rows.shape[1:]} where the first ones were "
                f"{table['dtype']} {tuple(table['shape'][1:])}; all must be of one width"
            )
        content = np.ascontiguousarray(rows)
        self._file.write(content.data if content.size else b"")
        table["shape"][0] += len(rows)
        self._end += content.nbytes

    def finish(self, metadata: Mapping[str, str]) -> None:
        """Write the header."""
        self._close()
        header = json.dumps({"__metadata__": dict(metadata), **self._tables}).encode()
        room = _HEADER - 8
        if len(header) > room:
            raise DataError(f"the header takes {len(header)} bytes, there is room for {room}")
        self._file.seek(0)
        self._file.write(room.to_bytes(8, "little") + header.ljust(room))

    def _open(self, name: str, rows: NDArray[Any]) -> None:
        self._growing = name
        shape = [0, *rows.shape[1:]]
        self._tables[name] = {"dtype": _NAMES[rows.dtype], "shape": shape, "data_offsets": []}
        self._start = self._end

    def _close(self) -> None:
        if self._growing is not None:
            self._tables[self._growing]["data_offsets"] = [self._start, self._end]
            self._growing = None


@contextmanager
def writing(path: str | Path, metadata: Mapping[str, str]) -> Iterator[TableWriter]:
    """Write a file of tables; it appears under its name when the body ends without an error."""
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        writer = TableWriter(file)
        yield writer
        writer.finish(metadata)


@dataclass(frozen=True)
class Place:
    """Where a table lies in its file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int  # in bytes, from the beginning of the file


class Tables:
    """The tables of one file, none of them read yet."""

    def __init__(self, path: str | Path) -> None:
        """Read and check the header.

        Raises:
            DataError: missing, not such a file, cut off, or a table lies outside of the file.
        """
        self.path = Path(path)
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                start = int.from_bytes(file.read(8), "little")
                text = file.read(start) if 2 <= start <= min(_LARGEST_HEADER, size - 8) else b""
        except FileNotFoundError as error:
            raise DataError(f"{self.path}: no such file; check the path") from error
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror})") from error
        self.metadata, self.places = self._parsed(text, size)

    def _parsed(self, text: bytes, size: int) -> tuple[dict[str, str], dict[str, Place]]:
        try:
            header = json.loads(text)
            metadata = header.pop("__metadata__", {})
            places = {name: _place(entry, 8 + len(text)) for name, entry in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{self.path}: not a safetensors file, or cut off") from error
        for name, place in places.items():
            end = place.start + place.dtype.itemsize * math.prod(place.shape)
            if place.start < 8 + len(text) or end > size:
                raise DataError(
                    f"{self.path}: cut off: {name!r} should reach byte {end:,} of {size:,}; make "
                    "the file again"
                )
        return metadata, places

    def require(self, kind: str, version: str, names: Mapping[str, tuple[str, int]]) -> None:
        """Check what the file is, and each table's kind of number ("iu", "f") and dimensions.

        Raises:
            DataError: another kind or version of file, or a table is missing or of another kind.
        """
        found = (self.metadata.get("format"), self.metadata.get("version"))
        if found != (kind, version):
            raise DataError(
                f"{self.path}: is {found[0]!r} version {found[1]}, {kind!r} version {version} is "
                "expected; make it again with this version of `pyvqa prepare`"
            )
        for name, (kinds, dimensions) in names.items():
            place = self.places.get(name)
            if place is None:
                raise DataError(f"{self.path}: lacks the table {name!r}; make it again")
            if place.dtype.kind not in kinds or len(place.shape) != dimensions:
                raise DataError(
                    f"{self.path}: {name} is {place.dtype} of shape {place.shape}; make it again"
                )

    def map(self, name: str) -> NDArray[Any]:
        """Map a table into memory, read-only; pages are read when they are used."""
        place = self.places[name]
        if not math.prod(place.shape):
            return np.empty(place.shape, place.dtype)
        return np.memmap(self.path, place.dtype, "r", place.start, place.shape)


def _place(entry: Any, base: int) -> Place:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_KINDS[entry["dtype"]])
    shape = tuple(entry["shape"])
    sound = all(type(n) is int and n >= 0 for n in (begin, end, *shape))
    if not sound or end - begin != dtype.itemsize * math.prod(shape):
        raise ValueError("offsets and shape disagree")
    return Place(dtype, shape, base + begin)


class RowReader:
    """Read rows of a table by position, straight into the caller's memory.

    Nothing is mapped, so an epoch over a store larger than memory leaves the process no larger,
    and a file cut short gives an error where a map would kill the process. Positional reads share
    no file pointer: workers forked from this process may use the same reader.
    """

    def __init__(self, path: Path, place: Place) -> None:
        self._path, self._place = path, place
        self._row = place.dtype.itemsize * math.prod(place.shape[1:])
        self._file = path.open("rb", buffering=0)

    def read(self, begin: int, rows: NDArray[Any]) -> None:
        """Fill `rows` [K, ...], of the table's type, with rows `begin`, `begin` + 1, ...

        Raises:
            DataError: the file ends before them.
        """
        left = rows.reshape(-1).view(np.uint8).data
        offset = self._place.start + begin * self._row
        while left:
            count = os.preadv(self._file.fileno(), [left], offset)
            if count == 0:
                raise DataError(f"{self._path}: ends before row {begin}; make the file again")
            left, offset = left[count:], offset + count


class Texts(Sequence[str]):
    """Many texts as one block of UTF-8 and the places where each begins."""

    def __init__(self, block: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self._block, self._offsets = block, offsets

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        """Pack texts."""
        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(text) for text in encoded], out=offsets[1:])
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        begin, end = int(self._offsets[place]), int(self._offsets[place + 1])
        return self._block[begin:end].tobytes().decode("utf-8", "surrogatepass")

    def tables(self, name: str) -> dict[str, NDArray[Any]]:
        """Give the two tables that hold the texts in a file."""
        return {f"{name}.offsets": self._offsets, f"{name}.text": self._block}

    @staticmethod
    def layout(name: str) -> dict[str, tuple[str, int]]:
        """Say what the two tables are, as `Tables.require` wants to know it."""
        return {f"{name}.offsets": ("i", 1), f"{name}.text": ("u", 1)}

    @classmethod
    def read(cls, tables: Tables, name: str) -> Texts:
        """Map the texts of a file; raises DataError where the places make no sense."""
        block, offsets = tables.map(f"{name}.text"), tables.map(f"{name}.offsets")
        check_offsets(offsets, len(block), f"{tables.path}: {name}.offsets")
        return cls(block, offsets)


def check_offsets(offsets: NDArray[Any], end: int, where: str) -> None:
    """Check that places rise from 0 to `end`; raises DataError."""
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
        raise DataError(f"{where}: do not rise from 0 to {end}; the file is damaged, make it again")
