"""How each official format names its files, and what stands in them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

LICENSE = "CC0"
CATEGORIES = ("cube", "cylinder", "sphere")  # of COCO instances, numbered from 1


@dataclass(frozen=True)
class Part:
    """One list of records in a file, put together from the blocks."""

    key: str
    source: str  # name of the blocks' files
    number: str | None = None  # field that counts the records of the whole list
    start: int = 0


@dataclass(frozen=True)
class FileLayout:
    """One JSON file of a format."""

    path: str  # with the split to be filled in
    parts: tuple[Part, ...]
    extra: dict[str, Any] = field(default_factory=dict)  # what else stands in it
    info: dict[str, Any] | None = None  # none: that of CLEVR's own files
    needs_pictures: bool = False
    is_list: bool = False  # the records of its one part and nothing else

    def at(self, path: str) -> FileLayout:
        """Return the same file in another place."""
        return replace(self, path=path)


@dataclass(frozen=True)
class Layout:
    """One format: its files, and what its scenes and questions look like."""

    scenes: FileLayout
    entries: FileLayout | None  # questions or expressions
    others: tuple[FileLayout, ...] = ()
    language: str = ""  # of the entries
    pictures: str = "images/{split}"  # folder
    picture: str = "CLEVR_{split}_{index:06d}.png"
    named: str = ""  # what stands for the split in the pictures' names, where that is fixed
    object_fields: tuple[str, ...] = ()  # beyond CLEVR's own: idx, mask
    has_ref_masks: bool = False  # scenes have obj_mask and obj_bbox
    needs_pictures: bool = False
    first: int = 0  # number of the first picture
    dataset: str = ""  # of the VQA family: vqa2, vqacp2, tdiuc
    subset: str = ""  # of COCO, e.g. train2014

    def picture_name(self, split: str, number: int) -> str:
        """Return the name of a picture's file."""
        return self.picture.format(split=self.named or split, index=number)

    def files(self, with_pictures: bool) -> list[FileLayout]:
        """Return the files, those that describe pictures only with pictures."""
        found = [self.scenes, *self.others] + ([self.entries] if self.entries else [])
        return [file for file in found if with_pictures or not file.needs_pictures]


INSTANCES = FileLayout(
    "instances_{split}.json",
    (Part("images", "images"), Part("annotations", "annotations", "id", 1)),
    {
        "categories": [
            {"id": k, "name": name, "supercategory": "object"}
            for k, name in enumerate(CATEGORIES, 1)
        ]
    },
    {"description": "instance masks for CLEVR-style images"},
    needs_pictures=True,
)

LAYOUTS = {
    "clevr": Layout(
        FileLayout("scenes/CLEVR_{split}_scenes.json", (Part("scenes", "scenes"),)),
        FileLayout(
            "questions/CLEVR_{split}_questions.json",
            (Part("questions", "entries", "question_index"),),
        ),
        (INSTANCES,),
        language="clevr",
    ),
    "clevr-mini": Layout(
        FileLayout("CLEVR_mini_coco_anns.json", (Part("scenes", "scenes"),)),
        None,
        pictures="images",
        named="mini",
        object_fields=("mask",),
        needs_pictures=True,
    ),
    "clevr-ref": Layout(
        FileLayout("scenes/clevr_ref+_{split}_scenes.json", (Part("scenes", "scenes"),)),
        FileLayout(
            "refexps/clevr_ref+_{split}_refexps.json", (Part("refexps", "entries", "refexp_index"),)
        ),
        language="clevr-ref",
        object_fields=("idx",),
        has_ref_masks=True,
    ),
}


def info(file: FileLayout, split: str) -> dict[str, Any]:
    """Return the `info` of a file, with the fields of the official ones."""
    if file.info is not None:
        return file.info
    return {"split": split, "license": LICENSE, "version": "1.0", "date": ""}
