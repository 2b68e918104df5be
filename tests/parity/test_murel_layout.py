"""Names and shapes of the published networks, and the folder of an experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from murel_kit import KitCase, cases

from pyvqa.cli.compare import read_metrics
from pyvqa.cli.main import main
from pyvqa.data.vqa_questions import VqaVocabulary
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import AttentionConfig, NetworkConfig
from pyvqa.systems.murel.convert import import_model
from pyvqa.systems.murel.experiment import Experiment
from pyvqa.systems.murel.folder import read_model
from pyvqa.systems.murel.upstream import network_from_upstream, network_to_upstream


@pytest.mark.kit("murel", "state_dict_layout.json")
def test_published_networks_have_the_originals_names_and_shapes(case: Path):
    for name, layout in json.loads(case.read_text()).items():
        config = NetworkConfig()
        if name.endswith("/attention"):
            config = NetworkConfig(relation=None, attention=AttentionConfig())
        expected = layout["state_dict"]
        answers = next(v for k, v in expected.items() if k.endswith("linear_out.bias"))[0]
        for key in ("classif_module.linear_out.bias", "fusion.linear_out.bias"):
            answers = expected.get(key, [answers])[0]
        with torch.device("meta"):
            words = [""] + ["word"] * layout["vocab_assumed"]
            model = build_network(config, words, answers)
        state = network_to_upstream(model.state_dict(), "bayesian", shared=True)
        assert {k: list(v.shape) for k, v in state.items()} == expected, name
        assert list(state) == list(expected), name
        assert sum(p.numel() for p in model.parameters()) == layout["nparams"], name
        ours, unplaced = network_from_upstream(state)
        assert unplaced == []
        assert {k: v.shape for k, v in ours.items()} == {
            k: v.shape for k, v in model.state_dict().items()
        }


def recorded_network(folder: Path) -> KitCase:
    """A small network of the kit, to stand for the one that was trained."""
    found = (c for c in cases(folder / "networks.safetensors") if c.settings["net"] == "MuRelNet")
    return next(entry for entry in found if entry.settings["self_q_att"])


def original_options(settings: dict[str, Any]) -> dict[str, Any]:
    encoder = {"name": "skipthoughts", "type": "BayesianUniSkip", "dropout": 0.25}
    names = ("self_q_att", "n_step", "shared", "cell", "agg", "classif")
    network = {"name": "murel_net", "txt_enc": encoder, **{name: settings[name] for name in names}}
    return {"model": {"network": network}}


def write_experiment(folder: Path, layout: dict[str, Any], entry: KitCase) -> None:
    """Fill a folder with the files of the recorded one, their content of the recorded kind."""
    weights = entry.of("w", torch.float32)
    engine = {"epoch": layout["ckpt_engine"]["epoch"], "best_out": {}}
    content = {
        "model": {**layout["ckpt_model"], "network": weights},
        "optimizer": layout["ckpt_optimizer"],
        "engine": engine,
    }
    for name in layout["exp_dir_files"]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        logs = layout.get(f"{path.stem}_json", {}) if path.suffix == ".json" else None
        if path.name.startswith("ckpt_"):
            torch.save(content[path.name.split(".")[0].rsplit("_", 1)[1]], path)
        elif path.suffix == ".yaml":
            path.write_text(yaml.safe_dump(original_options(entry.settings)))
        else:
            path.write_text("" if logs is None else json.dumps(written_logs(logs)))


def written_logs(described: dict[str, Any]) -> dict[str, Any]:
    """Turn the description of a log into one: n values each, tables as they are."""
    return {
        key: what
        if isinstance(what, list)
        else {name: [] for name in what["keys"]}
        if "keys" in what
        else [0.5] * what["n"]
        for key, what in described.items()
    }


@pytest.mark.kit("murel", "exp_layout.json")
def test_an_experiment_as_the_original_leaves_it(case: Path, tmp_path: Path):
    layout = json.loads(case.read_text())
    if not (case.parent / "networks.safetensors").is_file():
        pytest.skip("no network to fill the folder with")
    entry = recorded_network(case.parent)
    folder = tmp_path / "experiment"
    write_experiment(folder, layout, entry)
    experiment = Experiment(folder)
    assert Experiment.is_one(folder)
    assert experiment.checkpoints() == ["last"]
    assert experiment.epoch("last") == layout["ckpt_engine"]["epoch"]
    read = 0
    for name in ("logs", "logs_test", "logs_val_oe"):
        expected = written_logs(layout[f"{name}_json"])
        values = experiment.logs(name)
        assert values == {k: v for k, v in expected.items() if isinstance(v, list)}
        read += len(values)
    assert read > 50
    metrics = read_metrics(folder)
    assert {"validate/accuracy_top1", "validate/vqa_accuracy", "train/loss"} <= metrics.keys()
    assert {"validate/acc_mpt_a_norm_legacy", "validate/acc_mpt_h"} <= metrics.keys()
    assert main(["compare", str(folder), "--csv", str(tmp_path / "table.csv")]) == 0
    best = float(max(experiment.logs("logs_val_oe")["eval_epoch.overall"]))
    table = (tmp_path / "table.csv").read_text()
    assert f"validate/vqa_accuracy,max,1,experiment,{best!r}," in table
    answers = entry.of("out", torch.float64)["logits"].shape[1]
    words = ["", "UNK", *(f"word{k}" for k in range(1, entry.settings["vocab"]))]
    vocabulary = VqaVocabulary(tuple(words), tuple(f"answer{k}" for k in range(answers)))
    vocabulary.write(tmp_path / "vocabulary.json")
    import_model(folder, tmp_path, tmp_path / "model")
    inputs = entry.of("in", torch.float32)
    logits, _ = read_model(tmp_path / "model").network(
        inputs["question"], inputs["lengths"].flatten(), inputs["visual"], inputs["norm_coord"]
    )
    torch.testing.assert_close(logits, entry.of("out", torch.float32)["logits"], rtol=0, atol=2e-5)


@pytest.mark.kit("murel", "exp_layout.json")
def test_published_fusions_have_the_recorded_sizes(case: Path):
    recorded = json.loads(case.read_text())["numbers"]["nb_params_fusion"]
    with torch.device("meta"):
        network = build_network(NetworkConfig(), ["", "UNK"], 10)
    cell = network.cells[0]
    modules = (cell.fusion, cell.pairwise.coordinates, cell.pairwise.features)
    assert [module.n_params for module in modules] == recorded[:3]
