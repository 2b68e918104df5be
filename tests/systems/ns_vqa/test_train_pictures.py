"""The picture networks' stages: they learn, validate, continue, share work, and explain."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pyvqa.cli.main import main
from pyvqa.errors import CheckpointError, ConfigError, DataError
from pyvqa.ops import encode_masks, mask_iou, pack_masks
from pyvqa.systems import STAGES
from pyvqa.systems.ns_vqa.config import ObjectDataConfig, PictureDataConfig
from pyvqa.systems.ns_vqa.folder import read_attributes, read_detector
from pyvqa.systems.ns_vqa.model.attributes import attribute_targets
from pyvqa.systems.ns_vqa.pictures import picture_source, validation_pictures, world_pictures
from pyvqa.systems.ns_vqa.train_attributes import coarse_masks
from pyvqa.systems.ns_vqa.train_detector import scale_momenta
from pyvqa.train.config import load_config
from pyvqa.train.distributed import join
from pyvqa.train.loop import fit
from pyvqa.train.run import Run
from pyvqa.train.stage import resolve_stage
from pyvqa.world.staging import Quality

SHARED = ["train.device=cpu", "train.precision=float32", "train.workers=0", "data.samples=1",
          "train.batch_size=2", "train.log_every=1", "train.checkpoint_every=2", "train.steps=4",
          "train.validate_every=0", "schedule.warmup=0", "data.val_pictures=2"]  # fmt: skip
NETWORKS = {
    "detector": ["detector.depth=10", "detector.widths=[4,4,8,8]", "detector.pyramid_width=8",
                 "detector.head_width=8", "detector.mask_width=8", "detector.short_side=96",
                 "detector.long_side=144", "detector.train_proposals=30",
                 "detector.test_proposals=20", "detector.train_rois=16"],
    "attributes": ["attributes.depth=10", "attributes.widths=[4,4,8,8]", "attributes.size=48"],
}  # fmt: skip
NAMES = sorted(NETWORKS)


def values(name: str, *more: str) -> list[str]:
    return [*SHARED, *NETWORKS[name], *more]


def train(name: str, out: Path, *more: str) -> list[dict[str, float]]:
    """Run a stage's small recipe to its end; give its log."""
    stage = resolve_stage(f"ns-vqa/{name}", STAGES)
    config = load_config(f"ns-vqa/{name}-small", values(name, *more), stage.config_type)
    with join(config.train) as ranks:
        run = Run.open(out, config)
        fit(run, stage, config, ranks)
        run.close()
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def mini(tmp_path_factory) -> Path:
    """A CLEVR-mini folder of six pictures."""
    out = tmp_path_factory.mktemp("mini") / "mini"
    assert main(["synth", "clevr-mini", "--out", str(out), "--scenes", "6", "--seed", "3",
                 "--split", "mini", "--size", "120x80"]) == 0  # fmt: skip
    return out


# Pictures --------------------------------------------------------------------------------------


def of_world(pictures: int = 8) -> PictureDataConfig:
    return PictureDataConfig(pictures=pictures, val_pictures=3, samples=1)


def same(a, b) -> bool:
    return all(
        torch.equal(x, y)
        for first, second in ((a.pictures, b.pictures), (a.masks, b.masks))
        for x, y in zip(first, second, strict=True)
    )


@pytest.mark.parametrize("kind", ["world", "folder"])
def test_batches_are_a_pure_function_and_shares_make_the_whole(kind, mini):
    data = of_world() if kind == "world" else PictureDataConfig(root=str(mini), pictures=5)
    source = picture_source(data, 3, seed=5)
    whole = source.batch(0, 0, 0, 1)
    assert len(whole.pictures) == 3
    assert same(whole, picture_source(data, 3, seed=5).batch(0, 0, 0, 1))
    parts = [source.batch(0, 0, rank, 2) for rank in (0, 1)]
    assert torch.equal(whole.seeds, torch.cat([p.seeds for p in parts]))
    assert whole.objects == [objects for part in parts for objects in part.objects]
    other = source.batch(1, 0, 0, 1)
    assert not torch.equal(whole.seeds, other.seeds)
    if kind == "world":
        assert not set(whole.seeds.tolist()) & set(source.batch(0, 1, 0, 1).seeds.tolist())


