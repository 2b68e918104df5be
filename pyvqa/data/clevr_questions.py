"""CLEVR questions as NS-VQA keeps them: a vocabulary file and an h5 file of padded token rows.

Layouts of ns-vqa reason/tools/{preprocess_questions,sample_questions}.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pyvqa.data.vocabulary import (
    END,
    NULL,
    START,
    UNKNOWN,
    build_table,
    check_table,
    extend_table,
)
from pyvqa.errors import DataError, ProgramError
from pyvqa.files import atomic_write, read_json, write_json
from pyvqa.programs.linear import Node, linearise

# Where each official template file's families begin when all 90 are numbered through.
FIRST_FAMILY = {
    "compare_integer": 0,
    "comparison": 9,
    "three_hop": 25,
    "single_and": 31,
    "same_relate": 36,
    "single_or": 64,
    "one_hop": 72,
    "two_hop": 78,
    "zero_hop": 84,
}
FAMILIES = 90


@dataclass(frozen=True)
class ClevrVocabulary:
    """Numbers of question words, program functions and answers."""

    words: dict[str, int]
    functions: dict[str, int]
    answers: dict[str, int]

    @classmethod
    def read(cls, path: str | Path) -> ClevrVocabulary:
        """Read a vocabulary file; raises DataError naming file and table."""
        content = read_json(path, keys=tuple(_TABLES.values()))
        return cls(
            **{ours: check_table(content[key], f"{path}: {key}") for ours, key in _TABLES.items()}
        )

    def write(self, path: str | Path) -> None:
        """Write the vocabulary in the original's layout and key order."""
        write_json(path, {key: getattr(self, ours) for ours, key in _TABLES.items()})


_TABLES = {
    "words": "question_token_to_idx",
    "functions": "program_token_to_idx",
    "answers": "answer_token_to_idx",
}


def split_words(question: str) -> list[str]:
    """Split a question at single spaces; `;` and `,` are words, `?` and `.` are dropped."""
    for mark in ";,":
        question = question.replace(mark, f" {mark}")
    for mark in "?.":
        question = question.replace(mark, "")
    return question.split(" ")


