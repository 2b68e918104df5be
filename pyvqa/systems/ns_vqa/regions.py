"""Describe the likeliest objects of any pictures: region features for systems that build on them.

The detector's proposals are moved to their objects, thinned out and pooled anew, so that boxes and
features belong together. A long work goes on where it was interrupted (`data/pieces.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyvqa.data.pictures import read_pictures
from pyvqa.data.pieces import Pieces, remove_half_written
from pyvqa.data.region_files import Picture, read_store, region_writer
from pyvqa.data.region_origin import FindRegions, PictureRegions, RegionOrigin
from pyvqa.data.region_store import open_file
from pyvqa.errors import ConfigError, DataError
from pyvqa.files import read_json, sha256, write_json
from pyvqa.nn.mask_rcnn import Regions
from pyvqa.systems.ns_vqa.build import prepare_pictures
from pyvqa.systems.ns_vqa.folder import DetectorPart, read_detector
from pyvqa.systems.ns_vqa.model.detector import attributes_of

Progress = Callable[[int], object]

WEIGHTS = "detector.safetensors"
FORMAT_VERSION = 2  # of the pieces and their content; a change makes old ones useless
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_PIECE_PICTURES = 64


@torch.no_grad()
def region_features_of(
    detector: DetectorPart, pictures: Sequence[Tensor], regions: int = 36
) -> list[Regions]:
    """Describe up to `regions` regions of RGB pictures, uint8 [H, W, 3] each, the likeliest first.

    Boxes are in pixels of the picture, features those of the box head [K, D]; on the CPU, float32.
    """
    device = next(detector.network.parameters()).device
    batch = prepare_pictures(detector.config, pictures).to(device)
    found = detector.network.top_regions(batch, regions)
    return [Regions(*(part.float().cpu() for part in one)) for one in found]


def region_finder(folder: Path, regions: int) -> FindRegions:
    """Make what finds up to `regions` regions of a picture, by the detector of a model folder.

    Raises:
        DataError, ConfigError, CheckpointError: there is no detector, or it is damaged.
    """
    detector = read_detector(folder)
    categories = detector.config.categories

    def find(picture: Tensor) -> PictureRegions:
        [found] = region_features_of(detector, [picture], regions)
        scores, labels = found.probabilities[:, 1:].max(1)
        names = tuple(_class_name(1 + label, categories) for label in labels.tolist())
        return PictureRegions(found.boxes, found.features, scores, names)

    return find


def _class_name(label: int, categories: str) -> str:
    known = attributes_of(label, categories)
    return " ".join([*known.values(), *([] if "shape" in known else ["thing"])])


def picture_files(folder: Path) -> list[Path]:
    """List the pictures of a folder by name; raises DataError where there are none."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; --images takes a folder of pictures")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not found:
        raise DataError(
            f"{folder}: holds no picture ({', '.join(SUFFIXES)}); name the folder that they lie in"
        )
    stems = [path.stem for path in found]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(f"{folder}: two pictures are called {twice}; keep one of them there")
    return found


class RegionWork:
    """Describe all pictures of a folder: one feature store, and FILE.json, what it was made with.

    Pictures stand in the store by name without the ending, under which readers look as well.
    """

    unit = "pictures"

    def __init__(
        self,
        model: Path,
        images: Path,
        out: Path,
        *,
        name: str | None = None,
        regions: int = 36,
        dtype: str = "float16",
        batch_size: int = 8,
    ) -> None:
        """Check what is there; `model` is a model folder, `out` ends in .h5 or .safetensors.

        `name` is what the store calls the model, its path if not given.

        Raises:
            DataError, ConfigError: pictures or model are missing, or `out` was begun or made with
                other settings.
        """
        if regions < 1 or batch_size < 1:
            raise ConfigError(f"regions={regions}, batch_size={batch_size}: must be at least 1")
        if out.suffix not in (".h5", ".safetensors"):
            raise ConfigError(f"--out {out}: the name must end in .h5 or .safetensors")
        self.out, self.batch_size, self.regions, self.dtype = out, batch_size, regions, dtype
        self.about = out.with_name(f"{out.name}.json")
        self._pieces = Pieces(out.with_name(f".{out.name}.pieces"))
        finished = read_json(self.about, expect=dict) if self.about.exists() else None
        if out.exists() and finished is None and not self._pieces.folder.exists():
            raise DataError(f"{out}: is there, of another origin; choose another --out")
        self.paths = picture_files(images)
        self.detector = read_detector(model)
        names = "".join(f"{path.name}\n" for path in self.paths)
        self.settings: dict[str, Any] = {
            "version": FORMAT_VERSION,
            "pictures": hashlib.sha256(names.encode()).hexdigest(),
            "detector": vars(self.detector.config),
            "weights": sha256(model / WEIGHTS),
            "regions": regions,
            "dtype": dtype,
            "batch_size": batch_size,
        }
        self.origin = RegionOrigin(
            detector=name or str(model), weights=self.settings["weights"], regions=regions
        )
        self._pieces.begin(self.settings, finished)
        size = batch_size * max(1, _PIECE_PICTURES // batch_size)
        starts = range(0, len(self.paths), size)
        self._spans = [self.paths[start : start + size] for start in starts]

    @property
    def total(self) -> int:
        """The number of pictures."""
        return len(self.paths)

    def is_complete(self) -> bool:
        """Say whether the store is there already."""
        return self.out.exists() and self.about.exists() and not self._pieces.folder.exists()

    def make(
        self, rank: int, ranks: int, device: torch.device, workers: int, progress: Progress
    ) -> int:
        """Make the missing ones of every `ranks`-th piece; give the number of pictures looked at.

        `progress` is told the number of pictures whenever a piece is there.
        """
        self.detector.network.to(device)
        finished = self._pieces.finished("regions")
        mine = range(rank, len(self._spans), ranks)
        progress(sum(len(self._spans[number]) for number in mine if number in finished))
        missing = [number for number in mine if number not in finished]
        paths = (path for number in missing for path in self._spans[number])
        done = 0
        with closing(read_pictures(paths, ahead=2 * self.batch_size, workers=workers)) as pictures:
            for number in missing:
                names = [path.stem for path in self._spans[number]]
                with self._pieces.new("regions", number) as folder:
                    self._write_piece(folder, names, pictures)
                done += len(names)
                progress(len(names))
        return done

    def publish(self) -> None:
        """Join the pieces, which must all be there."""
        remove_half_written([self.out, self.about])
        with region_writer(self.out, self.dtype, self.origin) as write:
            for number in range(len(self._spans)):
                folder = self._pieces.path("regions", number)
                for picture in read_store(open_file(folder / _PIECE)):
                    write(picture)
        write_json(self.about, self.settings)
        self._pieces.end()

    def _write_piece(self, folder: Path, names: list[str], pictures: Iterator[Tensor]) -> None:
        with region_writer(folder / _PIECE, self.dtype) as write:
            for start in range(0, len(names), self.batch_size):
                batch = list(islice(pictures, len(names[start : start + self.batch_size])))
                found = region_features_of(self.detector, batch, self.regions)
                rows = zip(names[start : start + self.batch_size], batch, found, strict=True)
                for name, picture, one in rows:
                    write(_entry(name, picture, one))


_PIECE = "regions.safetensors"


def _entry(name: str, picture: Tensor, found: Regions) -> Picture:
    height, width = picture.shape[:2]
    shares = found.boxes / torch.tensor([width, height, width, height])
    return Picture(name, found.features.numpy(), found.boxes.numpy(), shares.numpy())