def test_a_batch_shows_what_it_says():
    batch = world_pictures(7, 0, 3, Quality(480, 320, 1))
    for picture, masks, objects in zip(batch.pictures, batch.masks, batch.objects, strict=True):
        assert picture.dtype == torch.uint8
        assert masks.shape == (len(objects), *picture.shape[:2])
        assert int(masks.sum(0).max()) == 1
        assert int(masks.flatten(1).sum(1).min()) >= 200
        # Farther to the front is lower in the picture, farther to the right more at its right.
        rows, columns = torch.meshgrid(torch.arange(320.0), torch.arange(480.0), indexing="ij")
        area = masks.flatten(1).sum(1)
        middle = torch.stack([(masks * each).flatten(1).sum(1) / area for each in (columns, rows)])
        where = torch.tensor([known["position"][:2] for known in objects]).T
        for axis in (0, 1):
            assert np.corrcoef(middle[axis], where[axis])[0, 1] > 0.8


def test_pictures_can_be_crowded():
    crowded = PictureDataConfig(samples=1, least_objects=9)
    batch = picture_source(crowded, 4, seed=5).batch(0, 0, 0, 1)
    assert min(map(len, batch.objects)) >= 9
    with pytest.raises(ConfigError, match="objects"):
        picture_source(PictureDataConfig(samples=1, least_objects=11), 4, seed=5)


def test_validation_is_apart_from_training(mini):
    data = of_world()
    known = picture_source(data, 3, seed=5).batch(0, 0, 0, 1)
    held = validation_pictures(data, seed=5)
    assert sum(len(batch.pictures) for batch in held) == 3
    assert not torch.equal(held[0].pictures[0], known.pictures[0])
    folder = PictureDataConfig(root=str(mini), pictures=4)
    assert sum(len(batch.pictures) for batch in validation_pictures(folder, seed=5)) == 2
    with pytest.raises(ConfigError, match="leaves none"):
        validation_pictures(PictureDataConfig(root=str(mini), pictures=6), seed=5)


def test_objects_of_a_file_take_the_place_of_the_annotated(mini, tmp_path):
    annotated = picture_source(PictureDataConfig(root=str(mini)), 1, seed=0).pictures
    first, third = annotated[0], annotated[2]
    content = {
        "object_masks": [
            {**rle, "counts": rle["counts"].decode() if isinstance(rle["counts"], bytes)
             else rle["counts"]}
            for picture in (first, third)
            for rle in encode_masks(picture.masks.select(slice(0, 2)))
        ],
        "image_idxs": [first.image_index] * 2 + [third.image_index] * 2,
        "feature_vectors": attribute_targets(
            first.objects[:2] + third.objects[:2]
        ).tolist(),
    }  # fmt: skip
    file = tmp_path / "objects.json"
    file.write_text(json.dumps(content))
    data = ObjectDataConfig(root=str(mini), objects=str(file))
    found = picture_source(data, 1, seed=0).pictures
    assert [p.image_index for p in found] == [first.image_index, third.image_index]
    names = ("color", "material", "shape", "size")
    for picture, known in zip(found, (first, third), strict=True):
        for a, b in zip(picture.objects, known.objects[:2], strict=True):
            assert [a[n] for n in names] == [b[n] for n in names]
            assert a["position"] == pytest.approx(b["position"], abs=1e-6)
        assert torch.equal(picture.masks.bits, known.masks.bits[:2])
    file.write_text(json.dumps(content | {"feature_vectors": []}))
    with pytest.raises(DataError, match="--ground-truth"):
        picture_source(data, 1, seed=0)


