"""Files of tables: what is written is read, and headers that lie are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from pyvqa.data.mapped import RowReader, Tables, Texts, writing
from pyvqa.errors import DataError


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    rows = np.arange(30, dtype=np.float16).reshape(10, 3)
    with writing(path, {"format": "test", "version": "1"}) as writer:
        for part in (rows[:4], rows[4:4], rows[4:]):
            writer.grow("rows", part)
        writer.add("ids", np.arange(5))
        writer.add("none", np.zeros((0, 2), np.float32))
    tables = Tables(path)
    tables.require("test", "1", {"rows": ("f", 2), "ids": ("i", 1), "none": ("f", 2)})
    read = load_file(path)  # the library agrees
    for name in ("rows", "ids", "none"):
        np.testing.assert_array_equal(tables.map(name), read[name])
    np.testing.assert_array_equal(read["rows"], rows)
    part = np.empty((3, 3), np.float16)
    RowReader(path, tables.places["rows"]).read(5, part)
    np.testing.assert_array_equal(part, rows[5:8])


@given(st.lists(st.text(max_size=6), max_size=9))
def test_texts(texts: list[str]) -> None:
    packed = Texts.of(texts)
    assert list(packed) == texts
    assert packed[1:-1] == texts[1:-1]
    with pytest.raises(IndexError):
        packed[len(texts)]


ENTRY = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "entry",
    [
        {**ENTRY, "dtype": "F99"},
        {**ENTRY, "shape": [2, 3]},
        {**ENTRY, "shape": [-2, -2]},
        {**ENTRY, "shape": [2.0, 2]},
        {**ENTRY, "shape": [True, 4]},
        {**ENTRY, "shape": 4},
        {**ENTRY, "shape": [2**62, 2**62]},
        {**ENTRY, "data_offsets": [16, 0]},
        {**ENTRY, "data_offsets": [16, 32]},
        {**ENTRY, "data_offsets": [0]},
        {**ENTRY, "data_offsets": None},
        {"dtype": "F32"},
        [],
        None,
    ],
)
def test_headers_that_lie(tmp_path: Path, entry: Any) -> None:
    path = tmp_path / "t.safetensors"
    for header in ({"a": entry}, [entry]):
        text = json.dumps(header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(16))
        with pytest.raises(DataError, match=r"not a safetensors file|cut off"):
            Tables(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x02", b"\xff" * 8, bytes(8), b"\x02" + bytes(7) + b"{"]
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match="not a safetensors file"):
        Tables(path)
    with pytest.raises(DataError, match="cannot be read"):
        Tables(tmp_path)
