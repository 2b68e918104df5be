"""From detections to objects: scores, pairing, suppression, files, and the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pyvqa.cli.main import main
from pyvqa.errors import DataError
from pyvqa.ops import encode_masks
from pyvqa.systems.ns_vqa import objects as module
from pyvqa.systems.ns_vqa.detections import Detections
from pyvqa.systems.ns_vqa.objects import (
    Objects,
    Suppression,
    make_objects,
    read_objects,
    read_truth,
    vector_of,
)

SIZE = (10, 12)
THING = {"shape": "cube", "size": "small", "material": "metal", "color": "red"}
DIRECTIONS = {"right": [0.6, 0.8, 0.0], "front": [0.8, -0.6, 0.0]}


def rectangle(left: int, right: int) -> NDArray[np.bool_]:
    """Columns left to right, the right one excluded; ten pixels each."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[:, left:right] = True
    return mask


def rles(masks: list[NDArray[np.bool_]]) -> list[Any]:
    found = encode_masks(torch.from_numpy(np.stack(masks))) if masks else []
    return [{"size": rle["size"], "counts": rle["counts"].decode()} for rle in found]


def detections(pictures: dict[int, list[tuple[int, float, tuple[int, int]]]]) -> Detections:
    """Of each picture: class, score and columns of what was found."""
    rows = [row for own in pictures.values() for row in own]
    return Detections(
        image_index=np.array(list(pictures), dtype=np.int64),
        image_filename=[f"{index}.png" for index in pictures],
        offsets=np.cumsum([0, *map(len, pictures.values())], dtype=np.int64),
        boxes=np.array([[0, 0, k + 1, 9] for k in range(len(rows))], np.float32).reshape(-1, 4),
        scores=np.array([score for _, score, _ in rows], dtype=np.float32),
        classes=np.array([label for label, _, _ in rows], dtype=np.int32),
        masks=rles([rectangle(*columns) for _, _, columns in rows]),
        image_size=np.array([SIZE] * len(pictures), dtype=np.int32).reshape(-1, 2),
    )


def scene(index: int, things: dict[str, tuple[int, int]], **changes: Any) -> dict[str, Any]:
    """A scene with an object of each colour, at columns."""
    masks = rles([rectangle(*columns) for columns in things.values()])
    return {
        "image_index": index,
        "directions": DIRECTIONS,
        "objects": [
            {**THING, "color": color, "3d_coords": [1.0, 2.0, 0.5], "mask": mask, **changes}
            for color, mask in zip(things, masks, strict=True)
        ],
    }


def written(folder: Path, *scenes: dict[str, Any]) -> Path:
    path = folder / "scenes.json"
    path.write_text(json.dumps({"scenes": scenes}))
    return path


FOUND = {
    4: [(5, 0.95, (0, 4)), (2, 0.99, (0, 5)), (2, 0.5, (0, 5)), (2, 0.92, (8, 12))],
    9: [],
    6: [(1, 0.9, (0, 1)), (1, 0.91, (2, 6))],
}


def test_by_score_sorted_by_class():
    found = make_objects(detections(FOUND))
    assert found.image_index == [4, 4, 4, 6]
    assert found.classes == [2, 2, 5, 1]
    assert found.scores == [float(np.float32(s)) for s in (0.99, 0.92, 0.95, 0.91)]
    columns = [(0, 5), (8, 12), (0, 4), (2, 6)]
    assert found.masks == rles([rectangle(*own) for own in columns])
    assert found.vectors == []


def test_the_threshold_is_compared_in_double_precision():
    above = float(np.nextafter(np.float32(0.8), np.float32(1)))
    given = detections({0: [(1, 0.8, (0, 1)), (2, above, (0, 1))]})
    assert make_objects(given, score=0.8).classes == [1, 2]  # float32(0.8) is more than 0.8
    assert make_objects(given, score=float(np.float32(0.8))).classes == [2]


