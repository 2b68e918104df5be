"""From YAML and key=value to a checked config, with one line for whatever is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pyvqa.errors import ConfigError
from pyvqa.train import config as config_module
from pyvqa.train.config import (
    changed_keys,
    digest,
    load_config,
    parse_override,
    read_source,
    shipped_names,
    to_plain,
    to_yaml,
)
from pyvqa.train.settings import OptimConfig, RunConfig, ScheduleConfig, TrainConfig, setting


@dataclass(kw_only=True)
class DataConfig:
    root: Path = Path("data")
    questions: list[str] = field(default_factory=list)
    limit: int | None = None


@dataclass(kw_only=True)
class ExampleConfig(RunConfig):
    data: DataConfig = field(default_factory=DataConfig)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=7e-4))
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=100))
    hidden: int = setting(256, minimum=1)
    mode: str = setting("masked", choices=("masked", "parity"))


def _write(folder: Path, text: str, name: str = "example.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _load(folder: Path, text: str, *overrides: str) -> ExampleConfig:
    return load_config(_write(folder, text), overrides, ExampleConfig)


GOOD = """\
# A comment.
stage: example/one
hidden: 64
optim: {lr: 1e-4, clip_norm: 5}
data:
  root: some/where
  questions: [a.h5, b.h5]
