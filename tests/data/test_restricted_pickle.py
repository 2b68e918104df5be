"""Pickled data: what is plain comes back in every protocol; nothing else does, nothing runs."""

from __future__ import annotations

import os
import pickle
import random
import struct
from collections import OrderedDict
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa.data.restricted_pickle import read_pickled
from pyvqa.errors import DataError

SHARED = ["in two places", 1]
PLAIN: dict[Any, Any] = {
    "numbers": [0, 1, 255, 256, 70_000, -1, 2**31, 2**40, -(2**60), 2.5, -0.0, True, False, None],
    "texts": ["", "é\n\\", "a" * 300, b"", b"\x00\xff", bytearray(b"x")],
    "tuples": ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
    "sets": [{1, 2}, frozenset(["a"])],
    "ordered": OrderedDict([("z", 1), ("a", 2)]),
    ("a", 1): "key of two parts",
    3: SHARED,
    "again": SHARED,
    "table": np.arange(6, dtype=np.float32).reshape(2, 3),
    "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
    "other order": np.arange(3, dtype=">i4"),
    "words": np.array(["a", "bcd"]),
    "bytes": np.array([b"a", b"bcd"]),
    "flags": np.array([True, False]),
    "none": np.empty((0, 5), np.float32),
    "one": np.array(3.5),
    "scalars": [np.float32(1.5), np.int64(-7), np.bool_(True)],
}


def write(folder: Path, content: bytes) -> Path:
    path = folder / "data.pkl"
    path.write_bytes(content)
    return path


