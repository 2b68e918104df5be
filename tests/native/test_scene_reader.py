"""Scene files: every flavour read as plain Python reads it, and broken ones refused in one line."""

from __future__ import annotations

import gc
import json
import random
import threading
from typing import Any

import numpy as np
import pytest
from reader_files import content_of, encode, known_files, make_scene, make_scenes, shuffled
from reader_reference import KNOWN, scenes_by_json, scenes_of_table

from pyvqa import _native


def read(content: Any, **options: Any) -> Any:
    return _native.read_scenes(encode(content), **options)


def same(data: bytes) -> None:
    assert scenes_of_table(_native.read_scenes(data)) == scenes_by_json(data)


def test_release_layout() -> None:
    content = make_scenes(1)
    same(encode(content))
    same(encode(content, separators=(",", ":")))
    same(encode(content, indent=1))
    same(encode(content["scenes"]))


@pytest.mark.parametrize("seed", range(20))
def test_keys_come_in_any_order(seed: int) -> None:
    content = make_scenes(seed)
    table = read(shuffled(content, random.Random(seed)))
    assert scenes_of_table(table) == scenes_by_json(encode(content))


def test_parsed_scenes_keep_their_position() -> None:
    thing = {"color": "red", "material": "metal", "shape": "cube", "size": "large"}
    scenes = [
        {"objects": [thing | {"position": [0.1, 1e-17, -3]}], "image_filename": "a.png"},
        {"objects": []},
    ]
    table = read({"info": "parsed", "scenes": scenes})
    assert table.position.tolist() == [[0.1, 1e-17, -3.0]]
    assert table.image_index.tolist() == [0, 1]
    assert table.image_filename == ["a.png", ""]
    assert table.pixel.shape == (0, 3)
    assert table.relation_offsets.size == table.visibility.size == 0
    assert table.fields.tolist() == [0, 1]


def test_flavours_may_be_mixed() -> None:
    content = make_scenes(2, counts=(4, 3))
    thing = {"color": "red", "material": "metal", "shape": "cube", "size": "large"}
    content["scenes"].insert(1, {"objects": [thing | {"position": [1, 2, 3]}]})
    content["scenes"][2]["relationships"] = None
    same(encode(content))
    table = read(content)
    assert table.fields.tolist() == [3, 0, 1]
    assert table.pixel.shape == (8, 3)
    assert table.relation_offsets.size == 4 * 8 + 1


def test_3d_coords_win_over_position() -> None:
    content = make_scenes(3, counts=(2,))
    expected = read(content).position.tolist()
    for thing in content["scenes"][0]["objects"]:
        thing["position"] = [9, 9, 9]
    assert read(content).position.tolist() == expected


@pytest.mark.parametrize("count", [1, 63, 64, 65, 128, 129, 200])
def test_many_objects(count: int) -> None:
    same(encode({"scenes": [make_scene(random.Random(count), 0, count)]}))


def test_no_scenes() -> None:
    for content in ({"scenes": []}, []):
        table = read(content)
        assert table.counts.size == 0
        assert table.codes.shape == (0, 4)


def test_strings_outside_clevr_get_codes_of_their_own() -> None:
    content = make_scenes(4, counts=(3, 2))
    first, second = content["scenes"]
    first["objects"][1]["color"] = "pink"
    first["objects"][2]["shape"] = "cube\u00e9\n"
    second["objects"][0]["color"] = "pink"
    second["objects"][1]["color"] = "cube"  # a known string of another attribute keeps its code
    table = read(content)
    assert set(table.strings) == {"pink", "cube\u00e9\n"}
    assert table.codes[4, 0] == KNOWN.index("cube")
    same(encode(content))


def test_too_many_strings() -> None:
    thing = {"material": "metal", "shape": "cube", "size": "large", "position": [0, 0, 0]}
    things = [thing | {"color": f"c{index}"} for index in range(65_536 - len(KNOWN))]
    table = read([{"objects": things}])
    assert int(table.codes.max()) == 65_535
    things.append(thing | {"color": "one more"})
    with pytest.raises(ValueError, match="scene 0: more than 65,000 different attribute strings"):
        read([{"objects": things}])


def edited(path: str, value: Any = None, remove: bool = False) -> bytes:
    """Return a file whose scene 1 has one field changed or removed, e.g. `objects.2.color`."""
    content = make_scenes(5, counts=(2, 4))
    at: Any = content["scenes"][1]
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in parents:
        at = at[key]
    if remove:
        del at[last]
    else:
        at[last] = value
    return encode(content)


