"""The two long works over the pictures of a folder: find what is there, say what it is.

Both are done in pieces that survive an interruption (`data/pieces.py`) and that several processes
may share. A piece is a whole number of batches, so equal settings give equal bytes, however often
a work was interrupted and whoever made which piece.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyvqa.data.clevr_folder import SplitPictures, split_pictures
from pyvqa.data.pictures import read_pictures
from pyvqa.data.pieces import Pieces, remove_half_written
from pyvqa.errors import DataError
from pyvqa.files import read_json, sha256, write_json
from pyvqa.ops import PackedMasks, pack_rles
from pyvqa.systems.ns_vqa.detections import join as join_detections
from pyvqa.systems.ns_vqa.detections import of_found, read_detections, read_settings
from pyvqa.systems.ns_vqa.folder import read_attributes, read_config, read_detector
from pyvqa.systems.ns_vqa.model.detector import CLASSES, attributes_of
from pyvqa.systems.ns_vqa.objects import read_objects
from pyvqa.systems.ns_vqa.perception import describe, detect

Progress = Callable[[int], object]

FORMAT_VERSION = 1  # of the pieces and their content; a change makes old ones useless
_PIECE_PICTURES = 32
_PIECE_BATCHES = 4  # of objects
INFO = "clevr derendered scene"  # as the original's files call themselves


def _pieces_of(out: Path) -> Pieces:
    return Pieces(out.with_name(f".{out.name}.pieces"))


def _digest(pictures: SplitPictures) -> str:
    """Tell one list of pictures from another."""
    names = (f"{k} {path.name}\n" for k, path in zip(*pictures, strict=True))
    return hashlib.sha256("".join(names).encode()).hexdigest()


def _spans(count: int, size: int) -> list[range]:
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


class DetectionWork:
    """Find the objects in all pictures of a split: one h5 file (`detections.py`)."""

    unit = "pictures"

    def __init__(self, model: Path, root: Path, split: str, out: Path, batch_size: int = 8) -> None:
        """Check what is there; `model` is a model folder.

        Raises:
            DataError, ConfigError: pictures or model are missing, or `out` was begun or made with
                other settings.
        """
        self.out, self.batch_size = out, batch_size
        self.detector = read_detector(model)
        self.pictures = split_pictures(root, split)
        self.total = len(self.pictures.paths)
        self.settings: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "split": split,
            "pictures": _digest(self.pictures),
            "detector": vars(self.detector.config),
            "weights": sha256(model / "detector.safetensors"),
            "batch_size": batch_size,
        }
        self._pieces = _pieces_of(out)
        self._pieces.begin(self.settings, read_settings(out) if out.exists() else None)
        self._spans = _spans(self.total, batch_size * max(1, _PIECE_PICTURES // batch_size))

    def is_complete(self) -> bool:
        """Say whether the file is there already."""
        return self.out.exists() and not self._pieces.folder.exists()

    def make(
        self, rank: int, ranks: int, device: torch.device, workers: int, progress: Progress
    ) -> int:
        """Make the missing ones of every `ranks`-th piece; give the number of pictures looked at.

        `progress` is told the number of pictures whenever a piece is there.
        """
        self.detector.network.to(device)
        finished = self._pieces.finished("detections")
        mine = range(rank, len(self._spans), ranks)
        progress(sum(len(self._spans[number]) for number in mine if number in finished))
        missing = [number for number in mine if number not in finished]
        paths = (self.pictures.paths[row] for number in missing for row in self._spans[number])
        done = 0
        with closing(read_pictures(paths, ahead=2 * self.batch_size, workers=workers)) as pictures:
            for number in missing:
                span = self._spans[number]
                found, sizes = [], []
                for batch in _batches(pictures, len(span), self.batch_size):
                    found += detect(self.detector, batch)
                    sizes += [(picture.shape[0], picture.shape[1]) for picture in batch]
                index = self.pictures.image_index[span.start : span.stop]
                names = [path.name for path in self.pictures.paths[span.start : span.stop]]
                with self._pieces.new("detections", number) as folder:
                    of_found(index, names, sizes, found, {}).write(folder / "detections.h5")
                done += len(span)
                progress(len(span))
        return done

    def publish(self) -> None:
        """Join the pieces, which must all be there."""
        remove_half_written([self.out])
        folders = [self._pieces.path("detections", number) for number in range(len(self._spans))]
        parts = [read_detections(folder / "detections.h5") for folder in folders]
        join_detections(parts, self.settings).write(self.out)
        self._pieces.end()


def _batches(pictures: Iterator[Tensor], count: int, size: int) -> Iterator[list[Tensor]]:
    """Take `count` pictures in batches."""
    for start in range(0, count, size):
        yield list(islice(pictures, min(size, count - start)))


class SceneWork:
    """Say what the objects of a file are, in the pictures of a split: the original's scene file."""

    unit = "objects"

    def __init__(
        self, model: Path, objects: Path, root: Path, split: str, out: Path, by_class: bool
    ) -> None:
        """Check what is there; `by_class` takes colour, material and shape from the detector.

        Raises:
            DataError, ConfigError: pictures, objects or model are missing or do not belong
                together, or `out` was begun with other settings.
        """
        self.out, self.by_class, self._file = out, by_class, objects
        self.attributes = read_attributes(model)
        self.pictures = split_pictures(root, split)
        self.objects = read_objects(objects)
        self.total = len(self.objects)
        config = read_config(model)
        self.batch_size = config.perception.batch_size
        self.categories = config.detector.categories if config.detector else "combined"
        self._paths = dict(zip(self.pictures.image_index, self.pictures.paths, strict=True))
        self._check(f"{root} has no such picture in split {split}")
        self.settings: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "split": split,
            "pictures": _digest(self.pictures),
            "objects": sha256(objects),
            "attributes": vars(self.attributes.config),
            "weights": sha256(model / "attributes.safetensors"),
            "batch_size": self.batch_size,
            "by_class": by_class,
            "categories": self.categories,
        }
        self._pieces = _pieces_of(out)
        self._pieces.begin(self.settings, None)
        self._spans = _spans(self.total, _PIECE_BATCHES * self.batch_size)

    def _check(self, no_picture: str) -> None:
        """Check that each object has a picture, and a class that says something."""
        for row, index in enumerate(self.objects.image_index):
            if index not in self._paths:
                raise DataError(
                    f"{self._file}: image_idxs[{row}] is {index}, but {no_picture}; both must be "
                    "of the same split"
                )
        last = CLASSES[self.categories] - 1
        for row, label in enumerate(self.objects.classes if self.by_class else ()):
            if not 1 <= label <= last:
                raise DataError(
                    f"{self._file}: category_idxs[{row}] is {label}; the detector's classes are "
                    f"1..{last}; use --labels network, or objects that this model's detector found"
                )

    def is_complete(self) -> bool:
        """Say whether the file is there already: its format cannot tell what made it."""
        return False

    def make(
        self, rank: int, ranks: int, device: torch.device, workers: int, progress: Progress
    ) -> int:
        """Make the missing ones of every `ranks`-th piece; give the number of objects described.

        `progress` is told the number of objects whenever a piece is there.
        """
        self.attributes.network.to(device)
        finished = self._pieces.finished("objects")
        mine = range(rank, len(self._spans), ranks)
        progress(sum(len(self._spans[number]) for number in mine if number in finished))
        missing = [number for number in mine if number not in finished]
        batches = {number: self._by_picture(self._spans[number]) for number in missing}
        flat = (rows for number in missing for batch in batches[number] for rows in batch)
        paths = (self._paths[self.objects.image_index[rows[0]]] for rows in flat)
        done = 0
        with closing(read_pictures(paths, workers=workers)) as pictures:
            for number in missing:
                known: list[dict[str, Any]] = []
                for batch in batches[number]:
                    looked_at = list(islice(pictures, len(batch)))
                    masks = [self._masks(*pair) for pair in zip(batch, looked_at, strict=True)]
                    described = describe(
                        self.attributes, looked_at, masks, batch_size=self.batch_size
                    )
                    known += [one for own in described for one in own]
                with self._pieces.new("objects", number) as folder:
                    write_json(folder / "objects.json", known, indent=None)
                done += len(self._spans[number])
                progress(len(self._spans[number]))
        return done

    def _by_picture(self, span: range) -> list[list[list[int]]]:
        """Part a piece's rows into batches, and those where the picture changes."""
        images = self.objects.image_index
        starts = range(span.start, span.stop, self.batch_size)
        rows = (range(start, min(start + self.batch_size, span.stop)) for start in starts)
        return [[list(own) for _, own in groupby(batch, images.__getitem__)] for batch in rows]

    def _masks(self, rows: list[int], picture: Tensor) -> PackedMasks:
        where = f"{self._file}: object_masks[{rows[0]}] to [{rows[-1]}]"
        try:
            masks = pack_rles([self.objects.masks[row] for row in rows])
        except (ValueError, TypeError) as error:
            raise DataError(f"{where}: {error}") from error
        if (masks.height, masks.width) != picture.shape[:2]:
            raise DataError(
                f"{where}: masks of {masks.height} x {masks.width} pixels in a picture of "
                f"{picture.shape[0]} x {picture.shape[1]}; were they found in other pictures?"
            )
        return masks

    def publish(self) -> None:
        """Write the scenes of all pictures, those without objects too; all pieces must be there."""
        remove_half_written([self.out])
        folders = [self._pieces.path("objects", number) for number in range(len(self._spans))]
        known = [one for f in folders for one in read_json(f / "objects.json", expect=list)]
        inside: dict[int, list[dict[str, Any]]] = {k: [] for k in self.pictures.image_index}
        columns = (self.objects.image_index, self.objects.classes, known)
        for index, label, one in zip(*columns, strict=True):
            said = attributes_of(label, self.categories) if self.by_class else {}
            inside[index].append({**one, **said})
        scenes = [
            {"image_index": index, "image_filename": path.name, "objects": inside[index]}
            for index, path in zip(*self.pictures, strict=True)
        ]
        write_json(self.out, {"info": INFO, "scenes": scenes}, indent=None)
        self._pieces.end()
