"""A small CLEVR of the tests' own: scenes, questions with programs, vocabulary and h5 files."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pyvqa.data.clevr_questions import ClevrVocabulary, build_vocabulary, encode_questions
from pyvqa.programs.clevr import FUNCTIONS, VALUES
from pyvqa.programs.questions import read_questions

COLORS, SHAPES = VALUES["color"], VALUES["shape"]


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class SmallClevr:
    """An official folder, and what is prepared from it."""

    root: Path
    vocabulary_file: Path
    vocabulary: ClevrVocabulary

    def questions(self, split: str) -> Path:
        return self.root / f"{split}.h5"

    def scenes(self, split: str) -> Path:
        return self.root / f"scenes/CLEVR_{split}_scenes.json"

    def question_file(self, split: str) -> Path:
        return self.root / f"questions/CLEVR_{split}_questions.json"


def make_scene(index: int, chance: random.Random) -> dict[str, Any]:
    objects = []
    for _ in range(chance.randint(3, 6)):
        attributes = {name: chance.choice(values) for name, values in VALUES.items()}
        place = [chance.uniform(-3, 3), chance.uniform(-3, 3), 0.35]
        objects.append({**attributes, "3d_coords": place, "pixel_coords": [0, 0, 9], "rotation": 0})
    directions = {"right": [1, 0, 0], "front": [0, 1, 0]}
    name = f"CLEVR_small_{index:06d}.png"
    return {
        "image_index": index,
        "image_filename": name,
        "directions": directions,
        "objects": objects,
    }


def node(function: str, *inputs: int, value: str | None = None) -> dict[str, Any]:
    values = [] if value is None else [value]
    return {"inputs": list(inputs), "function": function, "value_inputs": values}


def make_question(index: int, scene: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """One of four families, with the answer found by looking."""
    family = index % 4
    color, shape = chance.choice(COLORS), chance.choice(SHAPES)
    found = [o for o in scene["objects"] if o["color"] == color]
    steps = [node("scene"), node("filter_color", 0, value=color)]
    if family == 0:
        text, answer = f"How many {color} things are there?", str(len(found))
        steps.append(node("count", 1))
    elif family == 1:
        text, answer = f"Is there a {color} thing?", "yes" if found else "no"
        steps.append(node("exist", 1))
    elif family == 2:
        first = chance.choice(scene["objects"])
        color = first["color"]
        found = [o for o in scene["objects"] if o["color"] == color]
        text, answer = f"What shape is the {color} thing?", found[0]["shape"]
        steps = [node("scene"), node("filter_color", 0, value=color)]
        steps += [node("unique", 1), node("query_shape", 2)]
    else:
        others = [o for o in scene["objects"] if o["shape"] == shape]
        text = f"Are there more {color} things than {shape}s?"
        answer = "yes" if len(found) > len(others) else "no"
        steps += [node("count", 1), node("scene"), node("filter_shape", 3, value=shape)]
        steps += [node("count", 4), node("greater_than", 2, 5)]
    return {
        "image_index": scene["image_index"],
        "image_filename": scene["image_filename"],
        "question_index": index,
        "question_family_index": family,
        "question": text,
        "answer": answer,
        "program": steps,
    }


def write_split(root: Path, split: str, seed: int, scenes: int, questions: int) -> None:
    chance = random.Random(seed)
    found = [make_scene(7 + 2 * k, chance) for k in range(scenes)]
    asked = [make_question(k, chance.choice(found), chance) for k in range(questions)]
    for kind, content in (("scenes", found), ("questions", asked)):
        (root / kind).mkdir(exist_ok=True)
        (root / kind / f"CLEVR_{split}_{kind}.json").write_text(json.dumps({kind: content}))


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallClevr:
    """Splits train (160 questions, 20 scenes) and val (40, 8)."""
    root = tmp_path_factory.mktemp("small_clevr")
    write_split(root, "train", 1, 20, 160)
    write_split(root, "val", 2, 8, 40)
    tables = {
        s: read_questions(root / f"questions/CLEVR_{s}_questions.json") for s in ("train", "val")
    }
    built = build_vocabulary(tables["train"])
    names = ["<NULL>", "<START>", "<END>", "<UNK>", *FUNCTIONS]
    answers = [*names[:4], *sorted([*map(str, range(11)), "yes", "no", *SHAPES])]
    vocabulary = ClevrVocabulary(
        built.words, {n: k for k, n in enumerate(names)}, {a: k for k, a in enumerate(answers)}
    )
    vocabulary.write(root / "vocab.json")
    for split, table in tables.items():
        encode_questions(table, vocabulary, encode_unknown=True).write(root / f"{split}.h5")
    return SmallClevr(root, root / "vocab.json", vocabulary)
