"""`pyvqa train` from arguments to exit code."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

import pyvqa.systems
from pyvqa.cli import train as command
from pyvqa.errors import ConfigError

CONFIG = str(Path(__file__).with_name("tiny.yaml"))


def _parse(*arguments: str) -> Namespace:
    parser = ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture(autouse=True)
def _tiny_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"tiny/train": f"{__name__.rpartition('.')[0]}.tiny:STAGE"}
    monkeypatch.setattr(pyvqa.systems, "STAGES", table, raising=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("c", "a.b=1", "d=2", "--out", "x=y"),
        ("--out", "x=y", "c", "a.b=1", "d=2"),
        ("c", "--out", "x=y", "a.b=1", "d=2"),
        ("c", "--a.b", "1", "--out", "x=y", "d=2"),
        ("c", "--a.b=1", "d=2", "--out=x=y"),
        ("a.b=1", "c", "d=2", "--out", "x=y"),
    ],
)
def test_overrides_may_stand_anywhere(arguments: tuple[str, ...]) -> None:
    args = _parse(*arguments)
    assert (args.config, args.out, args.overrides) == ("c", Path("x=y"), ["a.b=1", "d=2"])


def test_it_also_works_as_a_sub_command() -> None:
    parser = ArgumentParser()
    commands = parser.add_subparsers(dest="command")
    command.add_arguments(commands.add_parser("train"))
    args = parser.parse_args(["train", "c", "--out", "o", "--optim.lr", "3", "a=1"])
    assert (args.config, args.overrides) == ("c", ["optim.lr=3", "a=1"])


@pytest.mark.parametrize("arguments", [(), ("c",), ("c", "--out", "o", "--nonsense")])
def test_bad_arguments_exit_with_two(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        _parse(*arguments)
    assert caught.value.code == 2


def test_training_writes_the_run_and_its_page(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert command.main(_parse(CONFIG, "train.steps=6", "--out", str(out))) == 0
    names = {path.name for path in out.iterdir()}
    assert {"config.yaml", "log.jsonl", "view.html", "checkpoints", "model"} <= names
    assert "Plotly.newPlot" in (out / "view.html").read_text()
    assert command.main(_parse(CONFIG, "train.steps=6", "--out", str(out))) == 0


def test_the_stored_config_repeats_the_run(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    command.main(_parse(CONFIG, "train.steps=6", "optim.lr=0.5", "--out", str(first)))
    command.main(_parse(str(first / "config.yaml"), "--out", str(second)))
    assert (first / "log.jsonl").read_bytes() == (second / "log.jsonl").read_bytes()


def test_unknown_stage_and_missing_stage(tmp_path: Path) -> None:
    path = tmp_path / "other.yaml"
    path.write_text("stage: tiny/trian\n")
    with pytest.raises(ConfigError, match=r"did you mean tiny/train\?"):
        command.main(_parse(str(path), "--out", str(tmp_path / "run")))
    path.write_text("train: {steps: 3}\n")
    with pytest.raises(ConfigError, match="stage is required"):
        command.main(_parse(str(path), "--out", str(tmp_path / "run")))
    with pytest.raises(ConfigError, match="stage cannot be overridden"):
        command.main(_parse(CONFIG, "stage=murel/vqa2", "--out", str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
