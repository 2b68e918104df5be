"""Annotated pictures to train detector and attribute network on: of a folder, or of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa.data.clevr_mini import AnnotatedPicture, described, read_annotations
from pyvqa.data.pictures import read_picture
from pyvqa.errors import ConfigError, DataError
from pyvqa.files import read_json
from pyvqa.ops import pack_rles, unpack_masks
from pyvqa.systems.ns_vqa.config import ObjectDataConfig, PictureDataConfig
from pyvqa.systems.ns_vqa.model.attributes import decode_attributes
from pyvqa.train.order import batches_in_epoch, epoch_order, global_batch, mix, share
from pyvqa.world import camera
from pyvqa.world.scenes import SceneSettings, check_scene_settings
from pyvqa.world.staging import Quality, stage
from pyvqa.world.visible import sample_visible_scenes

_TRAINING, _VALIDATION = 11, 13  # keep the world's scenes for training and validation apart
_AT_ONCE = 10  # validation pictures in one piece


class PictureBatch(NamedTuple):
    """B annotated pictures; picture b shows N_b objects."""

    ids: Tensor  # int64 [B]
    seeds: Tensor  # int64 [B], of what is drawn for each picture, whichever rank sees it
    pictures: list[Tensor]  # uint8 [H, W, 3], red, green, blue
    masks: list[Tensor]  # bool [N_b, H, W], what is visible of each object
    objects: list[list[dict[str, Any]]]  # N_b: color, material, shape, size, position


class WorldPictures:
    """Fresh pictures of the built-in world without end (see `pyvqa.train.stage.Source`)."""

    def __init__(self, data: PictureDataConfig, batch_size: int, seed: int) -> None:
        self.batch_size, self.seed = batch_size, mix(seed, _TRAINING)
        self.length = max(1, data.pictures // batch_size)
        self.quality = Quality(camera.WIDTH, camera.HEIGHT, data.samples)
        self.scenes = SceneSettings(least=data.least_objects)
        check_scene_settings(self.seed, self.scenes)

    def __len__(self) -> int:
        return self.length

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> PictureBatch:
        """Give one share of a global batch."""
        first = (epoch * self.length + index) * self.batch_size
        numbers = share(np.arange(first, first + self.batch_size), rank, ranks)
        return world_pictures(self.seed, int(numbers[0]), len(numbers), self.quality, self.scenes)


def world_pictures(
    seed: int, first: int, count: int, quality: Quality, settings: SceneSettings | None = None
) -> PictureBatch:
    """Make pictures first..first+count-1 of a seed."""
    scenes, _, _ = sample_visible_scenes(seed, first, count, settings)
    made = stage(scenes).render(quality)
    records = scenes.records("train")
    numbers = torch.arange(max(len(r["objects"]) for r in records), dtype=torch.int16)
    numbered = torch.arange(first, first + count)
    return PictureBatch(
        numbered,
        numbered,
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
        rows = share(global_batch(order, index, self.batch_size), rank, ranks)
        return read_batch(self.pictures, rows, rows + epoch * len(self.pictures))


def read_batch(
    pictures: Sequence[AnnotatedPicture], rows: NDArray[np.int64], seeds: NDArray[np.int64]
) -> PictureBatch:
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
        torch.from_numpy(seeds.copy()),
        images,
        [unpack_masks(picture.masks) for picture in chosen],
        [picture.objects for picture in chosen],
    )


def picture_source(
    data: PictureDataConfig, batch_size: int, seed: int
) -> WorldPictures | FolderPictures:
    """Open the pictures to train on; of a folder, those that show something.

    Raises:
        DataError: the folder or its annotations cannot be read, or hold no picture to train on.
    """
    if data.root is None:
        return WorldPictures(data, batch_size, seed)
    chosen = [p for p in _of_folder(data, data.root)[: data.pictures] if p.objects]
    if not chosen:
        raise DataError(f"{data.root}: no picture to train on shows an object")
    return FolderPictures(chosen, batch_size, seed)


def validation_pictures(data: PictureDataConfig, seed: int) -> list[PictureBatch]:
    """Give pictures that training does not see, a few at a time.

    Raises:
        ConfigError: training leaves none of the folder's pictures over.
    """
    if data.root is None:
        quality = Quality(camera.WIDTH, camera.HEIGHT, data.samples)
        seed, count = mix(seed, _VALIDATION), data.val_pictures
        firsts = range(0, count, _AT_ONCE)
        return [world_pictures(seed, k, min(_AT_ONCE, count - k), quality) for k in firsts]
    pictures = [p for p in _of_folder(data, data.root)[data.pictures :] if p.objects]
    if not pictures:
        raise ConfigError(
            f"data.pictures={data.pictures} leaves none of {data.root} to validate on; lower it, "
            "or set train.validate_every=0"
        )
    parts = [
        np.arange(k, min(k + _AT_ONCE, len(pictures))) for k in range(0, len(pictures), _AT_ONCE)
    ]
    return [read_batch(pictures, rows, rows) for rows in parts]


def _of_folder(data: PictureDataConfig, root: str) -> list[AnnotatedPicture]:
    pictures = read_annotations(root, data.annotations)
    if isinstance(data, ObjectDataConfig) and data.objects is not None:
        return with_paired_objects(pictures, data.objects)
    return pictures


def with_paired_objects(
    pictures: Sequence[AnnotatedPicture], path: str | Path
) -> list[AnnotatedPicture]:
    """Show pictures with the objects of a file of `pyvqa prepare clevr-objects` instead.

    Raises:
        DataError: the file is malformed, or its objects were not paired with annotations.
    """
    keys = ("object_masks", "image_idxs", "feature_vectors")
    content = read_json(path, keys=keys)
    masks, images, vectors = (content[key] for key in keys)
    if not len(masks) == len(images) == len(vectors):
        raise DataError(
            f"{path}: {len(masks)} masks, but {len(vectors)} feature vectors; prepare it with "
            "--ground-truth, so that the objects are known"
        )
    rows: dict[int, list[int]] = {}
    for row, image in enumerate(images):
        rows.setdefault(image, []).append(row)
    try:
        return [
            replace(
                picture,
                objects=decode_attributes(torch.tensor([vectors[row] for row in chosen])),
                masks=pack_rles([masks[row] for row in chosen]),
            )
            for picture in pictures
            if (chosen := rows.get(picture.image_index, []))
        ]
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read as objects with masks: {error}") from error