MISSING = [
    ("objects", "the scene has no 'objects'"),
    ("objects.2.color", "object 2 has no 'color'"),
    ("objects.0.material", "object 0 has no 'material'"),
    ("objects.3.shape", "object 3 has no 'shape'"),
    ("objects.1.size", "object 1 has no 'size'"),
    ("objects.1.3d_coords", "object 1 has neither '3d_coords' nor 'position'"),
    ("objects.1.pixel_coords", "object 1 has no 'pixel_coords', others of its scene do"),
    ("directions", "no directions 'right' and 'front'"),
    ("directions.front", "no directions 'right' and 'front'"),
    ("relationships.behind", "relationships 'behind' are missing"),
]


@pytest.mark.parametrize(("path", "message"), MISSING)
def test_missing_fields_are_named(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^scene 1: .*{message}, byte [0-9]+ "):
        _native.read_scenes(edited(path, remove=True))


@pytest.mark.parametrize("path", ["image_index", "image_filename", "split", "relationships"])
def test_other_fields_may_be_missing(path: str) -> None:
    same(edited(path, remove=True))


WRONG = [
    ("objects", {}, "expected a list, found an object"),
    ("objects.2", [], "expected an object, found a list"),
    ("objects.2.color", 3, "expected a string, found a number"),
    ("objects.2.color", "", "empty string"),
    ("objects.2.color", None, "expected a string, found null"),
    ("objects.2.3d_coords", [1, 2], "expected 3 numbers, found 2"),
    ("objects.2.3d_coords", [1, 2, 3, 4], "expected 3 numbers, found more"),
    ("objects.2.3d_coords", [1, 2, "3"], "expected a number, found a string"),
    ("objects.2.3d_coords", [1, float("nan"), 3], "NaN"),
    ("objects.2.3d_coords", [1.7e308, 1.7e308, 0], "not at a finite position"),
    ("objects.2.pixel_coords", None, "expected a list, found null"),
    ("image_index", -1, "image_index is negative"),
    ("image_index", 2**63, "beyond 64 bits"),
    ("image_index", 1.5, "expected an integer, found a decimal number"),
    ("image_index", "1", "expected an integer, found a string"),
    ("image_filename", 1, "expected a string, found a number"),
    ("directions", [], "expected an object, found a list"),
    ("directions.right", [1], "expected 3 numbers, found 1"),
    ("relationships.left", [[], []], "relationships 'left' have 2 lists for 4 objects"),
    ("relationships.left.0", [4], "relationships 'left' name object 4 of 4"),
    ("relationships.front.2", [-1], "out of range"),
    ("relationships.front.2", [2**31], "out of range"),
    ("relationships.front.2", 1, "expected a list, found a number"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG)
def test_wrong_fields_are_named(path: str, value: Any, message: str) -> None:
    directions = path.startswith("directions.")
    data = edited(path, value)
    with pytest.raises(ValueError, match=f"^scene 1: .*{message}.*, byte [0-9]+ ") as caught:
        _native.read_scenes(data)
    assert "\n" not in str(caught.value)
    assert not directions or "3 numbers" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "the file has no 'scenes'"),
        ({"questions": []}, "the file has no 'scenes'"),
        ({"scenes": {}}, "expected a list, found an object"),
        (3, "expected an object, found a number"),
        ([3], "scene 0: expected an object, found a number"),
    ],
)
def test_other_files_are_refused(content: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}, byte [0-9]+ "):
        read(content)


def test_empty_file() -> None:
    with pytest.raises(ValueError, match="expected a value, found the end of the text, byte 0"):
        _native.read_scenes(b"")


