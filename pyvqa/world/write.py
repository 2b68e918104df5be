"""Writing a data set of the built-in world: block by block, resumable, published at the end.

A finished block lies in a hidden work folder; whoever runs the same command again makes only what
is missing. The official files are put together from the blocks and published whole. Equal settings
give equal bytes, however often the work was interrupted and however many workers shared it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyvqa.errors import ConfigError, DataError
from pyvqa.files import atomic_folder, atomic_write, read_json, write_json
from pyvqa.programs.scenes import from_table
from pyvqa.world.balance import Balance
from pyvqa.world.questions import (
    GeneratorSettings,
    QuestionGenerator,
    expression_records,
    question_records,
)
from pyvqa.world.scenes import (
    SceneSettings,
    check_scene_settings,
    image_filename,
    sample_scenes,
)
from pyvqa.world.template_files import Templates
from pyvqa.world.verify import wrong_answers

Progress = Callable[[int], object]


def _silent(scenes: int) -> None:
    """Report nothing."""


FORMAT_VERSION = 1  # of blocks and their content; a change makes old work folders useless


@dataclass(frozen=True)
class Layout:
    """How a format names its files and what stands in them."""

    language: str
    scenes: str  # file names, with the split to be filled in
    entries: str
    key: str  # of the list of entries
    number: str  # of an entry within the whole file


LAYOUTS = {
    "clevr": Layout(
        "clevr",
        "scenes/CLEVR_{split}_scenes.json",
        "questions/CLEVR_{split}_questions.json",
        "questions",
        "question_index",
    ),
    "clevr-ref": Layout(
        "clevr-ref",
        "scenes/clevr_ref+_{split}_scenes.json",
        "refexps/clevr_ref+_{split}_refexps.json",
        "refexps",
        "refexp_index",
    ),
}


@dataclass(frozen=True)
class DatasetSettings:
    """Everything that decides a data set's bytes, templates apart."""

    format: str
    split: str
    scenes: int
    seed: int = 0
    scene: SceneSettings = field(default_factory=SceneSettings)
    questions: GeneratorSettings = field(default_factory=GeneratorSettings)


