"""`pyvqa render`: pictures and masks of scene files, cameras of all kinds, wrong files."""

from __future__ import annotations

import copy
import gzip
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa import _native
from pyvqa.cli import main as cli
from pyvqa.world import Quality, SceneSettings, sample_visible_scenes, stage
from pyvqa.world.png import encode_png, opaque

Json = dict[str, Any]
COUNT, WIDTH, HEIGHT = 30, 96, 64
SMALL = ("--size", f"{WIDTH}x{HEIGHT}", "--samples", "1")


def render(*arguments: object) -> int:
    return cli.main(["render", *map(str, arguments)])


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def content(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def masks_of(scene: Json) -> list[np.ndarray[Any, Any]]:
    return [
        _native.coco_rle_decode(item["mask"]["counts"], *item["mask"]["size"]).astype(bool)
        for item in scene["objects"]
    ]


WORLD, _, MASKS = sample_visible_scenes(6, 0, COUNT, SceneSettings(width=WIDTH, height=HEIGHT))
RECORDS = WORLD.records("val")


def file_of(folder: Path, records: list[Json], **more: Any) -> Path:
    path = folder / "given.json"
    path.write_text(json.dumps({"info": {"split": "val"}, "scenes": records} | more))
    return path


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("done")
    assert render("--scenes", file_of(out, RECORDS), "--out", out / "made", *SMALL) == 0
    return out / "made"


def test_masks_are_those_the_scenes_were_made_with(done: Path) -> None:
    made = read(done / "scenes.json")
    assert made["info"] == {"split": "val"}
    assert sorted(p.name for p in done.iterdir()) == ["images", "render_info.json", "scenes.json"]
    differing = 0
    for k, (scene, given) in enumerate(zip(made["scenes"], RECORDS, strict=True)):
        found = masks_of(scene)
        bare = copy.deepcopy(scene)
        for item in bare["objects"]:
            assert item.pop("mask")["size"] == [HEIGHT, WIDTH]
        assert bare == given
        differing += sum(int((m ^ (MASKS.ids[k] == o)).sum()) for o, m in enumerate(found))
        assert (done / "images" / scene["image_filename"]).stat().st_size > 100
    assert differing < 3e-4 * COUNT * HEIGHT * WIDTH  # the fitted camera is off by a hair
    assert {p.name for p in (done / "images").iterdir()} == {s["image_filename"] for s in RECORDS}


def test_given_cameras_and_lamps_are_used(tmp_path: Path) -> None:
    images = [
        {
            "image_filename": record["image_filename"],
            "camera": WORLD.camera[k].tolist(),
            "lamps": dict(zip(("Key", "Fill", "Back"), WORLD.lamps[k].tolist(), strict=True)),
        }
        for k, record in enumerate(RECORDS)
    ]
    cameras = tmp_path / "render_info.json"
    cameras.write_text(json.dumps({"info": {}, "images": images}))
    scenes = file_of(tmp_path, RECORDS)
    assert render("--scenes", scenes, "--out", tmp_path / "a", "--cameras", cameras, *SMALL) == 0
    for k, scene in enumerate(read(tmp_path / "a" / "scenes.json")["scenes"]):
        for o, mask in enumerate(masks_of(scene)):
            assert np.array_equal(mask, MASKS.ids[k] == o)
    info = read(tmp_path / "a" / "render_info.json")
    assert info["info"]["width"] == WIDTH
    assert info["info"]["focal_pixels"] == 35 / 32 * WIDTH
    for entry, image in zip(info["images"], images, strict=True):
        assert {key: entry[key] for key in image} == image
        matrix = np.array(entry["camera_matrix"])
        assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
        assert matrix[:3, 3].tolist() == image["camera"]
        assert np.allclose(matrix[:3, 2], matrix[:3, 3] / np.linalg.norm(matrix[:3, 3]))
    # what it wrote, it can read; cameras.json says the same without lamps
    again = ("--cameras", tmp_path / "a" / "render_info.json", *SMALL)
    assert render("--scenes", scenes, "--out", tmp_path / "b", *again) == 0
    assert content(tmp_path / "a") == content(tmp_path / "b")
    plain = tmp_path / "cameras.json"
    plain.write_text(json.dumps({i["image_filename"]: i["camera"] for i in images}))
    assert render("--scenes", scenes, "--out", tmp_path / "c", "--cameras", plain, *SMALL) == 0
    same, other = (read(tmp_path / name / "scenes.json") for name in "ac")
    assert same == other
    lamps = [tuple(i["lamps"]["Key"]) for i in read(tmp_path / "c" / "render_info.json")["images"]]
    assert set(lamps) == {(6.446710, -2.905175, 4.258398)}


def test_pictures_are_those_of_the_op(done: Path) -> None:
    """Apart from the camera, which is found from whole pixels, and the grain."""
    quality = Quality(WIDTH, HEIGHT, samples=1, grain=0)
    image = pytest.importorskip("PIL.Image")
    for k in (0, 7):
        made = stage(WORLD).part(k, k + 1).render(quality).picture[0].numpy()
        found = np.asarray(image.open(done / "images" / RECORDS[k]["image_filename"]))[..., :3]
        assert abs(found.mean() - made.mean()) < 12
        assert encode_png(opaque(made))[:4] == b"\x89PNG"


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_and_compressed_files_change_nothing(
    done: Path, tmp_path: Path, workers: int
) -> None:
    packed = tmp_path / "given.json.gz"
    packed.write_bytes(gzip.compress((done.parent / "given.json").read_bytes()))
    out = tmp_path / "made"
    assert render("--scenes", packed, "--out", out, "--workers", workers, *SMALL) == 0
    found, expected = content(out), content(done)
    for name in set(expected) - {"render_info.json"}:  # it names the digest of the file
        assert found[name] == expected[name]


def test_a_scene_keeps_its_picture_without_the_others(done: Path, tmp_path: Path) -> None:
    scenes = file_of(tmp_path, RECORDS[4:6])
    assert render("--scenes", scenes, "--out", tmp_path / "made", *SMALL) == 0
    expected = content(done)
    for name, data in content(tmp_path / "made" / "images").items():
        assert data == expected[f"images/{name}"]


def test_genuine_scene_files_of_every_layout(tmp_path: Path) -> None:
    real = os.environ.get("PYVQA_REAL")
    if not real or not Path(real).is_dir():
        pytest.skip("PYVQA_REAL is not set to a folder with genuine data")
    folder = Path(real) / "clevr_original"
    files = {
        "scenes": folder / "scenes" / "CLEVR_train_scenes.json",
        "mini": folder / "CLEVR_mini_coco_anns.json",
        "ref": folder / "scenes" / "clevr_ref+_train_scenes.json",
    }
    out: dict[str, Any] = {}
    for name, path in files.items():
        few = file_of(tmp_path, read(path)["scenes"][:8])
        assert render("--scenes", few, "--out", tmp_path / name, "--samples", 1) == 0
        out[name] = read(tmp_path / name / "scenes.json")["scenes"]
    right = total = 0
    for scene, plain, given in zip(
        out["ref"], out["scenes"], read(files["mini"])["scenes"], strict=False
    ):
        assert [o["mask"] for o in scene["objects"]] == [o["mask"] for o in plain["objects"]]
        for mask, item in zip(masks_of(scene), given["objects"], strict=True):
            genuine = _native.coco_rle_decode(item["mask"]["counts"], 320, 480).astype(bool)
            assert (mask & genuine).sum() / (mask | genuine).sum() > 0.97
            right += int((mask == genuine).sum())
            total += mask.size
    assert right / total > 0.9999
    assert len(list((tmp_path / "ref" / "images").iterdir())) == 8


def test_objects_that_no_pixel_shows_get_an_empty_mask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = copy.deepcopy(RECORDS[:3])
    away = records[1]["objects"][0]
    away["3d_coords"] = [-4.0, 30.0, 0.35]
    cameras = {r["image_filename"]: WORLD.camera[k].tolist() for k, r in enumerate(records)}
    (tmp_path / "cameras.json").write_text(json.dumps(cameras))
    arguments = ("--scenes", file_of(tmp_path, records), "--cameras", tmp_path / "cameras.json")
    assert render(*arguments, "--out", tmp_path / "made", *SMALL) == 0
    printed = capsys.readouterr()
    assert printed.err == (
        "pyvqa: no pixel shows CLEVR_val_000001.png object 0: outside the frame or hidden; "
        "the mask is empty\n"
    )
    made = read(tmp_path / "made" / "scenes.json")["scenes"]
    assert masks_of(made[1])[0].sum() == 0
    assert all(mask.any() for mask in masks_of(made[0]))


def test_no_scenes_and_no_objects(tmp_path: Path) -> None:
    assert render("--scenes", file_of(tmp_path, []), "--out", tmp_path / "none", *SMALL) == 0
    assert read(tmp_path / "none" / "scenes.json")["scenes"] == []
    bare = RECORDS[0] | {"objects": []}
    assert render("--scenes", file_of(tmp_path, [bare]), "--out", tmp_path / "bare", *SMALL) == 0
    assert len(list((tmp_path / "bare" / "images").iterdir())) == 1


# ---- interruption and refusals -------------------------------------------------------------------


def test_killed_the_same_command_goes_on(done: Path, tmp_path: Path) -> None:
    given = done.parent / "given.json"
    out = tmp_path / "made"
    command = [sys.executable, "-m", "pyvqa.cli.main", "render", "--scenes", str(given), *SMALL]
    command += ["--out", str(out), "--workers", "0"]
    killed = 0
    for moment in (out / ".render" / "pictures-0", out / "images", out / "scenes.json"):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not moment.exists():
            time.sleep(0.001)
        killed += process.poll() is None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert killed > 0
    assert subprocess.run(command, stdout=subprocess.DEVNULL).returncode == 0
    assert content(out) == content(done)


def test_a_finished_folder_is_left_as_it_is(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = done.parent / "given.json"
    before = content(done)
    assert render("--scenes", given, "--out", done, *SMALL) == 0
    assert "complete already" in capsys.readouterr().out
    assert render("--scenes", given, "--out", done, "--size", SMALL[1], "--samples", 2) == 1
    assert "other settings (pictures)" in capsys.readouterr().err
    assert render("--scenes", file_of(tmp_path, RECORDS[:2]), "--out", done, *SMALL) == 1
    assert "other settings (cameras, scenes)" in capsys.readouterr().err
    assert content(done) == before
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / RECORDS[1]["image_filename"]).write_text("mine")
    assert render("--scenes", given, "--out", tmp_path, *SMALL) == 1
    assert "CLEVR_val_000001.png: is there already, of another origin" in capsys.readouterr().err
    here = file_of(tmp_path, RECORDS[:2]).rename(tmp_path / "scenes.json")
    assert render("--scenes", here, "--out", tmp_path, *SMALL) == 1
    assert "scenes.json: is there already" in capsys.readouterr().err


def test_a_full_disk(tmp_path: Path) -> None:
    script = (
        "import resource, signal, sys\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))\n"
        "from pyvqa.cli import main as cli\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    scenes, out = file_of(tmp_path, RECORDS[:3]), tmp_path / "made"
    command = [sys.executable, "-B", "-c", script, "render", "--scenes", str(scenes)]
    done = subprocess.run([*command, "--out", str(out), *SMALL], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"pyvqa: .*cannot be written.*\n", done.stderr)
    assert list(content(out)) == [".render/settings.json"]


Edit = Callable[[Json], object]


def edit(path: str, value: Any) -> Edit:
    def change(scene: Json) -> None:
        *parents, last = path.split(".")
        at: Any = scene
        for key in parents:
            at = at[int(key) if key.isdecimal() else key]
        at[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("objects", None), r"scene 1: must be a dictionary with a list 'objects'"),
        (edit("objects.2.shape", "cone"), r"object 2: shape 'cone' is none of cube, cylinder"),
        (edit("objects.2.color", ["red"]), r"object 2: color \['red'\] is none of"),
        (edit("objects.2.rotation", None), r"object 2: rotation must be a finite number"),
        (edit("objects.2.rotation", math.nan), r"object 2: rotation must be a finite number"),
        (edit("objects.0.3d_coords", [1, 2]), r"object 0: 3d_coords must be 3 finite numbers"),
        (edit("objects.0.3d_coords", [1, 2, 1e999]), r"3d_coords must be 3 finite numbers"),
        (edit("objects.0.3d_coords", [1, 2, 10**400]), r"3d_coords must be 3 finite numbers"),
        (edit("objects.0.pixel_coords", [1, 2, "3"]), r"pixel_coords must be 3 finite numbers"),
        (edit("objects.0.pixel_coords", None), r"no 'pixel_coords' to find the camera by; give"),
        (edit("objects.0.pixel_coords", [10, 10, 3.0]), r"its pixel_coords fit no camera at 96x64"),
        (edit("objects.0.pixel_coords", [1e300, 10, 3.0]), r"pixel_coords fit no camera"),
        (edit("image_filename", "../up.png"), r"'../up.png' is no plain file name"),
        (edit("image_filename", "/etc/x.png"), r"is no plain file name"),
        (edit("image_filename", ".png"), r"is no plain file name"),
        (edit("image_filename", "x.jpg"), r"must be the name of a .png file, not 'x.jpg'"),
        (edit("image_filename", None), r"must be the name of a .png file, not None"),
        (edit("image_filename", "CLEVR_val_000000.png"), r"scenes 0 and 1 are both called"),
    ],
)
def test_malformed_scenes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Edit, message: str
) -> None:
    records = copy.deepcopy(RECORDS[:3])
    change(records[1])
    assert render("--scenes", file_of(tmp_path, records), "--out", tmp_path / "made", *SMALL) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert re.search(message, printed.err)
    assert "given.json" in printed.err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ({}, "has no camera for CLEVR_val_000000.png"),
        ({"CLEVR_val_000000.png": [1, 2]}, "camera must be 3 finite numbers"),
        ({"CLEVR_val_000000.png": [1, 2, "x"]}, "camera must be 3 finite numbers"),
        ({"CLEVR_val_000000.png": [0, 0, 0]}, "the camera stands in the origin"),
        ({"CLEVR_val_000000.png": [0, 0, 9]}, "or right above or below it"),
        ({"CLEVR_val_000000.png": [0.5, 0.5, 0.5]}, "reaches behind the camera"),
        ({"images": 3}, "'images' must be a list of dictionaries"),
        ({"images": [{"image_filename": "CLEVR_val_000000.png"}]}, "camera must be 3 finite"),
        (
            {"images": [{"image_filename": "CLEVR_val_000000.png", "camera": [7, -6, 5],
                         "lamps": {"Key": [1, 2, 3]}}]},
            "'lamps' must hold Key, Fill, Back",
        ),
        ([1, 2], "holds a list where a dictionary is expected"),
    ],
)  # fmt: skip
def test_malformed_cameras_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cameras: Any, message: str
) -> None:
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(cameras))
    arguments = ("--scenes", file_of(tmp_path, RECORDS[:1]), "--cameras", path)
    assert render(*arguments, "--out", tmp_path / "made", *SMALL) == 1
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "fix this place|cut off"),
        (b'{"scenes": 3}', "'scenes' must be a list"),
        (b'{"questions": []}', "lacks the key 'scenes'"),
        (b'{"scenes": [7]}', "scene 0: must be a dictionary"),
        (b'{"scenes": [{"objects": [], "image_filename": "a.png"}', "cut off"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_hold_no_scenes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    path = tmp_path / "given.json"
    path.write_bytes(content)
    assert render("--scenes", path, "--out", tmp_path / "made", *SMALL) == 1
    assert re.search(rf"^pyvqa: .*given.json: .*({message}).*\n$", capsys.readouterr().err)
    assert render("--scenes", tmp_path / "none", "--out", tmp_path / "made", *SMALL) == 1
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


@pytest.mark.fuzz
@pytest.mark.parametrize("seed", range(150))
def test_damaged_scenes_never_end_in_a_surprise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    rng = random.Random(seed)
    records = copy.deepcopy(RECORDS[:2])
    for _ in range(rng.randrange(1, 4)):
        at: Any = records
        while True:
            keys = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(at[key], dict | list) and rng.random() < 0.85:
                at = at[key]
                continue
            at[key] = rng.choice(
                [None, True, -1, 0, 1e308, math.nan, math.inf, "", "red", [], {}, [1, 2, 3], 10**30]
            )
            break
    code = render("--scenes", file_of(tmp_path, records), "--out", tmp_path / "made", *SMALL)
    printed = capsys.readouterr()
    assert "unexpected" not in printed.err
    if code == 0:
        assert len(read(tmp_path / "made" / "scenes.json")["scenes"]) == 2
    else:
        assert printed.err.count("\n") == 1
        assert "given.json" in printed.err
        assert not (tmp_path / "made").exists()
