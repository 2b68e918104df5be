"""The original's experiments and checkpoints: there and back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from pyvqa.cli.main import main
from pyvqa.errors import CheckpointError, ConfigError, DataError
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.convert import import_model, read_vocabulary
from pyvqa.systems.murel.experiment import Experiment
from pyvqa.systems.murel.folder import read_model
from pyvqa.systems.murel.from_options import network_config
from pyvqa.systems.murel.upstream import network_to_upstream

from .conftest import narrow, options

ENCODERS = ["BayesianUniSkip", "UniSkip", "DropUniSkip", "BiSkip"]


def checkpoint(tree: dict[str, Any], words: int, seed: int = 0) -> dict[str, Any]:
    """What the original would have saved for these options, with narrow words and questions."""
    torch.manual_seed(seed)
    encoder = tree["model"]["network"]["txt_enc"]["type"]
    config, answers = network_config(tree, narrow(encoder))
    network = build_network(config, [""] * words, answers)
    shared = config.relation is None or config.relation.shared
    state = network_to_upstream(network.state_dict(), config.question.encoder, shared)
    empty: dict[str, Any] = {"train": {}, "eval": {}}
    return {"network": state, "criterions": empty, "metrics": empty}


def experiment(folder: Path, tree: dict[str, Any], words: int) -> Path:
    """A folder as the original leaves one behind."""
    folder.mkdir()
    (folder / "options.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    for seed, name in enumerate(("last", "best_eval_epoch.accuracy_top1")):
        torch.save(checkpoint(tree, words, seed), folder / f"ckpt_{name}_model.pth.tar")
        engine = {"epoch": 3 - seed, "best_out": {"eval_epoch.accuracy_top1": 50.0}}
        torch.save(engine, folder / f"ckpt_{name}_engine.pth.tar")
    logs = {"env_info": {"user": ["x"]}, "train_epoch.loss": [3.0, 2.5], "nparams": [9]}
    (folder / "logs.json").write_text(json.dumps(logs))
    return folder


@pytest.mark.parametrize(
    ("network", "encoder"),
    [("murel_net", encoder) for encoder in ENCODERS] + [("vqa_net", "BayesianUniSkip")],
)
def test_there_and_back_changes_no_bit(tmp_path, vocabulary, network, encoder, capsys):
    tree = options(network, encoder=encoder)
    folder = experiment(tmp_path / "run", tree, len(vocabulary.words))
    vocabulary.write(tmp_path / "vocabulary.json")
    arguments = ["convert", "murel", str(folder), "--vocab", str(tmp_path), "--checkpoint", "last"]
    assert main([*arguments, "--out", str(tmp_path / "model")]) == 0
    assert "none left over" in capsys.readouterr().out
    assert "checkpoint last of epoch 3" in (tmp_path / "model/card.md").read_text()
    back = ["convert", "murel", str(tmp_path / "model"), "--back"]
    assert main([*back, "--out", str(tmp_path / "back.pth.tar")]) == 0
    assert "question.hidden is 6, the original's code has 2400" in capsys.readouterr().out
    ours = torch.load(tmp_path / "back.pth.tar", weights_only=True)
    theirs = torch.load(folder / "ckpt_last_model.pth.tar", weights_only=True)
    assert list(ours) == list(theirs)
    assert list(ours["network"]) == list(theirs["network"])
    for name, value in theirs["network"].items():
        assert torch.equal(ours["network"][name], value), name


@pytest.mark.parametrize("shared", [True, False])
def test_cells_of_their_own(tmp_path, vocabulary, shared):
    tree = options()
    tree["model"]["network"]["shared"] = shared
    state = checkpoint(tree, len(vocabulary.words))["network"]
    cells = {name.split(".fusion_module")[0] for name in state if ".fusion_module." in name}
    assert cells == ({"cell"} if shared else {"cells.0", "cells.1"})


def test_the_best_checkpoint_is_taken_and_options_can_be_changed(tmp_path, vocabulary):
    folder = experiment(tmp_path / "run", options(), len(vocabulary.words))
    vocabulary.write(tmp_path / "v.json")
    arguments = ["--model.network.n_step", "4", "--model.network.txt_enc.fixed_emb", "yes"]
    import_model(folder, tmp_path / "v.json", tmp_path / "model", arguments=arguments)
    model = read_model(tmp_path / "model")
    assert "best_eval_epoch.accuracy_top1 of epoch 2" in (tmp_path / "model/card.md").read_text()
    assert (model.config.relation.steps, model.config.question.freeze_words) == (4, True)
    assert model.vocabulary == vocabulary
    assert not model.network.training
    logits, _ = model.network(
        torch.tensor([[2, 3]]), torch.tensor([2]), torch.zeros(1, 3, 12), torch.zeros(1, 3, 4)
    )
    assert logits.shape == (1, 3)


def test_a_single_checkpoint_needs_its_options(tmp_path, vocabulary):
    folder = experiment(tmp_path / "run", options(), len(vocabulary.words))
    vocabulary.write(tmp_path / "v.json")
    file = folder / "ckpt_last_model.pth.tar"
    with pytest.raises(ConfigError, match="add --options"):
        import_model(file, tmp_path / "v.json", tmp_path / "model")
    import_model(file, tmp_path / "v.json", tmp_path / "model", options=folder / "options.yaml")
    assert read_model(tmp_path / "model").config.relation.steps == 2


def test_a_vocabulary_that_the_original_processed(tmp_path, vocabulary):
    words = {k: word for k, word in enumerate(vocabulary.words) if k}
    torch.save(words, tmp_path / "wid_to_word.pth")
    torch.save(list(vocabulary.answers), tmp_path / "aid_to_ans.pth")
    assert read_vocabulary(tmp_path) == vocabulary
    torch.save({0: "x"}, tmp_path / "wid_to_word.pth")
    with pytest.raises(CheckpointError, match="numbered 1, 2, 3"):
        read_vocabulary(tmp_path)
    torch.save(words, tmp_path / "wid_to_word.pth")
    torch.save([1, 2], tmp_path / "aid_to_ans.pth")
    with pytest.raises(CheckpointError, match="not a list of answers"):
        read_vocabulary(tmp_path)


def test_settings_of_an_option_file(tmp_path, capsys):
    tree = options()
    for place in (tree["model"]["network"]["cell"], tree["model"]["network"]["classif"]):
        place["fusion"]["input_dims"][0] = 4800  # a file alone has the widths that code fixes
    (tmp_path / "murel.yaml").write_text(yaml.safe_dump(tree))
    command = ["convert", "murel", str(tmp_path / "murel.yaml"), "--out", str(tmp_path / "o.yaml")]
    assert main([*command, "--arguments", "--optimizer.lr", "0.001"]) == 0
    written = yaml.safe_load((tmp_path / "o.yaml").read_text())
    assert sorted(written) == ["network", "optim", "schedule", "train"]
    assert written["optim"]["lr"] == pytest.approx(0.002)  # the warm-up ends at twice the rate
    assert written["train"]["batch_size"] == 84
    assert written["schedule"]["milestones"] == [14, 16, 18, 20, 22]
    assert main([*command, "--arguments", "--optimizer.rate", "1"]) == 1
    assert "--optimizer.rate" in capsys.readouterr().err


def test_what_is_refused(tmp_path, vocabulary, capsys):
    folder = experiment(tmp_path / "run", options(), len(vocabulary.words))
    vocabulary.write(tmp_path / "v.json")

    def refused(message: str, error: type = CheckpointError, **more: Any) -> None:
        with pytest.raises(error, match=message):
            import_model(folder, tmp_path / "v.json", tmp_path / "model", **more)
        assert not (tmp_path / "model").exists()

    refused("has no checkpoint 'first'", checkpoint="first")
    refused("no such file", ConfigError, options=tmp_path / "absent.yaml")
    file = folder / "ckpt_last_model.pth.tar"
    content = torch.load(file, weights_only=True)
    content["network"]["cell.extra.weight"] = torch.zeros(1)
    torch.save(content, file)
    refused(r"no place for cell\.extra\.weight", checkpoint="last")
    del content["network"]["cell.extra.weight"]
    content["network"]["q_att_linear1.weight"] = torch.zeros(3, 5)
    torch.save(content, file)
    refused("do not fit the options", checkpoint="last")
    torch.save({"weights": {}}, file)
    refused("has no part named network", checkpoint="last")
    file.write_bytes(b"noise")
    refused("cannot be read as weights", checkpoint="last")
    (tmp_path / "v.json").write_text(json.dumps({"words": ["", "UNK"], "answers": ["a"]}))
    refused("made for 6 words .* the vocabulary has 2 and 1")
    assert main(["convert", "murel", str(folder), "--out", str(tmp_path / "model")]) == 1
    assert "--vocab is required" in capsys.readouterr().err


def test_code_in_a_file_is_not_run(tmp_path, vocabulary):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    folder = experiment(tmp_path / "run", options(), len(vocabulary.words))
    torch.save({"network": Trap()}, folder / "ckpt_last_model.pth.tar")
    vocabulary.write(tmp_path / "v.json")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        import_model(folder, tmp_path / "v.json", tmp_path / "model", checkpoint="last")
    assert not (tmp_path / "ran").exists()


def test_reading_an_experiment(tmp_path, vocabulary):
    folder = experiment(tmp_path / "run", options(), len(vocabulary.words))
    found = Experiment(folder)
    assert Experiment.is_one(folder)
    assert not Experiment.is_one(tmp_path)
    assert found.checkpoints() == ["best_eval_epoch.accuracy_top1", "last"]
    assert found.logs() == {"train_epoch.loss": [3.0, 2.5], "nparams": [9]}
    (folder / "ckpt_last_engine.pth.tar").unlink()
    assert found.epoch("last") is None
    with pytest.raises(DataError, match="no such file"):
        found.logs("logs_test")
    (folder / "logs.json").write_text('{"a": ["x"]}')
    with pytest.raises(DataError, match="more than numbers"):
        found.logs()
