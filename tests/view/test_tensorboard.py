"""Event files: the format byte by byte, and what TensorBoard itself reads where it is installed."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from pyvqa.cli.main import main
from pyvqa.view.tensorboard import crc32c, write_events

LINES = [
    {"kind": "train", "step": 1, "epoch": 0, "loss": 0.5},
    {"kind": "train", "step": 300, "epoch": 1, "loss": 0.25},
    {"kind": "validate", "step": 300, "epoch": 1, "loss": 0.75, "accuracy": 40.0},
]
POINTS = {
    "loss/train": [(1, 0.5), (300, 0.25)],
    "loss/validate": [(300, 0.75)],
    "accuracy/validate": [(300, 40.0)],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return tmp_path / "run"


def test_the_checksum_is_that_of_the_standard() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def fields(message: bytes) -> dict[int, int | bytes]:
    """Take a protocol buffer without repeated fields apart."""
    found: dict[int, int | bytes] = {}
    place = 0

    def varint() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                return value

    while place < len(message):
        key = varint()
        if key & 7 == 0:
            found[key >> 3] = varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        found[key >> 3] = message[place : place + size]
        place += size
    return found


def records(content: bytes) -> list[bytes]:
    events, place = [], 0
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = content[place + 12 : place + 12 + length]
        for part, at in ((content[place : place + 8], place + 8), (event, place + 12 + length)):
            value = crc32c(part)
            turned = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack_from("<I", content, at) == (turned,)
        events.append(event)
        place += 16 + length
    return events


def test_the_records_hold_every_point(run: Path, tmp_path: Path) -> None:
    (file,) = write_events([run], tmp_path / "tb")
    assert file.parent == tmp_path / "tb/run"
    first, *rest = records(file.read_bytes())
    assert fields(first)[3] == b"brain.Event:2"
    found: dict[str, list[tuple[object, float]]] = {}
    for event in rest:
        parts = fields(event)
        value = fields(fields(parts[5])[1])  # type: ignore[arg-type]
        (number,) = struct.unpack("<f", value[2])  # type: ignore[arg-type]
        found.setdefault(value[1].decode(), []).append((parts[2], number))  # type: ignore[union-attr]
    assert found == POINTS


def test_tensorboard_reads_them(run: Path, tmp_path: Path) -> None:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (file,) = write_events([run], tmp_path / "tb")
    read = reader.EventAccumulator(str(file.parent)).Reload()
    assert {
        tag: [(point.step, point.value) for point in read.Scalars(tag)]
        for tag in read.Tags()["scalars"]
    } == POINTS


def test_the_command_writes_page_and_events(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the second time over the first
        assert main(["view", str(run), "--tensorboard", str(tmp_path / "tb")]) == 0
    assert "events: " in capsys.readouterr().out
    assert (run / "view.html").is_file()
    assert len(list((tmp_path / "tb").rglob("events.*"))) == 1


def test_answers_have_no_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answers.json").write_text("{}")
    command = ["view", str(tmp_path / "answers.json"), "--tensorboard", str(tmp_path / "tb")]
    assert main(command) == 1
    assert "has no curves" in capsys.readouterr().err