def assert_same(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
        assert found.shape == expected.shape
        assert np.array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_comes_back(tmp_path, protocol):
    found = read_pickled(write(tmp_path, pickle.dumps(PLAIN, protocol)))
    assert_same(found, PLAIN)
    assert found[3] is found["again"]
    found["table"][0, 0] = 9  # arrays of our own, to be written to


@pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_of_old_and_new_numpy(tmp_path, module):
    content = pickle.dumps(np.arange(4.0), 2)
    name = next(m for m in (b"numpy._core.multiarray", b"numpy.core.multiarray") if m in content)
    found = read_pickled(write(tmp_path, content.replace(name, module)))
    assert np.array_equal(found, np.arange(4.0))


def test_files_of_python_2(tmp_path):
    """{'caf\\xc3\\xa9': array([1, 2], int16), 'n': 5L} as its protocols 0 and 2 wrote it."""
    data = b"\x01\x00\x02\x00"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    dtype = b"cnumpy\ndtype\n(S'i2'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb"
    state = b"(I1\n(I2\nt" + dtype + b"I00\nS'\\x01\\x00\\x02\\x00'\ntb"
    old = b"(dp0\nS'caf\\xc3\\xa9'\n" + array + state + b"sS'n'\nL5L\ns."
    found = read_pickled(write(tmp_path, old))
    assert list(found) == ["caf\xc3\xa9", "n"]
    assert found["n"] == 5
    assert found["caf\xc3\xa9"].tolist() == [1, 2]
    new = state.replace(b"S'\\x01\\x00\\x02\\x00'\n", b"U\x04" + data)
    found = read_pickled(write(tmp_path, b"\x80\x02" + array + new + b"."))
    assert found.tolist() == [1, 2]


class Evil:
    """What it reduces to would run in any ordinary reader."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (eval, "eval"), (getattr, "getattr"), (np.load, "load")],
)
def test_functions_are_refused_and_not_run(tmp_path, function, name, nested, protocol):
    trap = tmp_path / "trap"
    text = {"system": f"touch {trap}", "eval": f"open({str(trap)!r}, 'w')"}.get(name, str(trap))
    evil: Any = Evil(function, text)
    if nested:
        evil = {"all_boxes": [[np.zeros((1, 5)), [(1, evil)]]]}
    path = write(tmp_path, pickle.dumps(evil, protocol))
    with pytest.raises(DataError, match=rf"data.pkl: asks for '\w[\w.]*{name}'; only lists"):
        read_pickled(path)
    assert not trap.exists()


NOT_PLAIN = {
    "an instance": Fraction(1, 2),
    "an exception": ValueError("x"),
    "a function": os.path.join,
    "a class": np.ndarray,
    "a type of numbers": np.dtype("f4"),
    "objects in an array": np.array([{}, None], dtype=object),
    "records": np.zeros(2, dtype=[("a", "f4"), ("b", "i2")]),
    "times": np.array(["2020-01-01"], dtype="M8[D]"),
    "an array with a mask": np.ma.array([1, 2], mask=[True, False]),
    "a range": range(3),
    "a complex list": [1, [2, {"x": Fraction(1, 3)}]],
}


@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.parametrize("value", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_other_things_are_refused(tmp_path, value, protocol):
    with pytest.raises(DataError, match=r"data.pkl: (asks|holds|calls|gives).*nothing in the file"):
        read_pickled(write(tmp_path, pickle.dumps(value, protocol)))


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


BEGUN = named("numpy.core.multiarray", "_reconstruct") + named("numpy", "ndarray")
BEGUN += b"K\x00\x85C\x01b\x87R"
FLOATS = named("numpy", "dtype") + text("f8") + b"\x89\x88\x87R"


def filled(side: bytes, data: bytes) -> bytes:
    """An array of so many float64 from these bytes."""
    state = b"(K\x01" + side + b"\x85" + FLOATS + b"\x89C" + bytes([len(data)]) + data + b"tb."
    return BEGUN + state


HOSTILE = {
    "a name put together from parts": named("os", "system") + text("true") + b"\x85R.",
    "a dotted name": named("numpy", "ndarray.tofile") + b".",
    "a method of an allowed name": named("numpy.core.multiarray", "_reconstruct.__globals__")
    + b".",
    "an old instance": b"(ios\nsystem\n.",
    "an old object": b"(cos\nsystem\no.",
    "a new object": named("numpy", "ndarray") + b")\x81.",
    "a new object with keywords": named("numpy", "ndarray") + b")}\x92.",
    "a name left as a value": named("numpy", "ndarray") + b".",
    "a recipe left in a list": b"]" + named("numpy", "dtype") + b"a.",
    "a call of a text": text("eval") + text("1") + b"\x85R.",
    "a state for a dictionary": b"}}b.",
    "a persistent id": text("x") + b"Q.",
    "an extension": b"\x82\x01.",
    "a buffer from outside": b"\x97.",
    "another class of array": BEGUN.replace(named("numpy", "ndarray"), text("numpy")) + b".",
    "an array of 8 TB": BEGUN
    + b"(K\x01\x8a\x06\x00\x00\x00\x00\x00\x01\x85"
    + FLOATS
    + b"\x89C\x00tb.",
    "an array of fewer bytes": BEGUN
    + b"(K\x01K\x02\x85"
    + FLOATS
    + b"\x89C\x08"
    + bytes(8)
    + b"tb.",
    "a type of 1 GB": named("numpy", "dtype") + text("S1000000000") + b"\x89\x88\x87R.",
    "a list within itself": b"]\x94h\x00a.",
    "a tuple of tuples as a key": b"}" + b")" + b"\x85" * 100_000 + b"Ns.",
    "tuples without end": b")" + b"\x85" * 100_000 + b".",
    "brackets without end": b"(" * 100_000 + b".",
    "an index of 4 billion": b"N" + b"r" + b"\xff" * 4 + b"j" + b"\xff" * 3 + b"\xfe.",
    "a text of 16 exabytes": b"\x8d" + b"\xff" * 8 + b".",
    "bytes of 1 exabyte": b"\x96" + b"\x00" * 7 + b"\x10.",
    "a number of 4 billion bytes": b"\x8b" + b"\xff" * 4 + b".",
    "a number of 5,000 digits": b"I" + b"9" * 5000 + b"\n.",
    "a number of 200 bytes": b"\x8a\xc8" + b"\x01" * 200 + b".",
    "nothing": b"",
    "nothing but the end": b".",
    "two values": b"NN.",
    "an open bracket": b"(N.",
    "a value from an empty stack": b"\x86.",
    "an unknown memory": b"h\x07.",
    "a list as a key": b"}]Ns.",
    "appended to a text": text("a") + b"Na.",
    "no program at all": b"\x89PNG\r\n\x1a\n",
    "a web page": b"<!DOCTYPE html>",
    "an LFS pointer": b"version https://git-lfs.github.com/spec/v1\n",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_give_one_line(tmp_path, content):
    with pytest.raises(DataError, match=r"data\.pkl: ") as caught:
        read_pickled(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_repeated_parts_are_bounded(tmp_path):
    """Forty lines of ten times the last one: 10^40 values in 500 bytes."""
    bomb = b"]\x94" + b"N" + b"a"
    for level in range(40):
        bomb += b"0](" + b"h" + bytes([level]) + (b"h" + bytes([level])) * 9 + b"e\x94"
    with pytest.raises(DataError, match="repeated beyond any data file"):
        read_pickled(write(tmp_path, bomb + b"."))


def test_sizes_are_bounded(tmp_path):
    path = write(tmp_path, pickle.dumps([[] for _ in range(100)]))
    assert len(read_pickled(path, most_items=101)) == 100
    with pytest.raises(DataError, match="more containers than a data file has"):
        read_pickled(path, most_items=50)
    with pytest.raises(DataError, match="at most 10 are read"):
        read_pickled(path, most_bytes=10)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_pickled(tmp_path / "absent.pkl")
    with pytest.raises(DataError, match="cannot be read"):
        read_pickled(tmp_path)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_cut_off_files_are_refused(tmp_path, protocol):
    content = pickle.dumps(PLAIN, protocol)
    for length in range(0, len(content) - 1, max(1, len(content) // 100)):
        with pytest.raises(DataError):
            read_pickled(write(tmp_path, content[:length]))


def test_damaged_files_give_plain_data_or_an_error(tmp_path):
    """Random flips, deletions and insertions: never any other exception or kind of value."""
    chance = random.Random(0)
    names = [b"os\nsystem\n", named("os", "system"), struct.pack("<I", 2**31), b"R", b"b", b"\x81"]
    read = refused = 0
    for k in range(1500):
        content = bytearray(pickle.dumps(PLAIN, k % 6))
        for _ in range(chance.randint(1, 4)):
            place = chance.randrange(len(content))
            kind = chance.randrange(3)
            if kind == 0:
                content[place] = chance.randrange(256)
            elif kind == 1:
                del content[place : place + chance.randint(1, 9)]
            else:
                content[place:place] = chance.choice(names)
        try:
            read_pickled(write(tmp_path, bytes(content)))
            read += 1
        except DataError:
            refused += 1
    assert read > 0
    assert refused > 750
