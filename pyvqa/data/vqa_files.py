"""Official question and annotation files of VQA v2, VQA-CP v2, TDIUC and Visual Genome.

Questions and annotations are joined by `question_id`, whatever their order in the files. Names and
layouts are those of the original archives, with or without `v2_` in front, plain or gzipped.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pyvqa.data.vqa_text import Tokeniser
from pyvqa.errors import DataError
from pyvqa.files import read_json

QUESTIONS = "OpenEnded_mscoco_{}_questions.json"
ANNOTATIONS = "mscoco_{}_annotations.json"

# Where the archives put the files, below the folder that a user names.
_FOLDERS = ("", "raw/annotations", "annotations", "raw", "questions", "Annotations", "Questions")

# data set -> split -> names of the files of that split, without prefix; the first found is used.
_NAMES: Mapping[str, Mapping[str, Sequence[str]]] = {
    "vqa2": {
        "train": ("train2014",),
        "val": ("val2014",),
        "test": ("test2015",),
        "test-dev": ("test-dev2015",),
    },
    "vqacp2": {"train": ("train2014",), "val": ("val2014",)},
    # The original loader wanted TDIUC's val2014 files under the name of a test set.
    "tdiuc": {"train": ("train2014",), "test": ("val2014", "test2015")},
}
_CP_FILES = "vqacp_v2_{}_{}.json"  # VQA-CP v2 as its authors publish it: bare lists

# Where the files come from.
_ARCHIVES = {
    "vqa2": "v2_Questions_{Train,Val,Test}_mscoco.zip and v2_Annotations_{Train,Val}_mscoco.zip "
    "(50 MB) of visualqa.org",
    "vqacp2": "vqacp_v2_{train,test}_{questions,annotations}.json (0.6 GB) of the VQA-CP release",
    "tdiuc": "TDIUC.zip (70 MB) of kushalkafle.com",
}

# Questions in the releases, for comparison.
OFFICIAL_SIZES: Mapping[str, Mapping[str, int]] = {
    "vqa2": {"train": 443_757, "val": 214_354, "test": 447_793, "test-dev": 107_394},
    "vqacp2": {"train": 438_183, "val": 219_928},
    "tdiuc": {"train": 1_115_299, "test": 538_868},
    "vgenome": {"train": 1_445_322},
}


@dataclass(frozen=True)
class Questions:
    """N questions of one file, with what people answered where that is known."""

    ids: list[int]
    images: list[str]  # names as in the feature stores, e.g. COCO_val2014_000000000042.jpg
    texts: list[str]
    answers: list[str | None]  # the answer to learn
    humans: list[list[str]]  # all answers given; empty where not known
    types: list[str]  # of the question, "" where not known
    answer_types: list[str]
    labelled: bool
    subset: str  # `data_subtype` of the file, e.g. val2014

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int]) -> Questions:
        """Give the questions at `rows`, in that order."""
        columns = (f.name for f in fields(self) if f.name not in ("labelled", "subset"))
        taken: dict[str, Any] = {}
        for name in columns:
            column = getattr(self, name)
            taken[name] = [column[row] for row in rows]
        return replace(self, **taken)

    def then(self, more: Questions) -> Questions:
        """Put other questions behind these."""
        columns = (f.name for f in fields(self) if f.name not in ("labelled", "subset"))
        joined: dict[str, Any] = {c: getattr(self, c) + getattr(more, c) for c in columns}
        return replace(self, **joined)


def find_files(root: str | Path, dataset: str) -> dict[str, tuple[Path, Path | None]]:
    """Find a data set's files below `root`: split -> (questions, annotations or None).

    Splits are train, val, test and test-dev, as far as they are there; train always is.

    Raises:
        DataError: `root` is no folder, or the training files are not there.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(
            f"{root}: no such folder; name the one with {_ARCHIVES[dataset]}, or make one with "
            f"`pyvqa synth {dataset} --split train --scenes 2000 --out {root}`"
        )
    found: dict[str, tuple[Path, Path | None]] = {}
    for split, names in _NAMES[dataset].items():
        pairs = [_pair(root, QUESTIONS.format(n), ANNOTATIONS.format(n)) for n in names]
        if dataset == "vqacp2":
            part = "test" if split == "val" else "train"
            kinds = (_CP_FILES.format(part, kind) for kind in ("questions", "annotations"))
            pairs.append(_pair(root, *kinds))
        pair = next((pair for pair in pairs if pair is not None), None)
        if pair is not None:
            found[split] = pair
    if "train" not in found:
        raise DataError(
            f"{root}: holds no {QUESTIONS.format('train2014')} (looked in it and in "
            f"{', '.join(_FOLDERS[1:4])}, also with v2_ in front and .gz behind); unpack "
            f"{_ARCHIVES[dataset]} there, name files with --questions and --annotations, or fill "
            f"the folder from the built-in world: pyvqa synth {dataset} --split train "
            f"--scenes 2000 --out {root}"
        )
    return found


