"""Small scene and question files for the readers' tests, made from a seed."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

from reader_reference import ATTRIBUTES, RELATIONS

VALUES = {
    "color": ["blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow"],
    "material": ["metal", "rubber"],
    "shape": ["cube", "cylinder", "sphere"],
    "size": ["large", "small"],
}
RIGHT = [0.6563112735748291, 0.7544902563095093, -0.0]
FRONT = [0.754490315914154, -0.6563112735748291, -0.0]


def make_scene(rng: random.Random, index: int, objects: int) -> dict[str, Any]:
    """Draw a scene in the layout of the release."""
    things = [
        {name: rng.choice(VALUES[name]) for name in ATTRIBUTES}
        | {
            "rotation": rng.uniform(0, 360),
            "3d_coords": [rng.uniform(-3, 3), rng.uniform(-3, 3), rng.choice([0.35, 0.7])],
            "pixel_coords": [rng.randrange(480), rng.randrange(320), rng.uniform(8, 14)],
        }
        for _ in range(objects)
    ]
    relations = {
        name: [[j for j in range(objects) if j != i and rng.random() < 0.5] for i in range(objects)]
        for name in RELATIONS
    }
    return {
        "split": "val",
        "image_index": index,
        "image_filename": f"CLEVR_val_{index:06d}.png",
        "directions": {
            "right": RIGHT,
            "left": [-value for value in RIGHT],
            "front": FRONT,
            "behind": [-value for value in FRONT],
            "above": [0.0, 0.0, 1.0],
            "below": [-0.0, -0.0, -1.0],
        },
        "relationships": relations,
        "objects": things,
    }


def make_scenes(seed: int, counts: tuple[int, ...] = (3, 0, 10, 1, 6)) -> dict[str, Any]:
    """Draw a scene file in the layout of the release."""
    rng = random.Random(seed)
    scenes = [make_scene(rng, index, count) for index, count in enumerate(counts)]
    return {"info": {"split": "val", "version": "1.0"}, "scenes": scenes}


def make_questions(seed: int, count: int = 12, kind: str = "questions") -> dict[str, Any]:
    """Draw a question or expression file: chains of filters with one union each."""
    rng = random.Random(seed)
    word = kind[:-1]
    entries = []
    for index in range(count):
        program: list[dict[str, Any]] = [{"inputs": [], "function": "scene", "value_inputs": []}]
        for _ in range(rng.randrange(4)):
            name = rng.choice(ATTRIBUTES)
            node = {"function": f"filter_{name}", "value_inputs": [rng.choice(VALUES[name])]}
            program.append({"inputs": [len(program) - 1]} | node)
        program.append({"inputs": [len(program) - 1, 0], "function": "union", "value_inputs": []})
        entry = {
            "split": "val",
            "image_index": index // 2,
            "image_filename": f"CLEVR_val_{index // 2:06d}.png",
            word: f"What is left of the {rng.choice(VALUES['color'])} thing; or \u00e9 it?",
            f"{word}_index": index,
            f"{word}_family_index": rng.randrange(90),
            "template_filename": "one_hop.json",
            "program": program,
        }
        if kind == "questions":
            entry["answer"] = rng.choice(["yes", "no", "3", "red"])
        else:
            for node in program:
                node["type"] = node.pop("function")
                node["_output"] = sorted(rng.sample(range(8), rng.randrange(4)))
        entries.append(entry)
    return {"info": {"split": "val"}, kind: entries}


def shuffled(value: Any, rng: random.Random) -> Any:
    """Return the same content with the keys of every object in another order."""
    if isinstance(value, list):
        return [shuffled(item, rng) for item in value]
    if isinstance(value, dict):
        keys = list(value)
        rng.shuffle(keys)
        return {key: shuffled(value[key], rng) for key in keys}
    return value


def encode(value: Any, **options: Any) -> bytes:
    """Write JSON as bytes."""
    return json.dumps(value, **options).encode()


def known_files(*patterns: str) -> list[Path]:
    """List the files of the sample data and the reference kits whose path matches a pattern."""
    roots = [os.environ[name] for name in ("PYVQA_REAL", "PYVQA_PARITY") if name in os.environ]
    return sorted({file for root in roots for each in patterns for file in Path(root).rglob(each)})


def content_of(file: Path) -> bytes:
    """Return a file's bytes, unpacked if it is a .gz."""
    return gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
