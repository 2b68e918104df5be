"""Writing a data set of the built-in world: piece by piece, resumable, published at the end.

A finished piece lies in a hidden work folder; whoever runs the same command again makes only what
is missing. The official files are put together from the pieces and published whole. Equal settings
give equal bytes, however often the work was interrupted and however many workers shared it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pyvqa.data.pieces import Pieces, remove_half_written
from pyvqa.errors import ConfigError, DataError
from pyvqa.files import read_json, write_json
from pyvqa.world.assemble import assemble, each
from pyvqa.world.balance import Balance
from pyvqa.world.blocks import Maker, Span
from pyvqa.world.layouts import LAYOUTS, FileLayout, Layout
from pyvqa.world.questions import BLOCK, GeneratorSettings, QuestionGenerator
from pyvqa.world.scenes import SceneSettings, check_scene_settings
from pyvqa.world.staging import Quality
from pyvqa.world.template_files import Templates
from pyvqa.world.visible import check_size
from pyvqa.world.vqa_balance import add_counts, vqa_report
from pyvqa.world.vqa_entries import MOST_QUESTIONS, VERSION, Writer
from pyvqa.world.vqa_layouts import MOST_PICTURES, VQA_FORMATS, vqa_layout

Progress = Callable[[int], object]


def _silent(scenes: int) -> None:
    """Report nothing."""


_MOST_PIXELS = 1920 * 1280  # of a CLEVR-Ref+ mask that readers accept
FORMAT_VERSION = 2  # of blocks and their content; a change makes old work folders useless


@dataclass(frozen=True)
class DatasetSettings:
    """Everything that decides a data set's bytes, templates apart."""

    format: str
    split: str
    scenes: int
    seed: int = 0
    scene: SceneSettings = field(default_factory=SceneSettings)
    questions: GeneratorSettings = field(default_factory=GeneratorSettings)
    pictures: Quality | None = None  # none are made by default


