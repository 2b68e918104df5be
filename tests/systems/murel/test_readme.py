"""Each command that the README sets beside one of the original's, run on small data."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from data.vqa_cases import write_store, write_vqa2
from PIL import Image

from pyvqa.cli.main import main
from pyvqa.data.vqa_questions import VqaData
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.folder import Model, write_model
from pyvqa.systems.murel.upstream import network_to_upstream

from .conftest import REGION, block, murel, options, relation
from .training import NETWORKS, SMALL

DATA_SETS = ("vqa2", "vqacp2", "tdiuc")
README = Path(__file__).parents[3] / "pyvqa/systems/murel/README.md"


def commands() -> list[list[str]]:
    """Our side of the tables."""
    rows = re.findall(r"^\| .+ \| `pyvqa ([^`]+)` \|$", README.read_text(encoding="utf-8"), re.M)
    return [shlex.split(row) for row in rows]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the table's names are files."""
    folder = tmp_path_factory.mktemp("readme")
    write_vqa2(folder / "RAW", train=40, val=12, test=6)
    (folder / "GENOME").mkdir()
    pairs = [{"qa_id": 7, "image_id": 3, "question": "Is it a cat?", "answer": "yes"}]
    (folder / "GENOME/question_answers.json").write_text(json.dumps([{"id": 3, "qas": pairs}]))
    names = {"3"}
    for name, more in {
        "vqa2": [],
        "vqa2-trainval": ["--trainval"],
        "vqa2-trainval-vg": ["--trainval", "--vgenome", f"{folder}/GENOME"],
        "vqacp2": [],
        "tdiuc": [],
    }.items():
        out = ["--out", f"{folder}/data/{name}"]
        step = [name.split("-")[0], "--root", f"{folder}/RAW"]
        assert main(["prepare", *step, *more, *out]) == 0
        data = VqaData(folder / "data" / name)
        names |= {image for split in data.splits for image in data.split(split).image_names}
    write_store(folder / "STORE.h5", sorted(names), REGION)
    write_store(folder / "GENOME.h5", ["3"], REGION)
    data = VqaData(folder / "data/vqa2")
    vocabulary, answers = data.vocabulary, len(data.vocabulary.answers)
    config = murel(relation=relation(fusion=block(dropout_input=0.1)))  # as `options` has it
    network = build_network(config, vocabulary.words, answers)
    for name in ("vqa2", "tdiuc"):
        known = VqaData(folder / "data" / name).vocabulary
        other = build_network(config, known.words, len(known.answers))
        (folder / f"MODEL-{name}").mkdir()
        write_model(folder / f"MODEL-{name}", Model(other, config, known), "# Untrained\n")
    for name in ("RESULTS", "OTHERS"):
        (folder / name).mkdir()
        scores = {"split": "test", "by_type": {"acc_mpt_a": 50.0, "acc_mpt_h": 40.0}}
        (folder / name / "result.json").write_text(json.dumps(scores))
    (folder / "EXTRACTED").mkdir()
    regions = {"pooled_feat": torch.ones(2, 3), "rois": torch.ones(2, 4)}
    torch.save({**regions, "norm_rois": torch.ones(2, 4)}, folder / "EXTRACTED/3.pth")
    (folder / "PICTURES").mkdir()
    Image.new("RGB", (96, 64), (120, 110, 100)).save(folder / "PICTURES/one.png")
    for name, score in (("RUN", 0.5), ("OTHER", 0.25)):
        (folder / name).mkdir()
        line = f'{{"kind": "validate", "step": 1, "epoch": 0, "accuracy_top1": {score}, '
        (folder / name / "log.jsonl").write_text(line + '"acc_mpt_a": 0.5}\n')
    (folder / "EXPERIMENT").mkdir()
    tree = options()
    tree["model"]["network"]["classif"]["fusion"]["output_dim"] = answers
    (folder / "EXPERIMENT/options.yaml").write_text(yaml.safe_dump(tree))
    state = network_to_upstream(network.state_dict(), "bayesian", True)
    torch.save({"network": state}, folder / "EXPERIMENT/ckpt_last_model.pth.tar")
    return folder


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_command(command, workplace, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    words = list(command)
    if "--out" in words:
        place = words.index("--out") + 1
        words[place] = str(tmp_path / Path(words[place]).name)
    if words[0] == "eval":
        words[1] = f"MODEL-{Path(words[words.index('--root') + 1]).name}"
    if words[0] == "synth":
        words[words.index("--scenes") + 1] = "2"
        words.append("--no-images")
    if words[0] == "train":
        network = NETWORKS["attention-vqa2" if "attention" in words[1] else "vqa2"]
        words += [*SMALL, *network, f"network.region_dim={REGION}", "train.steps=1"]
    assert main(words) == 0, capsys.readouterr().err
    if "--out" in words:
        assert Path(words[words.index("--out") + 1]).exists()
        shutil.rmtree(tmp_path)


def test_the_table_names_every_step():
    kinds = {"prepare", "train", "eval", "compare", "convert", "view", "synth"}
    assert {command[0] for command in commands()} == kinds
    trained = {command[1] for command in commands() if command[0] == "train"}
    assert {f"murel/{kind}{data}" for kind in ("", "attention-") for data in DATA_SETS} <= trained
    prepared = {command[1] for command in commands() if command[0] == "prepare"}
    assert prepared >= {*DATA_SETS, "region-files", "features"}
    assert {command[1] for command in commands() if command[0] == "synth"} == {*DATA_SETS}
