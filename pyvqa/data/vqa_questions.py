"""Processed VQA questions on disk: one folder for a data set, mapped into memory when used.

dataset.json           what it was made from and how, and how many questions each split has
vocabulary.json        words and answers, in the order of their numbers
<split>.safetensors    train, val, test: one `QuestionTable` each
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa.data.mapped import Tables, Texts, check_offsets, writing
from pyvqa.errors import DataError
from pyvqa.files import atomic_folder, read_json, write_json

FORMAT, VERSION = "pyvqa-vqa-questions", "1"
UNKNOWN = "UNK"

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


@dataclass(frozen=True)
class VqaVocabulary:
    """Words, number 0 being the padding "", and answers from 0; both in number order."""

    words: tuple[str, ...]
    answers: tuple[str, ...]

    @cached_property
    def word_numbers(self) -> dict[str, int]:
        """Number of each word; of two equal ones (a question with the word UNK) the later."""
        return {word: k for k, word in enumerate(self.words)}

    @cached_property
    def answer_numbers(self) -> dict[str, int]:
        """Number of each answer."""
        return {answer: k for k, answer in enumerate(self.answers)}

    @property
    def unknown(self) -> int:
        """The number of UNK."""
        return self.word_numbers[UNKNOWN]

    def require_same(self, other: VqaVocabulary, ours: str | Path, theirs: str | Path) -> None:
        """Check that data and model number alike.

        Raises:
            DataError: naming the first number that stands for two things.
        """
        for kind in ("words", "answers"):
            a, b = getattr(self, kind), getattr(other, kind)
            if a == b:
                continue
            pairs = enumerate(zip(a, b, strict=False))
            k = next((k for k, (x, y) in pairs if x != y), min(len(a), len(b)))
            names = [repr(s[k]) if k < len(s) else "nothing" for s in (a, b)]
            raise DataError(
                f"{ours}: {len(a):,} {kind}, but {theirs} has {len(b):,}; number {k} is "
                f"{names[0]} here and {names[1]} there; use the data that the model was trained on"
            )

    def write(self, path: str | Path) -> None:
        """Write the vocabulary as JSON."""
        write_json(path, {"words": list(self.words), "answers": list(self.answers)})

    @classmethod
    def read(cls, path: str | Path) -> VqaVocabulary:
        """Read a vocabulary file; raises DataError."""
        content = read_json(path, keys=("words", "answers"))
        for kind in ("words", "answers"):
            if not isinstance(content[kind], list) or not all(
                isinstance(text, str) for text in content[kind]
            ):
                raise DataError(f"{path}: {kind!r} is not a list of texts; make the file again")
        if content["words"][:1] != [""] or UNKNOWN not in content["words"]:
            raise DataError(f"{path}: words must begin with the padding '' and hold {UNKNOWN}")
        return cls(tuple(content["words"]), tuple(content["answers"]))

    @classmethod
    def read_original(cls, folder: str | Path) -> VqaVocabulary:
        """Read wid_to_word.pth and aid_to_ans.pth of a folder that BLOCK or MuRel processed.

        Raises:
            DataError: a file is missing, damaged or of another kind.
        """
        paths = [Path(folder) / name for name in ("wid_to_word.pth", "aid_to_ans.pth")]
        words, answers = map(_load_plain, paths)
        if not isinstance(words, dict) or set(words) != set(range(1, len(words) + 1)):
            raise DataError(f"{paths[0]}: not a table of word numbers 1, 2, 3, ...")
        if not isinstance(answers, list):
            raise DataError(f"{paths[1]}: not a list of answers")
        ordered = [words[number] for number in range(1, len(words) + 1)]
        if not all(isinstance(text, str) for text in (*ordered, *answers)):
            raise DataError(f"{folder}: a word or an answer is not a text")
        if UNKNOWN not in ordered:
            raise DataError(f"{paths[0]}: lacks the word {UNKNOWN}")
        return cls(("", *ordered), tuple(answers))


@dataclass(frozen=True)
class QuestionTable:
    """N questions. `offsets` tables have N + 1 entries; -1 stands for what is not known."""

    question_ids: Longs  # [N]
    word_offsets: Longs
    choice_offsets: Longs
    human_offsets: Longs
    words: Ints  # word numbers of all questions, one after the other
    images: Ints  # [N] into image_names
    answers: Ints  # [N] number of the answer to learn; -1 also where the vocabulary lacks it
    answer_texts: Ints  # [N] into strings: the same answer as text
    choices: Ints  # distinct human answers in the vocabulary, in the order of their first mention
    choice_counts: Ints
    humans: Ints  # all human answers, into strings
    types: Ints  # [N] into type_names
    answer_types: Ints  # [N] into answer_type_names
    test_dev: NDArray[np.uint8]  # [N] 1 where the question is part of test-dev
    texts: Texts  # [N] the questions
    strings: Texts  # distinct answers
    image_names: Texts
    type_names: Texts
    answer_type_names: Texts

    def __len__(self) -> int:
        return len(self.question_ids)

    @property
    def labelled(self) -> bool:
        """Whether the answers are known."""
        return len(self) > 0 and bool((self.answer_texts >= 0).all())

    def write(self, path: str | Path) -> None:
        """Write one file of tables."""
        tables: dict[str, NDArray[Any]] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            tables |= value.tables(field.name) if isinstance(value, Texts) else {field.name: value}
        with writing(path, {"format": FORMAT, "version": VERSION}) as writer:
            for name in sorted(tables, key=lambda n: -tables[n].itemsize):  # keeps them aligned
                writer.add(name, tables[name])

    @classmethod
    def read(cls, path: str | Path) -> QuestionTable:
        """Map a file of tables.

        Raises:
            DataError: missing, damaged, or tables that do not fit each other.
        """
        tables = Tables(path)
        layout: dict[str, tuple[str, int]] = {}
        for field in fields(cls):
            is_texts = field.type == "Texts"
            layout |= Texts.layout(field.name) if is_texts else {field.name: ("iu", 1)}
        tables.require(FORMAT, VERSION, layout)
        values: dict[str, Any] = {
            f.name: Texts.read(tables, f.name) if f.type == "Texts" else tables.map(f.name)
            for f in fields(cls)
        }
        table = cls(**values)
        table._check(str(path))
        return table

    def _check(self, where: str) -> None:
        n = len(self.question_ids)
        columns = ("images", "answers", "answer_texts", "types", "answer_types", "test_dev")
        for name in (*columns, "texts"):
            if len(getattr(self, name)) != n:
                raise DataError(f"{where}: {name} has {len(getattr(self, name))} rows, not {n}")
        for name, values in (
            ("word", self.words),
            ("choice", self.choices),
            ("human", self.humans),
        ):
            offsets = getattr(self, f"{name}_offsets")
            if len(offsets) != n + 1:
                raise DataError(f"{where}: {name}_offsets has {len(offsets)} rows, not {n + 1}")
            check_offsets(offsets, len(values), f"{where}: {name}_offsets")
        for name, lowest, end in (
            ("images", 0, len(self.image_names)),
            ("answer_texts", -1, len(self.strings)),
            ("humans", 0, len(self.strings)),
            ("types", -1, len(self.type_names)),
            ("answer_types", -1, len(self.answer_type_names)),
            ("words", 1, 2**31 - 1),
            ("choices", 0, 2**31 - 1),
            ("answers", -1, 2**31 - 1),
        ):
            _check_range(getattr(self, name), lowest, end, f"{where}: {name}")
        if len(self.choice_counts) != len(self.choices):
            raise DataError(f"{where}: choices and choice_counts differ in length")

    def check_numbers(self, vocabulary: VqaVocabulary, where: str | Path) -> None:
        """Check that every word and answer has a name in `vocabulary`; raises DataError."""
        _check_range(self.words, 1, len(vocabulary.words), f"{where}: words")
        for name in ("answers", "choices"):
            _check_range(getattr(self, name), -1, len(vocabulary.answers), f"{where}: {name}")


def _check_range(values: NDArray[Any], lowest: int, end: int, where: str) -> None:
    if values.size and (int(values.min()) < lowest or int(values.max()) >= end):
        raise DataError(
            f"{where}: holds numbers from {int(values.min())} to {int(values.max())}, those from "
            f"{lowest} to {end - 1} have a meaning; the file is damaged or of another data set"
        )


def _load_plain(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file; is {path.parent} a folder of processed data?")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no type for what a broken or hostile file may cause
        raise DataError(f"{path}: not a file of plain values ({type(error).__name__})") from error


class VqaData:
    """A folder written by `pyvqa prepare vqa2` and its likes; splits are mapped when asked for."""

    def __init__(self, folder: str | Path) -> None:
        """Read dataset.json and vocabulary.json; raises DataError."""
        self.folder = Path(folder)
        path = self.folder / "dataset.json"
        if not path.is_file():
            raise DataError(
                f"{self.folder}: holds no dataset.json; make the folder with `pyvqa prepare vqa2`, "
                "vqacp2 or tdiuc from the official files, or from those of `pyvqa synth vqa2`, "
                "vqacp2 or tdiuc"
            )
        self.about: dict[str, Any] = read_json(path, keys=("format", "version", "splits"))
        found = (self.about["format"], self.about["version"])
        if found != (FORMAT, VERSION) or not isinstance(self.about["splits"], dict):
            raise DataError(f"{path}: is {found[0]!r} version {found[1]}; make the folder again")
        self.vocabulary = VqaVocabulary.read(self.folder / "vocabulary.json")

    @property
    def splits(self) -> list[str]:
        """Names of the splits, e.g. train, val, test."""
        return list(self.about["splits"])

    def split(self, name: str) -> QuestionTable:
        """Map one split; raises DataError where there is none of that name or it is damaged."""
        if name not in self.about["splits"]:
            raise DataError(
                f"{self.folder}: has no split {name!r} (has: {', '.join(self.splits)}); give its "
                "files to `pyvqa prepare`"
            )
        path = self.folder / f"{name}.safetensors"
        table = QuestionTable.read(path)
        table.check_numbers(self.vocabulary, path)
        return table

    @property
    def tokeniser(self) -> str:
        """How questions were cut into words (see `vqa_text`)."""
        return str(self.about.get("choices", {}).get("tokeniser", "mcb"))

    def questions(self, name: str, limit: int = 0) -> int:
        """Count a split's questions, `limit` at most (0: all); raises DataError."""
        count = len(self.split(name))
        return min(limit, count) if limit else count

    def subset(self, name: str) -> str:
        """Give the official name of a split's pictures, e.g. val2014."""
        return str(self.about["splits"][name]["subset"])

    @staticmethod
    def write(
        folder: str | Path,
        about: Mapping[str, Any],
        vocabulary: VqaVocabulary,
        splits: Mapping[str, tuple[QuestionTable, str]],
    ) -> None:
        """Write a folder, wholly or not at all; `splits` maps names to (table, subset).

        Raises:
            DataError: the folder holds something else, or cannot be written.
        """
        require_free(folder)
        content = {"format": FORMAT, "version": VERSION, **about}
        content["splits"] = {
            name: {
                "questions": len(table),
                "images": len(table.image_names),
                "labelled": table.labelled,
                "subset": subset,
            }
            for name, (table, subset) in splits.items()
        }
        with atomic_folder(folder) as temporary:
            write_json(temporary / "dataset.json", content)
            vocabulary.write(temporary / "vocabulary.json")
            for name, (table, _) in splits.items():
                table.write(temporary / f"{name}.safetensors")


def require_free(folder: str | Path) -> None:
    """Check that a folder may be replaced: absent, empty or made by `VqaData.write`.

    Raises:
        DataError: it holds other files.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "dataset.json").is_file():
        raise DataError(f"{folder}: holds files that are not prepared data; name another folder")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder}: is a file, the name of a folder is expected")


def ragged(lists: Sequence[Sequence[int]]) -> tuple[Ints, Longs]:
    """Put lists of numbers one after the other: values, and where each list begins."""
    offsets = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(numbers) for numbers in lists], out=offsets[1:])
    values = np.fromiter(
        (number for numbers in lists for number in numbers), dtype=np.int32, count=int(offsets[-1])
    )
    return values, offsets
