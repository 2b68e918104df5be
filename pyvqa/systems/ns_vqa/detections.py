"""What a detector found in the pictures of a split: one h5 file, or the original's `.pkl`.

The h5 holds, for I pictures with N detections in all:

    image_index     int64 [I]      what questions and scenes call the picture
    image_filename  text [I]
    image_size      int32 [I, 2]   height, width; those of the masks
    offsets         int64 [I + 1]  the detections of picture i are rows offsets[i] to offsets[i + 1]
    boxes           float32 [N, 4] x1, y1, x2, y2 in pixels
    scores          float32 [N]
    classes         int32 [N]      from 1, see model/detector.py
    mask_offsets    int64 [N + 1]  into mask_counts
    mask_counts     uint8 [...]    COCO's compressed run lengths, one mask after the other

and as attribute `settings` (JSON) what made them. The original's file is written by ns-vqa
scene_parse/mask_rcnn/lib/core/test_engine.py.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from pyvqa.data.restricted_pickle import read_pickled
from pyvqa.errors import DataError
from pyvqa.files import atomic_write
from pyvqa.ops import encode_masks
from pyvqa.ops.masks import Rle
from pyvqa.systems.ns_vqa.perception import Found

# dataset -> (kinds of its type, type in memory, dimensions)
_DATASETS: dict[str, tuple[str, Any, int]] = {
    "image_index": ("iu", np.int64, 1),
    "image_filename": ("S", None, 1),
    "image_size": ("iu", np.int32, 2),
    "offsets": ("iu", np.int64, 1),
    "boxes": ("f", np.float32, 2),
    "scores": ("f", np.float32, 1),
    "classes": ("iu", np.int32, 1),
    "mask_offsets": ("iu", np.int64, 1),
    "mask_counts": ("u", np.uint8, 1),
}


@dataclass(frozen=True)
class Detections:
    """The N detections of I pictures, picture after picture."""

    image_index: NDArray[np.int64]  # [I]
    image_filename: list[str]  # I; of a `.pkl`, which knows no names, empty ones
    offsets: NDArray[np.int64]  # [I + 1]
    boxes: NDArray[np.float32]  # [N, 4] x1, y1, x2, y2 in pixels
    scores: NDArray[np.float32]  # [N]
    classes: NDArray[np.int32]  # [N], from 1
    masks: list[Rle]  # N, `counts` as text
    image_size: NDArray[np.int32]  # [I, 2] height, width; zeros where a `.pkl` has no mask
    settings: dict[str, Any] = field(default_factory=dict)  # what made them

    def __len__(self) -> int:
        return len(self.scores)

    def write(self, path: str | Path) -> None:
        """Write the h5 file; equal detections give equal bytes.

        Raises:
            DataError: the file cannot be written.
        """
        counts = [rle["counts"].encode("ascii") for rle in self.masks]  # type: ignore[union-attr]
        ends = np.cumsum([0, *map(len, counts)], dtype=np.int64)
        names = [name.encode("utf-8") for name in self.image_filename]
        arrays: dict[str, Any] = {
            "image_index": self.image_index,
            "image_filename": np.array(names, dtype=f"S{max([1, *map(len, names)])}"),
            "image_size": self.image_size,
            "offsets": self.offsets,
            "boxes": self.boxes,
            "scores": self.scores,
            "classes": self.classes,
            "mask_offsets": ends,
            "mask_counts": np.frombuffer(b"".join(counts), dtype=np.uint8),
        }
        with atomic_write(path) as temporary, h5py.File(temporary, "w") as file:
            for name, value in arrays.items():
                file.create_dataset(name, data=value)
            file.attrs["settings"] = json.dumps(self.settings)


def of_found(
    image_index: Sequence[int],
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
    found: Sequence[Found],
    settings: dict[str, Any],
) -> Detections:
    """Put together what `perception.detect` found in pictures of these sizes (height, width)."""
    rles = chain.from_iterable(encode_masks(one.masks) for one in found)
    counts = [len(one.scores) for one in found]
    return Detections(
        image_index=np.array(image_index, dtype=np.int64),
        image_filename=list(names),
        offsets=np.cumsum([0, *counts], dtype=np.int64),
        boxes=_joined([one.boxes.numpy() for one in found], np.float32, (4,)),
        scores=_joined([one.scores.numpy() for one in found], np.float32),
        classes=_joined([one.labels.numpy() for one in found], np.int32),
        masks=[{"size": rle["size"], "counts": _text(rle["counts"])} for rle in rles],
        image_size=np.array(sizes, dtype=np.int32).reshape(-1, 2),
        settings=settings,
    )


def join(parts: Sequence[Detections], settings: dict[str, Any]) -> Detections:
    """Put the detections of several runs of pictures behind each other."""
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    ends = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=False)]
    return Detections(
        image_index=_joined([part.image_index for part in parts], np.int64),
        image_filename=[name for part in parts for name in part.image_filename],
        offsets=_joined([np.zeros(1, np.int64), *ends], np.int64),
        boxes=_joined([part.boxes for part in parts], np.float32, (4,)),
        scores=_joined([part.scores for part in parts], np.float32),
        classes=_joined([part.classes for part in parts], np.int32),
        masks=[mask for part in parts for mask in part.masks],
        image_size=_joined([part.image_size for part in parts], np.int32, (2,)),
        settings=settings,
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: Any, row: tuple[int, ...] = ()) -> NDArray[Any]:
    return np.concatenate([np.zeros((0, *row), dtype), *(part.astype(dtype) for part in parts)])


def _text(counts: bytes | str) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def read_detections(path: str | Path) -> Detections:
    """Read an h5 file of ours, or a `detections.pkl` of the original (picture i of its lists is i).

    Raises:
        DataError: missing, damaged, not such a file; says what is wrong with it.
    """
    path = Path(path)
    if path.suffix == ".pkl":
        return _from_pickled(read_pickled(path), path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; make it with `pyvqa prepare clevr-detections`")
    try:
        with h5py.File(path, "r") as file:
            found = {name: _dataset(file, name, path) for name in _DATASETS}
            settings = json.loads(str(file.attrs.get("settings", "{}")))
        return _checked(found, settings)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: not a readable h5 file ({error}); make it again") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}; make it again") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read what made an h5 file, without its content; errors as `read_detections`."""
    try:
        with h5py.File(path, "r") as file:
            settings = json.loads(str(file.attrs.get("settings", "{}")))
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path}: not a readable h5 file ({error}); make it again") from error
    return settings if isinstance(settings, dict) else {}


