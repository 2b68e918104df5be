"""Reading pickled data files without running anything that stands in them.

A pickle is a program for a small stack machine, and the usual machine calls whatever function the
program names. This one is our own: it knows the instructions that build lists, dictionaries, texts
and numbers, and a fixed table of recipes for NumPy arrays and scalars. Any other name is refused
before anything is built from it. Sizes, nesting and sharing are bounded as well.

Text of Python 2 comes back as `str`, byte by byte (Latin-1), as is usual for such files.
"""

from __future__ import annotations

import codecs
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pyvqa.data.pickled_values import (
    MENTIONED,
    PLAIN,
    RECIPES,
    Name,
    Refused,
    as_key,
    expect,
    fill_array,
    finish_dtype,
    paired,
)
from pyvqa.errors import DataError

MOST_BYTES = 2 << 30  # of a file
MOST_ITEMS = 50_000_000  # containers and arrays in a file
_MOST_MARKS = 1000  # open brackets at a time
_MOST_DEPTH = 50  # containers within containers
_MOST_REACHED = 500_000_000  # values that a walk through everything would meet
_MOST_DIGITS = 64  # bytes of a whole number


def read_pickled(
    path: str | Path, *, most_bytes: int = MOST_BYTES, most_items: int = MOST_ITEMS
) -> Any:
    """Read a `.pkl` file of plain containers, texts, numbers and NumPy arrays, of any protocol.

    Nothing in the file is ever called or imported.

    Raises:
        DataError: missing, too large, damaged, or it holds something else, which is named.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > most_bytes:
            raise DataError(f"{path}: {size:,} bytes; at most {most_bytes:,} are read")
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    machine = _Machine(content, most_items)
    try:
        value = machine.run()
        _reach(value, _MOST_DEPTH, {})
        return value
    except Refused as error:
        raise DataError(
            f"{path}: {error}; only lists, dictionaries, texts, numbers and NumPy arrays are read, "
            "and nothing in the file was run"
        ) from error
    except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
        raise DataError(
            f"{path}: damaged or cut off near byte {machine.position:,} of {len(content):,}, or no "
            "pickled data at all; fetch it again"
        ) from error


class _Machine:
    """The stack machine: reads a program, gives the value that it builds."""

    def __init__(self, content: bytes, most_items: int) -> None:
        self.content = content
        self.position = 0
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # stacks put aside at open brackets
        self.memo: dict[int, Any] = {}
        self.items_left = most_items

    def run(self) -> Any:
        content = self.content
        instructions = [_INSTRUCTIONS.get(code, _Machine._refuse) for code in range(256)]
        while (code := content[self.position]) != _STOP:
            self.position += 1
            instructions[code](self)
        (value,) = self.stack
        if self.marks:
            raise ValueError("a bracket is open")
        return value

    # ---- reading

    def _take(self, count: int) -> bytes:
        start = self.position
        self.position = start + count
        taken = self.content[start : self.position]
        if len(taken) < count:
            raise IndexError("the file ends")
        return taken

    def _number(self, count: int) -> int:
        return int.from_bytes(self._take(count), "little")

    def _line(self) -> bytes:
        end = self.content.index(b"\n", self.position)
        line = self.content[self.position : end]
        self.position = end + 1
        return line

    def _count(self) -> None:
        self.items_left -= 1
        if self.items_left < 0:
            raise Refused("it builds more containers than a data file has")

    # ---- brackets, memory

    def _mark(self) -> None:
        if len(self.marks) >= _MOST_MARKS:
            raise Refused("it is nested too deeply to be a data file")
        self.marks.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        values = self.stack
        self.stack = self.marks.pop()
        return values

    def _put(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def _memoize(self) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def _binput(self) -> None:
        self.memo[self.content[self.position]] = self.stack[-1]
        self.position += 1

    def _binget(self) -> None:
        self.stack.append(self.memo[self.content[self.position]])
        self.position += 1

    # ---- containers

    def _empty_list(self) -> None:
        self._count()
        self.stack.append([])

    def _empty_dict(self) -> None:
        self._count()
        self.stack.append({})

    def _empty_set(self) -> None:
        self._count()
        self.stack.append(set())

    def _append(self) -> None:
        value = self.stack.pop()
        expect(list, self.stack[-1]).append(value)

    def _appends(self) -> None:
        values = self._since_mark()
        expect(list, self.stack[-1]).extend(values)

    def _setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        expect(dict, self.stack[-1])[as_key(key)] = value

    def _setitems(self) -> None:
        values = self._since_mark()
        expect(dict, self.stack[-1]).update(paired(values))

    def _additems(self) -> None:
        values = self._since_mark()
        expect(set, self.stack[-1]).update(map(as_key, values))

    def _collect(self, build: Callable[[list[Any]], Any]) -> None:
        self._count()
        values = self._since_mark()
        self.stack.append(build(values))

    def _tuple(self, count: int) -> None:
        self._count()
        values = self.stack[len(self.stack) - count :]
        if len(values) < count:
            raise IndexError("the stack is empty")
        self.stack[-count:] = [tuple(values)]

    # ---- names, and what may be made with them

    def _named(self, module: Any, name: Any) -> None:
        known = Name(expect(str, module), expect(str, name))
        if known not in RECIPES and known not in MENTIONED:
            raise Refused(f"asks for {f'{module}.{name}'[:200]!r}")
        self.stack.append(known)

    def _global(self) -> None:
        self._named(self._line().decode(), self._line().decode())

    def _stack_global(self) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self._named(module, name)

    def _reduce(self) -> None:
        arguments, name = expect(tuple, self.stack.pop()), self.stack.pop()
        if type(name) is not Name or name not in RECIPES:
            raise Refused(f"calls {'.'.join(name) if type(name) is Name else name!r}"[:200])
        self._count()
        self.stack.append(RECIPES[name](*arguments))

    def _build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if type(value) is np.ndarray:
            fill_array(value, state)
        elif isinstance(value, np.dtype):
            finish_dtype(value, state)
        else:
            raise Refused(f"gives a state to a {type(value).__name__}")

    def _inst(self) -> NoReturn:
        module, name = self._line().decode(), self._line().decode()
        raise Refused(f"asks for {f'{module}.{name}'[:200]!r}")

    def _refuse(self) -> NoReturn:
        code = self.content[self.position - 1]
        if self.position == 1 and code not in b"\x80(]})":
            raise ValueError("not a program of this machine")
        raise Refused(f"holds the instruction {bytes([code])!r}, which makes objects")


def _whole_number(data: bytes) -> int:
    if len(data) > _MOST_DIGITS:
        raise Refused("holds a number of too many digits")
    return int.from_bytes(data, "little", signed=True)


def _written_number(line: bytes) -> int | bool:
    if line in (b"00", b"01"):
        return line == b"01"
    if len(line) > _MOST_DIGITS:
        raise Refused("holds a number of too many digits")
    return int(line.rstrip(b"L"))


def _quoted(line: bytes) -> str:
    if len(line) < 2 or line[:1] not in b"'\"" or line[:1] != line[-1:]:
        raise ValueError("a text without quotes")
    text: bytes = codecs.escape_decode(line[1:-1])[0]
    return text.decode("latin-1")


# ---- what has been built

_CONTAINERS = (list, tuple, dict, OrderedDict, set, frozenset)
_LEAVES = PLAIN | {bytearray, np.ndarray}


def _reach(value: Any, depth: int, known: dict[int, int]) -> int:
    """Count what a walk through everything would meet, each container looked into once."""
    kind = type(value)
    if kind in _LEAVES:
        return 1
    if kind not in _CONTAINERS:
        name = ".".join(value) if kind is Name else kind.__name__
        raise Refused(f"holds {name}, which is no value")
    if id(value) in known:
        return known[id(value)]
    if depth == 0:
        raise Refused("it is nested too deeply, or within itself")
    inside: Iterable[Any] = chain(value, value.values()) if isinstance(value, dict) else value
    total = 1 + sum(1 if type(v) in _LEAVES else _reach(v, depth - 1, known) for v in inside)
    if total > _MOST_REACHED:
        raise Refused("the same parts are repeated beyond any data file")
    known[id(value)] = total
    return total


# ---- the instructions, by their codes


def _pushing(read: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    def push(machine: _Machine) -> None:
        machine.stack.append(read(machine))

    return push


def _sized(width: int, decode: Callable[[bytes], Any]) -> Callable[[_Machine], None]:
    """Push what `decode` makes of as many bytes as the first `width` bytes say."""
    return _pushing(lambda m: decode(m._take(m._number(width))))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _old_text(data: bytes) -> str:
    return data.decode("latin-1")


def _fixed(form: str) -> Callable[[_Machine], None]:
    size = struct.calcsize(form)
    return _pushing(lambda m: struct.unpack(form, m._take(size))[0])


def _constant(value: Any) -> Callable[[_Machine], None]:
    return lambda m: m.stack.append(value)


_STOP = ord(".")
_TABLE: dict[bytes, Callable[[_Machine], Any]] = {
    b"\x80": lambda m: m._number(1),  # the protocol; later ones only add instructions
    b"\x95": lambda m: m._number(8),  # length of a frame
    b"(": _Machine._mark,
    b"0": lambda m: m.stack.pop(),
    b"1": _Machine._since_mark,
    b"2": lambda m: m.stack.append(m.stack[-1]),
    b"N": _constant(None),
    b"\x88": _constant(True),
    b"\x89": _constant(False),
    b"I": _pushing(lambda m: _written_number(m._line())),
    b"L": _pushing(lambda m: _written_number(m._line())),
    b"J": _fixed("<i"),
    b"K": _fixed("<B"),
    b"M": _fixed("<H"),
    b"\x8a": _sized(1, _whole_number),
    b"\x8b": _sized(4, _whole_number),
    b"F": _pushing(lambda m: float(m._line())),
    b"G": _fixed(">d"),
    b"S": _pushing(lambda m: _quoted(m._line())),
    b"T": _sized(4, _old_text),
    b"U": _sized(1, _old_text),
    b"V": _pushing(lambda m: m._line().decode("raw-unicode-escape")),
    b"X": _sized(4, _text),
    b"\x8c": _sized(1, _text),
    b"\x8d": _sized(8, _text),
    b"B": _sized(4, bytes),
    b"C": _sized(1, bytes),
    b"\x8e": _sized(8, bytes),
    b"\x96": _sized(8, bytearray),
    b"]": _Machine._empty_list,
    b"}": _Machine._empty_dict,
    b"\x8f": _Machine._empty_set,
    b")": _constant(()),
    b"a": _Machine._append,
    b"e": _Machine._appends,
    b"s": _Machine._setitem,
    b"u": _Machine._setitems,
    b"\x90": _Machine._additems,
    b"l": lambda m: m._collect(list),
    b"t": lambda m: m._collect(tuple),
    b"d": lambda m: m._collect(paired),
    b"\x91": lambda m: m._collect(lambda values: frozenset(map(as_key, values))),
    b"\x85": lambda m: m._tuple(1),
    b"\x86": lambda m: m._tuple(2),
    b"\x87": lambda m: m._tuple(3),
    b"p": lambda m: m._put(int(m._line())),
    b"q": _Machine._binput,
    b"r": lambda m: m._put(m._number(4)),
    b"\x94": _Machine._memoize,
    b"g": _pushing(lambda m: m.memo[int(m._line())]),
    b"h": _Machine._binget,
    b"j": _pushing(lambda m: m.memo[m._number(4)]),
    b"c": _Machine._global,
    b"\x93": _Machine._stack_global,
    b"R": _Machine._reduce,
    b"b": _Machine._build,
    b"i": _Machine._inst,
}
_INSTRUCTIONS = {code[0]: instruction for code, instruction in _TABLE.items()}
