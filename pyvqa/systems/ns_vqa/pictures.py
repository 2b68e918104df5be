"""Annotated pictures to train detector and attribute network on: of a folder, or of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa.data.clevr_mini import AnnotatedPicture, described, read_annotations
from pyvqa.data.pictures import read_picture
from pyvqa.errors import ConfigError, DataError
from pyvqa.ops import unpack_masks
from pyvqa.systems.ns_vqa.config import PictureDataConfig
from pyvqa.train.order import batches_in_epoch, epoch_order, global_batch, mix, share
from pyvqa.world import camera
from pyvqa.world.staging import Quality, stage
from pyvqa.world.visible import sample_visible_scenes

_TRAINING, _VALIDATION = 11, 13  # keep the world's scenes for training and validation apart


class PictureBatch(NamedTuple):
    """B annotated pictures; picture b shows N_b objects."""

    ids: Tensor  # int64 [B]
    pictures: list[Tensor]  # uint8 [H, W, 3], red, green, blue
    masks: list[Tensor]  # bool [N_b, H, W], what is visible of each object
    objects: list[list[dict[str, Any]]]  # N_b: color, material, shape, size, position


class WorldPictures:
    """Fresh pictures of the built-in world without end (see `pyvqa.train.stage.Source`)."""

    def __init__(self, data: PictureDataConfig, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, mix(seed, _TRAINING)
        self.length = max(1, data.pictures // batch_size)
        self.quality = Quality(camera.WIDTH, camera.HEIGHT, data.samples)

    def __len__(self) -> int:
        return self.length

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> PictureBatch:
        """Give one share of a global batch."""
        first = (epoch * self.length + index) * self.batch_size
        numbers = share(np.arange(first, first + self.batch_size), rank, ranks)
        return world_pictures(self.seed, int(numbers[0]), len(numbers), self.quality)


def world_pictures(seed: int, first: int, count: int, quality: Quality) -> PictureBatch:
    """Make pictures first..first+count-1 of a seed."""
    scenes, _, _ = sample_visible_scenes(seed, first, count)
    made = stage(scenes).render(quality)
    records = scenes.records("train")
    numbers = torch.arange(max(len(r["objects"]) for r in records), dtype=torch.int16)
    return PictureBatch(
        torch.arange(first, first + count),
        list(made.picture),
        [
            ids == numbers[: len(record["objects"]), None, None]
            for ids, record in zip(made.ids, records, strict=True)
        ],
        [[described(known, record) for known in record["objects"]] for record in records],
    )


class FolderPictures:
    """Pictures of a CLEVR-mini folder in a new order every epoch."""

    def __init__(self, pictures: Sequence[AnnotatedPicture], batch_size: int, seed: int) -> None:
        self.pictures, self.batch_size, self.seed = pictures, batch_size, seed

    def __len__(self) -> int:
        return batches_in_epoch(len(self.pictures), self.batch_size, drop_last=True)

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> PictureBatch:
        """Give one share of a global batch."""
        order = epoch_order(len(self.pictures), self.seed, epoch)
        return read_batch(
            self.pictures, share(global_batch(order, index, self.batch_size), rank, ranks)
        )


def read_batch(pictures: Sequence[AnnotatedPicture], rows: NDArray[np.int64]) -> PictureBatch:
    """Read some of a folder's pictures.

    Raises:
        DataError: a picture cannot be read, or is not of the size of its masks.
    """
    chosen = [pictures[row] for row in rows.tolist()]
    images = [read_picture(picture.path) for picture in chosen]
    for image, picture in zip(images, chosen, strict=True):
        size = (picture.masks.height, picture.masks.width)
        if len(picture.masks) and tuple(image.shape[:2]) != size:
            raise DataError(
                f"{picture.path}: {image.shape[1]}x{image.shape[0]} pixels, but its masks are "
                f"{size[1]}x{size[0]}; picture and annotations must belong together"
            )
    return PictureBatch(
        torch.from_numpy(rows.copy()),
        images,
        [unpack_masks(picture.masks) for picture in chosen],
        [picture.objects for picture in chosen],
    )


@dataclass(frozen=True)
class PictureData:
    """What a stage trains on, and pictures to validate on."""

    source: WorldPictures | FolderPictures
    validation: list[PictureBatch]  # a few at a time


_AT_ONCE = 10  # validation pictures in one piece


def picture_source(
    data: PictureDataConfig, batch_size: int, seed: int
) -> WorldPictures | FolderPictures:
    """Open the pictures to train on; of a folder, those that show something.

    Raises:
        DataError: the folder or its annotations cannot be read, or hold no picture to train on.
    """
    if data.root is None:
        return WorldPictures(data, batch_size, seed)
    pictures = read_annotations(data.root, data.annotations)
    chosen = [picture for picture in pictures[: data.pictures] if picture.objects]
    if not chosen:
        raise DataError(f"{data.root}: its annotations list no picture with objects")
    return FolderPictures(chosen, batch_size, seed)


def validation_pictures(data: PictureDataConfig, seed: int) -> list[PictureBatch]:
    """Give pictures that training does not see, a few at a time.

    Raises:
        ConfigError: training leaves none of the folder's pictures over.
    """
    if data.root is None:
        quality = Quality(camera.WIDTH, camera.HEIGHT, data.samples)
        counts = range(0, data.val_pictures, _AT_ONCE)
        seed = mix(seed, _VALIDATION)
        return [
            world_pictures(seed, k, min(_AT_ONCE, data.val_pictures - k), quality) for k in counts
        ]
    pictures = read_annotations(data.root, data.annotations)[data.pictures :]
    if not pictures:
        raise ConfigError(
            f"data.pictures={data.pictures} leaves none of {data.root} to validate on; lower it, "
            "or set train.validate_every=0"
        )
    rows = np.arange(len(pictures))
    return [read_batch(pictures, rows[k : k + _AT_ONCE]) for k in range(0, len(rows), _AT_ONCE)]
