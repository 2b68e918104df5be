"""The original's options: reading them, and what they mean here."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pyvqa.errors import ConfigError
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.from_options import network_config, optimisation
from pyvqa.systems.murel.options import read_options
from pyvqa.train.optim import build_schedule

from .conftest import narrow, options

FILE = """
a: {number: 3, share: .5, flag: True, word: x, nothing: , list: [1, 2], empty: []}
"""


def read(tmp_path: Path, *arguments: str):
    (tmp_path / "o.yaml").write_text(FILE)
    return read_options(tmp_path / "o.yaml", arguments)["a"]


def test_types_follow_the_file(tmp_path: Path):
    given = ["--a.number", "-4", "--a.share", "1", "--a.flag", "NO", "--a.nothing", "7"]
    given += ["--a.list", "5", "6", "7", "--a.empty", "q", "--a.word"]
    assert read(tmp_path, *given) == {
        "number": -4,
        "share": 1.0,
        "flag": False,
        "word": None,
        "nothing": "7",
        "list": [5, 6, 7],
        "empty": ["q"],
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ["--a.number", "2.5"],
        ["--a.flag", "1"],
        ["--a.numb", "4"],
        ["--b", "1"],
        ["stray"],
        ["--a.list", "x"],
        ["--a", "1"],
    ],
    ids=str,
)
def test_wrong_arguments(tmp_path: Path, arguments: list[str]):
    with pytest.raises(ConfigError, match=r"o\.yaml: [^\n]+$"):
        read(tmp_path, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__include__: o.yaml\na: 1", "includes itself"),
        ("__include__: absent.yaml\na: 1", "no such file"),
        ("a: [1", "not YAML"),
        ("- 1", "no options at its top level"),
        ("a: !!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str):
    (tmp_path / "o.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_options(tmp_path / "o.yaml")
    with pytest.raises(ConfigError, match="no such file"):
        read_options(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["murel_net", "attention_net", "vqa_net"])
def test_options_make_a_network(name: str):
    config, answers = network_config(options(name), narrow())
    assert answers == 3
    assert (config.question.hidden, config.question.word_dim) == (6, 4)
    network = build_network(config, ["", "UNK"], answers)
    assert network.classify.output_dim == 3
    assert (config.relation is None) == (name != "murel_net")


def changed(path: str, value: object, network: str = "murel_net"):
    tree = options(network)
    *groups, last = path.split(".")
    place = tree
    for group in groups:
        place = place[group]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return tree


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("model.network.name", "other", "murel_net, attention_net and vqa_net are known"),
        ("model.network.n_step", ..., r"model\.network\.n_step is missing"),
        ("model.network.classif", {"mlp": {}}, "crashes in the original"),
        ("model.network.cell.fusion.input_dims", [9, 12], r"input_dims is \[9, 12\] where"),
        ("model.network.cell.fusion.output_dim", 5, "output_dim is 5 where 12"),
        ("model.network.cell.fusion.ranks", 3, r"fusion\.ranks is no option"),
        ("model.network.cell.pairwise.fusion_coord.input_dims", [2, 2], "where"),
        ("model.network.txt_enc.type", "Elmo", "known: skipthoughts, BayesianUniSkip"),
        ("optimizer.name", "LBFGS", "optimizer.name is 'LBFGS'"),
        ("optimizer.gradual_warmup_steps", [1.0, 2.0], "three numbers"),
        ("optimizer.gradual_warmup_steps", [0.0, 0.0, 3], "must be positive"),
        ("optimizer.lr_decay_epochs", [1, 9, 0], "steps by 0"),
    ],
)
def test_options_that_the_original_could_not_run(path: str, value: object, message: str):
    tree = changed(path, value)

    def read_all():
        return network_config(tree, narrow()), optimisation(tree)

    with pytest.raises(ConfigError, match=message):
        read_all()


def test_meaning_of_single_options():
    tree = changed("model.network.cell.pairwise.fusion_coord", {})
    tree["model"]["network"]["cell"]["pairwise"]["agg"]["type"] = "sum"
    tree["model"]["network"]["classif"]["fusion"] = {
        "type": "mlb",
        "input_dims": [12, 12],
        "output_dim": 3,
        "activ_output": None,
    }
    tree["optimizer"]["init"] = "glorot"
    config, answers = network_config(tree, narrow())
    assert config.relation.pairwise.coordinates is None
    assert config.relation.pairwise.aggregate == "sum"
    assert config.classify.activ_output == "none"  # empty there, where ours is the type's own
    assert config.initialise == "glorot"
    tree["model"]["network"]["agg"]["type"] = "weldon"
    config, answers = network_config(tree, narrow())
    with pytest.raises(ConfigError, match="weldon"):
        build_network(config, ["", "UNK"], answers)


@pytest.mark.parametrize(
    ("warmup", "expected"),
    [
        ([0.5, 2.0, 3], [0.5, 1.25, 2.0, 2.0, 1.0, 1.0, 0.5, 0.5]),
        ([0.5, 2.0, 1], [0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]),
        ([0.5, 2.0, 0], [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]),
        (None, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]),
        # A decay within the warm-up never happens.
        ([2.0, 4.0, 5], [2.0, 2.5, 3.0, 3.5, 4.0, 4.0, 2.0, 2.0]),
    ],
)
def test_schedules(warmup: list | None, expected: list[float]):
    tree = options()
    tree["optimizer"] |= {"lr": 0.1, "lr_decay_epochs": [4, 8, 2], "lr_decay_rate": 0.5}
    tree["optimizer"]["gradual_warmup_steps"] = warmup
    tree["engine"]["nb_epochs"] = len(expected)
    training = optimisation(tree)
    schedule = build_schedule(training.schedule, training.train, 10)
    rates = [training.optim.lr * schedule(10 * epoch + 3) for epoch in range(len(expected))]
    assert rates == pytest.approx([0.1 * factor for factor in expected])
    assert training.optim.clip_norm == 0.25


def test_options_survive_as_text(tmp_path: Path):
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options()))
    assert read_options(tmp_path / "options.yaml") == options()
