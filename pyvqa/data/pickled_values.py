"""What `restricted_pickle` may build beyond lists, texts and numbers: arrays and a few containers.

Each recipe checks what it is given before NumPy sees it.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Refused(Exception):
    """What the file asks for is not plain data."""


class Name(NamedTuple):
    """A function or class that the file mentions; only a few may be applied, and none are kept."""

    module: str
    name: str


PLAIN = frozenset(
    [str, bytes, int, float, bool, type(None), np.str_, np.bytes_]
    + [np.dtype(code).type for code in "?bhilqBHILQefdgFDG"]
)


def expect(kind: type, value: Any) -> Any:
    if isinstance(value, kind) and not isinstance(value, Name):
        return value
    raise TypeError(f"a {kind.__name__} is needed")


def as_key(value: Any) -> Any:
    """Pass what may be a key; hashing tuples of tuples could go too deep."""
    if type(value) is str or type(value) in PLAIN:
        return value
    if type(value) is tuple and all(type(part) in PLAIN for part in value):
        return value
    raise TypeError("no key")


def paired(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(map(as_key, values[::2]), values[1::2], strict=True))


_DTYPE = re.compile(r"[<>=|]?(?:[biufc]\d{1,2}|[SU]\d{1,9})")


def _dtype(code: Any, align: Any = False, copy: Any = True) -> np.dtype[Any]:
    """Make a type of numbers or texts; a copy, since its byte order may be set afterwards."""
    if type(code) is not str or not _DTYPE.fullmatch(code):
        raise Refused(f"holds an array of the type {str(code)[:50]!r}")
    return np.dtype(code, False, True)


def finish_dtype(dtype: np.dtype[Any], state: Any) -> None:
    _, order, base, names, fields, *_ = expect(tuple, state)
    if (base, names, fields) != (None, None, None) or order not in ("<", ">", "=", "|"):
        raise Refused("holds an array of records")
    size = (dtype.itemsize, dtype.alignment) if dtype.kind in "SU" else (-1, -1)
    dtype.__setstate__((3, order, None, None, None, *size, 0))  # type: ignore[attr-defined]


def _fitting(dtype: Any, shape: Any, data: Any) -> bytes | bytearray:
    """Give an array's bytes once they are as many as it needs."""
    if isinstance(data, str):
        data = data.encode("latin-1")
    if not isinstance(dtype, np.dtype) or type(shape) is not tuple or len(shape) > 32:
        raise ValueError("no array")
    if type(data) not in (bytes, bytearray):
        raise Refused("holds an array of objects")
    if any(type(side) is not int or side < 0 for side in shape):
        raise ValueError("no shape")
    if prod(shape) * dtype.itemsize != len(data):
        raise ValueError("an array's bytes do not fit its shape")
    return data  # type: ignore[no-any-return]


def _new_array(kind: Any, shape: Any, code: Any) -> NDArray[Any]:
    """Begin an array, whose shape and content follow as its state."""
    if kind != Name("numpy", "ndarray") or shape != (0,):
        raise Refused("holds a kind of array of its own")
    return np.empty(0, np.int8)


def fill_array(array: NDArray[Any], state: Any) -> None:
    shape, dtype, by_columns, data = expect(tuple, state)[-4:]
    data = bytes(_fitting(dtype, shape, data))
    array.__setstate__((1, shape, dtype, bool(by_columns), data))  # type: ignore[arg-type]


def _array_of_bytes(data: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    flat = np.frombuffer(_fitting(dtype, shape, data), dtype=np.uint8).copy()
    if order not in ("C", "F"):
        raise ValueError("no order of axes")
    array: NDArray[Any] = flat.view(dtype).reshape(shape, order=order)
    return array


def _scalar(dtype: Any, data: Any = "") -> Any:
    flat = np.frombuffer(_fitting(dtype, (), data), dtype=np.uint8).copy()
    return flat.view(dtype)[0]


def _bytes(text: Any = "", encoding: Any = "latin1") -> bytes:
    """Python 3 writes its bytes like this where Python 2 should be able to read them."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError("an unknown encoding")
    encoded: bytes = expect(str, text).encode("latin-1")
    return encoded


def _byte_array(data: Any = b"", encoding: Any = "latin1") -> bytearray:
    return bytearray(expect(bytes, data) if not isinstance(data, str) else _bytes(data, encoding))


def _collected(kind: type) -> Callable[..., Any]:
    return lambda values=(): kind(map(as_key, values))


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict((as_key(key), value) for key, value in pairs)


_CORES = ("numpy.core", "numpy._core")
_BUILTINS = ("builtins", "__builtin__")
MENTIONED = {Name("numpy", "ndarray")}  # as an argument of the first recipe
RECIPES: dict[Name, Callable[..., Any]] = {
    **{Name(f"{core}.multiarray", "_reconstruct"): _new_array for core in _CORES},
    **{Name(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{Name(f"{core}.numeric", "_frombuffer"): _array_of_bytes for core in _CORES},
    Name("numpy", "dtype"): _dtype,
    Name("_codecs", "encode"): _bytes,
    **{Name(module, "bytes"): _bytes for module in _BUILTINS},
    **{Name(module, "bytearray"): _byte_array for module in _BUILTINS},
    **{Name(module, "set"): _collected(set) for module in _BUILTINS},
    **{Name(module, "frozenset"): _collected(frozenset) for module in _BUILTINS},
    Name("collections", "OrderedDict"): _ordered,
}