"""


def test_values_arrive_typed(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD)
    assert (config.stage, config.hidden, config.train.steps) == ("example/one", 64, 100)
    assert config.optim == OptimConfig(lr=1e-4, clip_norm=5.0)
    assert config.data == DataConfig(root=Path("some/where"), questions=["a.h5", "b.h5"])


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("optim.lr=3e-5", "optim.lr", 3e-5),
        ("--optim.lr=3e-5", "optim.lr", 3e-5),
        ("hidden=7", "hidden", 7),
        ("mode=parity", "mode", "parity"),
        ("data.questions=[x,y]", "data.questions", ["x", "y"]),
        ("data.limit=5", "data.limit", 5),
        ("data.limit=null", "data.limit", None),
        ("optim.nesterov=true", "optim.nesterov", True),
        ("train.best=", "train.best", ""),
        ("data.root=a=b", "data.root", Path("a=b")),
    ],
)
def test_overrides(tmp_path: Path, text: str, key: str, value: Any) -> None:
    found: Any = _load(tmp_path, GOOD, text)
    for name in key.split("."):
        found = getattr(found, name)
    assert found == value
    assert type(found) is type(value) or isinstance(found, Path)


def test_the_last_override_wins(tmp_path: Path) -> None:
    assert _load(tmp_path, GOOD, "hidden=1", "hidden=2").hidden == 2


def test_yaml_comes_back_equal(tmp_path: Path) -> None:
    config = _load(tmp_path, GOOD, "optim.lr=1e-7", "data.limit=3")
    again = load_config(_write(tmp_path, to_yaml(config), "again.yaml"), [], ExampleConfig)
    assert again == config
    assert digest(again) == digest(config)


def _mutations() -> list[tuple[str, str]]:
    """Misspell every key: one letter left out, doubled, two swapped, one replaced."""
    cases = []
    for right, _ in config_module._flat(to_plain(ExampleConfig(stage="s"))):
        group, dot, leaf = right.rpartition(".")
        middle = max(1, len(leaf) // 2)
        wrong = {
            leaf[:middle] + leaf[middle + 1 :],
            leaf[:middle] + leaf[middle - 1] + leaf[middle:],
            leaf[: middle - 1] + leaf[middle : middle + 1] + leaf[middle - 1] + leaf[middle + 1 :],
            leaf[:-1] + "x",
        }
        cases += [(f"{group}{dot}{word}", right) for word in sorted(wrong) if len(word) > 2]
    known = {right for _, right in cases}
    return [(wrong, right) for wrong, right in cases if wrong not in known]


def test_typos_are_met_with_the_right_key(tmp_path: Path) -> None:
    cases = _mutations()
    assert len(cases) >= 100
    hits = 0
    for wrong, right in cases:
        with pytest.raises(ConfigError) as caught:
            _load(tmp_path, GOOD, f"{wrong}=1")
        message = str(caught.value)
        assert "\n" not in message
        assert f"unknown key {wrong}" in message
        hits += f"did you mean {right}?" in message
    assert hits >= 0.95 * len(cases)


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("lr=1", "did you mean optim.lr?"),
        ("steps=1", "did you mean train.steps?"),
        ("optim.rate=1", "known here: beta1, beta2"),
        ("optim.questions=1", "known here: beta1"),
    ],
)
def test_keys_in_the_wrong_place(tmp_path: Path, override: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="unknown key") as caught:
        _load(tmp_path, GOOD, override)
    assert hint in str(caught.value)


BAD_VALUES = [
    ("hidden=many", "hidden"),
    ("hidden=2.5", "hidden"),
    ("hidden=0", "at least 1"),
    ("hidden=null", "hidden"),
    ("hidden=[1]", "hidden"),
    ("optim.lr=fast", "optim.lr"),
    ("optim.lr=-1", "at least 0"),
    ("optim.lr=nan", "finite"),
    ("optim.lr=inf", "finite"),
    ("optim.beta1=1", "below 1"),
    ("optim.eps=0", "above 0"),
    ("optim.nesterov=perhaps", "optim.nesterov"),
    ("optim.name=adm", "did you mean adam?"),
    ("mode=pariti", "did you mean parity?"),
    ("train.precision=float16", "one of float32, bfloat16"),
    ("train.nonfinite=ignore", "one of stop, skip"),
    ("train.keep=1", "at least 2"),
    ("schedule.milestones=ten", "schedule.milestones"),
    ("schedule.milestones=[a]", "schedule.milestones"),
    ("data.questions=one", "data.questions"),
    ("optim=3", "optim is a group of settings"),
    ("optim=null", "optim"),
    ("optim.lr.x=1", "optim.lr"),
    ("hidden.x=1", "hidden"),
    ("data.root=${hidden}", "write the value itself"),
    ("data.questions=[a,'${x}']", "write the value itself"),
    ("hidden", "key=value"),
    ("=3", "key=value"),
    ("hid den=3", "key=value"),
    ("a..b=3", "key=value"),
    ("data.questions=[a", "check the value"),
    ("stage=null", "stage"),
]


@pytest.mark.parametrize(("override", "hint"), BAD_VALUES)
def test_bad_values_are_one_line(tmp_path: Path, override: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, GOOD, override)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


BAD_FILES = [
    ("a: [1", "line 2 column 1"),
    ("stage: x\nstage: y\n", "duplicate"),
    ("- 1\n- 2\n", "no `key: value` pairs"),
    ("3\n", "fix the YAML"),
    ("stage: x\nhidden: ${oc.env:HOME}\n", "write the value itself"),
    ("stage: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
    ("hidden: 3\n", "stage is required"),
    ("stage: x\nbase: missing\n", "neither a YAML file nor a shipped config"),
    ("stage: x\n\thidden: 3\n", "line 2"),
    ("stage: x\n1: 2\n", "unknown key 1"),
]


@pytest.mark.parametrize(("text", "hint"), BAD_FILES)
def test_bad_files_are_one_line(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, text)
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_binary_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "bad.yaml", [], ExampleConfig)
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(tmp_path / "none.yaml", [], ExampleConfig)
    with pytest.raises(ConfigError, match="no such config file"):
        load_config(_folder(tmp_path), [], ExampleConfig)


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    return folder


def test_base_is_overridden_and_one_deep(tmp_path: Path) -> None:
    _write(tmp_path, "stage: example/one\noptim: {lr: 0.5, momentum: 0.9}\n", "base.yaml")
    config = _load(tmp_path, "base: base.yaml\noptim: {lr: 0.1}\n")
    assert (config.stage, config.optim.lr, config.optim.momentum) == ("example/one", 0.1, 0.9)
    _write(tmp_path, "base: base.yaml\n", "middle.yaml")
    with pytest.raises(ConfigError, match="may not have a base itself"):
        _load(tmp_path, "base: middle.yaml\n")


def test_shipped_configs_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "ns_vqa" / "configs"
    folder.mkdir(parents=True)
    _write(folder, "hidden: 9\n", "parser-pretrain.yaml")
    _write(folder, "stage: ns-vqa/parser-pretrain\nbase: parser-pretrain.yaml\n", "few.yaml")
    monkeypatch.setattr(config_module, "_SYSTEMS", tmp_path)
    assert shipped_names() == ["ns-vqa/few", "ns-vqa/parser-pretrain"]
    config = load_config("ns-vqa/parser-pretrain", [], ExampleConfig)
    assert (config.stage, config.hidden) == ("ns-vqa/parser-pretrain", 9)
    assert read_source("ns-vqa/few") == {"stage": "ns-vqa/parser-pretrain", "hidden": 9}
    with pytest.raises(ConfigError, match=r"did you mean ns-vqa/parser-pretrain\?"):
        read_source("ns-vqa/parser-pretran")
    for name in ("../x/y", "ns-vqa/", "/", "ns-vqa/../configs/few"):
        with pytest.raises(ConfigError, match="neither a YAML file nor a shipped config"):
            read_source(name)


def test_real_shipped_configs_can_be_read() -> None:
    for name in shipped_names():
        assert isinstance(read_source(name)["stage"], str)


def test_changes_are_named_and_operational_ones_are_not(tmp_path: Path) -> None:
    stored = read_source(_write(tmp_path, to_yaml(_load(tmp_path, GOOD)), "stored.yaml"))
    same = _load(tmp_path, GOOD, "train.workers=4", "train.checkpoint_every=9", "train.device=cpu")
    assert changed_keys(stored, same) == []
    other = _load(tmp_path, GOOD, "optim.lr=1e-3", "data.questions=[c]", "train.seed=5")
    assert changed_keys(stored, other) == [
        "data.questions: ['a.h5', 'b.h5'] -> ['c']",
        "optim.lr: 0.0001 -> 0.001",
        "train.seed: 1 -> 5",
    ]
    assert digest(same) == digest(_load(tmp_path, GOOD)) != digest(other)


def test_override_reads_values_as_yaml() -> None:
    assert parse_override("a.b=1e-4") == ("a.b", 1e-4)
    assert parse_override("a=[1, x]") == ("a", [1, "x"])
    assert parse_override("a='1'") == ("a", "1")