def _dataset(file: h5py.File, name: str, path: Path) -> NDArray[Any]:
    """Read one dataset after checking what and where it is."""
    link = file.get(name, getlink=True)
    data = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(data, h5py.Dataset) or data.external or data.is_virtual:
        raise DataError(f"{path}: lacks the dataset {name!r}; is this a file of detections?")
    kinds, dtype, dimensions = _DATASETS[name]
    if data.dtype.kind not in kinds or data.ndim != dimensions:
        raise DataError(
            f"{path}: {name} is {data.dtype} of shape {data.shape}; is this a file of detections?"
        )
    values: NDArray[Any] = data[...]
    return values if dtype is None else values.astype(dtype)


def _checked(found: dict[str, NDArray[Any]], settings: Any) -> Detections:
    """Check that the arrays fit together; raises ValueError."""
    pictures, rows = len(found["image_index"]), len(found["scores"])
    shapes = {
        "image_filename": (pictures,),
        "image_size": (pictures, 2),
        "offsets": (pictures + 1,),
        "boxes": (rows, 4),
        "classes": (rows,),
        "mask_offsets": (rows + 1,),
    }
    for name, shape in shapes.items():
        if found[name].shape != shape:
            raise ValueError(f"{name} has the shape {found[name].shape}, not {shape}")
    for name, total in (("offsets", rows), ("mask_offsets", len(found["mask_counts"]))):
        ends = found[name]
        if ends[0] != 0 or ends[-1] != total or (np.diff(ends) < 0).any():
            raise ValueError(f"{name} do not rise from 0 to {total}")
    if rows and found["classes"].min() < 1:
        raise ValueError("a class is below 1")
    if not (np.isfinite(found["boxes"]).all() and np.isfinite(found["scores"]).all()):
        raise ValueError("a box or score is no finite number")
    text = found["mask_counts"].tobytes().decode("ascii")
    sizes = np.repeat(found["image_size"], np.diff(found["offsets"]), axis=0).tolist()
    cuts = pairwise(found["mask_offsets"].tolist())
    masks: list[Rle] = [
        {"size": size, "counts": text[a:b]} for size, (a, b) in zip(sizes, cuts, strict=True)
    ]
    return Detections(
        image_index=found["image_index"],
        image_filename=[name.decode("utf-8") for name in found["image_filename"].tolist()],
        offsets=found["offsets"],
        boxes=found["boxes"],
        scores=found["scores"],
        classes=found["classes"],
        masks=masks,
        image_size=found["image_size"],
        settings=settings if isinstance(settings, dict) else {},
    )


