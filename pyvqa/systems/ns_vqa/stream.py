"""An endless stream of the world's questions with their programs, for imitation.

A batch is a pure function of (seed, epoch, index): an epoch is a few blocks of 250 fresh scenes
with their questions, made when its first batch is asked for, in whatever process that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa.data.clevr_questions import ClevrVocabulary, split_words
from pyvqa.data.vocabulary import END, NULL, SPECIAL, START, UNKNOWN, build_table
from pyvqa.errors import ConfigError, DataError
from pyvqa.programs.clevr import FUNCTIONS, MAX_COUNT, VALUES
from pyvqa.systems.ns_vqa.config import WorldDataConfig
from pyvqa.systems.ns_vqa.data import Batch, QuestionSet
from pyvqa.systems.ns_vqa.reasoning import Executor
from pyvqa.train.order import mix, share
from pyvqa.world.questions import BLOCK, QuestionGenerator, Questions
from pyvqa.world.scenes import sample_scenes
from pyvqa.world.template_files import Templates, read_templates
from pyvqa.world.words import question_words

OWN = "own"
PER_SCENE = 10  # questions
_SCENES, _QUESTIONS, _ORDER, _TYPING = range(4)  # purposes of random numbers


def template_folders(names: Sequence[str]) -> list[Templates]:
    """Read template folders, `own` standing for the package's.

    Raises:
        ConfigError: none is named.
        DataError: a folder is missing or its files are damaged.
    """
    if not names:
        raise ConfigError(
            "data.templates names no folder; give data.templates=[own,DIR] with DIR the official "
            "CLEVR templates (CLEVR_1.0_templates), or [own] to learn the package's alone"
        )
    folders = []
    for name in names:
        if not name.strip():
            raise ConfigError("data.templates holds an empty name; give a folder or `own`")
        folders.append(read_templates(None if name == OWN else name, "clevr"))
    return folders


def stream_vocabulary(folders: Sequence[Templates]) -> ClevrVocabulary:
    """Number all words of the templates, each also in lower case, all functions and answers."""
    words = set().union(*(question_words(folder) for folder in folders))
    answers = [str(n) for n in range(MAX_COUNT + 1)] + ["no", "yes"]
    answers += [value for values in VALUES.values() for value in values]
    return ClevrVocabulary(
        build_table(words | {_small(word) for word in words}),
        build_table(FUNCTIONS),
        build_table(answers),
    )


def _small(word: str) -> str:
    return word[:1].lower() + word[1:]


def encode_world(
    questions: Questions, vocabulary: ClevrVocabulary, executor: Executor | None = None
) -> QuestionSet:
    """Turn generated questions into token rows; `executor` holds the scenes they are about."""
    ids = vocabulary.words
    try:
        rows = [[ids[word] for word in split_words(text)] for text in questions.text]
        answers = [vocabulary.answers[answer] for answer in questions.answers()]
    except KeyError as error:
        raise DataError(
            f"templates: the token {error.args[0]!r} is not in the vocabulary; "
            "use the vocabulary made from these templates"
        ) from error
    lengths = np.array([len(row) + 2 for row in rows], dtype=np.int64)
    padded = np.full((len(rows), int(lengths.max(initial=2))), NULL, dtype=np.int32)
    padded[:, 0] = START
    padded[np.arange(len(rows)), lengths - 1] = END
    column = np.arange(padded.shape[1])
    padded[(column > 0) & (column < lengths[:, None] - 1)] = np.concatenate([[], *rows])
    programs = questions.token_rows(vocabulary.functions, framed=True).astype(np.int32)
    return QuestionSet(
        questions=torch.from_numpy(padded),
        lengths=torch.from_numpy(lengths),
        programs=torch.from_numpy(programs),
        scenes=torch.from_numpy(questions.scene.astype(np.int64)),
        answers=torch.tensor(answers, dtype=torch.int64),
        families=torch.from_numpy(questions.family.astype(np.int64)),
        executor=executor,
    )


def fresh_questions(
    templates: Templates, vocabulary: ClevrVocabulary, *, seed: int, blocks: int
) -> QuestionSet:
    """Ask the questions of the first blocks of a seed, ready to be executed on their scenes."""
    scenes = sample_scenes(mix(seed, _SCENES), 0, blocks * BLOCK).pack()
    questions = QuestionGenerator(templates).generate(scenes, seed=mix(seed, _QUESTIONS))
    return encode_world(questions, vocabulary, Executor.of(scenes, vocabulary))


@dataclass(frozen=True)
class _Epoch:
    """The questions of one epoch and the order in which its batches take them."""

    questions: QuestionSet
    order: NDArray[np.int64]


class WorldQuestions:
    """The stream: batches of questions with programs (see `pyvqa.train.stage.Source`).

    All of an epoch's questions are taken once, up to rounding to whole batches.
    """

    def __init__(
        self,
        folders: Sequence[Templates],
        vocabulary: ClevrVocabulary,
        settings: WorldDataConfig,
        batch_size: int,
        seed: int,
    ) -> None:
        self.vocabulary, self.settings = vocabulary, settings
        self.batch_size, self.seed = batch_size, seed
        self._generators = [QuestionGenerator(folder) for folder in folders]
        words = vocabulary.words
        self._small = torch.tensor([words.get(_small(w), k) for w, k in words.items()])
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def __len__(self) -> int:
        return max(1, self.settings.blocks * BLOCK * PER_SCENE // self.batch_size)

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> Batch:
        """Give one share of a global batch."""
        made = self._epoch(epoch)
        places = np.arange(index * self.batch_size, (index + 1) * self.batch_size)
        rows = made.order[places % len(made.order)]
        batch = made.questions.batch(torch.from_numpy(rows))
        typed = self._as_typed(batch.questions, mix(self.seed, _TYPING, epoch, index))
        mine = torch.from_numpy(share(np.arange(len(rows)), rank, ranks))
        return Batch(
            ids=batch.ids[mine],
            questions=typed[mine],
            lengths=[batch.lengths[k] for k in mine.tolist()],
            programs=batch.programs[mine],
            scenes=batch.scenes[mine],
            answers=batch.answers[mine],
        )

    def _make_epoch(self, epoch: int) -> _Epoch:
        numbers = range(epoch * self.settings.blocks, (epoch + 1) * self.settings.blocks)
        parts = [self._block(number) for number in numbers]
        questions = replace(
            parts[0],
            questions=_stacked([p.questions for p in parts]),
            lengths=torch.cat([p.lengths for p in parts]),
            programs=_stacked([p.programs for p in parts]),
            scenes=torch.cat([p.scenes for p in parts]),
            answers=torch.cat([p.answers for p in parts]),
            families=None,
        )
        return _Epoch(questions, self._order(questions.lengths.numpy(), epoch))

    def _block(self, number: int) -> QuestionSet:
        """Make the questions of one block of scenes; folders of templates take turns."""
        generator = self._generators[number % len(self._generators)]
        first = number * BLOCK
        scenes = sample_scenes(mix(self.seed, _SCENES), first, BLOCK).pack()
        questions = generator.generate(scenes, seed=mix(self.seed, _QUESTIONS), first=first)
        return encode_world(questions, self.vocabulary)

    def _order(self, lengths: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        """Shuffle an epoch so that a batch's questions are of like length."""
        random = np.random.Generator(np.random.Philox(mix(self.seed, _ORDER, epoch)))
        order = random.permutation(len(lengths))
        if self.settings.sort_batches == 1:
            return order
        pools = np.arange(len(order)) // (self.settings.sort_batches * self.batch_size)
        order = order[np.lexsort((lengths[order], pools))]
        whole = len(order) // self.batch_size * self.batch_size
        batches = order[:whole].reshape(-1, self.batch_size)
        return np.concatenate([random.permutation(batches).ravel(), order[whole:]])

    def _as_typed(self, questions: Tensor, seed: int) -> Tensor:
        """Take some first words' capitals away and hide some words: [B, T] -> [B, T]."""
        random = np.random.Generator(np.random.Philox(seed))
        lower = torch.from_numpy(random.random(len(questions)) < self.settings.lower)
        hidden = torch.from_numpy(random.random(questions.shape) < self.settings.unknown)
        first = torch.where(lower, self._small[questions[:, 1]], questions[:, 1])
        questions = torch.cat((questions[:, :1], first.unsqueeze(1), questions[:, 2:]), 1)
        return questions.masked_fill(hidden & (questions >= len(SPECIAL)), UNKNOWN)


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """Put padded rows of several widths below each other."""
    width = max(part.shape[1] for part in rows)
    return torch.cat([torch.nn.functional.pad(p, (0, width - p.shape[1])) for p in rows])
