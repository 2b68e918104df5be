"""Feature stores: what goes in comes out, from any process, at flat memory, or with an error."""

from __future__ import annotations

import base64
import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from data.vqa_cases import sparse_store, write_store
from pyvqa.data.region_files import (
    Picture,
    list_files,
    read_bottom_up,
    read_file,
    read_store,
    region_writer,
)
from pyvqa.data.region_store import ZeroRegions, open_file, open_regions
from pyvqa.errors import DataError

NAMES = [f"COCO_val2014_{k:012d}.jpg" for k in range(8)]
KINDS = pytest.mark.parametrize("kind", ["h5", "safetensors"])


@KINDS
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_round_trip(tmp_path: Path, kind: str, dtype: str) -> None:
    pictures = write_store(tmp_path / f"s.{kind}", NAMES, dtype=dtype)
    store = open_regions([tmp_path / f"s.{kind}"], width=6)
    rows = store.rows_of(NAMES[::-1])
    regions = store.read(rows)
    counts = [len(pictures[name].features) for name in NAMES[::-1]]
    assert regions.counts.tolist() == counts
    assert regions.features.shape == (8, max(counts), 6)
    assert regions.features.dtype == torch.float32
    for k, name in enumerate(NAMES[::-1]):
        n, picture = counts[k], pictures[name]
        kept = picture.features.astype(dtype).astype(np.float32)
        np.testing.assert_array_equal(regions.features[k, :n], kept)
        np.testing.assert_array_equal(regions.boxes[k, :n], picture.boxes)
        np.testing.assert_array_equal(regions.norm_boxes[k, :n], picture.norm_boxes)
        assert not regions.features[k, n:].any()
        assert not regions.boxes[k, n:].any()
    valid = regions.valid
    assert valid is not None
    assert valid.sum(1).tolist() == counts
    assert valid[:, 0].all()
    assert store.read([int(rows[0])]).valid is None


@KINDS
def test_forms_convert_into_each_other(tmp_path: Path, kind: str) -> None:
    write_store(tmp_path / f"s.{kind}", NAMES)
    other = tmp_path / ("t.h5" if kind == "safetensors" else "t.safetensors")
    with region_writer(other, "float32") as write:
        for picture in read_store(open_file(tmp_path / f"s.{kind}")):
            write(picture)
    a, b = (open_regions([path]).read(range(8)) for path in (tmp_path / f"s.{kind}", other))
    for ours, theirs in zip(a, b, strict=True):
        assert torch.equal(ours, theirs)


def test_the_packed_form_is_plain_safetensors(tmp_path: Path) -> None:
    pictures = write_store(tmp_path / "s.safetensors", NAMES)
    tables = load_file(tmp_path / "s.safetensors")
    joined = np.concatenate([pictures[name].features for name in NAMES])
    np.testing.assert_array_equal(tables["features"], joined)
    np.testing.assert_array_equal(
        np.diff(tables["offsets"]), [len(p.features) for p in pictures.values()]
    )


@KINDS
def test_forked_workers_read_what_the_parent_opened(tmp_path: Path, kind: str) -> None:
    write_store(tmp_path / f"s.{kind}", NAMES)
    store = open_regions([tmp_path / f"s.{kind}"])
    expected = store.read(range(8)).features.tolist()
    context = multiprocessing.get_context("fork")
    queue: Any = context.Queue()

    def read() -> None:
        queue.put([store.read(range(8)).features.tolist() for _ in range(3)])

    workers = [context.Process(target=read) for _ in range(3)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=60) for _ in workers]
    for worker in workers:
        worker.join()
    assert found == [[expected] * 3] * 3
    assert store.read(range(8)).features.tolist() == expected


def test_several_stores_are_one(tmp_path: Path) -> None:
    first = write_store(tmp_path / "a.h5", NAMES[:3], most=2)
    second = write_store(tmp_path / "b.safetensors", ["7", *NAMES[3:]], most=5)
    store = open_regions([tmp_path / "a.h5", tmp_path / "b.safetensors"])
    names = [NAMES[4], NAMES[1], "7", NAMES[0]]
    regions = store.read(store.rows_of(names))
    for k, name in enumerate(names):
        picture = (first | second)[name]
        n = len(picture.features)
        assert regions.counts[k] == n
        np.testing.assert_array_equal(regions.features[k, :n], picture.features)
        assert not regions.features[k, n:].any()
    write_store(tmp_path / "c.h5", ["x"], width=7)
    with pytest.raises(DataError, match=r"c.h5: features are 7 numbers wide, 6 are needed"):
        open_regions([tmp_path / "a.h5", tmp_path / "c.h5"])


