"""Detections and scenes of a folder of pictures: interrupted, shared, numbered with gaps."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pyvqa.cli.main import main
from pyvqa.systems.ns_vqa import extract
from pyvqa.systems.ns_vqa.build import build_attributes, build_detector
from pyvqa.systems.ns_vqa.config import AttributesConfig, DetectorConfig, PerceptionConfig
from pyvqa.systems.ns_vqa.detections import read_detections
from pyvqa.systems.ns_vqa.folder import AttributesPart, DetectorPart, write_model
from pyvqa.systems.ns_vqa.objects import read_objects
from pyvqa.systems.ns_vqa.perception import Eyes, look_at

DETECTOR = DetectorConfig(
    depth=10,
    widths=[8, 8, 16, 16],
    stride_first=False,
    frozen_norm=False,
    frozen_stages=0,
    pyramid_width=16,
    head_width=16,
    mask_width=8,
    categories="shape",
    rules="modern",
    pixels="imagenet",
    short_side=64,
    test_proposals=20,
    detections=4,
)
ATTRIBUTES = AttributesConfig(depth=10, widths=[4, 4, 8, 8], size=32)
PICTURES = 48
INDICES = [3 + 2 * k for k in range(PICTURES)]  # with gaps, and not the numbers in the names


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and with pictures of noise, official names and scenes."""
    folder = tmp_path_factory.mktemp("extract")
    chance = np.random.default_rng(0)
    images = folder / "root/images/val"
    images.mkdir(parents=True)
    scenes = []
    for k, index in enumerate(INDICES):
        name = f"CLEVR_val_{k:06d}.png"
        small = chance.integers(0, 256, (8, 12, 3), dtype=np.uint8)
        Image.fromarray(small).resize((96, 64)).save(images / name)
        scenes.append({"image_index": index, "image_filename": name, "objects": []})
    (folder / "root/scenes").mkdir()
    (folder / "root/scenes/CLEVR_val_scenes.json").write_text(json.dumps({"scenes": scenes}))
    torch.manual_seed(0)
    (folder / "model").mkdir()
    write_model(
        folder / "model",
        "a card",
        detector=DetectorPart(build_detector(DETECTOR).eval(), DETECTOR),
        attributes=AttributesPart(build_attributes(ATTRIBUTES).eval(), ATTRIBUTES),
        perception=PerceptionConfig(batch_size=5, score=0.2, suppression=False),
    )
    return folder


def detecting(folder: Path, out: Path) -> list[str]:
    words = ["clevr-detections", "--model", folder / "model", "--root", folder / "root"]
    return [str(w) for w in (*words, "--split", "val", "--batch-size", "2", "--out", out)]


def describing(folder: Path, objects: Path, out: Path) -> list[str]:
    words = ["clevr-scenes", "--model", folder / "model", "--root", folder / "root"]
    return [str(w) for w in (*words, "--split", "val", "--objects", objects, "--out", out)]


@pytest.fixture(scope="module")
def made(workplace: Path) -> dict[str, Path]:
    """The three files, made without interruption, pieces made small."""
    files = {n: workplace / n for n in ("detections.h5", "objects.json", "scenes.json")}
    detections, objects, scenes = files.values()
    assert main(["prepare", *detecting(workplace, detections)]) == 0
    select = ["clevr-objects", "--detections", str(detections), "--score", "0.2"]
    assert main(["prepare", *select, "--out", str(objects)]) == 0
    assert main(["prepare", *describing(workplace, objects, scenes)]) == 0
    return files


def test_detections_know_their_pictures(made):
    found = read_detections(made["detections.h5"])
    assert found.image_index.tolist() == INDICES
    assert found.image_filename == [f"CLEVR_val_{k:06d}.png" for k in range(PICTURES)]
    assert found.image_size.tolist() == [[64, 96]] * PICTURES
    assert len(found) > PICTURES  # more than one object in a picture
    assert found.settings["detector"]["categories"] == "shape"
    assert set(found.classes.tolist()) <= {1, 2, 3}


