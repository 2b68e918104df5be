"""From official questions to numbers: vocabularies, encodings, splits.

The steps and their order are those of the published runs (block datasets/vqa_utils.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from pyvqa.data.mapped import Texts
from pyvqa.data.vqa_files import Questions
from pyvqa.data.vqa_questions import UNKNOWN, QuestionTable, VqaVocabulary, ragged
from pyvqa.data.vqa_text import TOKENISERS, Tokeniser
from pyvqa.errors import ConfigError, DataError

TRAIN_SHARE = 0.95  # of trainval; the rest is kept for validation


@dataclass(frozen=True)
class Choices:
    """How a data set is processed."""

    answers: int = 3000  # as many of the most frequent answers are classes
    min_words: int = 0  # words seen so often or less are UNK
    tokeniser: str = "mcb"
    trainval: bool = False  # join train and val, keep 5 % of them as val
    seed: int = 1337  # of those 5 %
    genome_answers: int = 10_000  # Visual Genome questions with rarer answers are left out

    def __post_init__(self) -> None:
        """Check the values; raises ConfigError."""
        if self.tokeniser not in TOKENISERS:
            raise ConfigError(f"tokeniser {self.tokeniser!r}: one of {', '.join(TOKENISERS)}")
        if self.answers < 1 or self.genome_answers < 1 or self.min_words < 0:
            raise ConfigError("answers must be at least 1, the minimum of words at least 0")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed {self.seed}: from 0 to 4294967295")

    @property
    def split_words(self) -> Tokeniser:
        """The tokeniser."""
        return TOKENISERS[self.tokeniser]


@dataclass(frozen=True)
class Processed:
    """A processed data set: splits in their final order, with what was left out on the way."""

    vocabulary: VqaVocabulary
    splits: Mapping[str, QuestionTable]
    subsets: Mapping[str, str]
    rare: int  # training questions whose answer is no class
    genome: int  # Visual Genome questions at the end of the training split


def process(
    given: Mapping[str, Questions],
    choices: Choices,
    *,
    test_dev: Iterable[int] = (),
    genome: Questions | None = None,
    normalise: Callable[[str], str] | None = None,
    vocabulary: VqaVocabulary | None = None,
) -> Processed:
    """Process the splits `train` and, where given, `val` and `test`.

    `normalise` is applied to every answer before anything else, where given; the published runs
    used the answers as they stand in the files. A given `vocabulary` is used as it is instead of
    a new one being counted.

    Raises:
        ConfigError: Visual Genome is asked for without trainval.
        DataError: training questions have no answers, or too few are left for the 5 %.
    """
    if genome is not None and not choices.trainval:
        raise ConfigError("Visual Genome is added to train and val together; ask for trainval too")
    parts = {name: _normalised(part, normalise) for name, part in given.items()}
    train = _training_part(parts, choices)
    if vocabulary is None:
        words = ("", *frequent_words(train.texts, choices), UNKNOWN)
        chosen = VqaVocabulary(words, tuple(top_answers(train, choices.answers)))
    else:
        chosen = vocabulary
    kept = _with_known_answers(train, chosen)
    rare = len(train) - len(kept)
    if choices.trainval:
        kept, parts["val"] = _cut(kept, choices.seed)
    added = 0
    if genome is not None:
        wider, more = _add_genome(chosen, _normalised(genome, normalise), choices)
        kept, added = kept.then(more), len(more)
        chosen = wider if vocabulary is None else chosen
    parts = {"train": kept, **parts}
    order = [name for name in ("train", "val", "test") if name in parts]
    dev = set(test_dev)
    return Processed(
        chosen,
        {n: pack(parts[n], chosen, choices.split_words, dev) for n in order},
        {n: parts[n].subset for n in order},
        rare,
        added,
    )


def _training_part(parts: dict[str, Questions], choices: Choices) -> Questions:
    """Take the training questions out of `parts`, for trainval those of val as well."""
    train = parts.pop("train")
    if not train.labelled:
        raise DataError("the training questions have no annotations; give --annotations train=FILE")
    if not choices.trainval or "val" not in parts:
        return train
    val = parts.pop("val")
    if not val.labelled:
        raise DataError("the val questions have no annotations, trainval needs them")
    return train.then(val)


def top_answers(questions: Questions, limit: int) -> list[str]:
    """List the most frequent answers; of equally frequent ones those last in the alphabet first."""
    counts = Counter(answer for answer in questions.answers if answer is not None)
    return sorted(counts, key=lambda answer: (counts[answer], answer), reverse=True)[:limit]


def frequent_words(texts: Sequence[str], choices: Choices) -> list[str]:
    """List the words seen more than `choices.min_words` times, by code point."""
    counts = Counter(chain.from_iterable(map(choices.split_words, texts)))
    return sorted(word for word, count in counts.items() if count > choices.min_words)


def _normalised(part: Questions, normalise: Callable[[str], str] | None) -> Questions:
    if normalise is None:
        return part
    strings = set(chain(chain.from_iterable(part.humans), part.answers))
    done = {text: normalise(text) for text in strings if text is not None}
    return replace(
        part,
        answers=[None if answer is None else done[answer] for answer in part.answers],
        humans=[[done[answer] for answer in humans] for humans in part.humans],
    )


def _with_known_answers(part: Questions, vocabulary: VqaVocabulary) -> Questions:
    known = vocabulary.answer_numbers
    return part.take([k for k, answer in enumerate(part.answers) if answer in known])


def _cut(part: Questions, seed: int) -> tuple[Questions, Questions]:
    """Cut trainval into 95 % and 5 %, with NumPy's legacy generator as in the published runs."""
    count = len(part)
    chosen = np.random.RandomState(seed).choice(count, int(TRAIN_SHARE * count), replace=False)
    # The rest in the order of Python's set: nearly, but not quite, ascending.
    rest = list(set(range(count)) - set(chosen.tolist()))
    if not len(chosen) or not rest:
        raise DataError(
            f"{count} questions with a known answer cannot be cut into 95 % and 5 %; give more "
            "questions, or keep train and val apart"
        )
    return part.take(chosen.tolist()), part.take(rest)


