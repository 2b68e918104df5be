"""Files of detections: ours, the original's, and what is wrong with damaged ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from pyvqa.errors import DataError
from pyvqa.ops import encode_masks, pack_masks
from pyvqa.systems.ns_vqa.detections import (
    Detections,
    join,
    of_found,
    read_detections,
    read_settings,
)
from pyvqa.systems.ns_vqa.perception import Found

SETTINGS = {"batch_size": 2, "detector": {"widths": [8, 16]}}


def found(count: int, seed: int) -> Found:
    chance = torch.Generator().manual_seed(seed)
    masks = torch.rand((count, 6, 9), generator=chance) > 0.5
    boxes = torch.rand((count, 4), generator=chance) * 6
    scores = torch.rand(count, generator=chance)
    return Found(boxes, scores, torch.randint(1, 49, (count,), generator=chance), pack_masks(masks))


def some(counts: list[int] = [2, 0, 3], first: int = 0) -> Detections:  # noqa: B006 (not changed)
    index = [7 * (k + first) for k in range(len(counts))]
    names = [f"CLEVR_val_{k:06d}.png" for k in index]
    sizes = [(6, 9)] * len(counts)
    return of_found(index, names, sizes, [found(n, n) for n in counts], SETTINGS)


def assert_same(one: Detections, other: Detections) -> None:
    for name in ("image_index", "offsets", "boxes", "scores", "classes", "image_size"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.dtype == theirs.dtype, name
        assert np.array_equal(ours, theirs), name
    assert (one.image_filename, one.masks) == (other.image_filename, other.masks)
    assert one.settings == other.settings


def test_what_is_written_comes_back(tmp_path):
    given = some()
    given.write(tmp_path / "a.h5")
    given.write(tmp_path / "b.h5")
    assert_same(read_detections(tmp_path / "a.h5"), given)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert read_settings(tmp_path / "a.h5") == SETTINGS
    masks = [m for n in (2, 0, 3) for m in encode_masks(found(n, n).masks)]
    assert [m["counts"] for m in given.masks] == [m["counts"].decode() for m in masks]


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_nothing_found(tmp_path, counts):
    some(counts).write(tmp_path / "none.h5")
    back = read_detections(tmp_path / "none.h5")
    assert (len(back), len(back.image_index), back.boxes.shape) == (0, len(counts), (0, 4))


def test_parts_are_joined():
    whole = some([2, 0, 3, 1])
    parts = [some([2, 0]), some([3, 1], first=2)]
    assert_same(join(parts, SETTINGS), whole)
    assert len(join([], {})) == 0


def pickled(folder: Path, content: Any) -> Path:
    path = folder / "detections.pkl"
    path.write_bytes(pickle.dumps(content, 2))
    return path


def test_lists_by_class_become_rows_by_picture(tmp_path):
    boxes = np.array([[0, 1, 2, 3, 0.5], [1, 1, 4, 4, 0.9]], dtype=np.float32)
    first, second = ({"size": [6, 9], "counts": text} for text in ("0f1", "5a1"))
    none: list[Any] = [[], []]
    content = {
        "all_boxes": [none, [boxes[:1], np.empty((0, 5), np.float32)], [boxes, boxes[1:]]],
        "all_segms": [none, [[first], []], [[first, second], [second]]],
        "all_keyps": [none, none, none],
        "cfg": "a text",
    }
    back = read_detections(pickled(tmp_path, content))
    assert back.image_index.tolist() == [0, 1]
    assert back.offsets.tolist() == [0, 3, 4]
    assert back.classes.tolist() == [1, 2, 2, 2]
    assert back.masks == [first, first, second, second]
    assert back.boxes.tolist() == boxes[[0, 0, 1, 1], :4].tolist()
    assert back.scores.tolist() == boxes[[0, 0, 1, 1], 4].tolist()
    assert back.image_size.tolist() == [[6, 9], [6, 9]]


MASK = {"size": [6, 9], "counts": "0f1"}
BOX = np.array([[0, 1, 2, 3, 0.5]], dtype=np.float32)
NOTHING: list[Any] = [[]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "not detections as the original writes them"),
        ({"all_boxes": []}, "'all_segms'"),
        ({"all_boxes": [[], [BOX]], "all_segms": [[]]}, "boxes of 2 classes, masks of 1"),
        ({"all_boxes": [[], [BOX]], "all_segms": [[], [[]]]}, "picture 0: 1 boxes, 0 masks"),
        ({"all_boxes": [[BOX]], "all_segms": [[[MASK]]]}, "class 0, picture 0"),
        ({"all_boxes": [[], [BOX[:, :4]]], "all_segms": [[], [[MASK]]]}, "no rows of x1"),
        ({"all_boxes": [[], [BOX * np.nan]], "all_segms": [[], [[MASK]]]}, "no rows of x1"),
        ({"all_boxes": [[], [BOX]], "all_segms": [[], [["x"]]]}, "not detections"),
        ({"all_boxes": [[], [BOX]], "all_segms": [[], [[{"size": [6, 9]}]]]}, "'counts'"),
        ({"all_boxes": 3, "all_segms": 4}, "not detections"),
    ],
)
def test_other_lists_are_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_detections(pickled(tmp_path, content))
    assert "detections.pkl" in str(caught.value)


def alter(path: Path, name: str, value: Any) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        if value is not None:
            file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("boxes", None, "lacks the dataset 'boxes'"),
        ("boxes", np.zeros((5, 5), np.float32), r"boxes has the shape \(5, 5\)"),
        ("boxes", np.full((5, 4), np.inf, np.float32), "no finite number"),
        ("scores", np.array(["a"] * 5, dtype="S1"), "scores is |S1"),
        ("classes", np.zeros(5, np.int32), "a class is below 1"),
        ("offsets", np.array([0, 3, 2, 5]), "offsets do not rise from 0 to 5"),
        ("offsets", np.array([0, 2, 2, 6]), "offsets do not rise from 0 to 5"),
        ("mask_offsets", np.array([0, 1, 2, 3, 4, 10**6]), "mask_offsets do not rise"),
        ("image_index", np.array([1, 2]), "image_filename has the shape"),
        ("mask_counts", h5py.ExternalLink("other.h5", "/x"), "lacks the dataset 'mask_counts'"),
    ],
)
def test_damaged_files_are_explained(tmp_path, name, value, message):
    path = tmp_path / "bad.h5"
    some().write(path)
    alter(path, name, value)
    with pytest.raises(DataError, match=message) as caught:
        read_detections(path)
    assert "bad.h5" in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="no such file; make it with `pyvqa prepare"):
        read_detections(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text(json.dumps({}))
    with pytest.raises(DataError, match="not a readable h5 file"):
        read_detections(tmp_path / "text.h5")
    with pytest.raises(DataError, match="not a readable h5 file"):
        read_settings(tmp_path / "text.h5")
    some().write(tmp_path / "cut.h5")
    content = (tmp_path / "cut.h5").read_bytes()
    for length in range(0, len(content), len(content) // 20):
        (tmp_path / "cut.h5").write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cut\.h5"):
            read_detections(tmp_path / "cut.h5")