class Dataset:
    """One split of a data set in a folder, finished or not."""

    def __init__(
        self, out: str | Path, settings: DatasetSettings, templates: Templates | None
    ) -> None:
        """Check the settings against what is in the folder.

        Raises ConfigError where other settings made what is there, DataError for bad templates or
        files of another origin.
        """
        self.layout = layout = layout_of(settings.format, settings.split)
        _check(settings, layout)
        self.settings, self.templates = settings, templates
        self._maker = _maker(settings, layout, templates)
        out = Path(out)
        self.files = {self._path(out, f): f for f in layout.files(settings.pictures is not None)}
        self.scenes_path = self._path(out, layout.scenes)
        self.entries_path = self._path(out, layout.entries) if layout.entries else None
        self.pictures_path = out / layout.pictures.format(split=settings.split)
        name = f"{settings.format}_{settings.split}"
        self.report_path = out / "reports" / f"{name}_balance.json"
        self.work = out / f".synth-{name}"
        self._pieces = Pieces(self.work)
        finished = self.report()["settings"] if self.report_path.exists() else None
        if finished is None and not self.work.exists():
            self._check_strangers(out)
        self._pieces.begin(self._fingerprint(), finished)

    @property
    def paths(self) -> list[Path]:
        """The files of the data set, the report last; pictures are beside them."""
        return [*self.files, self.report_path]

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return -(-self.settings.scenes // self._block_size)

    def is_complete(self) -> bool:
        """Say whether the official files are there already."""
        return self.report_path.exists() and not self.work.exists()

    def finished(self) -> set[int]:
        """Return the numbers of the blocks that need not be made again, pictures apart."""
        return self._pieces.finished("block")

    def make(self, workers: int = 0, progress: Progress = _silent) -> None:
        """Make the missing pieces, then publish the files."""
        self.make_blocks(workers, progress)
        self.publish()

    def make_blocks(
        self, workers: int = 0, progress: Progress = _silent, *, rank: int = 0, ranks: int = 1
    ) -> None:
        """Make the missing pieces with `workers` threads (0: in this one).

        Of several processes, number `rank` makes every `ranks`-th block. `progress` is told the
        number of scenes whenever a piece of theirs is wholly there.

        Raises DataError when the disk is full; the finished pieces stay.
        """
        blocks, runs = self.finished(), self._pieces.finished("pictures")
        mine = list(range(rank, self.blocks, ranks))
        # A block's text needs no pictures, its pictures need the block.
        at_once = max(1, workers) if self.settings.pictures else len(mine)
        for group in (mine[k : k + at_once] for k in range(0, len(mine), at_once)):
            spans = [self._span(block) for block in group]
            left = [s for b, s in zip(group, spans, strict=True) if b not in blocks]
            if not self.settings.pictures:
                _make_all(self._make_block, spans, left, workers, progress)
                continue
            _make_all(self._make_block, spans, left, workers, _silent)
            wanted = [run for span in spans for run in span.runs()]
            left = [run for run in wanted if not (run.first in runs or self._published(run))]
            _make_all(self._make_pictures, wanted, left, workers, progress)

    def publish(self) -> None:
        """Put the official files and the report together; all pieces must be there."""
        remove_half_written(self.paths)
        if self.settings.pictures:
            self._publish_pictures()
        folders = [self._pieces.path("block", block) for block in range(self.blocks)]
        for path, file in self.files.items():
            assemble(path, file, self.settings.split, folders)
        report: dict[str, Any] = {"settings": self._fingerprint()}
        if self.layout.dataset:
            parts = (read_json(folder / "balance.json", expect=dict) for folder in folders)
            report["balance"] = vqa_report(add_counts(parts))
        elif self.templates is not None:
            balance = Balance(self.templates)
            for folder in folders:
                balance.counts += np.array(read_json(folder / "balance.json", expect=list))
            report["balance"] = balance.report()
        write_json(self.report_path, report)
        self._pieces.end()

    def report(self) -> dict[str, Any]:
        """Read the report of a finished data set: its settings and its balance."""
        content: dict[str, Any] = read_json(self.report_path, keys=("settings",))
        return content

    @property
    def _block_size(self) -> int:
        return self.settings.questions.block if self.templates else BLOCK

    def _path(self, out: Path, file: FileLayout) -> Path:
        return out / file.path.format(split=self.settings.split)

    def _span(self, block: int) -> Span:
        first = block * self._block_size
        return Span(first, min(self._block_size, self.settings.scenes - first))

    def _make_block(self, span: Span) -> Span:
        with self._pieces.new("block", span.first // self._block_size) as folder:
            self._maker.write_block(folder, span)
        return span

    def _make_pictures(self, run: Span) -> Span:
        block, _ = divmod(run.first, self._block_size)
        with self._pieces.new("pictures", run.first) as folder:
            source = self._pieces.path("block", block)
            self._maker.write_pictures(folder, run, source, block * self._block_size)
        return run

    def _names(self, run: Span) -> Iterator[str]:
        return map(self._maker.picture_name, range(run.first, run.first + run.count))

    def _published(self, run: Span) -> bool:
        return all((self.pictures_path / name).exists() for name in self._names(run))

    def _publish_pictures(self) -> None:
        runs = [run for block in range(self.blocks) for run in self._span(block).runs()]
        for run in runs:
            self._pieces.move_files("pictures", run.first, self._names(run), self.pictures_path)
        for name in (name for run in runs for name in self._names(run)):
            if not (self.pictures_path / name).exists():
                raise DataError(
                    f"{self.pictures_path / name}: was taken away while the data set was made; "
                    f"remove {self.work} and run the same command again"
                )

    def _fingerprint(self) -> dict[str, Any]:
        digest = self.templates.digest() if self.templates else ""
        own = {"vqa_version": VERSION} if self.layout.dataset else {}
        return {"version": FORMAT_VERSION, "templates": digest, **own} | asdict(self.settings)

    def _check_strangers(self, out: Path) -> None:
        """Refuse to overwrite files that some other program or format made."""
        there = [path.name for path in self.files if path.exists()]
        if self.layout.dataset:  # readers could not tell whose questions are whose
            there += [p.name for f in VQA_FORMATS for p in self._reports_of(out, f)]
        wanted = self.settings.pictures
        if wanted and self.pictures_path.is_dir() and not self._shares_pictures(out):
            names = (path.name for path in self.pictures_path.iterdir())
            stem = self._maker.picture_name(0).rpartition("_")[0] + "_"
            there += sorted(name for name in names if name.startswith(stem))[:1]
        if there:
            raise DataError(
                f"{out}: holds {' and '.join(there)} of another origin; choose another --out or "
                "move them away"
            )

    def _reports_of(self, out: Path, name: str) -> list[Path]:
        """List what tells of another data set of the VQA family in the folder."""
        if name == self.settings.format:
            return []
        return sorted((out / "reports").glob(f"{name}_*_balance.json"))

    def _shares_pictures(self, out: Path) -> bool:
        """Say whether the pictures are those of another format, from the same settings."""
        wanted = self._fingerprint()
        for name, layout in LAYOUTS.items():
            if name == self.settings.format or layout.pictures != self.layout.pictures:
                continue
            path = out / "reports" / f"{name}_{self.settings.split}_balance.json"
            if not path.exists():
                continue
            found = read_json(path, keys=("settings",))["settings"]
            return all(found.get(k) == wanted[k] for k in ("version", "seed", "scene", "pictures"))
        return False


def layout_of(name: str, split: str) -> Layout:
    """Return the layout of a format's split; ConfigError for a split that it does not have."""
    return LAYOUTS[name] if name in LAYOUTS else vqa_layout(name, split)


def _maker(settings: DatasetSettings, layout: Layout, templates: Templates | None) -> Maker:
    asking, writer = settings.questions, None
    if layout.dataset:
        writer = Writer(
            layout.dataset, settings.split, layout.subset, settings.seed, asking.per_scene
        )
    if layout.dataset == "vqacp2":  # half of them are kept
        asking = replace(asking, per_scene=2 * asking.per_scene)
    generator = QuestionGenerator(templates, asking) if templates else None
    return Maker(
        layout,
        settings.split,
        settings.seed,
        settings.scene,
        settings.pictures,
        generator,
        writer,
    )


def _check(settings: DatasetSettings, layout: Layout) -> None:
    if not settings.split or not settings.split.replace("_", "").isalnum():
        raise ConfigError(f"split {settings.split!r}: letters, digits and underscores only")
    if settings.scenes < 1:
        raise ConfigError(f"{settings.scenes} scenes: at least one is needed")
    if layout.dataset and settings.scenes > MOST_PICTURES:
        raise ConfigError(f"{settings.scenes} scenes: a split holds at most {MOST_PICTURES:,}")
    if layout.dataset and settings.questions.per_scene > MOST_QUESTIONS:
        raise ConfigError(
            f"{settings.questions.per_scene} questions a scene: at most {MOST_QUESTIONS}"
        )
    if layout.needs_pictures and settings.pictures is None:
        raise ConfigError(f"{settings.format} is pictures with masks; it cannot do without images")
    check_scene_settings(settings.seed, settings.scene)
    width, height = settings.scene.width, settings.scene.height
    check_size(width, height)
    if settings.pictures and layout.has_ref_masks:
        _check_ratio(settings.format, width, height)
    if settings.pictures and not settings.pictures.samples >= 1:
        raise ConfigError(f"{settings.pictures.samples} samples: at least one is needed")


def _check_ratio(form: str, width: int, height: int) -> None:
    """Run lengths do not tell how wide a mask is: readers know the two ratios of the originals."""
    fits = 2 * width == 3 * height or 3 * width == 4 * height
    if not fits or width * height > _MOST_PIXELS:
        raise ConfigError(
            f"pictures of {width}x{height}: those of {form} must have sides of 3:2 or 4:3, and at "
            "most as many pixels as 1920x1280"
        )


def _make_all(
    work: Callable[[Span], Span],
    wanted: list[Span],
    left: list[Span],
    workers: int,
    progress: Progress,
) -> None:
    """Make those of the wanted pieces that are left, and tell of all."""
    for span in wanted:
        if span not in left:
            progress(span.count)
    for span in each(work, left, workers):
        progress(span.count)
