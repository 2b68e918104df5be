"""Files are wholly there or not at all, and broken JSON explains itself."""

from __future__ import annotations

import errno
import functools
import gzip
import hashlib
import json
import os
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from pyvqa.errors import DataError
from pyvqa.files import (
    atomic_folder,
    atomic_write,
    clean_leftovers,
    read_json,
    sha256,
    write_json,
    write_text,
)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _fail_in(writing: AbstractContextManager[Path], name: str) -> None:
    with writing as temporary:
        (temporary / name).write_text("half")
        raise KeyError("body")


def test_write_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    with atomic_write(target) as temporary:
        temporary.write_text("new")
        assert not target.exists()
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert _names(target.parent) == ["a.txt"]


def test_failing_body_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError):
        _fail_in(atomic_write(tmp_path / "a.txt"), "")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_folder_replaces_a_folder(tmp_path: Path) -> None:
    for text in ("one", "two"):
        with atomic_folder(tmp_path / "model") as temporary:
            (temporary / "inner").mkdir()
            (temporary / "inner" / f"{text}.txt").write_text(text)
    assert _names(tmp_path) == ["model"]
    assert _names(tmp_path / "model" / "inner") == ["two.txt"]


def test_failing_body_leaves_the_old_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as temporary:
        (temporary / "a.txt").write_text("old")
    with pytest.raises(KeyError):
        _fail_in(atomic_folder(tmp_path / "model"), "a.txt")
    assert (tmp_path / "model" / "a.txt").read_text() == "old"
    assert _names(tmp_path) == ["model"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_full_disk_is_explained_and_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_text(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(DataError, match=r"a\.txt: cannot be written \(No space left .*free some"):
        write_text(tmp_path / "a.txt", "new")
    with pytest.raises(DataError, match="free some space"):
        with atomic_folder(tmp_path / "model") as temporary:
            (temporary / "a.txt").write_text("x")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


def test_replacing_a_folder_never_loses_the_old_one(tmp_path: Path) -> None:
    """Fail at every call to the disk in turn: there is always an old or a new model."""
    real, outcomes = {"fsync": os.fsync, "replace": os.replace}, []
    for at in range(1, 20):
        folder = tmp_path / str(at)
        write_model(folder / "model", "old")
        calls = 0

        def call(name: str, *arguments: Any, at: int = at) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                raise OSError(errno.EIO, "Input/output error")
            real[name](*arguments)

        with pytest.MonkeyPatch.context() as patch:
            for name in real:
                patch.setattr(os, name, functools.partial(call, name))
            try:
                write_model(folder / "model", "new")
            except DataError:
                outcomes.append((folder / "model" / "a.txt").read_text())
        assert (folder / "model" / "a.txt").read_text() in ("old", "new")
        assert _names(folder) == ["model"]
    # Content, folder and both renames fail with the old one in place, the last fsync after that.
    assert outcomes == ["old", "old", "old", "old", "new"]


def write_model(folder: Path, text: str) -> None:
    with atomic_folder(folder) as temporary:
        (temporary / "a.txt").write_text(text)


def test_folder_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(DataError, match=r"a\.txt: cannot be written"):
        write_text(tmp_path / "a.txt", "new")
    (tmp_path / "b").write_text("")
    with pytest.raises(DataError, match="check that the folder exists"):
        write_text(tmp_path / "b" / "c.txt", "new")


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        with atomic_write(tmp_path / "out" / "a.txt"):
            (tmp_path / "input" / "missing.txt").read_text()


def test_leftovers_go_and_interrupted_replacements_come_back(tmp_path: Path) -> None:
    for name in ("model.old-12", "run.tmp-7", "kept.old-3", "kept"):
        (tmp_path / name).mkdir()
    (tmp_path / "a.json.tmp-99").write_text("half")
    (tmp_path / "my.tmp-file").write_text("not ours")
    clean_leftovers(tmp_path)
    assert _names(tmp_path) == ["kept", "model", "my.tmp-file"]


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_json_comes_back(tmp_path: Path, name: str) -> None:
    value = {"text": "naïve ☃", "numbers": [1, 2.5, None, True]}
    write_json(tmp_path / name, value)
    assert read_json(tmp_path / name, keys=("text",)) == value
    first = (tmp_path / name).read_bytes()
    write_json(tmp_path / name, value)
    assert (tmp_path / name).read_bytes() == first  # No time stamps inside.


def test_json_that_others_cannot_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", [float("nan")])
    assert _names(tmp_path) == []


BROKEN = [
    (b"", "line 1 column 1"),
    (b'{"a": 1,\n "b": [1, 2', "cut off"),
    (b'{"a": 1,\n "b": [1 2]}', "line 2 column 10: .* fix this place"),
    (b"{'a': 1}", "line 1 column 2"),
    (b"\xff\xfe\x00", "not UTF-8"),
    (b"[" * 100000, "nested too deeply"),
    (b"[1, 2]", "holds a list where a dictionary is expected"),
    (b"3", "holds a number where a dictionary is expected"),
    (b"null", "holds a null where"),
    (b'{"a": 1}', "lacks the key 'scenes' .has: a."),
    (b"{}", "lacks the key 'scenes' .has: nothing."),
]


@pytest.mark.parametrize(("content", "hint"), BROKEN)
@pytest.mark.parametrize("zipped", [False, True])
def test_broken_json_is_one_line(tmp_path: Path, content: bytes, hint: str, zipped: bool) -> None:
    path = tmp_path / ("a.json.gz" if zipped else "a.json")
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=hint) as caught:
        read_json(path, expect=dict, keys=("scenes",))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    text = json.dumps({"scenes": [{"objects": list(range(30))}] * 5}, indent=1).encode()
    for name, whole in (("a.json", text), ("a.json.gz", gzip.compress(text, mtime=0))):
        path = tmp_path / name
        for length in range(0, len(whole), max(1, len(whole) // 40)):
            path.write_bytes(whole[:length])
            with pytest.raises(DataError, match=name):
                read_json(path, keys=("scenes",))


def test_flipped_bits_in_a_gzip_file_never_pass_as_other_data(tmp_path: Path) -> None:
    value = {"scenes": list(range(300))}
    whole = gzip.compress(json.dumps(value).encode(), mtime=0)
    draw, noticed = random.Random(0), 0
    for _ in range(60):
        bad = bytearray(whole)
        bad[draw.randrange(10, len(bad))] ^= 1 << draw.randrange(8)
        (tmp_path / "a.json.gz").write_bytes(bytes(bad))
        try:
            assert read_json(tmp_path / "a.json.gz") == value
        except DataError:
            noticed += 1
    assert noticed >= 55


def test_missing_files_and_folders_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(DataError, match="is a folder"):
        read_json(tmp_path)
    (tmp_path / "plain.json.gz").write_text("[]")
    with pytest.raises(DataError, match="damaged or cut-off gzip"):
        read_json(tmp_path / "plain.json.gz")


def test_byte_order_mark_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(tmp_path / "a.json", expect=list) == [1]


def test_sha256(tmp_path: Path) -> None:
    content = bytes(range(256)) * 9000
    (tmp_path / "a").write_bytes(content)
    assert sha256(tmp_path / "a") == hashlib.sha256(content).hexdigest()
