"""Files that are either wholly there or not at all, and JSON that explains itself when broken.

Everything pyvqa writes goes through `atomic_write` or `atomic_folder`: the content is written
beside its target under a temporary name, forced to disk and renamed. A process that dies at any
moment leaves the old content, or the new one, and at most a temporary that the next start removes.
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pyvqa.errors import DataError

# `<name>.tmp-<pid>` is being written, `<name>.old-<pid>` is a folder about to be replaced.
_TEMPORARY = re.compile(r"^(?P<name>.+)\.(?P<kind>tmp|old)-(?P<pid>\d+)$")


def sync(path: Path) -> None:
    """Force one file's content, or one folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to; on leaving, publish it as `path` in one rename.

    When the body raises, nothing is published and the temporary is removed.

    Raises:
        DataError: the file cannot be written (full disk, no permission, a folder is in the way).
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with explain_write(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        with suppress(OSError):  # Most often it is gone, or could never be made.
            temporary.unlink()


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on leaving, publish it as `path`, replacing what was there.

    A folder cannot be renamed over another one, so an old one first steps aside under the name
    `<name>.old-<pid>`; `clean_leftovers` puts it back if the process dies in between.

    Raises:
        DataError: the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    aside = path.with_name(f"{path.name}.old-{os.getpid()}")
    try:
        with explain_write(path):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            for entry in sorted(temporary.rglob("*")):
                sync(entry)
            sync(temporary)
            if path.exists():
                os.replace(path, aside)
            os.replace(temporary, path)
            sync(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        if aside.exists() and not path.exists():
            os.replace(aside, path)
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def explain_write(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write at `path` into a DataError that says what to do."""
    try:
        yield
    except OSError as error:
        about = Path(error.filename) if isinstance(error.filename, str) else path
        if path.parent not in (about, *about.parents) and about not in path.parents:
            raise  # Some other file that the body was reading.
        reason = error.strerror or str(error)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "free some space and run the same command again"
        else:
            advice = "check that the folder exists and may be written to"
        raise DataError(f"{path}: cannot be written ({reason}); {advice}") from error


def clean_leftovers(folder: str | Path) -> None:
    """Remove what a killed process left half-written directly inside `folder`.

    A folder that was stepping aside for its successor goes back if the successor never came.
    Call it only where a single process writes (a run folder is guarded by its lock).
    """
    for entry in sorted(Path(folder).iterdir()):
        match = _TEMPORARY.match(entry.name)
        if match is None:
            continue
        target = entry.with_name(match["name"])
        if match["kind"] == "old" and not target.exists():
            os.replace(entry, target)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> None:
    """Write a JSON file atomically; compressed when the name ends in `.gz`."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path).endswith(".gz"):
        with atomic_write(path) as temporary:
            # No time stamp inside: equal content gives equal bytes.
            temporary.write_bytes(gzip.compress(text.encode("utf-8"), compresslevel=6, mtime=0))
    else:
        write_text(path, text)


def read_json(
    path: str | Path,
    *,
    expect: type | None = None,
    keys: Sequence[str] = (),
    replace: Callable[[dict[str, Any]], Any] | None = None,
) -> Any:
    """Read `.json` or `.json.gz`, checking the outermost shape.

    `expect` is `dict` or `list`; `keys` must all be present in the outermost dictionary. `replace`
    gets every dictionary, inner ones first, and gives what stands in its place: what a large file
    holds and nobody needs is then never in memory as a whole.

    Raises:
        DataError: missing, not a file, truncated, not UTF-8, not JSON (with line and column), or
            not of the expected shape.
    """
    path = Path(path)
    content = read_bytes(path)
    try:
        value = json.loads(content.decode("utf-8-sig"), object_hook=replace)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text (byte {error.start}); is this a JSON file?"
        ) from error
    except json.JSONDecodeError as error:
        hint = "the file seems cut off" if error.pos >= len(content.rstrip()) else "fix this place"
        raise DataError(
            f"{path}: line {error.lineno} column {error.colno}: {error.msg}; {hint}"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}: nested too deeply to be a data file") from error
    if keys:
        expect = dict
    if expect is not None and not isinstance(value, expect):
        raise DataError(
            f"{path}: holds a {_json_name(type(value))} where a {_json_name(expect)} is expected; "
            "is this the right file?"
        )
    missing = [key for key in keys if key not in value]
    if missing:
        found = ", ".join(sorted(value)[:6]) or "nothing"
        raise DataError(f"{path}: lacks the key {missing[0]!r} (has: {found}); wrong file?")
    return value


def read_bytes(path: str | Path) -> bytes:
    """Read a whole file, decompressing it when its name ends in `.gz`.

    Raises:
        DataError: missing, not a file, not readable, or a truncated or damaged gzip stream.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check the path") from error
    except IsADirectoryError as error:
        raise DataError(f"{path}: is a folder, a file is expected") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: damaged or cut-off gzip file; fetch it again") from error


def sha256(path: str | Path) -> str:
    """Digest a file's content, as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _json_name(kind: type) -> str:
    names: dict[type, str] = {dict: "dictionary", list: "list", str: "string", bool: "boolean"}
    return names.get(kind, "null" if kind is type(None) else "number")