def test_truncation_is_always_seen() -> None:
    data = encode(make_scenes(6))
    for part in range(64):
        with pytest.raises(ValueError, match=r"byte [0-9]+ "):
            _native.read_scenes(data[: len(data) * part // 64])
    with pytest.raises(ValueError, match="end of the text"):
        _native.read_scenes(data[:-1])


@pytest.mark.fuzz
def test_flipped_bits_never_pass_for_something_else() -> None:
    rng = random.Random(7)
    original = encode(make_scenes(7, counts=(2, 3)))
    outcomes = {"read": 0, "refused": 0}
    for _ in range(600):
        data = bytearray(original)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            table = _native.read_scenes(bytes(data))
        except ValueError:
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert scenes_of_table(table) == scenes_by_json(bytes(data))
    assert min(outcomes.values()) > 50


def test_arrays_outlive_the_table() -> None:
    data = encode(make_scenes(8))
    position, items = (lambda t: (t.position, t.relation_items))(_native.read_scenes(data))
    gc.collect()
    assert position.tolist() == [p for scene in scenes_by_json(data) for p in scene["position"]]
    assert position.base is not None
    assert items.dtype == np.int32


def test_threads_read_side_by_side() -> None:
    files = [encode(make_scenes(seed, counts=(9,) * 200)) for seed in range(4)]
    tables: list[Any] = [None] * 4

    def work(index: int) -> None:
        tables[index] = _native.read_scenes(files[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for data, table in zip(files, tables, strict=True):
        assert scenes_of_table(table) == scenes_by_json(data)


def test_known_files() -> None:
    files = known_files("*scenes*.json*", "scenes/*.json*", "*mini*anns*.json*")
    if not files:
        pytest.skip("neither PYVQA_REAL nor PYVQA_PARITY names a folder with scene files")
    for file in files:
        same(content_of(file))


def arrays_of(table: Any) -> dict[str, Any]:
    names = ["counts", "codes", "position", "pixel", "relation_offsets", "relation_items"]
    out = {name: getattr(table, name) for name in [*names, "image_index"]}
    return out | {"strings": table.strings, "image_filename": table.image_filename}


def test_table_from_arrays() -> None:
    content = make_scenes(9)
    content["scenes"][0]["objects"][0]["color"] = "pink"
    table = read(content)
    again = _native.scene_table(**arrays_of(table))
    assert scenes_of_table(again) == scenes_of_table(table)
    assert again.scene_visibility.tolist() == [0] * 5
    bare = _native.scene_table(table.counts, table.codes, table.position, strings=table.strings)
    assert bare.image_index.tolist() == [0, 1, 2, 3, 4]
    assert bare.image_filename == [""] * 5
    assert bare.fields.tolist() == [0] * 5


BAD_ARRAYS: list[tuple[dict[str, Any], str]] = [
    ({"counts": [-1, 6]}, "counts must not be negative"),
    ({"counts": [[5]]}, "counts must be one-dimensional"),
    ({"counts": [2, 4]}, r"codes must be \[objects, 4\]"),
    ({"codes": np.full((5, 4), 17)}, "codes name a string that the table does not have"),
    ({"codes": np.full((5, 4), -1)}, "codes name a string"),
    ({"codes": np.zeros((5, 3), int)}, r"codes must be \[objects, 4\]"),
    ({"position": np.zeros((5, 2))}, r"position must be \[objects, 3\]"),
    ({"position": np.full((5, 3), np.nan)}, "position must be finite"),
    ({"pixel": np.zeros((4, 3))}, r"pixel must be \[objects, 3\]"),
    ({"pixel": np.full((5, 3), np.inf)}, "pixel must be finite"),
    ({"relation_items": None}, "relation_offsets and relation_items belong together"),
    ({"relation_offsets": np.zeros(20, int)}, "relation_offsets must be"),
    ({"relation_items": np.zeros(1, int)}, "must run from 0 to the number"),
    (
        {"relation_offsets": np.r_[0, 5, np.zeros(19, int)], "relation_items": []},
        "relation_offsets must not decrease",
    ),
    (
        {"relation_offsets": np.r_[np.zeros(20, int), 1], "relation_items": [3]},
        "name an object that its scene does not have",
    ),
    (
        {"relation_offsets": np.r_[np.zeros(20, int), 1], "relation_items": [-1]},
        "name an object that its scene does not have",
    ),
    ({"visibility": [1] * 5}, "visibility and scene_visibility belong together"),
    ({"visibility": [3] * 5, "scene_visibility": [1, 1]}, "visibility must be 0, 1 or 2"),
    ({"visibility": [1] * 5, "scene_visibility": [1]}, r"scene_visibility must be \[scenes\]"),
    ({"strings": ["red"]}, "must not repeat"),
    ({"strings": ["a", "a"]}, "strings must differ"),
    ({"image_index": [0]}, r"image_index must be \[scenes\]"),
    ({"image_index": [0, -1]}, "image_index must not be negative"),
    ({"image_filename": ["a"]}, "image_filename must have one entry per scene"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ARRAYS)
def test_bad_arrays_are_refused(change: dict[str, Any], message: str) -> None:
    arrays: dict[str, Any] = {
        "counts": [3, 2],
        "codes": np.zeros((5, 4), int),
        "position": np.zeros((5, 3)),
        "relation_offsets": np.zeros(21, int),
        "relation_items": np.zeros(0, int),
    }
    assert _native.scene_table(**arrays).counts.tolist() == [3, 2]
    with pytest.raises(ValueError, match=message):
        _native.scene_table(**(arrays | change))


def test_json_written_by_python_reads_back() -> None:
    content = make_scenes(10)
    text = json.dumps(content, ensure_ascii=False, indent=2).encode()
    same(text)