def test_names_are_found_under_other_spellings(tmp_path: Path) -> None:
    write_store(tmp_path / "s.h5", ["COCO_000000000009", "COCO_val2014_000000000008", "12"])
    store = open_regions([tmp_path / "s.h5"])
    asked = ["COCO_train2014_000000000009.jpg", "COCO_val2014_000000000008.jpg", "12"]
    assert store.rows_of(asked).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"no features for 2 of 3 pictures, the first is 9; add"):
        store.rows_of(["9", "12", "13"])


def test_no_pictures_at_all() -> None:
    store = ZeroRegions(5, regions=3)
    regions = store.read(store.rows_of(["a", "b"]))
    assert regions.features.shape == (2, 3, 5)
    assert not regions.features.any()
    assert regions.counts.tolist() == [3, 3]


@KINDS
def test_nan_is_named(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"s.{kind}"
    write_store(path, NAMES)
    if kind == "h5":
        with h5py.File(path, "r+") as file:
            file["features"][5, 0, 2] = np.nan
    else:
        store = open_file(path)
        row = int(store.counts[:5].sum())
        with path.open("r+b") as file:
            file.seek(store._readers["features"]._place.start + row * 6 * 4)
            file.write(np.float32(np.inf).tobytes())
    store = open_regions([path])
    store.read([0, 1])
    with pytest.raises(DataError, match=f"{NAMES[5]} hold NaN or infinity"):
        store.read([4, 5, 6])


def write_all(path: Path, pictures: list[Picture]) -> None:
    with region_writer(path, "float16") as write:
        for picture in pictures:
            write(picture)


def test_what_is_refused_when_writing(tmp_path: Path) -> None:
    def picture(name: str = "a", value: float = 1.0, width: int = 3) -> Picture:
        boxes = np.zeros((2, 4), np.float32)
        return Picture(name, np.full((2, width), value, np.float32), boxes, boxes)

    for kind in ("h5", "safetensors"):
        for pictures, message in (
            ([picture(), picture()], "a comes twice"),
            ([picture(), picture("b", width=4)], "of one width"),
            ([picture(value=np.nan)], "a: features or boxes hold NaN"),
            ([picture(value=1e6)], "too large for float16"),
            ([], "not a single picture"),
        ):
            with pytest.raises(DataError, match=message):
                write_all(tmp_path / f"s.{kind}", pictures)
    with pytest.raises(DataError, match=r"ends in .h5 or .safetensors"):
        write_all(tmp_path / "s.npz", [])
    assert list(tmp_path.iterdir()) == []


def tsv_line(image: int = 9, count: int = 2, width: int = 3) -> list[bytes]:
    rng = np.random.default_rng(image)
    boxes = 50 * rng.random((count, 4), dtype=np.float32)
    features = rng.random((count, width), dtype=np.float32)
    numbers = [str(n).encode() for n in (image, 100, 50, count)]
    return [*numbers, *(base64.b64encode(a.tobytes()) for a in (boxes, features))]


def test_bottom_up_files(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_bytes(b"".join(b"\t".join(tsv_line(k, 1 + k)) + b"\n" for k in range(3)))
    pictures = list(read_bottom_up(file, lambda number: f"COCO_{number:012d}"))
    assert [p.name for p in pictures] == [f"COCO_{k:012d}" for k in range(3)]
    assert [p.features.shape for p in pictures] == [(1, 3), (2, 3), (3, 3)]
    size = np.array([100, 50, 100, 50], np.float32)
    np.testing.assert_allclose(pictures[2].norm_boxes * size, pictures[2].boxes, rtol=1e-6)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (0, b"x", "line 1: a column is damaged"),
        (1, b"0", "0 x 50 pixels cannot be"),
        (3, b"3", "3 boxes, but 32 bytes of boxes"),
        (4, b"AA", "line 1"),
        (5, b"", "and 0 of features"),
        (5, b"AAAA\tAAAA", "7 columns"),
    ],
)
def test_broken_bottom_up_files(tmp_path: Path, column: int, value: bytes, message: str) -> None:
    columns = tsv_line()
    columns[column] = value
    (tmp_path / "a.tsv").write_bytes(b"\t".join(columns) + b"\n")
    with pytest.raises(DataError, match=message):
        list(read_bottom_up(tmp_path / "a.tsv", str))