def _pair(root: Path, questions: str, annotations: str) -> tuple[Path, Path | None] | None:
    asked = _first(root, questions)
    return None if asked is None else (asked, _first(root, annotations))


def _first(root: Path, name: str) -> Path | None:
    names = [prefix + name + suffix for prefix in ("v2_", "") for suffix in ("", ".gz")]
    paths = (root / folder / n for folder in _FOLDERS for n in names)
    return next((path for path in paths if path.is_file()), None)


def find_genome(root: str | Path) -> Path:
    """Find Visual Genome's `question_answers.json` at or below `root`; DataError where absent."""
    root = Path(root)
    places = [root / f / f"question_answers.json{s}" for f in ("", "raw/json") for s in ("", ".gz")]
    found = next((p for p in (root, *places) if p.is_file()), None)
    if found is None:
        raise DataError(
            f"{root}: holds no question_answers.json; fetch question_answers.json.zip (25 MB) from "
            "visualgenome.org and unpack it there, or go without; the built-in world has nothing "
            "like it, `pyvqa synth vqa2` makes all of VQA v2"
        )
    return found


def read_questions(
    questions: str | Path, annotations: str | Path | None = None, *, first_human: bool = False
) -> Questions:
    """Read a question file and, if given, its annotations.

    The answer to learn is `multiple_choice_answer`; with `first_human` (TDIUC) it is the first of
    `answers`.

    Raises:
        DataError: a file is damaged or of another kind, an id stands twice, or a question has no
            annotation; names the file and the entry.
    """
    entries, subset = _entries(Path(questions), "questions")
    ids = _ids(entries, Path(questions))
    for k, entry in enumerate(entries):
        if not isinstance(entry.get("question"), str) or type(entry.get("image_id")) is not int:
            raise DataError(
                f"{questions}: questions[{k}] (id {ids[k]}) needs a text `question` and a whole "
                "number `image_id`"
            )
    result = Questions(
        ids=ids,
        images=[_image_name(entry, subset, Path(questions)) for entry in entries],
        texts=[entry["question"] for entry in entries],
        answers=[None] * len(ids),
        humans=[[] for _ in ids],
        types=[""] * len(ids),
        answer_types=[""] * len(ids),
        labelled=False,
        subset=subset,
    )
    return result if annotations is None else _annotated(result, Path(annotations), first_human)


def read_genome(path: str | Path, tokenise: Tokeniser) -> Questions:
    """Read Visual Genome's questions; answers are cut into words and joined by single spaces.

    Raises:
        DataError: the file is damaged or of another kind, or an id stands twice.
    """
    path = Path(path)
    entries: list[dict[str, Any]] = []
    for k, image in enumerate(read_json(path, expect=list)):
        pairs = image.get("qas") if isinstance(image, dict) else None
        if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
            raise DataError(f"{path}: entry {k} lacks the list `qas`; is it question_answers.json?")
        entries += pairs
    kinds = {"qa_id": int, "image_id": int, "question": str, "answer": str}
    for k, entry in enumerate(entries):
        wrong = [key for key, kind in kinds.items() if type(entry.get(key)) is not kind]
        if wrong:
            raise DataError(f"{path}: question {k}: {wrong[0]!r} is missing or of the wrong kind")
    answers = [sys.intern(" ".join(tokenise(entry["answer"]))) for entry in entries]
    ids = [entry["qa_id"] for entry in entries]
    _check_unique(ids, path, "qa_id")
    return Questions(
        ids=ids,
        images=[str(entry["image_id"]) for entry in entries],
        texts=[entry["question"] for entry in entries],
        answers=list(answers),
        humans=[[answer] for answer in answers],
        types=["vgenome"] * len(ids),
        answer_types=["vgenome"] * len(ids),
        labelled=True,
        subset="train2014",
    )