def test_scenes_are_what_is_seen_in_the_files(workplace, made):
    """The commands, step by step, find what one look finds."""
    eyes = Eyes.read(workplace / "model")
    paths = sorted((workplace / "root/images/val").iterdir())
    scenes = json.loads(made["scenes.json"].read_text())
    assert list(scenes) == ["info", "scenes"]
    assert scenes["info"] == "clevr derendered scene"
    assert [scene["image_index"] for scene in scenes["scenes"]] == INDICES
    objects = 0
    for path, seen, scene in zip(
        paths, look_at(eyes, paths, batch_size=2, workers=2), scenes["scenes"], strict=True
    ):
        assert scene["image_filename"] == path.name
        assert list(scene) == ["image_index", "image_filename", "objects"]
        order = torch.argsort(seen.found.labels, stable=True).tolist()
        expected = [seen.objects[row] for row in order]
        assert len(scene["objects"]) == len(expected)
        objects += len(expected)
        for ours, theirs in zip(scene["objects"], expected, strict=True):
            assert list(ours) == ["shape", "size", "material", "color", "position"]
            assert ours["shape"] == theirs["shape"]  # the detector's
            assert ours["position"] == pytest.approx(theirs["position"], abs=1e-4)
    assert objects == len(read_objects(made["objects.json"])) > PICTURES


def test_labels_of_the_network(workplace, made, tmp_path):
    words = describing(workplace, made["objects.json"], tmp_path / "scenes.json")
    assert main(["prepare", *words, "--labels", "network"]) == 0
    pairs = [
        json.loads(path.read_text()) for path in (made["scenes.json"], tmp_path / "scenes.json")
    ]
    by_detector, by_network = (
        [one for scene in content["scenes"] for one in scene["objects"]] for content in pairs
    )
    classes = read_objects(made["objects.json"]).classes
    names = ("cube", "cylinder", "sphere")
    assert [one["shape"] for one in by_detector] == [names[label - 1] for label in classes]
    changed = [
        {**a, "shape": b["shape"]} == b for a, b in zip(by_detector, by_network, strict=True)
    ]
    assert all(changed)  # this detector's classes tell the shape alone
    assert by_detector != by_network


def killed(words: list[str], pieces: Path, wanted: int, wait: float) -> bool:
    """Start the command, kill it once it has some pieces; say whether it was still at work."""
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pyvqa.cli.prepare", *words]
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL) as work:
        while work.poll() is None and len(list(pieces.glob("*-*[0-9]"))) < wanted:
            time.sleep(0.002)
        time.sleep(wait)
        work.send_signal(signal.SIGKILL)
        return work.wait() == -signal.SIGKILL


@pytest.mark.parametrize(("step", "kills"), [("detections.h5", 2), ("scenes.json", 1)])
def test_killed_work_goes_on_and_ends_with_the_same_bytes(workplace, made, tmp_path, step, kills):
    out = tmp_path / step
    words = (
        detecting(workplace, out)
        if step == "detections.h5"
        else describing(workplace, made["objects.json"], out)
    )
    chance = random.Random(5)
    pieces = tmp_path / f".{step}.pieces"
    stopped = [
        killed(words, pieces, chance.randint(0, 2), chance.random() / 50) for _ in range(kills)
    ]
    assert any(stopped)
    assert main(["prepare", *words]) == 0
    assert out.read_bytes() == made[step].read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_two_processes_share_the_pictures(workplace, made, tmp_path):
    out = tmp_path / "detections.h5"
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pyvqa.cli.prepare", *detecting(workplace, out)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command.insert(0, sys.executable)
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "by each of 2 processes" in done.stdout
    assert done.stdout.count("detections.h5") == 1
    assert out.read_bytes() == made["detections.h5"].read_bytes()


