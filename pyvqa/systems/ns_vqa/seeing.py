"""What a model sees in the pictures of a split, kept so that no picture is looked at twice.

Pictures are looked at in parts of a few batches, each of which becomes a file in a hidden folder.
Who takes up an interrupted work, in however many processes, makes only the parts that are missing;
as a part is always made of the same batches, it comes out the same.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

import pyvqa
from pyvqa import _native
from pyvqa.data.clevr_folder import SplitPictures
from pyvqa.errors import CheckpointError, DataError
from pyvqa.files import clean_leftovers, read_json, write_json
from pyvqa.ops.masks import Rle, encode_masks, pack_masks, pack_rles
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.systems.ns_vqa.perception import Eyes, Found, Seen, look_at

FORMAT = 1  # of the parts; a change makes old ones useless
BATCHES = 4  # in a part
PARSED = ("shape", "size", "material", "color", "position")  # an object of a parsed scene file

Progress = Callable[[int], object]


@dataclass(frozen=True)
class Sight:
    """How pictures are looked at."""

    eyes: Eyes
    at_once: int = 8  # pictures
    precision: Literal["float32", "bfloat16"] = "float32"  # of the networks' arithmetic

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.eyes.detector.network.parameters()).device

    def look(self, files: Sequence[Path]) -> Iterator[Seen]:
        """Understand picture files, in order."""
        lower = self.precision == "bfloat16"
        stream = look_at(self.eyes, files, batch_size=self.at_once)
        while True:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=lower):
                seen = next(stream, None)
            if seen is None:
                return
            yield seen

    def digest(self) -> str:
        """Digest everything but the pictures that decides what is seen."""
        eyes = self.eyes
        settings = {
            "format": FORMAT,
            "versions": [pyvqa.__version__, torch.__version__],
            "look": [self.at_once, self.precision, self.device.type],
            "config": [
                asdict(part)
                for part in (eyes.detector.config, eyes.attributes.config, eyes.settings)
            ],
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for network in (eyes.detector.network, eyes.attributes.network):
            for name, value in network.state_dict().items():
                digest.update(name.encode())
                digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


class SeenObject(NamedTuple):
    """An object of a picture."""

    known: dict[str, Any]  # shape, size, material, color, position
    score: float
    label: int  # class of the detector
    box: list[float]  # x1, y1, x2, y2 in pixels
    mask: str  # run lengths, as COCO compresses them


@dataclass(frozen=True)
class SeenPicture:
    """What was seen in a picture, small enough to keep for a whole data set."""

    image_index: int
    path: Path
    size: tuple[int, int]  # height, width
    objects: list[SeenObject]

    @property
    def rles(self) -> list[Rle]:
        """The masks of the objects as COCO's run lengths."""
        return [Rle(size=list(self.size), counts=o.mask) for o in self.objects]

    def seen(self) -> Seen:
        """Unpack what `Eyes.see` gave; what it only counts as uncertain is not kept."""
        rows = self.objects
        nothing = torch.zeros((0, *self.size), dtype=torch.bool)
        found = Found(
            torch.tensor([o.box for o in rows], dtype=torch.float32).view(-1, 4),
            torch.tensor([o.score for o in rows], dtype=torch.float32),
            torch.tensor([o.label for o in rows], dtype=torch.int64),
            pack_rles(self.rles) if rows else pack_masks(nothing),
        )
        return Seen(found, [dict(o.known) for o in rows])