def _add_genome(
    vocabulary: VqaVocabulary, genome: Questions, choices: Choices
) -> tuple[VqaVocabulary, Questions]:
    """Append Visual Genome's new words after UNK; keep its questions that have a known answer.

    Frequent answers are counted within Visual Genome first, then those that are no class go.
    """
    frequent = set(top_answers(genome, choices.genome_answers))
    known = vocabulary.answer_numbers
    rows = [k for k, a in enumerate(genome.answers) if a in frequent and a in known]
    words = frequent_words(genome.texts, replace(choices, min_words=0))
    new = [word for word in words if word not in vocabulary.word_numbers]
    return replace(vocabulary, words=(*vocabulary.words, *new)), genome.take(rows)


def pack(
    part: Questions, vocabulary: VqaVocabulary, split_words: Tokeniser, test_dev: set[int]
) -> QuestionTable:
    """Encode questions in their order."""
    numbers, unknown = vocabulary.word_numbers, vocabulary.unknown
    words, word_offsets = ragged(
        [[numbers.get(word, unknown) for word in split_words(text)] for text in part.texts]
    )
    strings, images = _Names(), _Names()
    types, answer_types = _Names(), _Names()
    humans, human_offsets = ragged([strings.numbers(answers) for answers in part.humans])
    known = vocabulary.answer_numbers
    sets = [Counter(a for a in answers if a in known) for answers in part.humans]
    choices, choice_offsets = ragged([[known[answer] for answer in counts] for counts in sets])
    return QuestionTable(
        question_ids=np.array(part.ids, dtype=np.int64),
        word_offsets=word_offsets,
        choice_offsets=choice_offsets,
        human_offsets=human_offsets,
        words=words,
        images=_ints(images.numbers(part.images)),
        answers=_ints([-1 if a is None else known.get(a, -1) for a in part.answers]),
        answer_texts=_ints([-1 if a is None else strings.number(a) for a in part.answers]),
        choices=choices,
        choice_counts=ragged([list(counts.values()) for counts in sets])[0],
        humans=humans,
        types=_ints(types.numbers(part.types, part.labelled)),
        answer_types=_ints(answer_types.numbers(part.answer_types, part.labelled)),
        test_dev=np.array([number in test_dev for number in part.ids], dtype=np.uint8),
        texts=Texts.of(part.texts),
        strings=Texts.of(strings.names),
        image_names=Texts.of(images.names),
        type_names=Texts.of(types.names),
        answer_type_names=Texts.of(answer_types.names),
    )


def _ints(numbers: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(numbers, dtype=np.int32)


class _Names:
    """Number texts in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    @property
    def names(self) -> list[str]:
        return list(self._numbers)

    def number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    def numbers(self, names: Sequence[str], known: bool = True) -> list[int]:
        return [self.number(name) if known else -1 for name in names]