@dataclass(frozen=True)
class ClevrQuestions:
    """N questions as token rows `<START> ... <END>`, padded with `<NULL>`."""

    questions: NDArray[np.int32]  # [N, T]
    image_index: NDArray[np.int64]  # [N]
    original_index: NDArray[np.int64]  # [N] position in the question file
    programs: NDArray[np.int32] | None = None  # [N, L]; a row of <NULL> has no program
    answers: NDArray[np.int64] | None = None  # [N]
    families: NDArray[np.int64] | None = None  # [N]

    def __len__(self) -> int:
        return len(self.questions)

    def take(self, rows: NDArray[np.int64] | Sequence[int]) -> ClevrQuestions:
        """Give the questions at `rows`, in that order; padding width is kept."""
        given: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        chosen = np.asarray(rows, dtype=np.int64)
        return replace(self, **{k: v[chosen] for k, v in given.items() if v is not None})

    def write(self, path: str | Path) -> None:
        """Write the h5 file; datasets that are None are left out."""
        with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
            for name, (attribute, _, _) in _DATASETS.items():
                value = getattr(self, attribute)
                if value is not None:
                    file.create_dataset(name, data=value)

    @classmethod
    def read(cls, path: str | Path) -> ClevrQuestions:
        """Read an h5 file of ours or of the original.

        Raises:
            DataError: not such a file, a dataset is missing or of the wrong type or shape, or a
                token row is not framed.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: no such file; make it with `pyvqa prepare clevr-questions`")
        try:
            with h5py.File(path, "r") as file:
                found = {n: _dataset(file, n, path) for n in _DATASETS if n in file}
        except OSError as error:
            raise DataError(f"{path}: not a readable h5 file ({error}); make it again") from error
        for name in ("questions", "image_idxs"):
            if name not in found:
                raise DataError(f"{path}: lacks the dataset {name!r}; is this a question file?")
        rows = found["questions"].shape[0]
        for name, value in found.items():
            if value.shape[0] != rows:
                raise DataError(f"{path}: {name} has {value.shape[0]} rows, questions has {rows}")
        found.setdefault("orig_idxs", np.arange(rows, dtype=np.int64))
        _check_framing(found["questions"], f"{path}: questions", empty_rows=False)
        if "programs" in found:
            _check_framing(found["programs"], f"{path}: programs", empty_rows=True)
        return cls(**{_DATASETS[name][0]: value for name, value in found.items()})

    def check_ids(self, vocabulary: ClevrVocabulary, where: str | Path) -> None:
        """Check that every token has a name in `vocabulary`; raises DataError where not."""
        for name, rows, table in (
            ("questions", self.questions, vocabulary.words),
            ("programs", self.programs, vocabulary.functions),
            ("answers", self.answers, vocabulary.answers),
        ):
            if rows is not None and rows.size and int(rows.max()) >= len(table):
                row = int(np.argmax(rows.reshape(len(rows), -1).max(1)))
                raise DataError(
                    f"{where}: {name}, row {row}: number {int(rows.max())} is not in the "
                    f"vocabulary of {len(table)} tokens; use the one that the file was made with"
                )


# dataset -> (attribute, dtype, dimensions)
_DATASETS: dict[str, tuple[str, type[np.int32] | type[np.int64], int]] = {
    "questions": ("questions", np.int32, 2),
    "programs": ("programs", np.int32, 2),
    "answers": ("answers", np.int64, 1),
    "image_idxs": ("image_index", np.int64, 1),
    "orig_idxs": ("original_index", np.int64, 1),
    "question_families": ("families", np.int64, 1),
}


def _dataset(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """Read one dataset after checking what and where it is."""
    link = file.get(name, getlink=True)
    data = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise DataError(f"{path}: {name!r} is not a dataset stored in this file")
    _, dtype, dimensions = _DATASETS[name]
    if data.ndim != dimensions or data.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {name} is {data.dtype} of shape {data.shape}; "
            f"integers with {dimensions} dimension(s) are needed"
        )
    values = data[...]
    if values.size and (values.min() < 0 or values.max() > np.iinfo(dtype).max):
        raise DataError(f"{path}: {name} holds numbers outside 0..{np.iinfo(dtype).max}")
    return np.ascontiguousarray(values, dtype=dtype)


def _check_framing(rows: NDArray[Any], where: str, *, empty_rows: bool) -> None:
    """Check that each row begins with `<START>` (or, if allowed, is all `<NULL>`)."""
    starts = rows[:, 0] == START if rows.shape[1] else np.zeros(len(rows), dtype=bool)
    if empty_rows:
        starts |= ~rows.any(1)
    if not starts.all():
        raise DataError(f"{where}, row {int(np.argmin(starts))}: does not begin with <START>")


def build_vocabulary(table: Any, *, mode: str = "prefix", minimum: int = 1) -> ClevrVocabulary:
    """Number the words, functions and answers of a question table (`pyvqa.programs.questions`).

    Words seen fewer than `minimum` times are left out.
    """
    words = chain.from_iterable(map(split_words, table.questions))
    functions = chain.from_iterable(_program_tokens(table, mode))
    answers = (answer for answer in table.answers if answer is not None)
    return ClevrVocabulary(
        build_table(words, minimum), build_table(functions), build_table(answers)
    )


def expand_words(vocabulary: ClevrVocabulary, new: ClevrVocabulary) -> ClevrVocabulary:
    """Append new words; functions and answers stay (ns-vqa `--expand_vocab`)."""
    return replace(vocabulary, words=extend_table(vocabulary.words, new.words))


def encode_questions(
    table: Any, vocabulary: ClevrVocabulary, *, mode: str = "prefix", encode_unknown: bool = False
) -> ClevrQuestions:
    """Turn a question table into token rows.

    Raises:
        DataError: a word (unless `encode_unknown`), function or answer is not in the vocabulary,
            or only some questions have an answer; names the question.
    """
    questions = encode_words(table.questions, vocabulary.words, encode_unknown=encode_unknown)
    return ClevrQuestions(
        questions=questions,
        image_index=np.array(table.image_index, dtype=np.int64),
        original_index=np.arange(len(questions), dtype=np.int64),
        programs=encode_programs(table, vocabulary.functions, mode=mode),
        answers=_answer_numbers(table.answers, vocabulary.answers),
        families=global_families(table),
    )


def encode_words(
    texts: Sequence[str], words: Mapping[str, int], *, encode_unknown: bool = False
) -> NDArray[np.int32]:
    """Turn questions into framed rows [N, T]; raises DataError naming an unknown word."""
    return _framed(
        [_numbers(split_words(t), words, "word", k, encode_unknown) for k, t in enumerate(texts)]
    )


def encode_programs(
    table: Any, functions: Mapping[str, int], *, mode: str = "prefix", encode_unknown: bool = False
) -> NDArray[np.int32] | None:
    """Turn a table's programs into framed rows [N, L]; None where no question has one."""
    programs = [
        _numbers(tokens, functions, "function", k, encode_unknown) if tokens else None
        for k, tokens in enumerate(_program_tokens(table, mode))
    ]
    return _framed(programs) if any(program is not None for program in programs) else None


def _numbers(
    tokens: Sequence[str], table: Mapping[str, int], kind: str, question: int, unknown: bool
) -> list[int]:
    try:
        return [table[token] for token in tokens]
    except KeyError as error:
        if unknown:
            return [table.get(token, UNKNOWN) for token in tokens]
        advice = (
            "encode unknown words as <UNK>, or expand the vocabulary"
            if kind == "word"
            else "build the vocabulary from data that holds it"
        )
        raise DataError(
            f"question {question}: the {kind} {error.args[0]!r} is not in the vocabulary; {advice}"
        ) from error