class SeenParts:
    """The pictures of a split and what has been seen in them so far."""

    def __init__(self, home: Path, sight: Sight, pictures: SplitPictures) -> None:
        """Find what is there; `home` is the folder with a sub-folder for each way of looking.

        Raises:
            DataError: a picture is missing.
        """
        self._sight, self._pictures, self._home = sight, pictures, home
        self.folder = home / _key(sight, pictures)
        self._size = BATCHES * sight.at_once

    @property
    def parts(self) -> int:
        """The number of parts."""
        return -(-len(self._pictures.paths) // self._size)

    def missing(self) -> list[int]:
        """List the parts that have still to be made."""
        return [part for part in range(self.parts) if not self._file(part).is_file()]

    def pictures_in(self, parts: Sequence[int]) -> int:
        """Count the pictures of some parts."""
        return sum(len(self._rows(part)) for part in parts)

    def look(self, parts: Sequence[int], progress: Progress) -> None:
        """Make parts; tell `progress` of every picture.

        Raises:
            DataError: a picture cannot be read, or a part cannot be written.
            CheckpointError: the networks give numbers that are not finite.
        """
        for part in parts:
            rows = self._rows(part)
            entries = []
            files = [self._pictures.paths[row] for row in rows]
            for file, seen in zip(files, self._sight.look(files), strict=True):
                entries.append(_entry(seen, file))
                progress(1)
            write_json(self._file(part), {"pictures": entries}, indent=None)

    def read(self) -> list[SeenPicture]:
        """Read what was seen, all parts being there.

        Raises:
            DataError: a part is damaged.
        """
        found: list[SeenPicture] = []
        for part in range(self.parts):
            path, rows = self._file(part), self._rows(part)
            entries = read_json(path, keys=("pictures",))["pictures"]
            try:
                for row, entry in zip(rows, entries, strict=True):
                    found.append(self._picture(row, entry))
            except (TypeError, ValueError, KeyError) as error:
                raise DataError(
                    f"{path}: damaged ({error}); remove it and run the same command again"
                ) from error
        return found

    def clean(self) -> None:
        """Remove what other models or options saw, and what killed processes left half-written.

        Done by one process, when all parts are there.
        """
        for folder in self._home.iterdir():
            if folder != self.folder and folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
        clean_leftovers(self.folder)

    def _rows(self, part: int) -> range:
        first = part * self._size
        return range(first, min(first + self._size, len(self._pictures.paths)))

    def _file(self, part: int) -> Path:
        return self.folder / f"part-{part:05d}.json"

    def _picture(self, row: int, entry: dict[str, Any]) -> SeenPicture:
        height, width = entry["size"]
        return SeenPicture(
            self._pictures.image_index[row],
            self._pictures.paths[row],
            (int(height), int(width)),
            [SeenObject(**known) for known in entry["objects"]],
        )


def _key(sight: Sight, pictures: SplitPictures) -> str:
    """Name what is seen in these pictures, as the files are now, by this model in this way."""
    digest = hashlib.sha256(sight.digest().encode())
    for index, path in zip(pictures.image_index, pictures.paths, strict=True):
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror})") from error
        digest.update(f"{index} {path.name} {state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _entry(seen: Seen, file: Path) -> dict[str, Any]:
    found = seen.found
    numbers = [found.scores.tolist(), found.labels.tolist(), found.boxes.tolist()]
    masks = (_text(rle["counts"]) for rle in encode_masks(found.masks))
    objects = []
    for known, score, label, box, mask in zip(seen.objects, *numbers, masks, strict=True):
        if not all(map(math.isfinite, (score, *box, *known["position"]))):
            raise CheckpointError(
                f"{file}: the model says of an object numbers that are not finite; "
                "are its weights damaged?"
            )
        objects.append(SeenObject(known, score, label, box, mask)._asdict())
    return {"size": [found.masks.height, found.masks.width], "objects": objects}


def _text(counts: bytes | str) -> str:
    return counts if isinstance(counts, str) else counts.decode("ascii")


def parsed_scenes(pictures: Sequence[SeenPicture]) -> dict[str, Any]:
    """Give what was seen as a parsed scene file holds it (ns-vqa attr_net/tools/run_test.py)."""
    scenes = [
        {
            "image_index": picture.image_index,
            "image_filename": picture.path.name,
            "objects": [{name: o.known[name] for name in PARSED} for o in picture.objects],
        }
        for picture in pictures
    ]
    return {"info": "scenes parsed from pictures", "scenes": scenes}


def pack_seen(pictures: Sequence[SeenPicture]) -> Scenes:
    """Pack what was seen for the executor: exactly what a file of `parsed_scenes` gives."""
    content = json.dumps(parsed_scenes(pictures)).encode()
    return from_table(_native.read_scenes(content))
