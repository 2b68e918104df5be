"""The JSON parser, seen through the readers that stand on it."""

from __future__ import annotations

import json
import math
import mmap
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyvqa import _native

SCENE = '{"scenes":[{"objects":[],"extra":%s}]}'
LOOKS = '"color":"red","size":"large","shape":"cube","material":"metal"'
POSITION = '[{"objects":[{' + LOOKS + ',"position":[0,0,%s]}]}]'
QUESTION = '{"questions":[{"image_index":0,"question":%s}]}'


def read_number(text: str) -> float:
    return float(_native.read_scenes((POSITION % text).encode()).position[0, 2])


def read_string(text: str) -> str:
    return str(_native.read_questions((QUESTION % text).encode()).questions[0])


def fails(text: str, message: str) -> None:
    for content in (SCENE % text, POSITION % text):
        with pytest.raises(ValueError, match=message):
            _native.read_scenes(content.encode())


NUMBERS = ["0", "-0", "-0.0", "1e5", "1E+5", "2.5e-3", "0.1", "1e-400", "-1e-400", "4.9e-324"]
NUMBERS += ["1.7976931348623157e308", "0.000" + "0" * 400 + "1", "123456789012345678901234567890"]
NUMBERS += [
    "2.2250738585072011e-308",
    "9007199254740993",
    "0e999999999999999999999",
    "1e-99999999999",
]


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_pythons(text: str) -> None:
    value = read_number(text)
    assert value == float(text)
    assert math.copysign(1, value) == math.copysign(1, float(text))


@settings(max_examples=300, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 20))
def test_doubles_survive(value: float, digits: int) -> None:
    assert read_number(json.dumps(value)) == value
    text = f"{value:.{digits}e}"
    if math.isfinite(float(text)):
        assert read_number(text) == float(text)


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])), st.booleans())
def test_strings_survive(text: str, ascii_only: bool) -> None:
    assert read_string(json.dumps(text, ensure_ascii=ascii_only)) == text


def test_escapes() -> None:
    assert (
        read_string(r'"\"\\\/\b\f\n\r\t\u0041\u00e9\ud83d\ude00"')
        == '"\\/\b\f\n\r\tA\u00e9\U0001f600'
    )


BAD_VALUES = [
    ("01", "begins with 0"),
    ("-", "needs digits after the sign"),
    ("1.", "needs digits after the point"),
    ("1e", "needs digits in the exponent"),
    (".5", "found '.'"),
    ("+1", r"found '\+'"),
    ("NaN", "found NaN or Infinity, which JSON does not know"),
    ("Infinity", "found NaN or Infinity"),
    ("-Infinity", "found -Infinity"),
    ("[1 2]", "expected"),
    ("[1,]", "expected"),
    ("tru", "expected"),
    ("[", "expected"),
    ("'a'", "expected"),
    ("\x01", "found byte 1"),
]


@pytest.mark.parametrize(("text", "message"), BAD_VALUES)
def test_bad_values_are_refused_even_where_they_are_skipped(text: str, message: str) -> None:
    fails(text, message)


BAD_STRINGS = [
    ('"\\x"', "unknown escape"),
    ('"\\u12g4"', "four hexadecimal digits"),
    ('"a\nb"', "control character"),
    ('"', "ends inside a string|control|expected"),
    ('"\\ud800"', "surrogate"),
    ('"\\ud800\\u0041"', "surrogate"),
    ('"\\udc00"', "surrogate"),
]


@pytest.mark.parametrize(("text", "message"), BAD_STRINGS)
def test_bad_strings_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_string(text)


def test_number_beyond_doubles_is_refused() -> None:
    for text in ("1e400", "-1e400", "9" * 400, "0.001e400"):
        with pytest.raises(ValueError, match="too large for a double"):
            read_number(text)


@pytest.mark.parametrize(
    "tail",
    [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98"],
)
def test_text_must_be_utf8(tail: bytes) -> None:
    data = b'{"scenes":[],"extra":"' + b"a" * 40 + tail + b'"}'
    with pytest.raises(ValueError, match=r"not UTF-8, byte 62 \(line 1, column 63\)"):
        _native.read_scenes(data)


def test_byte_order_mark_and_white_space_are_no_matter() -> None:
    data = b'\xef\xbb\xbf \r\n\t{ "scenes" : [ { "objects" : [ ] } ] }\n'
    assert _native.read_scenes(data).counts.tolist() == [0]


def test_nesting_is_limited() -> None:
    deep = SCENE % ("[" * 61 + "]" * 61)
    assert len(_native.read_scenes(deep.encode()).counts) == 1
    for depth in (62, 100_000):
        with pytest.raises(ValueError, match="nested more than 64 deep"):
            _native.read_scenes((SCENE % ("[" * depth + "]" * depth)).encode())


def test_text_after_the_end_is_refused() -> None:
    with pytest.raises(ValueError, match="text after the end"):
        _native.read_scenes(b'{"scenes":[]} {}')


def test_last_of_equal_keys_counts() -> None:
    data = (
        b'{"scenes":[{"objects":[]}],'
        b'"scenes":[{"objects":[],"image_index":1,"image_index":7},{"objects":[]}]}'
    )
    assert _native.read_scenes(data).image_index.tolist() == [7, 1]


def test_errors_name_byte_line_and_column() -> None:
    data = b'{"scenes": [\n  {"objects": []},\n  {"objects": 3}]}'
    with pytest.raises(
        ValueError,
        match=r"^scene 1: expected a list, found a number, "
        r"byte 46 \(line 3, column 15\)$",
    ):
        _native.read_scenes(data)


def test_any_contiguous_bytes_are_read(tmp_path) -> None:
    data = (SCENE % "1").encode()
    file = tmp_path / "scenes.json"
    file.write_bytes(data)
    with (
        file.open("rb") as handle,
        mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
    ):
        for content in (bytearray(data), memoryview(data), mapped):
            assert len(_native.read_scenes(content).counts) == 1
    for content in (memoryview(data)[::2], np.zeros(4)):
        with pytest.raises(ValueError, match="must be bytes"):
            _native.read_scenes(content)


def test_whatever_is_accepted_python_accepts_too() -> None:
    rng = random.Random(5)
    alphabet = list(b'{}[]:,"\\0123456789.eE+-truefalsn \n\xc3\xa9')
    text = b'{"scenes":[],"a":[1,-2.5e3,"b\\u00e9",true,null,{"c":{}}]}'
    accepted = 0
    for _ in range(4000):
        data = bytearray(text)
        for _ in range(rng.randrange(1, 3)):
            data[rng.randrange(len(data))] = rng.choice(alphabet)
        try:
            _native.read_scenes(bytes(data))
        except ValueError:
            continue
        accepted += 1
        json.loads(bytes(data))
    assert accepted > 100
