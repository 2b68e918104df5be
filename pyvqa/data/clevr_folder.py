"""Where a CLEVR folder keeps the files of a split, and how to come by those that are missing.

ROOT/images/<split>/CLEVR_<split>_NNNNNN.png     as the official archives unpack
ROOT/scenes/CLEVR_<split>_scenes.json
ROOT/questions/CLEVR_<split>_questions.json
ROOT/images/CLEVR_mini_NNNNNN.png                CLEVR-mini, the split "mini"
ROOT/CLEVR_mini_coco_anns.json                   its scenes, with masks
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from pyvqa import _native
from pyvqa.errors import DataError
from pyvqa.files import read_bytes

MINI = "mini"
_NAME = re.compile(r"CLEVR_(?P<split>.+)_(?P<number>\d+)\.png")


class SplitPictures(NamedTuple):
    """The pictures of a split, in the order of its scenes (or of their numbers)."""

    image_index: list[int]  # what questions and scenes call them; strictly one picture each
    paths: list[Path]


def missing_data(path: Path, root: Path, split: str) -> DataError:
    """Say that `path` of a CLEVR folder is not there, where it comes from and what replaces it."""
    if split == MINI:
        archive, command = "CLEVR_mini.zip (of the ns-vqa release)", "clevr-mini --scenes 4000"
    else:
        archive = "CLEVR_CoGenT_v1.0.zip" if split[-1:] in ("A", "B") else "CLEVR_v1.0.zip"
        command = f"clevr --split {split} --scenes 1000"
    return DataError(
        f"{path}: no such file; unpack {archive} so that it is there, or fill the folder with "
        f"pictures of the built-in world: pyvqa synth {command} --out {root}"
    )


def official_file(root: Path, kind: str, split: str) -> Path:
    """Find the "scenes" or "questions" of a split, or their `.gz`.

    Raises:
        DataError: there is no such file; says how to come by it.
    """
    path = _place(root, kind, split)
    for found in (path, path.with_name(f"{path.name}.gz")):
        if found.is_file():
            return found
    raise missing_data(path, root, split)


def _place(root: Path, kind: str, split: str) -> Path:
    if split == MINI and kind == "scenes":
        return root / "CLEVR_mini_coco_anns.json"
    return root / kind / f"CLEVR_{split}_{kind}.json"


def split_pictures(root: Path, split: str) -> SplitPictures:
    """List the pictures of a split: those of its scene file, or without one all of its folder.

    A scene's `image_index` need not be the number in its picture's name; without scenes it is.

    Raises:
        DataError: there are none, one is missing, or the scene file is damaged.
    """
    folder = root / "images" if split == MINI else root / "images" / split
    if not folder.is_dir():
        raise missing_data(folder, root, split)
    scenes = _place(root, "scenes", split)
    if scenes.is_file() or scenes.with_name(f"{scenes.name}.gz").is_file():
        return _of_scenes(official_file(root, "scenes", split), root, split)
    matches = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir())
    own = [(int(m["number"]), path) for path, m in matches if m and m["split"] == split]
    if not own:
        raise missing_data(folder / f"CLEVR_{split}_000000.png", root, split)
    numbers, paths = zip(*sorted(own), strict=True)
    return _distinct(SplitPictures(list(numbers), list(paths)), folder)


def _of_scenes(file: Path, root: Path, split: str) -> SplitPictures:
    try:
        table = _native.read_scenes(read_bytes(file), False)
    except ValueError as error:
        raise DataError(f"{file}: {error}") from error
    paths = [_picture(root, split, name) for name in table.image_filename]
    for path in paths:
        if not path.is_file():
            raise missing_data(path, root, split)
    return _distinct(SplitPictures([int(k) for k in table.image_index], paths), file)


def _picture(root: Path, split: str, name: str) -> Path:
    """Find a picture by its name in a scene; one that stands in for CLEVR-mini keeps its folder."""
    if Path(name).name != name or not name:
        raise DataError(f"image_filename {name!r} is not the name of a file")
    if split != MINI:
        return root / "images" / split / name
    match = _NAME.fullmatch(name)
    here = root / "images" / name
    below = root / "images" / match["split"] / name if match else here
    return below if below.is_file() else here


def _distinct(found: SplitPictures, where: Path) -> SplitPictures:
    if len(set(found.image_index)) < len(found.image_index):
        twice = next(k for k in found.image_index if found.image_index.count(k) > 1)
        raise DataError(f"{where}: image_index {twice} stands there more than once")
    return found