class Dataset:
    """One split of a data set in a folder, finished or not."""

    def __init__(self, out: str | Path, settings: DatasetSettings, templates: Templates) -> None:
        """Check the settings against what is in the folder.

        Raises ConfigError where other settings made what is there, DataError for bad templates or
        files of another origin.
        """
        if not settings.split or not settings.split.replace("_", "").isalnum():
            raise ConfigError(f"split {settings.split!r}: letters, digits and underscores only")
        if settings.scenes < 1:
            raise ConfigError(f"{settings.scenes} scenes: at least one is needed")
        self.settings, self.templates = settings, templates
        self.layout = LAYOUTS[settings.format]
        check_scene_settings(settings.seed, settings.scene)
        self.generator = QuestionGenerator(templates, settings.questions)
        out = Path(out)
        self.scenes_path = out / self.layout.scenes.format(split=settings.split)
        self.entries_path = out / self.layout.entries.format(split=settings.split)
        name = f"{settings.format}_{settings.split}"
        self.report_path = out / "reports" / f"{name}_balance.json"
        self.work = out / f".synth-{name}"
        self._check_folder(out)

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.settings.scenes // self.settings.questions.block)

    def is_complete(self) -> bool:
        """Say whether the official files are there already."""
        return self.report_path.exists() and not self.work.exists()

    def finished(self) -> set[int]:
        """Return the numbers of the blocks that need not be made again."""
        folders = self.work.glob("block-*")
        return {int(f.name[6:]) for f in folders if f.name[6:].isdecimal()}

    def make(self, workers: int = 0, progress: Progress = _silent) -> None:
        """Make the missing blocks, then publish the files."""
        self.make_blocks(workers, progress)
        self.publish()

    def make_blocks(
        self, workers: int = 0, progress: Progress = _silent, *, rank: int = 0, ranks: int = 1
    ) -> None:
        """Make the missing blocks with `workers` threads (0: in this one).

        Of several processes, number `rank` makes every `ranks`-th block. `progress` is told the
        number of scenes whenever one of its blocks is there.

        Raises DataError when the disk is full; the finished blocks stay.
        """
        done = self.finished()
        mine = range(rank, self.blocks, ranks)
        for block in mine:
            if block in done:
                progress(self._size(block))
        for block in _each(self._make_block, [b for b in mine if b not in done], workers):
            progress(self._size(block))

    def publish(self) -> None:
        """Put the official files and the report together; all blocks must be there."""
        for path in (self.scenes_path, self.entries_path, self.report_path):
            for half_written in path.parent.glob(f"{path.name}.tmp-*"):  # by a killed process
                half_written.unlink()
        self._publish()
        shutil.rmtree(self.work)

    def report(self) -> dict[str, Any]:
        """Read the report of a finished data set: its settings and its balance."""
        content: dict[str, Any] = read_json(self.report_path, keys=("settings", "balance"))
        return content

    def _fingerprint(self) -> dict[str, Any]:
        version = {"version": FORMAT_VERSION, "templates": self.templates.digest()}
        return version | asdict(self.settings)

    def _check_folder(self, out: Path) -> None:
        state = self.work / "settings.json"
        found = None
        if state.exists():
            found = read_json(state, expect=dict)
        elif self.report_path.exists():
            found = self.report()["settings"]
        elif self.scenes_path.exists() or self.entries_path.exists():
            raise DataError(
                f"{out}: holds {self.entries_path.name} or {self.scenes_path.name} of another "
                "origin; choose another --out or move them away"
            )
        wanted = self._fingerprint()
        if found is None:
            self.work.mkdir(parents=True, exist_ok=True)
            write_json(state, wanted)
        elif found != wanted:
            differing = ", ".join(sorted(k for k in wanted if found.get(k) != wanted[k]))
            raise ConfigError(
                f"{out}: holds a data set made with other settings ({differing}); choose another "
                f"--out, or remove {self.work.name} and the files to start anew"
            )

    def _size(self, block: int) -> int:
        size = self.settings.questions.block
        return min(size, self.settings.scenes - block * size)

    def _make_block(self, block: int) -> int:
        settings = self.settings
        first = block * settings.questions.block
        scenes = sample_scenes(settings.seed, first, self._size(block), settings.scene)
        packed = scenes.pack()
        questions = self.generator.generate(packed, seed=settings.seed, first=first)
        judged = from_table(packed.table, "clevr") if self.layout.language == "clevr" else packed
        if len(wrong := wrong_answers(questions, judged)):
            raise RuntimeError(f"block {block}: question {wrong[0]} has a wrong answer")
        names = [
            (index, image_filename("CLEVR", settings.split, index))
            for index in scenes.image_index.tolist()
        ]
        expressions = self.layout.language == "clevr-ref"
        entries = (expression_records if expressions else question_records)(
            questions, settings.split, names
        )
        balance = Balance(self.templates)
        balance.add(questions)
        with atomic_folder(self.work / f"block-{block}") as folder:
            _write_lines(folder / "scenes", scenes.records(settings.split, numbered=expressions))
            _write_lines(folder / "entries", ({**e, self.layout.number: 0} for e in entries))
            write_json(folder / "balance.json", balance.counts.tolist(), indent=None)
        return block

    def _publish(self) -> None:
        info = {
            "split": self.settings.split,
            "version": "1.0",
            "license": "CC0",
            "date": "",
            "source": f"pyvqa synth, seed {self.settings.seed}",
        }
        folders = [self.work / f"block-{block}" for block in range(self.blocks)]
        balance = Balance(self.templates)
        for folder in folders:
            balance.counts += np.array(read_json(folder / "balance.json", expect=list))
        _assemble(self.scenes_path, info, "scenes", [f / "scenes" for f in folders])
        entries = [f / "entries" for f in folders]
        _assemble(self.entries_path, info, self.layout.key, entries, self.layout.number)
        write_json(self.report_path, {"settings": self._fingerprint(), "balance": balance.report()})


def _write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


def _assemble(
    path: Path, info: dict[str, Any], key: str, parts: Iterable[Path], number: str | None = None
) -> None:
    """Write {"info": ..., key: [...]} from files of one record a line.

    Records that end in `"<number>": 0` get their position in the whole list instead.
    """
    head = json.dumps({"info": info}, separators=(",", ":"))[:-1] + f',"{key}":['
    with ExitStack() as stack:
        temporary = stack.enter_context(atomic_write(path))
        out = stack.enter_context(temporary.open("wb"))
        out.write(head.encode())
        for position, line in enumerate(_lines(parts)):
            record = line.rstrip(b"\n")
            if number is not None:
                record = record[:-2] + f"{position}}}".encode()
            out.write(b",\n" * (position > 0) + record)
        out.write(b"]}\n")


def _lines(parts: Iterable[Path]) -> Iterator[bytes]:
    for part in parts:
        file: BinaryIO
        with part.open("rb") as file:
            yield from file


def _each(work: Callable[[int], int], items: list[int], workers: int) -> Iterator[int]:
    """Give the results of `work` as they are ready; the first error stops everything."""
    if workers == 0:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        waiting: set[Future[int]] = set()
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