def test_pairing_with_the_best_and_with_the_first(tmp_path):
    truth = read_truth(
        written(tmp_path, scene(4, {"red": (0, 6), "blue": (0, 5)}), scene(6, {"green": (7, 9)}))
    )
    colors = {}
    for rule in ("best", "first"):
        found = make_objects(detections(FOUND), truth=truth, align_iou=0.6, match=rule)
        assert found.classes == [2, 5]  # the others lie on nothing
        colors[rule] = [["blue", "red"][vector[13]] for vector in map(ints, found.vectors)]
    assert colors == {"best": ["blue", "blue"], "first": ["red", "red"]}
    strict = make_objects(detections(FOUND), truth=truth, align_iou=4 / 6, match="first")
    assert [ints(v)[13] for v in strict.vectors] == [1, 0]  # exactly the threshold is too little


def ints(vector: list[float]) -> list[int]:
    return [int(value) for value in vector[:15]]


def test_numbers_of_a_true_object(tmp_path):
    vector = vector_of({**THING, "3d_coords": [1.0, 2.0, 0.5]}, {"directions": DIRECTIONS})
    assert ints(vector) == [0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0]
    assert vector[15:] == pytest.approx([2.2, -0.4, 0.5], rel=1e-12)
    assert vector_of({**THING, "position": [3, 4, 5]}, {})[15:] == [3.0, 4.0, 5.0]


def test_suppression_sorts_by_score():
    found = make_objects(detections(FOUND), suppression=Suppression())
    assert list(zip(found.image_index, found.classes, strict=True)) == [(4, 2), (4, 2), (6, 1)]
    assert found.scores[:2] == [float(np.float32(s)) for s in (0.99, 0.92)]
    lenient = make_objects(detections(FOUND), suppression=Suppression(0.8, 1.0))
    assert lenient.classes == [2, 5, 2, 1]


@pytest.mark.parametrize("at_once", [1, 3, 2048])
def test_the_same_however_many_are_unpacked_at_once(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    chance = np.random.default_rng(3)
    pictures = {}
    for index in range(0, 60, 3):
        starts = chance.integers(0, 8, chance.integers(0, 6))
        own = [(int(chance.integers(1, 49)), chance.random(), (int(s), int(s) + 3)) for s in starts]
        pictures[index] = own
    given = detections(pictures)
    things = {"red": (0, 3), "blue": (2, 6), "gray": (7, 10)}
    truth = read_truth(written(tmp_path, *(scene(index, things) for index in pictures)))
    expected = []
    for index, own in pictures.items():
        for label, score, (left, right) in sorted(own, key=lambda row: row[0]):
            shared = {c: max(0, min(right, b) - max(left, a)) for c, (a, b) in things.items()}
            union = {c: right - left + b - a - shared[c] for c, (a, b) in things.items()}
            best = max(things, key=lambda c: shared[c] / union[c])
            if score > 0.2 and shared[best] / union[best] > 0.3:
                expected.append((index, label, best))
    found = make_objects(given, score=0.2, truth=truth, align_iou=0.3)
    names = ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow")
    colors = [names[ints(vector)[7:].index(1)] for vector in found.vectors]
    assert list(zip(found.image_index, found.classes, colors, strict=True)) == expected
    assert len(expected) > 10


def test_pictures_of_several_sizes():
    one, other = detections({1: [(1, 0.95, (0, 4))]}), detections({2: [(1, 0.95, (0, 4))]})
    other.masks[0] = {"size": [1, 3], "counts": "03"}
    both = Detections(
        image_index=np.array([1, 2]),
        image_filename=["", ""],
        offsets=np.array([0, 1, 2]),
        boxes=np.concatenate((one.boxes, other.boxes)),
        scores=np.concatenate((one.scores, other.scores)),
        classes=np.concatenate((one.classes, other.classes)),
        masks=[*one.masks, *other.masks],
        image_size=np.array([SIZE, (1, 3)], dtype=np.int32),
    )
    assert len(make_objects(both, suppression=Suppression())) == 2


def test_what_does_not_go_together(tmp_path):
    given = detections(FOUND)
    with pytest.raises(DataError, match="no scene with image_index 6"):
        make_objects(given, truth=read_truth(written(tmp_path, scene(4, {"red": (0, 4)}))))
    mask = {"size": [4, 4], "counts": "0`0"}
    small = [scene(index, {"red": (0, 4)}, mask=mask) for index in (4, 6)]
    with pytest.raises(DataError, match="masks of 10 x 12 pixels were found"):
        make_objects(given, truth=read_truth(written(tmp_path, *small)))
    given.masks[0]["counts"] = "zz"
    with pytest.raises(DataError, match="masks of the detections: "):
        make_objects(given, suppression=Suppression())
    with pytest.raises(ValueError, match="not both"):
        make_objects(given, truth={}, suppression=Suppression())


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"image_index": 1}, "scene 0 lacks 'objects'; a file as"),
        ({**scene(1, {"red": (0, 4)}), "directions": {}}, "lacks 'right'"),
        (scene(1, {"red": (0, 4)}, color="pink"), "an object's color is 'pink'; known: blue"),
        (scene(1, {"red": (0, 4)}, mask="x"), "scene 0: "),
        ("a text", "scene 0: "),
    ],
)
def test_damaged_scenes_are_explained(tmp_path, entry, message):
    with pytest.raises(DataError, match=message):
        read_truth(written(tmp_path, entry))


