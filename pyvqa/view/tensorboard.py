"""Curves of runs as TensorBoard event files, written without TensorBoard.

An event file is a row of records: the length of what follows as 8 bytes, a checksum of these, the
event as a protocol buffer, a checksum of that. Checksums are CRC-32C, turned by 15 bits with a
constant added (tensorflow core/lib/io/record_writer, core/util/event.proto).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from pyvqa.files import atomic_write
from pyvqa.view.curves import Series, read_log, run_names

_FILE = "events.out.tfevents.0.pyvqa"
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, its bits reversed
_ADDED = 0xA282EAD8


def write_events(runs: Sequence[str | Path], folder: Path) -> list[Path]:
    """Write `folder`/<run>/events... for each run folder, over what an earlier call wrote.

    A metric of training and the same of validation come to stand side by side: loss/train,
    loss/validate.

    Raises:
        DataError: a folder has no `log.jsonl`, or the log is damaged.
    """
    places = [Path(run) for run in runs]
    written = []
    for name, place in zip(run_names(places), places, strict=True):
        log = read_log(place)
        time = (place / "log.jsonl").stat().st_mtime
        target = folder / name / _FILE
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(target) as temporary, temporary.open("wb") as file:
            file.writelines(_record(event) for event in _events(log, time))
        written.append(target)
    return written


def _events(log: Mapping[str, Series], time: float) -> Iterator[bytes]:
    yield _event(time, b"\x1a" + _sized(b"brain.Event:2"))
    for name, series in log.items():
        kind, _, metric = name.partition("/")
        tag = _sized(f"{metric}/{kind}".encode())
        for step, value in zip(series.steps, series.values, strict=True):
            point = b"\x0a" + tag + b"\x15" + struct.pack("<f", value)
            yield _event(time, b"\x10" + _varint(step) + b"\x2a" + _sized(b"\x0a" + _sized(point)))


def _event(time: float, rest: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", time) + rest


def _sized(content: bytes) -> bytes:
    return _varint(len(content)) + content


def _varint(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _record(event: bytes) -> bytes:
    length = struct.pack("<Q", len(event))
    return length + _checksum(length) + event + _checksum(event)


def _checksum(content: bytes) -> bytes:
    value = crc32c(content)
    turned = (value >> 15 | value << 17) & 0xFFFFFFFF
    return struct.pack("<I", (turned + _ADDED) & 0xFFFFFFFF)


def crc32c(content: bytes) -> int:
    """Give the CRC-32C of some bytes (RFC 3720, appendix B.4)."""
    table, value = _table(), 0xFFFFFFFF
    for byte in content:
        value = table[(value ^ byte) & 255] ^ value >> 8
    return value ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    values = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        values.append(value)
    return tuple(values)