def read_ids(path: str | Path) -> set[int]:
    """Read which questions a question file holds (test-dev); raises DataError."""
    return set(_ids(_entries(Path(path), "questions")[0], Path(path)))


def _entries(path: Path, kind: str) -> tuple[list[dict[str, Any]], str]:
    """Read `questions` or `annotations` and the `data_subtype` ("" for a bare list)."""
    content = read_json(path, replace=_only_the_answer)
    subset = ""
    if isinstance(content, dict):
        if not isinstance(content.get(kind), list):
            found = ", ".join(sorted(content)[:6]) or "nothing"
            raise DataError(f"{path}: lacks the list {kind!r} (has: {found}); wrong file?")
        subset = content.get("data_subtype", "")
        content = content[kind]
    if not isinstance(content, list) or not isinstance(subset, str):
        raise DataError(f"{path}: not an official {kind} file; check the path")
    wrong = next((k for k, entry in enumerate(content) if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise DataError(f"{path}: {kind}[{wrong}] is not a dictionary; wrong file?")
    return content, subset


def _only_the_answer(entry: dict[str, Any]) -> Any:
    """Keep of each of ten million human answers what is used: its text, once in memory."""
    answer = entry.get("answer")
    if isinstance(answer, str) and "question" not in entry:  # Visual Genome's pairs have both
        return sys.intern(answer)
    return entry


def _ids(entries: Sequence[dict[str, Any]], path: Path) -> list[int]:
    ids = [entry.get("question_id") for entry in entries]
    for k, number in enumerate(ids):
        if type(number) is not int or not 0 <= number < 2**63:
            raise DataError(f"{path}: entry {k} has no whole number `question_id` (is {number!r})")
    _check_unique(ids, path, "question_id")
    return ids  # type: ignore[return-value]


def _check_unique(ids: Sequence[Any], path: Path, key: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: dict[Any, int] = {}
    twice = [(k, n) for k, n in enumerate(ids) if seen.setdefault(n, k) != k]
    k, number = twice[0]
    raise DataError(
        f"{path}: {key} {number} stands twice (entries {seen[number]} and {k}; {len(twice):,} "
        "repeated in all); remove the repeats"
    )


def _image_name(entry: Mapping[str, Any], subset: str, path: Path) -> str:
    # VQA-CP mixes the pictures of train2014 and val2014 and says so for each question.
    split = entry.get("coco_split", subset)
    if not isinstance(split, str) or not re.fullmatch(r"[\w.+-]+", split):
        raise DataError(
            f"{path}: question {entry['question_id']}: neither `coco_split` nor the file's "
            "`data_subtype` says which pictures it is about, e.g. train2014"
        )
    return f"COCO_{split}_{entry['image_id']:012d}.jpg"


def _annotated(questions: Questions, path: Path, first_human: bool) -> Questions:
    entries, _ = _entries(path, "annotations")
    place = {number: k for k, number in enumerate(_ids(entries, path))}
    missing = [number for number in questions.ids if number not in place]
    if missing:
        raise DataError(
            f"{path}: no annotation for {len(missing):,} of {len(questions):,} questions, the "
            f"first is question {missing[0]}; is it the annotation file of this split?"
        )
    joined = [entries[place[number]] for number in questions.ids]
    for number, entry in zip(questions.ids, joined, strict=True):
        _check_annotation(entry, number, path, first_human)
    answers: list[str | None] = [
        entry["answers"][0] if first_human else sys.intern(entry["multiple_choice_answer"])
        for entry in joined
    ]
    return replace(
        questions,
        answers=answers,
        humans=[entry["answers"] for entry in joined],
        types=[sys.intern(entry["question_type"]) for entry in joined],
        answer_types=[sys.intern(entry.get("answer_type", "")) for entry in joined],
        labelled=True,
    )


def _check_annotation(entry: Mapping[str, Any], number: int, path: Path, first: bool) -> None:
    humans = entry.get("answers")
    if not isinstance(humans, list) or not humans or not all(type(a) is str for a in humans):
        raise DataError(
            f"{path}: question {number}: `answers` is not a list of {{answer, answer_id, ...}}"
        )
    needed = ["question_type"] if first else ["question_type", "multiple_choice_answer"]
    for key in needed:
        if not isinstance(entry.get(key), str):
            raise DataError(f"{path}: question {number}: lacks the text {key!r}")
    if not isinstance(entry.get("answer_type", ""), str):
        raise DataError(f"{path}: question {number}: `answer_type` is not a text")
