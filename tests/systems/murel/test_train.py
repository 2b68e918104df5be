"""MuRel's stage: it learns, validates, continues, shares work and exports."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from pyvqa.data.vqa_questions import VqaData
from pyvqa.errors import ConfigError, DataError
from pyvqa.systems import load
from pyvqa.systems.murel.config import FUSION_NAMES, AnswersConfig
from pyvqa.systems.murel.data import load_items, open_store
from pyvqa.systems.murel.scoring import predict, scores
from pyvqa.train.config import load_config, shipped_names
from pyvqa.train.optim import build_schedule

from .training import NAMES, WIDTH, kill_test, log_of, make_data, start, train

FUSIONS = {f"murel/fusion-{name.replace('_', '-')}": name for name in FUSION_NAMES}
DATA_SETS = ("vqa2", "vqa2-trainval", "vqa2-trainval-vg", "vqacp2", "tdiuc")
PUBLISHED = [
    *(f"murel/{name}" for name in DATA_SETS),
    *(f"murel/attention-{name}" for name in ("vqa2", "vqacp2", "tdiuc")),
    *FUSIONS,
]
ANYWHERE = ["data.features=[]", "data.root=none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("murel"))


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_by_heart_validates_and_exports(name, folder, tmp_path):
    more = ("train.steps=150", "data.sample_answers=false", "data.val_split=train",
            "train.validate_every=75", "train.best=accuracy_top1", "train.batch_size=20",
            "train.checkpoint_every=0")  # fmt: skip
    log = train(name, folder, tmp_path / "run", *more)
    losses = [line["loss"] for line in log if line["kind"] == "train"]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    held = [line for line in log if line["kind"] == "validate"][-1]
    assert held["accuracy_top1"] > 60
    assert held["accuracy_top5"] >= held["accuracy_top1"]
    assert set(held) - {"kind", "step", "epoch"} == {
        "loss", "accuracy_top1", "accuracy_top5", "vqa_accuracy", "acc_mpt_a", "acc_mpt_h",
        "acc_mpt_a_norm", "acc_mpt_h_norm"}  # fmt: skip
    # What was exported answers as what was validated, but for the rounding of the weights.
    model = load(tmp_path / "run").model
    items = load_items(
        VqaData(folder / "data"), "train", open_store([folder / "store.safetensors"], WIDTH)
    )
    found = scores(items.table, model.vocabulary, predict(model.network, items, 7))
    best = max(line["accuracy_top1"] for line in log if line["kind"] == "validate")
    assert found["accuracy_top1"] == pytest.approx(best, abs=6)
    assert "answers" not in (tmp_path / "run/model/config.yaml").read_text()
    assert "MuRel" in (tmp_path / "run/model/card.md").read_text() or name != "vqa2"


def test_scores_as_targets(folder, tmp_path):
    log = train("vqa2", folder, tmp_path / "run", "loss=scores", "train.steps=60")
    losses = [line["loss"] for line in log]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_targets_are_drawn_anew_and_by_people(folder, tmp_path):
    """Whole epochs in one batch: only the drawn answers differ between steps."""
    more = ("train.batch_size=100", "optim.lr=0", "train.steps=3")
    drawn = [line["loss"] for line in train("vqa2", folder, tmp_path / "drawn", *more)]
    fixed = train("vqa2", folder, tmp_path / "fixed", *more, "data.sample_answers=false")
    assert len(set(drawn)) == 3
    assert np.ptp([line["loss"] for line in fixed]) < 1e-5


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_every_recipe_is_as_published(recipe):
    config = load_config(recipe, ANYWHERE, AnswersConfig)
    kind = recipe.removeprefix("murel/").split("-")[0]
    size, rates = {
        "attention": (512, {0: 0.5e-4, 1: 0.875e-4, 4: 2e-4, 9: 2e-4, 10: 0.5e-4}),
        "fusion": (64, {0: 3.5e-4, 1: 7e-4, 2: 1.05e-3, 3: 1.4e-3, 9: 1.4e-3, 10: 3.5e-4}),
    }.get(kind, (84, {0: 1.5e-4, 3: 3.75e-4, 6: 6e-4, 13: 6e-4, 14: 1.5e-4, 22: 5.859375e-7}))
    assert config.train.batch_size == size
    assert config.train.epochs == (25 if kind == "vqa2" else 22)
    factor = build_schedule(config.schedule, config.train, 10)
    for epoch, rate in rates.items():
        for step in (10 * epoch, 10 * epoch + 9):
            assert config.optim.lr * factor(step) == pytest.approx(rate, rel=1e-9)
    assert config.optim.clip_norm == 0.25
    assert config.optim.name == ("adamax" if kind == "fusion" else "adam")
    assert config.data.sample_answers == ("tdiuc" not in recipe)
    network = config.network
    assert (network.relation is None) == (kind in ("attention", "fusion"))
    assert (network.attention is None) != (network.relation is None)
    if kind != "fusion":
        classify = network.classify
        assert (classify.mm_dim, classify.chunks, classify.rank) == (1600, 20, 10)
        fusion = (network.relation or network.attention).fusion
        assert fusion.dropout_input == (0.0 if kind in ("vqacp2", "tdiuc") else 0.1)


@pytest.mark.parametrize("recipe", FUSIONS)
def test_every_fusion_takes_a_training_step(recipe, folder, tmp_path):
    config = load_config(recipe, ANYWHERE, AnswersConfig)
    fusion = config.network.attention.fusion
    assert fusion.type == FUSIONS[recipe]
    assert fusion == config.network.classify
    small = {"mm_dim": 8, "chunks": 2, "rank": 2, "factor": 2, "dimensions": "[6,5]"}
    set_here = [name for name in small if getattr(fusion, name) is not None]
    narrow = [
        f"network.{place}.{name}={small[name]}"
        for place in ("attention.fusion", "classify")
        for name in set_here
    ]
    name = recipe.removeprefix("murel/")
    log = train(name, folder, tmp_path / "run", *narrow, "network.attention.width=4",
                "network.attention.hidden=3", "train.steps=2", "train.batch_size=20")  # fmt: skip
    assert all(np.isfinite(line["loss"]) for line in log)
    assert log[0]["loss"] != log[1]["loss"]
    assert load(tmp_path / "run").model.config.attention.fusion.type == FUSIONS[recipe]


def test_all_of_the_recipes_are_there():
    assert {*PUBLISHED, "murel/questions-only"} <= set(shipped_names())
    assert len(FUSIONS) == 10


# Exactness -------------------------------------------------------------------------------------


def test_a_killed_run_ends_with_the_same_bits(folder, tmp_path):
    kill_test("vqa2", folder, tmp_path, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_ten_kills(name, folder, tmp_path):
    """Twenty over both recipes."""
    assert kill_test(name, folder, tmp_path, kills=10) >= 5


def test_workers_change_nothing(folder, tmp_path):
    logs = [
        train("vqa2", folder, tmp_path / str(n), f"train.workers={n}", "train.steps=7")
        for n in (0, 1, 4)
    ]
    assert logs[0] == logs[1] == logs[2]


def test_two_ranks_compute_what_one_does(folder, tmp_path):
    """Uneven shares, and a last batch of which one rank has nothing."""
    count = len(VqaData(folder / "data").split("train"))
    settings = (f"train.batch_size={(count - 1) // 2}", "train.steps=4")
    assert count % ((count - 1) // 2) == 1 or count % 2 == 0
    one = train("vqa2", folder, tmp_path / "one", *settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    ranks = [
        start("vqa2", folder, tmp_path / "two", *settings, **place, RANK=str(k), LOCAL_RANK=str(k))
        for k in (0, 1)
    ]
    for process in ranks:
        assert process.wait(120) == 0, process.stderr.read()
    losses = [[line["loss"] for line in log] for log in (one, log_of(tmp_path / "two"))]
    assert len(losses[0]) == 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-5, abs=1e-5)


# What goes wrong -------------------------------------------------------------------------------


def test_what_cannot_be_is_explained(folder, tmp_path):
    with pytest.raises(DataError, match="no answers to validate on"):
        train("vqa2", folder, tmp_path / "a", "data.val_split=test", "train.validate_every=1")
    with pytest.raises(DataError, match="not known or not in the vocabulary"):
        train("vqa2", folder, tmp_path / "b", "data.train_split=test")
    with pytest.raises(DataError, match="7 are needed"):
        train("vqa2", folder, tmp_path / "c", "network.region_dim=7")
    with pytest.raises(DataError, match="pyvqa prepare vqa2"):
        train("vqa2", folder, tmp_path / "d", "data.root=none")
    with pytest.raises(ConfigError, match="exactly one of relation"):
        train("vqa2", folder, tmp_path / "e", "network.attention={}")
    with pytest.raises(ConfigError, match=r"data\.features is required"):
        load_config("murel/vqa2", [], AnswersConfig)


def test_an_answer_outside_the_vocabulary_is_never_right(folder):
    data = VqaData(folder / "data")
    items = load_items(data, "val", open_store([], WIDTH))

    class Constant(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, tokens, *rest):
            logits = torch.zeros(len(tokens), len(data.vocabulary.answers))
            logits[:, -1] = 1
            return type("Said", (), {"logits": logits})

    found = predict(Constant(), items, 5)
    outside = items.table.answers < 0
    last = items.table.answers == len(data.vocabulary.answers) - 1
    assert found.right[1].tolist() == last.tolist()
    assert np.isnan(found.losses).tolist() == outside.tolist()
    result = scores(items.table, data.vocabulary, found)
    assert result["outside_vocabulary"] == outside.sum()
    assert result["accuracy_top1"] == pytest.approx(100 * last.mean())