def test_every_command_of_the_readme(workplace, tmp_path, monkeypatch):
    """Our side of the table, from top to bottom: later commands read what earlier ones wrote."""
    text = Path(extract.__file__).with_name("README.md").read_text(encoding="utf-8")
    section = text.split("## From pictures to scenes")[1].split("What the folders are")[0]
    commands = re.findall(r"^\| .+? \| `pyvqa ([^`]+)`.*\|$", section, re.M)
    assert len(commands) == 8
    monkeypatch.chdir(tmp_path)
    Path("MODEL").symlink_to(workplace / "model")
    Path("CLEVR").symlink_to(workplace / "root")
    Path("MINI/images").mkdir(parents=True)
    thing = {"shape": "cube", "size": "small", "material": "metal", "color": "red"}
    thing |= {"position": [0, 0, 0], "mask": {"size": [64, 96], "counts": "0PP1PP5"}}
    scenes = []
    for k, path in enumerate(sorted((workplace / "root/images/val").iterdir())[:6]):
        name = f"CLEVR_mini_{k:06d}.png"
        Path("MINI/images", name).symlink_to(path)
        scenes.append({"image_index": k, "image_filename": name, "objects": [thing]})
    Path("MINI/CLEVR_mini_coco_anns.json").write_text(json.dumps({"scenes": scenes}))
    for command in commands:
        words = command.split()
        assert main(words) == 0, command
        assert Path(words[words.index("--out") + 1]).is_file()


def test_a_finished_file_is_left_alone(workplace, made, capsys):
    before = made["detections.h5"].stat().st_mtime_ns
    assert main(["prepare", *detecting(workplace, made["detections.h5"])]) == 0
    assert "complete already" in capsys.readouterr().out
    other = [*detecting(workplace, made["detections.h5"]), "--batch-size", "4"]
    assert main(["prepare", *other]) == 1
    assert "made with other settings (batch_size)" in capsys.readouterr().err
    assert made["detections.h5"].stat().st_mtime_ns == before


def test_a_picture_that_cannot_be_read_is_named(workplace, tmp_path, capsys):
    images = tmp_path / "root/images/val"
    images.mkdir(parents=True)
    (images / "CLEVR_val_000004.png").write_text("no picture")
    words = detecting(workplace, tmp_path / "out.h5")
    words[words.index(str(workplace / "root"))] = str(tmp_path / "root")
    assert main(["prepare", *words]) == 1
    assert "CLEVR_val_000004.png: not a picture" in capsys.readouterr().err
    Image.new("RGB", (96, 64)).save(images / "CLEVR_val_000004.png")
    assert main(["prepare", *words]) == 0
    assert read_detections(tmp_path / "out.h5").image_index.tolist() == [4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--split": "train"}, "images/train: no such file; unpack CLEVR_v1.0.zip"),
        ({"--split": "mini"}, "pyvqa synth clevr-mini --scenes 4000 --out"),
        ({"--model": "nowhere"}, "nowhere: neither a shipped model"),
        ({"--split": "valA"}, "images/valA: no such file; unpack CLEVR_CoGenT_v1.0.zip"),
        ({"--out": "out.json"}, "the name must end in .h5"),
        ({"--batch-size": "0"}, "--batch-size 0: must be at least 1"),
        ({"--workers": "0"}, "--workers 0: must be at least 1"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_mistakes_give_one_line(workplace, tmp_path, capsys, change: dict[str, Any], message):
    words = [*detecting(workplace, tmp_path / "out.h5")]
    for name, value in change.items():
        words += [name, value]
    assert main(["prepare", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def changed(objects: Path, target: Path, **changes: Any) -> Path:
    content = json.loads(objects.read_text())
    for key, value in changes.items():
        content[key][:] = [value] * len(content[key])
    target.write_text(json.dumps(content))
    return target


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_idxs": 4}, "image_idxs[0] is 4, but"),
        ({"category_idxs": 7}, "category_idxs[0] is 7; the detector's classes are 1..3"),
        ({"object_masks": {"size": [8, 8], "counts": "P2"}}, "masks of 8 x 8 pixels in a picture"),
        ({"object_masks": {"size": [64, 96], "counts": "0"}}, "objects.json: object_masks[0] to"),
        ({"scores": "high"}, "scores[0] is 'high', no number"),
    ],
)
def test_objects_that_do_not_fit(workplace, made, tmp_path, capsys, changes, message):
    objects = changed(made["objects.json"], tmp_path / "objects.json", **changes)
    words = describing(workplace, objects, tmp_path / "scenes.json")
    assert main(["prepare", *words]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