def test_pictures_and_masks_of_other_sizes_are_named(mini, tmp_path):
    content = json.loads((mini / "CLEVR_mini_coco_anns.json").read_text())
    other = main(["synth", "clevr-mini", "--out", str(tmp_path / "other"), "--scenes", "6",
                  "--seed", "3", "--split", "mini", "--size", "96x64"])  # fmt: skip
    assert other == 0
    (tmp_path / "other/CLEVR_mini_coco_anns.json").write_text(json.dumps(content))
    source = picture_source(PictureDataConfig(root=str(tmp_path / "other")), 2, seed=0)
    with pytest.raises(DataError, match="96x64 pixels, but its masks are 120x80"):
        source.batch(0, 0, 0, 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "pyvqa synth clevr-mini"),
        ({"scenes": {}}, "must be a list"),
        ({"scenes": [{"image_index": 0, "image_filename": "a.png", "objects": [{}]}]}, "has no"),
        ({"scenes": []}, "no picture to train on"),
    ],
)
def test_annotations_that_cannot_be_used_are_explained(tmp_path, content, message):
    if content is not None:
        (tmp_path / "CLEVR_mini_coco_anns.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        picture_source(PictureDataConfig(root=str(tmp_path)), 2, seed=0)


def test_coarse_masks_stay_close_and_are_drawn_once_for_all():
    masks = world_pictures(7, 0, 1, Quality(480, 320, 1)).masks[0]
    drawn = coarse_masks(masks, 1.0, torch.Generator().manual_seed(1))
    overlap = mask_iou(pack_masks(masks), pack_masks(drawn)).diagonal()
    assert 0.8 < float(overlap.min())
    assert float(overlap.max()) < 1
    assert torch.equal(drawn, coarse_masks(masks, 1.0, torch.Generator().manual_seed(1)))
    assert not torch.equal(drawn, coarse_masks(masks, 1.0, torch.Generator().manual_seed(2)))
    assert torch.equal(masks, coarse_masks(masks, 0.0, torch.Generator().manual_seed(1)))
    empty = torch.zeros_like(masks)
    assert torch.equal(empty, coarse_masks(empty, 1.0, torch.Generator().manual_seed(1)))


# Stages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_stage_learns_a_folder_by_heart_and_exports(name, mini, tmp_path):
    steps = {"detector": 30, "attributes": 60}[name]
    log = train(name, tmp_path / "run", f"data.root={mini}", "data.pictures=4",
                f"train.steps={steps}", f"train.validate_every={steps}", "train.batch_size=4",
                "optim.lr=0.01", "train.checkpoint_every=0")  # fmt: skip
    losses = [line["loss"] for line in log if line["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    held = [line for line in log if line["kind"] == "validate"][-1]
    expected = {
        "detector": {"recall", "precision", "mask_iou", "class_accuracy"},
        "attributes": {"loss", "shape", "size", "material", "color", "all_right",
                       "position_error", "position_error_largest"},
    }  # fmt: skip
    assert set(held) - {"kind", "step", "epoch"} == expected[name]
    read = read_detector if name == "detector" else read_attributes
    network = read(tmp_path / "run/model").network
    stored = load_file(tmp_path / f"run/model/{name}.safetensors")
    assert set(stored) == set(network.state_dict())
    assert f"stage: ns-vqa/{name}" in (tmp_path / "run/model/card.md").read_text()


def test_a_detector_that_finds_its_folder_validates_so(mini, tmp_path):
    """The same pictures as training's: what was learnt by heart must be found again."""
    log = train("detector", tmp_path / "run", f"data.root={mini}", "data.pictures=2",
                "train.steps=150", "train.validate_every=150", "train.batch_size=2",
                "optim.lr=0.01", "detector.widths=[16,16,32,32]", "detector.pyramid_width=32",
                "detector.head_width=64", "detector.mask_width=16", "detector.anchor_size=12",
                "detector.short_side=80", "detector.long_side=120",
                "train.checkpoint_every=0")  # fmt: skip
    losses = [line for line in log if line["kind"] == "train"]
    assert losses[-1]["accuracy"] > 0.9 > losses[0]["accuracy"]


RUN = """
import sys, torch
torch.set_num_threads(1)
from pyvqa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(name: str, out: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "train", f"ns-vqa/{name}-small", *values(name, *more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [*command, "--out", str(out)], env=environment, stderr=subprocess.PIPE, text=True
    )


def kill_test(name: str, tmp_path: Path, kills: int) -> None:
    settings = ("train.steps=12", "train.workers=1", "data.coarse=0.5")
    settings = settings if name == "attributes" else settings[:2]
    began = time.monotonic()
    whole = start(name, tmp_path / "whole", *settings)
    assert whole.wait(120) == 0, whole.stderr.read()
    length = time.monotonic() - began
    chance = random.Random(name)
    for _ in range(kills):
        process = start(name, tmp_path / "killed", *settings)
        try:
            process.wait(chance.uniform(0.5, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
    final = start(name, tmp_path / "killed", *settings)
    assert final.wait(120) == 0, final.stderr.read()
    files = ["log.jsonl", f"model/{name}.safetensors"]
    last = sorted(path.name for path in (tmp_path / "whole/checkpoints").iterdir())[-1]
    folder = tmp_path / "whole/checkpoints" / last
    if folder.is_dir():
        files += [f"checkpoints/{last}/{path.name}" for path in folder.iterdir()]
    for file in files:
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "killed" / file).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_a_killed_run_ends_with_the_same_bits(name, tmp_path):
    kill_test(name, tmp_path, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ten_kills(name, tmp_path):
    kill_test(name, tmp_path, kills=10)


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_compute_what_one_does(name, tmp_path):
    """Five pictures: uneven shares; counts and batch norm's statistics are those of all."""
    settings = ("train.batch_size=5", "train.steps=3")
    if name == "attributes":
        settings = (*settings, "data.coarse=0.5")
    one = train(name, tmp_path / "one", *settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    ranks = [
        start(name, tmp_path / "two", *settings, **place, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in (0, 1)
    ]
    for process in ranks:
        assert process.wait(120) == 0, process.stderr.read()
    two = [json.loads(line) for line in (tmp_path / "two/log.jsonl").read_text().splitlines()]
    losses = [[line["loss"] for line in log if line["kind"] == "train"] for log in (one, two)]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-5, abs=1e-5)


# What they begin with --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_a_file_are_taken_over(name, tmp_path):
    torch.manual_seed(1)
    train(name, tmp_path / "first")
    stored = load_file(tmp_path / f"first/model/{name}.safetensors")
    prefix = "backbone." if name == "detector" else ""
    backbone = {
        key.removeprefix(prefix): value.float() for key, value in stored.items()
        if key.startswith(prefix + ("" if prefix else "layer")) or key == "bn1.weight"
    }  # fmt: skip
    if name == "attributes":
        backbone |= {k: v.float() for k, v in stored.items() if k.startswith(("conv1", "bn1"))}
    save_file(backbone, tmp_path / "backbone.safetensors")
    train(name, tmp_path / "second", f"init={tmp_path / 'backbone.safetensors'}", "optim.lr=0")
    again = load_file(tmp_path / f"second/model/{name}.safetensors")
    key = f"{prefix}layer2.0.conv1.weight"
    assert torch.equal(again[key], stored[key])
    with pytest.raises(CheckpointError, match="no such file"):
        train(name, tmp_path / "third", "init=absent.pth")
    del backbone["layer2.0.conv1.weight"]
    save_file(backbone, tmp_path / "backbone.safetensors")
    with pytest.raises(CheckpointError, match=r"layer2\.0\.conv1\.weight is missing"):
        train(name, tmp_path / "fourth", f"init={tmp_path / 'backbone.safetensors'}")


@pytest.mark.parametrize("name", NAMES)
def test_training_goes_on_with_a_model(name, tmp_path):
    train(name, tmp_path / "first")
    train(name, tmp_path / "second", f"start={tmp_path / 'first'}", "optim.lr=0", "train.steps=1")
    first, second = (
        load_file(tmp_path / run / f"model/{name}.safetensors") for run in ("first", "second")
    )
    trained = [key for key in first if "running" not in key and "num_batches" not in key]
    assert all(torch.equal(first[key], second[key]) for key in trained)
    assert f"began with: {tmp_path / 'first'}" in (tmp_path / "second/model/card.md").read_text()
    with pytest.raises(ConfigError, match="both set"):
        train(name, tmp_path / "third", f"start={tmp_path / 'first'}", "init=x.pth")


def test_frozen_stages_need_trained_weights(tmp_path):
    with pytest.raises(ConfigError, match="init=FILE"):
        train("detector", tmp_path / "run", "detector.frozen_stages=2")


@pytest.mark.parametrize("name", NAMES)
def test_the_published_recipe_names_the_folder_of_its_data(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    init = [f"init={tmp_path / 'none.pth'}"] if name == "detector" else []
    assert main(["train", f"ns-vqa/{name}-paper", *init, "--out", "run"]) == 1
    message = capsys.readouterr().err
    assert "data/CLEVR_mini/CLEVR_mini_coco_anns.json" in message
    assert "pyvqa synth clevr-mini --out data/CLEVR_mini" in message


def test_momenta_follow_a_jump_of_the_rate_alone():
    weight = torch.nn.Parameter(torch.ones(3))
    optimiser = torch.optim.SGD([weight], lr=1.0, momentum=0.9)
    weight.grad = torch.ones(3)
    optimiser.step()
    scale_momenta(optimiser, 1.05)
    assert optimiser.state[weight]["momentum_buffer"].tolist() == [1, 1, 1]
    scale_momenta(optimiser, 0.5)
    assert optimiser.state[weight]["momentum_buffer"].tolist() == [0.5, 0.5, 0.5]