def test_one_scene_of_a_picture(tmp_path):
    with pytest.raises(DataError, match="image_index 1 stands there more than once"):
        read_truth(written(tmp_path, scene(1, {}), scene(1, {})))


def test_files_of_objects(tmp_path):
    given = make_objects(detections(FOUND))
    given.write(tmp_path / "objects.json")
    assert read_objects(tmp_path / "objects.json") == given
    content = json.loads((tmp_path / "objects.json").read_text())
    for key, value, message in (
        ("image_idxs", [1], "4 object_masks, but 1 image_idxs"),
        ("scores", {}, "scores is no list"),
        ("category_idxs", ["a"] * 4, r"category_idxs\[0\] is 'a', no number"),
        ("feature_vectors", [[1]] * 4, r"feature_vectors\[0\] is not 18 numbers"),
        ("object_masks", ["x"] * 4, r"object_masks\[0\] is no run-length mask"),
    ):
        (tmp_path / "bad.json").write_text(json.dumps({**content, key: value}))
        with pytest.raises(DataError, match=message):
            read_objects(tmp_path / "bad.json")


def test_the_command(tmp_path, capsys):
    detections(FOUND).write(tmp_path / "found.h5")
    out = tmp_path / "objects.json"
    words = ["prepare", "clevr-objects", "--detections", str(tmp_path / "found.h5")]
    words += ["--out", str(out)]
    assert main(words) == 0
    assert "4 of 6 detections, in 2 of 3 pictures" in capsys.readouterr().out
    assert read_objects(out) == make_objects(detections(FOUND))
    assert main([*words, "--suppression", "--suppression-iou", "0.8"]) == 0
    assert read_objects(out) == make_objects(detections(FOUND), suppression=Suppression(0.8, 0.5))
    truth = written(tmp_path, *(scene(i, {"red": (0, 6), "blue": (0, 5)}) for i in (4, 6)))
    assert main([*words, "--ground-truth", str(truth), "--match", "first"]) == 0
    first: Objects = make_objects(detections(FOUND), truth=read_truth(truth), match="first")
    assert read_objects(out) == first
    assert first != make_objects(detections(FOUND), truth=read_truth(truth))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--match", "first"], "--match goes with --ground-truth only"),
        (["--align-iou", "0.5"], "--align-iou goes with --ground-truth only"),
        (["--suppression-iomin", "0.5"], "--suppression-iomin goes with --suppression only"),
        (["--ground-truth", "x.json", "--suppression"], "not both"),
        (["--score", "1.5"], "--score 1.5: must lie in 0..1"),
        (["--ground-truth", "absent.json"], "absent.json: no such file"),
        (["--detections", "absent.h5"], "absent.h5: no such file"),
        (["--detections", "absent.pkl"], "absent.pkl: no such file"),
    ],
)
def test_mistakes_give_one_line(tmp_path, capsys, words, message):
    detections(FOUND).write(tmp_path / "found.h5")
    command = ["prepare", "clevr-objects", "--detections", str(tmp_path / "found.h5")]
    assert main([*command, "--out", str(tmp_path / "objects.json"), *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
