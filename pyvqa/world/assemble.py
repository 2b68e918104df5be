"""Official files put together from the pieces of the blocks, and pieces made by several threads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pyvqa.files import atomic_write
from pyvqa.world.layouts import FileLayout, Part, info

Piece = TypeVar("Piece")


def assemble(path: Path, file: FileLayout, split: str, blocks: Sequence[Path]) -> None:
    """Write {"info": ..., lists of records, ...} from files of one record a line."""
    with atomic_write(path) as temporary, temporary.open("wb") as out:
        if file.is_list:
            out.write(b"[")
            _write_part(out, file.parts[0], (block / file.parts[0].source for block in blocks))
            out.write(b"]\n")
            return
        out.write(b'{"info":' + _compact(info(file, split)))
        for part in file.parts:
            out.write(f',"{part.key}":['.encode())
            _write_part(out, part, (block / part.source for block in blocks))
            out.write(b"]")
        for key, value in file.extra.items():
            out.write(f',"{key}":'.encode() + _compact(value))
        out.write(b"}\n")


def first_records(path: Path, key: str, count: int) -> list[dict[str, Any]]:
    """Read the first records of one of the lists in a file that `assemble` wrote.

    An empty `key` stands for the list that is all there is.
    """
    decoder = json.JSONDecoder()
    opening = f'"{key}":['
    found: list[dict[str, Any]] = []
    inside = False
    with path.open(encoding="utf-8") as file:
        for line in file:
            start = 0
            if not inside and not key:
                inside, start = True, 1
            elif not inside:
                place = line.rfind(opening)
                inside, start = place >= 0, place + len(opening)
            if not inside:
                continue
            if len(found) == count or line[start] == "]":
                break
            record, end = decoder.raw_decode(line, start)
            found.append(record)
            if line[end] == "]":
                break
    return found


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _write_part(out: BinaryIO, part: Part, sources: Iterable[Path]) -> None:
    """Write the records; those that end in `"<number>":0` get their number instead."""
    for position, line in enumerate(_lines(sources)):
        record = line.rstrip(b"\n")
        if part.number is not None:
            record = record[:-2] + f"{position + part.start}}}".encode()
        out.write(b",\n" * (position > 0) + record)


def _lines(sources: Iterable[Path]) -> Iterator[bytes]:
    for source in sources:
        file: BinaryIO
        with source.open("rb") as file:
            yield from file


def each(work: Callable[[Piece], Piece], items: Sequence[Piece], workers: int) -> Iterator[Piece]:
    """Give the results of `work` as they are ready; the first error stops everything.

    With `workers` threads, or in this one where there are none.
    """
    if workers == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[Piece]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(work, item))
                if len(waiting) < 2 * workers:
                    continue
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
            while waiting:
                ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in ready)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
