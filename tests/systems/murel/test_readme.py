"""Each command that the README sets beside one of the original's, run on small data."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from data.vqa_cases import write_store, write_vqa2

from pyvqa.cli.main import main
from pyvqa.data.vqa_questions import VqaData
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.folder import Model, write_model
from pyvqa.systems.murel.upstream import network_to_upstream

from .conftest import REGION, block, murel, options, relation
from .training import NETWORKS, SMALL

README = Path(__file__).parents[3] / "pyvqa/systems/murel/README.md"


def commands() -> list[list[str]]:
    """Our side of the table."""
    section = README.read_text(encoding="utf-8").split("## The original's commands")[1]
    rows = re.findall(r"^\| .+ \| `pyvqa ([^`]+)` \|$", section.split("\n## ")[0], re.M)
    return [shlex.split(row) for row in rows]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the table's names are files."""
    folder = tmp_path_factory.mktemp("readme")
    write_vqa2(folder / "RAW", train=40, val=12, test=6)
    for name, more in (("vqa2", []), ("vqa2-trainval", ["--trainval"])):
        out = ["--out", f"{folder}/data/{name}"]
        assert main(["prepare", "vqa2", "--root", f"{folder}/RAW", *more, *out]) == 0
    data = VqaData(folder / "data/vqa2")
    names = {name for split in data.splits for name in data.split(split).image_names}
    write_store(folder / "STORE.h5", sorted(names), REGION)
    vocabulary, answers = data.vocabulary, len(data.vocabulary.answers)
    config = murel(relation=relation(fusion=block(dropout_input=0.1)))  # as `options` has it
    network = build_network(config, vocabulary.words, answers)
    (folder / "MODEL").mkdir()
    write_model(folder / "MODEL", Model(network, config, vocabulary), "# Untrained\n")
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
    if words[0] == "train":
        network = NETWORKS["attention-vqa2" if "attention" in words[1] else "vqa2"]
        words += [*SMALL, *network, f"network.region_dim={REGION}", "train.steps=1"]
    assert main(words) == 0, capsys.readouterr().err
    if "--out" in words:
        assert Path(words[words.index("--out") + 1]).exists()
        shutil.rmtree(tmp_path)


def test_the_table_names_every_step():
    assert len(commands()) >= 10
    assert {c[0] for c in commands()} == {"prepare", "train", "eval", "compare", "convert"}