# ---- the original's file

_Row: TypeAlias = tuple[int, NDArray[np.float32], Rle]  # class, x1 y1 x2 y2 score, mask


def _from_pickled(content: Any, path: Path) -> Detections:
    """Sort the original's lists by class into rows by picture, class after class."""
    try:
        all_boxes, all_masks = content["all_boxes"], content["all_segms"]
        pictures = max([0, *map(len, all_boxes)])
        if len(all_masks) != len(all_boxes):
            raise ValueError(f"boxes of {len(all_boxes)} classes, masks of {len(all_masks)}")
        columns = zip(all_boxes, all_masks, strict=True)
        rows: list[list[_Row]] = [[] for _ in range(pictures)]
        for number, (boxes, masks) in enumerate(columns):
            for picture, found in enumerate(_pairs(boxes, masks, number)):
                rows[picture] += found
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: not detections as the original writes them ({error}); all_boxes and "
            "all_segms, each by class and picture, are needed"
        ) from error
    flat = [row for found in rows for row in found]
    numbers = np.array([box for _, box, _ in flat], dtype=np.float32).reshape(-1, 5)
    sizes = [found[0][2]["size"] if found else [0, 0] for found in rows]
    return Detections(
        image_index=np.arange(pictures, dtype=np.int64),
        image_filename=[""] * pictures,
        offsets=np.cumsum([0, *map(len, rows)], dtype=np.int64),
        boxes=numbers[:, :4],
        scores=numbers[:, 4],
        classes=np.array([number for number, _, _ in flat], dtype=np.int32),
        masks=[mask for _, _, mask in flat],
        image_size=np.array(sizes, dtype=np.int32).reshape(-1, 2),
    )


def _pairs(boxes: Any, masks: Any, number: int) -> list[list[_Row]]:
    """Pair the boxes and masks of one class: a list for each picture; raises ValueError."""
    found: list[list[_Row]] = []
    for picture, own in enumerate(boxes):
        where = f"class {number}, picture {picture}"
        if len(own) == 0:
            found.append([])
            continue
        table = np.asarray(own, dtype=np.float32)
        if table.ndim != 2 or table.shape[1] != 5 or not np.isfinite(table).all():
            raise ValueError(f"{where}: no rows of x1, y1, x2, y2, score")
        texts = masks[picture] if picture < len(masks) else []
        if len(texts) != len(table) or number == 0:
            raise ValueError(f"{where}: {len(table)} boxes, {len(texts)} masks")
        rles = [_rle(mask, where) for mask in texts]
        found.append([(number, box, rle) for box, rle in zip(table, rles, strict=True)])
    return found


def _rle(mask: Any, where: str) -> Rle:
    size, counts = list(mask["size"]), mask["counts"]
    if not all(type(side) is int for side in size) or not isinstance(counts, (str, bytes)):
        raise ValueError(f"{where}: no run-length mask")
    return {"size": size, "counts": _text(counts)}
