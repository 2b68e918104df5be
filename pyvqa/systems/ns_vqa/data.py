"""Questions and scenes for training and validation, as tensors and batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyvqa.data.clevr_questions import ClevrQuestions, ClevrVocabulary
from pyvqa.errors import DataError
from pyvqa.ops.execute import PackedScenes
from pyvqa.programs.scenes import Scenes, read_scenes
from pyvqa.systems.ns_vqa.model.parser import token_lengths
from pyvqa.systems.ns_vqa.reasoning import Executor
from pyvqa.train.order import batches_in_epoch, epoch_order, global_batch, mix, share


class Batch(NamedTuple):
    """B questions; programs or answers are empty where the data have none."""

    ids: Tensor  # [B] row in the joined question files
    questions: Tensor  # int64 [B, T]
    lengths: list[int]  # words of each question, framed; a list, so that it stays on the CPU
    programs: Tensor  # int64 [B, L]
    scenes: Tensor  # int64 [B] row of the packed scenes
    answers: Tensor  # int64 [B]


@dataclass(frozen=True)
class QuestionSet:
    """The questions of one or more files, and the scenes they are about."""

    questions: Tensor  # int32 [N, T]
    lengths: Tensor  # int64 [N]
    programs: Tensor  # int32 [N, L]
    scenes: Tensor  # int64 [N]
    answers: Tensor  # int64 [N]
    families: Tensor | None  # int64 [N]
    executor: Executor | None

    def __len__(self) -> int:
        return self.questions.shape[0]

    @property
    def has_program(self) -> Tensor:
        """Tell which questions come with a program, bool [N]."""
        return self.programs.any(1) if self.programs.shape[1] else torch.zeros(len(self)).bool()

    def batch(self, rows: Tensor) -> Batch:
        """Cut out the questions at `rows` [B], without padding that none of them needs."""
        lengths = self.lengths[rows]
        width = int(lengths.max()) if len(rows) else 0
        return Batch(
            ids=rows,
            questions=self.questions[rows, :width].long(),
            lengths=lengths.tolist(),
            programs=self.programs[rows].long(),
            scenes=self.scenes[rows],
            answers=self.answers[rows],
        )


def load_questions(
    files: Sequence[str], scene_files: Sequence[str], vocabulary: ClevrVocabulary, limit: int = 0
) -> QuestionSet:
    """Read question files (h5), each with its scene file, into one set of at most `limit` (0: all).

    Raises:
        DataError: a file is unreadable, does not fit the vocabulary or its scenes, or the numbers
            of question and scene files differ.
    """
    if scene_files and len(scene_files) != len(files):
        raise DataError(
            f"{len(files)} question files but {len(scene_files)} scene files; "
            "give one scene file for each question file, in the same order"
        )
    if not files:
        raise DataError("no question file is given; set data.questions=[FILE.h5]")
    parts = [ClevrQuestions.read(file) for file in files]
    for part, file in zip(parts, files, strict=True):
        part.check_ids(vocabulary, file)
    scenes = [read_scenes(file) for file in scene_files]
    rows = torch.zeros(sum(map(len, parts)), dtype=torch.int64)
    if scenes:
        starts = np.cumsum([0, *(len(s) for s in scenes)])
        found = [
            _rows(s, p, file) + int(start)
            for s, p, file, start in zip(scenes, parts, files, starts, strict=False)
        ]
        rows = torch.cat(found)
    missing = [file for part, file in zip(parts, files, strict=True) if part.answers is None]
    if scenes and missing:
        raise DataError(f"{missing[0]}: has no answers; a training or validation file needs them")
    full = _joined(
        parts, rows, Executor.of(_one(scenes, scene_files), vocabulary) if scenes else None
    )
    return _first(full, limit) if 0 < limit < len(full) else full


def _rows(scenes: Scenes, part: ClevrQuestions, file: str) -> Tensor:
    try:
        return scenes.rows(part.image_index)
    except DataError as error:
        raise DataError(f"{file}: {error}") from error


def _one(scenes: Sequence[Scenes], files: Sequence[str]) -> Scenes:
    """Put the packed scenes of several files one after the other."""
    first = scenes[0]
    for other, file in zip(scenes[1:], files[1:], strict=True):
        if other.packed.width != first.packed.width or other.strings != first.strings:
            raise DataError(
                f"{file}: its scenes are packed unlike those of {files[0]} (more objects in a "
                "scene, or attribute values outside CLEVR); train on these files in separate runs"
            )
    offsets, shift = [first.packed.offsets[:1]], 0
    for s in scenes:
        offsets.append(s.packed.offsets[1:] + shift)
        shift += int(s.packed.offsets[-1])
    words = torch.cat([s.packed.words[: int(s.packed.offsets[-1])] for s in scenes])
    return replace(first, packed=PackedScenes(words, torch.cat(offsets), first.packed.width))


def _joined(
    parts: Sequence[ClevrQuestions], rows: Tensor, executor: Executor | None
) -> QuestionSet:
    questions = _stacked([part.questions for part in parts])
    none = [np.zeros((len(part), 0), dtype=np.int32) for part in parts]
    programs = [n if p.programs is None else p.programs for p, n in zip(parts, none, strict=True)]
    answers = [np.full(len(p), -1) if p.answers is None else p.answers for p in parts]
    families = [part.families for part in parts]
    known = [torch.from_numpy(f) for f in families if f is not None]
    return QuestionSet(
        questions=questions,
        lengths=token_lengths(questions, missing=1),
        programs=_stacked(programs),
        scenes=rows,
        answers=torch.from_numpy(np.concatenate(answers)),
        families=torch.cat(known) if len(known) == len(parts) else None,
        executor=executor,
    )


def _stacked(rows: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.int32]]]) -> Tensor:
    """Put padded rows of several widths below each other."""
    width = max(part.shape[1] for part in rows)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in rows]
    return torch.from_numpy(np.concatenate(padded))


def _first(full: QuestionSet, limit: int) -> QuestionSet:
    return replace(
        full,
        questions=full.questions[:limit],
        lengths=full.lengths[:limit],
        programs=full.programs[:limit],
        scenes=full.scenes[:limit],
        answers=full.answers[:limit],
        families=None if full.families is None else full.families[:limit],
    )


class Shuffled:
    """Batches of a question set in a new order every epoch."""

    def __init__(self, data: QuestionSet, rows: Tensor, batch_size: int, seed: int) -> None:
        self.data, self.rows, self.batch_size, self.seed = data, rows, batch_size, seed

    def __len__(self) -> int:
        return batches_in_epoch(len(self.rows), self.batch_size)

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> Batch:
        """Give one share of a global batch (see `pyvqa.train.stage.Source`)."""
        order = epoch_order(len(self.rows), self.seed, epoch)
        mine = share(global_batch(order, index, self.batch_size), rank, ranks)
        return self.data.batch(self.rows[torch.from_numpy(mine.copy())])


class Growing(Shuffled):
    """Batches of short questions at first, of ever longer ones later.

    Questions are drawn independently of each other, so one may come again within an epoch.
    """

    def __init__(
        self, data: QuestionSet, batch_size: int, seed: int, longest: int, growth: float
    ) -> None:
        """Begin with questions of `longest` words; every batch allows `growth` words more.

        Raises:
            DataError: no question is that short.
        """
        lengths = data.lengths.numpy() - 2  # without <START> and <END>
        order = np.argsort(lengths, kind="stable")
        super().__init__(data, torch.from_numpy(order), batch_size, seed)
        self.words, self.longest, self.growth = lengths[order], longest, growth
        if not len(order) or self.words[0] > longest:
            raise DataError(
                f"curriculum.longest is {longest}, but no training question has so few words; "
                "raise it"
            )

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> Batch:
        """Give one share of a global batch."""
        number = epoch * len(self) + index
        allowed = self.longest + self.growth * number
        count = int(np.searchsorted(self.words, allowed, side="right"))
        random = np.random.Generator(np.random.Philox(mix(self.seed, number)))
        mine = share(random.integers(count, size=self.batch_size), rank, ranks)
        return self.data.batch(self.rows[torch.from_numpy(mine.copy())])


class Paired:
    """Batches of two sources at once; the second starts over as often as needed."""

    def __init__(self, first: Shuffled, second: Shuffled) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first)

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> tuple[Batch, Batch]:
        """Give the shares of both global batches of this update."""
        again, place = divmod(epoch * len(self.first) + index, len(self.second))
        return (
            self.first.batch(epoch, index, rank, ranks),
            self.second.batch(again, place, rank, ranks),
        )
