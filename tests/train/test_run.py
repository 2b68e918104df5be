"""The run folder: one writer, a log that can be cut back, a way to its model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pyvqa.errors import ConfigError, DataError
from pyvqa.train.config import read_source, to_plain
from pyvqa.train.run import Run, model_folder

from .conftest import Runner
from .tiny import TinyConfig


def _config(**values: int) -> TinyConfig:
    return TinyConfig(stage="tiny/train", **values)


def test_config_is_stored_whole(tmp_path: Path) -> None:
    Run.open(tmp_path / "a" / "run", _config(width=5)).close()
    assert read_source(tmp_path / "a" / "run" / "config.yaml") == to_plain(_config(width=5))


def _begun(folder: Path) -> None:
    run = Run.open(folder, _config())
    run.start_log(0)
    run.log("train", 0, 0, {"loss": 1.0})
    run.close()


def test_settings_can_be_mended_before_the_first_step(tmp_path: Path) -> None:
    Run.open(tmp_path, _config()).close()
    Run.open(tmp_path, _config(width=7)).close()
    assert read_source(tmp_path / "config.yaml") == to_plain(_config(width=7))


def test_many_changes_are_named_in_part(tmp_path: Path) -> None:
    _begun(tmp_path)
    changed = TinyConfig(stage="tiny/train", width=1, noise=0.5, sample=False, dropout=0.5)
    with pytest.raises(ConfigError, match=r"dropout: .*noise: .*sample: .* and 1 more"):
        Run.open(tmp_path, changed)


def test_damaged_stored_config_is_explained(tmp_path: Path) -> None:
    Run.open(tmp_path, _config()).close()
    (tmp_path / "config.yaml").write_text("stage: [")
    with pytest.raises(ConfigError, match=r"config\.yaml: line"):
        Run.open(tmp_path, _config())


def test_two_processes_cannot_train_in_one_folder(runner: Runner, tmp_path: Path) -> None:
    pid = runner.start(tmp_path / "run", step_seconds=0.2)
    runner.wait_until_step(pid, tmp_path / "run", 3)
    messages = tmp_path / "messages"
    assert runner.train(tmp_path / "run", messages=str(messages)) == 1
    assert "another process is training in this folder" in messages.read_text()


def test_out_that_is_a_file_is_explained(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Run.open(tmp_path / "run", _config())


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    Run.open(tmp_path, _config()).close()
    (tmp_path / "view.html.tmp-123").write_text("half")
    (tmp_path / "checkpoints" / "00000007.tmp-123").mkdir()
    (tmp_path / "checkpoints" / "00000007.tmp-123" / "main.safetensors").write_text("half")
    (tmp_path / "best_accuracy.old-123").mkdir()
    Run.open(tmp_path, _config()).close()
    names = {path.name for path in tmp_path.rglob("*")}
    # The best model was about to be replaced, and its successor never came.
    assert names == {"config.yaml", ".lock", "checkpoints", "best_accuracy"}


def test_log_is_cut_back_and_continued(tmp_path: Path) -> None:
    run = Run.open(tmp_path, _config())
    run.start_log(0)
    run.log("train", 1, 0, {"loss": 0.5})
    offset = run.sync_log()
    run.log("train", 2, 0, {"loss": float("nan"), "reward": 0.25})
    run.close()
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {
        "kind": "train", "step": 2, "epoch": 0, "loss": None, "reward": 0.25
    }  # fmt: skip
    run = Run.open(tmp_path, _config())
    run.start_log(offset)
    run.log("train", 2, 0, {"loss": 0.125})
    run.close()
    losses = [
        json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().split("\n")[:-1]
    ]
    assert losses == [0.5, 0.125]


def test_readers_write_nothing(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", _config(), writer=False)
    run.start_log(0)
    run.log("train", 1, 0, {"loss": 0.5})
    run.log_time(1, {"seconds": 1.0})
    assert run.sync_log() == 0
    assert not (tmp_path / "run").exists()


def test_model_folder_prefers_the_best(tmp_path: Path) -> None:
    assert model_folder(tmp_path) == tmp_path  # A model folder is its own.
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(DataError, match="has no model yet"):
        model_folder(tmp_path)
    (tmp_path / "model").mkdir()
    assert model_folder(tmp_path).name == "model"
    (tmp_path / "best_accuracy").mkdir()
    (tmp_path / "best_accuracy.tmp-1").mkdir()
    assert model_folder(tmp_path).name == "best_accuracy"