@pytest.mark.parametrize("turned", [False, True])
def test_npz_files(tmp_path: Path, turned: bool) -> None:
    x, bbox = np.random.rand(2, 5).astype(np.float32), np.full((2, 4), 10, np.float32)
    path = tmp_path / "COCO_val2014_000000000001.jpg.npz"
    np.savez(path, x=x.T if turned else x, bbox=bbox, image_w=20, image_h=40)
    picture = read_file(list_files(tmp_path)[0])
    assert picture.name == "COCO_val2014_000000000001.jpg"
    np.testing.assert_array_equal(picture.features, x)
    np.testing.assert_allclose(picture.norm_boxes[0], [0.5, 0.25, 0.5, 0.25])
    np.savez(path, x=x, bbox=bbox)
    with pytest.raises(DataError, match="lacks 'image_w'"):
        read_file(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"\.npz: (not a readable|damaged)"):
        read_file(path)


def test_pth_files(tmp_path: Path) -> None:
    path = tmp_path / "5.pth"
    torch.save({"pooled_feat": torch.ones(2, 3), "rois": torch.ones(2, 4)}, path)
    with pytest.raises(DataError, match="lacks the tensor 'norm_rois'"):
        read_file(path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="no dictionary"):
        read_file(path)
    path.write_bytes(b"not a file of tensors")
    with pytest.raises(DataError, match="not a file of tensors"):
        read_file(path)
    with pytest.raises(DataError, match="neither"):
        list_files(tmp_path.parent / tmp_path.name / "..")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.pop("rois"), "lacks the dataset 'rois'"),
        (lambda f: f["nb_regions"].__setitem__(0, 99), "outside 0..5"),
        (lambda f: (f.pop("nb_regions"), f.create_dataset("nb_regions", data=[1, 2])), "2 counts"),
        (
            lambda f: (f.pop("image_names"), f.create_dataset("image_names", data=[1.0] * 8)),
            "names",
        ),
        (lambda f: f["image_names"].__setitem__(0, f["image_names"][1]), "stands twice"),
        (lambda f: (f.pop("rois"), f.__setitem__("rois", h5py.SoftLink("/norm_rois"))), "'rois'"),
        (
            lambda f: (f.pop("features"), f.create_dataset("features", data=np.ones((8, 5, 6)))),
            "float64",
        ),
    ],
)
def test_broken_h5_stores(tmp_path: Path, change: Any, message: str) -> None:
    write_store(tmp_path / "s.h5", NAMES)
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        open_regions([tmp_path / "s.h5"])


def test_broken_packed_stores(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    write_store(path, NAMES)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="cut off"):
        open_regions([path])
    path.write_bytes(content)
    store = open_regions([path])
    os.truncate(path, 8200)  # while it is open: an error, not a dead process
    with pytest.raises(DataError, match="ends before row"):
        store.read(range(8))
    for name in ("missing.h5", "s.txt"):
        with pytest.raises(DataError, match="prepare features"):
            open_regions([tmp_path / name])
    (tmp_path / "n.h5").write_bytes(b"noise")
    with pytest.raises(DataError, match="not a readable h5 file"):
        open_regions([tmp_path / "n.h5"])


EPOCH = """
import resource, sys
from pyvqa.data.region_store import open_regions
store = open_regions([sys.argv[1]])
for begin in range(0, len(store), 8):
    regions = store.read(range(begin, begin + 8))
    if begin == 80:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_an_epoch_leaves_memory_flat(tmp_path: Path) -> None:
    """600 pictures of 36 x 2048 are 88 MB; the process grows by less than a tenth of it."""
    path = tmp_path / "s.safetensors"
    sparse_store(path, [str(k) for k in range(600)], 36, 2048)
    assert path.stat().st_size > 88_000_000
    done = subprocess.run(
        [sys.executable, "-c", EPOCH, str(path)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) < 8_000  # KiB
