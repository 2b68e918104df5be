"""The pieces that a data set is made in: blocks of scenes with their text, and runs of pictures.

A block holds everything about 250 images but the pictures; these follow from its scenes, a few at a
time. Every piece is checked as it is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.files import read_json, write_json
from pyvqa.programs.clevr import ATTRIBUTES
from pyvqa.programs.scenes import from_table
from pyvqa.world.balance import Balance
from pyvqa.world.layouts import CATEGORIES, Layout
from pyvqa.world.masks import Masks, visible_areas
from pyvqa.world.png import encode_png, opaque
from pyvqa.world.questions import (
    QuestionGenerator,
    Questions,
    expression_records,
    question_records,
)
from pyvqa.world.scenes import SceneSettings, WorldScenes, sample_scenes
from pyvqa.world.staging import Quality, stage
from pyvqa.world.verify import wrong_answers
from pyvqa.world.visible import sample_visible_scenes
from pyvqa.world.vqa_balance import count_answers
from pyvqa.world.vqa_entries import Writer

PICTURES = 25  # in a run
_PIXELS = 5 * 480 * 320  # whose maps are in memory at a time

Records = list[dict[str, Any]]


@dataclass(frozen=True)
class Span:
    """Images first..first+count-1 of a data set."""

    first: int
    count: int

    def runs(self) -> list[Span]:
        """Cut into runs of pictures."""
        end = self.first + self.count
        return [Span(k, min(PICTURES, end - k)) for k in range(self.first, end, PICTURES)]


@dataclass(frozen=True)
class Maker:
    """What all pieces of a data set share."""

    layout: Layout
    split: str
    seed: int
    scene: SceneSettings
    pictures: Quality | None
    generator: QuestionGenerator | None
    writer: Writer | None = None  # of the VQA family's entries

    def picture_name(self, position: int) -> str:
        """Return the name of the file of the split's image at `position`."""
        return self.layout.picture_name(self.split, self.layout.first + position)

    def write_block(self, folder: Path, span: Span) -> None:
        """Make the scenes of a block and all that is said about them."""
        if self.pictures is None:
            first = self.layout.first + span.first
            scenes = sample_scenes(self.seed, first, span.count, self.scene)
            write_lines(folder / "scenes", self._scene_records(scenes))
            occlusion = None
        else:
            scenes, occlusion = self._write_visible(folder, span, self.pictures)
        if self.generator is not None:
            self._write_entries(folder, span, scenes, occlusion, self.generator)

    def _write_visible(
        self, folder: Path, span: Span, pictures: Quality
    ) -> tuple[WorldScenes, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Write the scenes with all that their masks are needed for, a few masks at a time."""
        parts = []
        with ExitStack() as stack:
            names = ("scenes", "images", "annotations") if self.layout.others else ("scenes",)
            files = [stack.enter_context((folder / n).open("w", encoding="utf-8")) for n in names]
            for run in span.runs():
                scenes, attempts, masks = sample_visible_scenes(
                    self.seed, self.layout.first + run.first, run.count, self.scene
                )
                boxes = stage(scenes).whole_boxes(pictures.size)
                records = self._scene_records(scenes)
                if "mask" in self.layout.object_fields:
                    add_coco_masks(records, masks)
                if self.layout.has_ref_masks:
                    add_ref_masks(records, masks, boxes)
                lines = (records, _image_records(records, masks.size), _annotations(records, masks))
                for file, some in zip(files, lines, strict=False):  # what is not named, is not made
                    file.writelines(map(_line, some))
                parts.append((attempts, masks.areas, *masks.occlusion(boxes, scenes.pixel[:, 2])))
        attempts, areas, classes, of_scenes = (np.concatenate(p) for p in zip(*parts, strict=True))
        placed = {"attempts": attempts.tolist(), "areas": areas.tolist()}
        write_json(folder / "placed.json", placed, indent=None)
        first = self.layout.first + span.first
        whole = sample_scenes(self.seed, first, span.count, self.scene, attempts=attempts)
        return whole, (classes, of_scenes)

    def write_pictures(self, folder: Path, span: Span, block: Path, block_first: int) -> None:
        """Make a run of pictures of a block that is there."""
        if self.pictures is None:
            raise ValueError("this data set has no pictures")
        placed = read_json(block / "placed.json", keys=("attempts", "areas"))
        attempts = np.array(placed["attempts"], dtype=np.uint32)
        number = self.layout.first + block_first
        scenes = sample_scenes(self.seed, number, len(attempts), self.scene, attempts=attempts)
        whole = stage(scenes)
        starts = np.concatenate([[0], np.cumsum(scenes.counts)])
        areas = np.array(placed["areas"], dtype=np.int64)
        at_once = max(1, _PIXELS // (self.pictures.width * self.pictures.height))
        for first in range(span.first, span.first + span.count, at_once):
            begin = first - block_first
            end = min(begin + at_once, span.first + span.count - block_first)
            made = whole.part(begin, end).render(self.pictures)
            found = visible_areas(made.ids.numpy(), scenes.counts[begin:end])
            if not np.array_equal(found, areas[starts[begin] : starts[end]]):
                raise RuntimeError(f"images {first}..: the pictures do not fit their masks")
            for k, picture in enumerate(opaque(made.picture.numpy())):
                (folder / self.picture_name(first + k)).write_bytes(encode_png(picture))

    def _scene_records(self, scenes: WorldScenes) -> Records:
        numbered = "idx" in self.layout.object_fields
        records = scenes.records(self.layout.named or self.split, numbered=numbered)
        for record in records:
            record["split"] = self.layout.subset or self.split
            record["image_filename"] = self.layout.picture_name(self.split, record["image_index"])
        return records

    def _write_entries(
        self,
        folder: Path,
        span: Span,
        scenes: WorldScenes,
        occlusion: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None,
        generator: QuestionGenerator,
    ) -> None:
        packed = scenes.pack(occlusion)
        first = self.layout.first + span.first
        questions = generator.generate(packed, seed=self.seed, first=first)
        expressions = self.layout.language == "clevr-ref"
        judged = packed if expressions else from_table(packed.table, "clevr")
        if len(wrong := wrong_answers(questions, judged)):
            raise RuntimeError(f"images {span.first}..: question {wrong[0]} has a wrong answer")
        if self.writer is not None:
            asked, answered = self.writer.block(questions, self._scene_records(scenes))
            write_lines(folder / "asked", asked)
            write_lines(folder / "answered", answered)
            write_json(folder / "balance.json", count_answers(answered), indent=None)
            return
        balance = Balance(generator.templates)
        balance.add(questions)
        write_lines(folder / "entries", self._entries(questions, scenes))
        write_json(folder / "balance.json", balance.counts.tolist(), indent=None)

    def _entries(self, questions: Questions, scenes: WorldScenes) -> Iterable[dict[str, Any]]:
        numbers = scenes.image_index.tolist()
        names = [(k, self.layout.picture_name(self.split, k)) for k in numbers]
        if self.layout.language == "clevr-ref":
            records, number = expression_records(questions, self.split, names), "refexp_index"
        else:
            records, number = question_records(questions, self.split, names), "question_index"
        return ({**record, number: 0} for record in records)


def add_coco_masks(records: Records, masks: Masks) -> None:
    """Give every object of scene records its `mask`, as CLEVR-mini's files have it."""
    objects = (item for record in records for item in record["objects"])
    for item, counts in zip(objects, masks.coco(), strict=True):
        item["mask"] = {"size": list(masks.size), "counts": counts}


def add_ref_masks(records: Records, masks: Masks, boxes: NDArray[np.int64]) -> None:
    """Give scene records `obj_mask` and `obj_bbox`, as CLEVR-Ref+'s files have them."""
    rows = zip(masks.rows(), boxes.tolist(), strict=True)
    for record in records:
        found = {str(k): next(rows) for k in range(1, len(record["objects"]) + 1)}
        record["obj_mask"] = {k: text for k, (text, _) in found.items()}
        record["obj_bbox"] = {k: box for k, (_, box) in found.items()}


def _image_records(records: Records, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield {
            "id": record["image_index"],
            "file_name": record["image_filename"],
            "width": size[1],
            "height": size[0],
        }


def _annotations(records: Records, masks: Masks) -> Iterator[dict[str, Any]]:
    """Give the objects as COCO instances; their `id` is still to be counted."""
    height, width = masks.size
    rows = zip(masks.coco(), masks.areas.tolist(), strict=True)
    for record in records:
        for item in record["objects"]:
            counts, area = next(rows)
            found, box = _native.coco_rle_measure(counts, height, width)
            if found != area:
                raise RuntimeError(f"{record['image_filename']}: a mask lost pixels")
            yield {
                "image_id": record["image_index"],
                "category_id": CATEGORIES.index(item["shape"]) + 1,
                "segmentation": {"size": [height, width], "counts": counts},
                "area": area,
                "bbox": list(box),
                "iscrowd": 0,
                "attributes": {name: item[name] for name in ATTRIBUTES},
                "id": 0,
            }


def write_lines(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write one record a line."""
    with path.open("w", encoding="utf-8") as file:
        file.writelines(map(_line, records))


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, separators=(",", ":")) + "\n"