def _answer_numbers(
    answers: Sequence[str | None], table: Mapping[str, int]
) -> NDArray[np.int64] | None:
    given = [answer is not None for answer in answers]
    if not any(given):
        return None
    if not all(given):
        raise DataError(f"question {given.index(False)}: has no answer while others have one")
    numbers = [
        _numbers([answer or ""], table, "answer", k, False) for k, answer in enumerate(answers)
    ]
    return np.array(numbers, dtype=np.int64).reshape(-1)


def _program_tokens(table: Any, mode: str) -> list[list[str]]:
    """Linearise every program of a table; an empty list where there is none."""
    functions = table.functions
    names = table.node_functions.tolist()
    arity = np.diff(table.input_offsets).tolist()
    inputs = table.inputs.tolist()
    bounds = table.program_offsets.tolist()
    input_bounds = table.input_offsets[table.program_offsets].tolist()
    orders: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    programs = []
    for k, (begin, end) in enumerate(pairwise(bounds)):
        shape = (tuple(arity[begin:end]), tuple(inputs[input_bounds[k] : input_bounds[k + 1]]))
        if shape not in orders:  # 700,000 programs have a few hundred shapes
            orders[shape] = _order(*shape, mode, k)
        programs.append([functions[names[begin + node]] for node in orders[shape]])
    return programs


def _order(arity: Sequence[int], inputs: Sequence[int], mode: str, question: int) -> list[int]:
    """List a program's nodes in the order in which `mode` writes them."""
    rest = iter(inputs)
    nodes = [Node(str(k), (), tuple(next(rest) for _ in range(n))) for k, n in enumerate(arity)]
    try:
        return [int(name) for name in linearise(nodes, mode)]
    except ProgramError as error:
        raise DataError(f"question {question}: {error}") from error


def global_families(table: Any) -> NDArray[np.int64] | None:
    """Number families through all template files, as the release does; None without families."""
    families = np.array(table.family_index, dtype=np.int64)
    if not len(families) or (families < 0).all():
        return None
    if (families < 0).any():
        raise DataError(f"question {int(np.argmax(families < 0))}: has no question_family_index")
    stems = [Path(name or "").stem for name in table.template_filename]
    first = np.array([FIRST_FAMILY.get(stem, -1) for stem in stems])
    starts = [*sorted(FIRST_FAMILY.values()), FAMILIES]
    size = {start: end - start for start, end in pairwise(starts)}
    restarts = first >= 0
    # The generator counts from 0 in every template file, the release through all of them.
    if restarts.all() and all(f < size[s] for f, s in zip(families, first.tolist(), strict=True)):
        families = families + first
    return families


def _framed(rows: Sequence[Sequence[int] | None]) -> NDArray[np.int32]:
    """Frame rows with `<START>` and `<END>` and pad them; None gives a row of `<NULL>`."""
    lengths = np.array([0 if row is None else len(row) + 2 for row in rows], dtype=np.int64)
    padded = np.full((len(rows), int(lengths.max(initial=0))), NULL, dtype=np.int32)
    framed = lengths.nonzero()[0]
    padded[framed, 0] = START
    padded[framed, lengths[framed] - 1] = END
    counts = np.maximum(lengths - 2, 0)
    flat = np.fromiter(chain.from_iterable(row for row in rows if row), np.int32, counts.sum())
    column = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts) + 1
    padded[np.repeat(np.arange(len(rows)), counts), column] = flat
    return padded


def sample_per_family(families: NDArray[np.int64], per_family: int, seed: int) -> NDArray[np.int64]:
    """Pick up to `per_family` questions of each family, in the order of a random walk.

    The walk is `numpy.random.RandomState(seed).permutation(N)` (ns-vqa sample_questions.py).
    """
    walk = np.random.RandomState(seed).permutation(len(families))
    walked = families[walk]
    by_family = np.argsort(walked, kind="stable")
    _, counts = np.unique(walked, return_counts=True)
    rank = np.arange(len(walk)) - np.repeat(counts.cumsum() - counts, counts)
    return np.asarray(walk[np.sort(by_family[rank < per_family])], dtype=np.int64)


def sample_any(count: int, size: int, seed: int) -> NDArray[np.int64]:
    """Pick the first `size` questions of the same random walk over `count`."""
    return np.asarray(np.random.RandomState(seed).permutation(count)[:size], dtype=np.int64)


def sample_name(per_family: int, size: int | None, index: int | None) -> str:
    """Name a sample's file as the original does."""
    what = f"{per_family}questions_per_family" if size is None else f"{size}_questions"
    return f"clevr_train_{what}{'' if index is None else f'_{index:02d}'}.h5"
