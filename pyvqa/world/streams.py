"""Endless fresh scenes with questions, and with pictures and masks, for training.

Block k is a pure function of (seed, k): scenes of their own and the questions about them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pyvqa.errors import ConfigError, PyvqaError
from pyvqa.programs.scenes import Scenes
from pyvqa.world import camera
from pyvqa.world.questions import (
    GeneratorSettings,
    QuestionGenerator,
    Questions,
    expression_records,
    question_records,
)
from pyvqa.world.scenes import SceneSettings, check_scene_settings, sample_scenes
from pyvqa.world.staging import Quality, stage
from pyvqa.world.template_files import Templates, read_templates
from pyvqa.world.visible import check_size, sample_visible_scenes

_STREAM_BLOCK = 20  # images with pictures; a worker process makes and sends so many at a time


class Block(NamedTuple):
    """Scenes and what is asked of them; `questions.scene` gives the rows of the scenes."""

    scenes: Scenes
    questions: Questions


class QuestionStream:
    """Gives block after block; `block(k)` can be called in any order and from any thread.

    With several template sets, block k takes set k modulo their number.
    """

    def __init__(
        self,
        templates: Sequence[Templates],
        seed: int,
        *,
        scenes: SceneSettings | None = None,
        settings: GeneratorSettings | None = None,
    ) -> None:
        """Check the templates; raises DataError or ConfigError as `QuestionGenerator` does."""
        if not templates:
            raise ConfigError("a question stream needs at least one set of templates")
        self.seed = seed
        self._scenes = scenes or SceneSettings()
        self._generators = [QuestionGenerator(one, settings) for one in templates]

    def block(self, number: int) -> Block:
        """Make block `number`."""
        generator = self._generators[number % len(self._generators)]
        size = generator.settings.block
        first = number * size
        scenes = sample_scenes(self.seed, first, size, self._scenes).pack()
        return Block(scenes, generator.generate(scenes, seed=self.seed, first=first))

    def __iter__(self) -> Iterator[Block]:
        number = 0
        while True:
            yield self.block(number)
            number += 1


class Sample(NamedTuple):
    """One image of the stream with N objects."""

    scene: dict[str, Any]  # as the official scene files have it
    picture: Tensor  # uint8 [H, W, 3]
    masks: Tensor  # bool [N, H, W], what is visible of each object
    boxes: Tensor  # int64 [N, 4]: x, y, width, height of the whole object
    questions: list[dict[str, Any]]  # or expressions, as the official files have them


def stream(
    *,
    seed: int = 0,
    templates: Templates | None = None,
    scenes: SceneSettings | None = None,
    settings: GeneratorSettings | None = None,
    quality: Quality | None = None,
    split: str = "train",
    first_block: int = 0,
    workers: int = 0,
) -> Iterator[Sample]:
    """Give fresh images without end: scene, picture, masks and questions, for training.

    Blocks of images (20, or `settings.block`) are pure functions of the seed and their number, so
    the images and their order are the same for any number of worker processes; `first_block` takes
    up a stream where an earlier one was left. Templates of expressions give expressions. `quality`
    holds the pictures' size, which also is that of the scenes' `pixel_coords`.

    Raises ConfigError for settings out of range, DataError for templates that cannot be used.
    """
    quality = quality or Quality(camera.WIDTH, camera.HEIGHT)
    check_size(quality.width, quality.height)
    scenes = replace(scenes or SceneSettings(), width=quality.width, height=quality.height)
    check_scene_settings(seed, scenes)
    if first_block < 0 or workers < 0:
        raise ConfigError(f"first_block={first_block}, workers={workers}: must not be negative")
    chosen = settings or GeneratorSettings(block=_STREAM_BLOCK)
    generator = QuestionGenerator(templates or read_templates(None, "clevr"), chosen)
    blocks = _PictureBlocks(generator, seed, scenes, quality, split)
    return _samples(blocks, first_block, workers)


class _PictureBlock(NamedTuple):
    records: list[dict[str, Any]]
    pictures: Tensor  # uint8 [S, H, W, 3]
    ids: Tensor  # int16 [S, H, W]
    boxes: Tensor  # int64 [O, 4]
    questions: list[dict[str, Any]]


class _Failure(NamedTuple):
    """A user's error on its way out of a worker, whose traceback would bury the message."""

    error: PyvqaError


@dataclass(frozen=True)
class _PictureBlocks(Dataset[Any]):
    generator: QuestionGenerator
    seed: int
    scenes: SceneSettings
    quality: Quality
    split: str

    def __getitem__(self, number: int) -> _PictureBlock | _Failure:
        try:
            return self._make(number)
        except PyvqaError as error:
            return _Failure(error)

    def _make(self, number: int) -> _PictureBlock:
        size = self.generator.settings.block
        first = number * size
        scenes, _, masks = sample_visible_scenes(self.seed, first, size, self.scenes)
        staged = stage(scenes)
        boxes = staged.whole_boxes(self.quality.size)
        packed = scenes.pack(masks.occlusion(boxes, scenes.pixel[:, 2]))
        asked = self.generator.generate(packed, seed=self.seed, first=first)
        expressions = self.generator.templates.language == "clevr-ref"
        records = scenes.records(self.split, numbered=expressions)
        names = [(record["image_index"], record["image_filename"]) for record in records]
        write = expression_records if expressions else question_records
        made = staged.render(self.quality)
        return _PictureBlock(
            records,
            made.picture,
            made.ids,
            torch.from_numpy(boxes),
            write(asked, self.split, names),
        )


def _samples(blocks: _PictureBlocks, first: int, workers: int) -> Iterator[Sample]:
    loader: DataLoader[Any] = DataLoader(
        blocks,
        batch_size=None,
        sampler=_Numbers(first),
        collate_fn=_unchanged,
        num_workers=workers,
        worker_init_fn=_start_worker if workers else None,
        multiprocessing_context="fork" if workers else None,
        generator=torch.Generator(),
    )
    for block in loader:
        if isinstance(block, _Failure):
            raise block.error
        yield from _cut(block)


def _cut(block: _PictureBlock) -> Iterator[Sample]:
    """Cut a block into its images."""
    asked: dict[int, list[dict[str, Any]]] = {}
    for question in block.questions:
        asked.setdefault(question["image_index"], []).append(question)
    start = 0
    for row, record in enumerate(block.records):
        count = len(record["objects"])
        numbers = torch.arange(count, dtype=torch.int16)[:, None, None]
        yield Sample(
            record,
            block.pictures[row],
            block.ids[row] == numbers,
            block.boxes[start : start + count],
            asked.get(record["image_index"], []),
        )
        start += count


class _Numbers(Sampler[int]):
    """All numbers from one on."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self._first)


def _unchanged(block: Any) -> Any:
    return block


def _start_worker(worker: int) -> None:
    torch.set_num_threads(1)
