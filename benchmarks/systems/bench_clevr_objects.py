"""Objects of 15,000 pictures with 10 detections each, against pycocotools pair by pair.

Detections are ellipses of CLEVR's sizes in pictures of 480 x 320, the truth the same ones moved a
little: six true objects and four strays a picture. The rival does what the original does, on the
first pictures only: decode both masks of each pair, count pixels, take the first that fits.
Equality on those is checked first. It prints a table, and the seconds from file to file:

    pytest benchmarks/systems/bench_clevr_objects.py -s
"""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timing
import torch

from pyvqa import ops
from pyvqa.systems.ns_vqa.detections import Detections, read_detections
from pyvqa.systems.ns_vqa.objects import TrueObjects, make_objects, read_truth

PICTURES, PER_PICTURE, TRUE = 15_000, 10, 6
COMPARED = 4  # pictures that the rival gets
SHAPES = 200  # masks drawn; pictures share them
SECONDS = 20.0
SIZE = (320, 480)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # pycocotools


@cache
def masks() -> tuple[list[Any], list[Any]]:
    """Ellipses, and the same ones a few pixels further, as run lengths with text."""
    chance = np.random.default_rng(0)
    y, x = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float32)
    found, moved = [], []
    for _ in range(SHAPES):
        center = chance.uniform((60, 40), (420, 280))
        radii, step = chance.uniform(12, 45, 2), chance.uniform(-3, 3, 2)
        for place, target in ((center, found), (center + step, moved)):
            mask = ((x - place[0]) / radii[0]) ** 2 + ((y - place[1]) / radii[1]) ** 2 < 1
            rle = ops.encode_masks(torch.from_numpy(mask)[None])[0]
            target.append({"size": rle["size"], "counts": rle["counts"].decode()})  # type: ignore[union-attr]
    return found, moved


def made(pictures: int) -> tuple[Detections, list[dict[str, Any]]]:
    """Detections of pictures, and their scenes."""
    chance = np.random.default_rng(1)
    found, moved = masks()
    chosen = np.array([chance.choice(SHAPES, PER_PICTURE, replace=False) for _ in range(pictures)])
    rows = pictures * PER_PICTURE
    detections = Detections(
        image_index=np.arange(pictures),
        image_filename=[f"CLEVR_val_{k:06d}.png" for k in range(pictures)],
        offsets=np.arange(pictures + 1) * PER_PICTURE,
        boxes=np.zeros((rows, 4), np.float32),
        scores=chance.uniform(0.9, 1, rows).astype(np.float32),
        classes=chance.integers(1, 49, rows).astype(np.int32),
        masks=[found[shape] for shape in chosen.ravel()],
        image_size=np.array([SIZE] * pictures, dtype=np.int32),
    )
    thing = {"shape": "cube", "size": "small", "material": "metal", "color": "red"}
    thing |= {"position": [0.0, 0.0, 0.35]}
    scenes = [
        {"image_index": k, "objects": [{**thing, "mask": moved[shape]} for shape in own[:TRUE]]}
        for k, own in enumerate(chosen)
    ]
    return detections, scenes


def by_pairs(
    coco: Any, detections: Detections, truth: dict[int, TrueObjects], pictures: int
) -> list[tuple[int, int]]:
    """Pair as the original: (picture, class) of what lies on a true object."""
    kept = []
    for picture in range(pictures):
        own = range(*detections.offsets[picture : picture + 2])
        for row in sorted(own, key=lambda r: int(detections.classes[r])):
            if not detections.scores[row] > 0.9:
                continue
            for other in truth[picture].masks:
                one, two = coco.decode(detections.masks[row]), coco.decode(other)
                if np.logical_and(one, two).sum() / np.logical_or(one, two).sum() > 0.7:
                    kept.append((picture, int(detections.classes[row])))
                    break
    return kept


def test_pairing_some_pictures() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    detections, scenes = made(COMPARED)
    truth = {s["image_index"]: _true(s) for s in scenes}

    def ours() -> list[tuple[int, int]]:
        objects = make_objects(detections, truth=truth, match="first")
        return list(zip(objects.image_index, objects.classes, strict=True))

    def rival() -> list[tuple[int, int]]:
        return by_pairs(coco, detections, truth, COMPARED)

    assert ours() == rival()
    assert len(ours()) > COMPARED * TRUE / 2
    timing.compare(
        "clevr-objects",
        f"{COMPARED} pictures, {PER_PICTURE} detections, {TRUE} objects each",
        ours=ours,
        rival=rival,
        rival_name="pycocotools, pair by pair",
        target=20.0,
    )


def _true(scene: dict[str, Any]) -> TrueObjects:
    return TrueObjects([thing["mask"] for thing in scene["objects"]], [[0.0] * 18] * TRUE)


def test_a_whole_split(tmp_path: Path) -> None:
    """From the files to the file, once; processor time of all threads."""
    detections, scenes = made(PICTURES)
    detections.write(tmp_path / "detections.h5")
    (tmp_path / "scenes.json").write_text(json.dumps({"scenes": scenes}))
    del detections, scenes
    start, clock = time.process_time(), time.perf_counter()
    objects = make_objects(
        read_detections(tmp_path / "detections.h5"), truth=read_truth(tmp_path / "scenes.json")
    )
    objects.write(tmp_path / "objects.json")
    spent, waited = time.process_time() - start, time.perf_counter() - clock
    print(
        f"\n{PICTURES:,} pictures, {PICTURES * PER_PICTURE:,} detections -> {len(objects):,} "
        f"objects: {spent:.1f} s of processor time, {waited:.1f} s on the clock"
    )
    assert len(objects) > PICTURES * TRUE / 2
    assert spent < SECONDS
