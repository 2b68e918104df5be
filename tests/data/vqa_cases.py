"""Small VQA data in the official layouts, and stores of random features for its pictures."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pyvqa.data.mapped import Texts, writing
from pyvqa.data.region_files import Picture, region_writer

WORDS = "is the a red blue cat dog tall man's left/right what how many t-shirt?".split()
ANSWERS = ["yes", "no", "2", "two", "red", "blue", "cat", "on table", "don't know"]
KINDS = [("what is", "other"), ("how many", "number"), ("is the", "yes/no")]

Entry = dict[str, Any]


def entries(
    count: int, seed: int, first: int = 0, people: int = 10
) -> tuple[list[Entry], list[Entry]]:
    """Questions and their annotations."""
    rng = random.Random(seed)
    questions, annotations = [], []
    for k in range(first, first + count):
        likely = rng.choice(ANSWERS[:6])
        answers = [rng.choice([likely, likely, rng.choice(ANSWERS)]) for _ in range(people)]
        kind, answer_type = rng.choice(KINDS)
        text = " ".join(rng.choices(WORDS, k=rng.randrange(2, 7)))
        image = 100 + k // 3
        questions.append({"image_id": image, "question": text, "question_id": k})
        annotations.append(
            {
                "question_id": k,
                "image_id": image,
                "question_type": kind,
                "answer_type": answer_type,
                "multiple_choice_answer": max(set(answers), key=lambda a: (answers.count(a), a)),
                "answers": [
                    {"answer": a, "answer_confidence": "yes", "answer_id": n + 1}
                    for n, a in enumerate(answers)
                ],
            }
        )
    return questions, annotations


def write_pair(folder: Path, split: str, parts: tuple[list[Entry], list[Entry]]) -> None:
    """Write a pair of files under their official names."""
    folder.mkdir(parents=True, exist_ok=True)
    questions, annotations = parts
    head = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": split}
    (folder / f"v2_OpenEnded_mscoco_{split}_questions.json").write_text(
        json.dumps({**head, "task_type": "Open-Ended", "questions": questions})
    )
    if annotations:
        (folder / f"v2_mscoco_{split}_annotations.json").write_text(
            json.dumps({**head, "annotations": annotations})
        )


def write_vqa2(folder: Path, train: int = 60, val: int = 20, test: int = 8) -> Path:
    """Write a whole VQA v2; annotations stand in another order than questions."""
    for number, (split, count) in enumerate({"train2014": train, "val2014": val}.items()):
        questions, annotations = entries(count, number, 1000 * number)
        random.Random(7).shuffle(annotations)
        write_pair(folder, split, (questions, annotations))
    write_pair(folder, "test2015", (entries(test, 2, 5000)[0], []))
    write_pair(folder, "test-dev2015", (entries(test, 2, 5000)[0][::2], []))
    return folder


def write_store(
    path: Path, names: list[str], width: int = 6, dtype: str = "float32", most: int = 5
) -> dict[str, Picture]:
    """Write a store with 1 to `most` random regions for every picture."""
    rng = np.random.default_rng(3)
    pictures = {}
    with region_writer(path, dtype) as write:
        for name in names:
            count = int(rng.integers(1, most + 1))
            boxes = rng.random((count, 4), dtype=np.float32)
            features = rng.standard_normal((count, width)).astype(np.float32)
            pictures[name] = Picture(name, features, 100 * boxes, boxes)
            write(pictures[name])
    return pictures


def sparse_store(path: Path, names: list[str], regions: int, width: int) -> None:
    """Write a store, of either kind, whose features take no room on disk: nothing but zeros."""
    if path.suffix == ".h5":
        size = (len(names), regions)
        with h5py.File(path, "w") as file:  # what is never written is never allocated
            file.create_dataset("features", (*size, width), "f2")
            for name in ("rois", "norm_rois"):
                file.create_dataset(name, (*size, 4), "f4")
            file["nb_regions"] = np.full(len(names), regions, np.int32)
            file["image_names"] = [name.encode() for name in names]
        return
    with writing(path, {"format": "pyvqa-regions", "version": "1"}) as tables:
        tables.grow("features", np.zeros((0, width), np.float16))
        rows = len(names) * regions
        tables._file.seek(rows * width * 2, os.SEEK_CUR)
        tables._end += rows * width * 2
        tables._tables["features"]["shape"][0] = rows
        for name in ("boxes", "norm_boxes"):
            tables.add(name, np.zeros((rows, 4), np.float32))
        tables.add("offsets", np.arange(len(names) + 1, dtype=np.int64) * regions)
        for name, table in Texts.of(names).tables("names").items():
            tables.add(name, table)
