"""The loop in one process: what it logs, keeps, refuses and when it stops."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pyvqa.errors import CheckpointError, ConfigError, DataError, TrainingError
from pyvqa.train import guard
from pyvqa.train.checkpoint import read_tensors
from pyvqa.train.config import typed
from pyvqa.train.distributed import join
from pyvqa.train.loop import Outcome, fit
from pyvqa.train.run import Run
from pyvqa.train.stage import Stage

from . import tiny


def _config(values: dict[str, Any]) -> tiny.TinyConfig:
    return typed({"stage": "tiny/train", **values}, tiny.TinyConfig, where="test")


def _fit(
    out: Path, values: dict[str, Any] | None = None, stage: Stage = tiny.STAGE, **functions: Any
) -> Outcome:
    config = _config(values or {})
    with join(config.train) as ranks:
        run = Run.open(out, config)
        try:
            return fit(run, dataclasses.replace(stage, **functions), config, ranks)
        finally:
            run.close()


def _log(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_log_lines_say_what_happened(tmp_path: Path) -> None:
    outcome = _fit(tmp_path)
    train, validate = _log(tmp_path, "train"), _log(tmp_path, "validate")
    assert outcome == Outcome(40, True, 0, max(line["accuracy"] for line in validate))
    assert [line["step"] for line in train] == [*range(3, 40, 3), 40]
    assert [line["step"] for line in validate] == [10, 20, 30, 40]
    assert [line["epoch"] for line in train][:4] == [0, 0, 1, 1]  # 7 batches an epoch
    keys = {"kind", "step", "epoch", "loss", "reward"}
    rates = {"lr_main", "lr_helper", "grad_norm_main", "grad_norm_helper"}
    assert set(train[0]) == keys | rates
    timing = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert [line["step"] for line in timing] == [line["step"] for line in train]
    assert all(line["items_per_second"] > 0 for line in timing)


def test_a_log_line_is_the_mean_since_the_last(tmp_path: Path) -> None:
    _fit(tmp_path / "one", {"train": {"log_every": 1}})
    _fit(tmp_path / "four", {"train": {"log_every": 4}})
    single = [line["loss"] for line in _log(tmp_path / "one", "train")]
    for number, line in enumerate(_log(tmp_path / "four", "train")):
        expected = sum(single[4 * number : 4 * number + 4]) / 4
        assert line["loss"] == pytest.approx(expected, rel=1e-12)


def test_a_signal_free_run_does_not_depend_on_checkpoints(tmp_path: Path) -> None:
    _fit(tmp_path / "often", {"train": {"checkpoint_every": 1}})
    _fit(tmp_path / "never", {"train": {"checkpoint_every": 0}})
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("often", "never")]
    assert logs[0] == logs[1]
    networks = [
        (tmp_path / name / "model" / "main.safetensors").read_bytes() for name in ("often", "never")
    ]
    assert networks[0] == networks[1]


def test_best_is_kept_for_max_and_min(tmp_path: Path) -> None:
    for mode, choose in (("max", max), ("min", min)):
        out = tmp_path / mode
        outcome = _fit(out, {"train": {"best": "luck", "best_mode": mode}})
        values = {line["luck"]: line["step"] for line in _log(out, "validate")}
        assert outcome.best == choose(values)
        # The best model is the one of that moment, not of the end.
        stopped = tmp_path / f"{mode}-stopped"
        steps = values[choose(values)]
        _fit(stopped, {"train": {"steps": steps}, "schedule": {"name": "constant"}})
        again = tmp_path / f"{mode}-constant"
        overrides = {"train": {"best": "luck", "best_mode": mode}, "schedule": {"name": "constant"}}
        _fit(again, overrides)
        best = read_tensors(again / "best_luck" / "main.safetensors")
        ended = read_tensors(stopped / "model" / "main.safetensors")
        assert all(torch.equal(best[name], ended[name]) for name in best)


def test_nan_is_never_the_best(tmp_path: Path) -> None:
    values = iter([float("nan"), 0.5, float("nan"), 0.25])
    outcome = _fit(tmp_path, validate=lambda state, config: {"accuracy": next(values)})
    assert outcome.best == 0.5
    assert [line["accuracy"] for line in _log(tmp_path, "validate")] == [None, 0.5, None, 0.25]


def test_patience_stops_early_and_the_run_counts_as_finished(tmp_path: Path) -> None:
    values = iter([0.5, 0.6, 0.6, 0.1, 0.9])
    options = {"train": {"patience": 2, "steps": 100}}
    outcome = _fit(tmp_path, options, validate=lambda state, config: {"accuracy": next(values)})
    assert outcome == Outcome(40, True, 0, 0.6)
    assert (tmp_path / "model" / "main.safetensors").is_file()
    assert _fit(tmp_path, options) == outcome


def test_validation_leaves_training_as_it_was(tmp_path: Path) -> None:
    def validate(state: tiny.TinyState, config: tiny.TinyConfig) -> dict[str, float]:
        assert not torch.is_grad_enabled()
        assert not state.networks["main"].training
        torch.rand(5)
        return tiny.validate(state, config)

    _fit(tmp_path / "every", {"train": {"validate_every": 3}}, validate=validate)
    _fit(tmp_path / "none", {"train": {"validate_every": 0, "best": ""}})
    assert _log(tmp_path / "every", "train") == _log(tmp_path / "none", "train")


def test_frozen_modules_stay_in_evaluation_mode(tmp_path: Path) -> None:
    def build(config: tiny.TinyConfig, source: Any) -> tiny.TinyState:
        state = tiny.build(config, source)
        state.networks["main"].layers[1].eval()
        return state

    _fit(tmp_path, build=build)
    tensors = read_tensors(tmp_path / "checkpoints" / "00000040" / "main.safetensors")
    assert int(tensors["layers.1.num_batches_tracked"]) == 0


def test_pausing_by_the_clock(tmp_path: Path) -> None:
    outcome = _fit(tmp_path / "run", {"train": {"max_minutes": 1e-9}})
    assert outcome == Outcome(0, False, 0, None)
    _fit(tmp_path / "run")
    _fit(tmp_path / "whole")
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("run", "whole")]
    assert logs[0] == logs[1]


def test_epochs_count_like_steps(tmp_path: Path) -> None:
    assert _fit(tmp_path, {"train": {"epochs": 2, "steps": 0}}).step == 14


@pytest.mark.parametrize("values", [{"steps": 0}, {"steps": 5, "epochs": 5}])
def test_length_must_be_said_once(tmp_path: Path, values: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="exactly one of the two"):
        _fit(tmp_path, {"train": values})


def test_bfloat16_runs_and_differs(tmp_path: Path) -> None:
    seen = set()

    def step(state: tiny.TinyState, batch: tiny.TinyBatch) -> dict[str, torch.Tensor]:
        seen.add(state.networks["helper"](batch.inputs).dtype)
        return dict(tiny.step(state, batch))

    options = {"train": {"precision": "bfloat16", "steps": 4}}
    _fit(tmp_path / "half", options, step=step)
    assert seen == {torch.bfloat16}
    _fit(tmp_path / "full", {"train": {"steps": 4}})
    half, full = (_log(tmp_path / name, "train")[-1]["loss"] for name in ("half", "full"))
    assert half != full
    assert half == pytest.approx(full, rel=0.1)


def test_deterministic_algorithms_are_asked_for_during_the_run_only(tmp_path: Path) -> None:
    asked = []

    def step(state: tiny.TinyState, batch: tiny.TinyBatch) -> dict[str, torch.Tensor]:
        asked.append(torch.are_deterministic_algorithms_enabled())
        return dict(tiny.step(state, batch))

    _fit(tmp_path / "on", {"train": {"steps": 1}}, step=step)
    _fit(tmp_path / "off", {"train": {"steps": 1, "deterministic": False}}, step=step)
    assert asked == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_seed_changes_everything(tmp_path: Path) -> None:
    for seed in (1, 2):
        _fit(tmp_path / str(seed), {"train": {"seed": seed, "steps": 3}})
    first, second = (_log(tmp_path / name, "train")[0] for name in ("1", "2"))
    assert first["loss"] != second["loss"]


def test_nan_in_the_input_is_traced_to_it(tmp_path: Path) -> None:
    with pytest.raises(TrainingError) as caught:
        _fit(tmp_path, {"poison": 17})
    message = str(caught.value)
    assert "\n" not in message
    assert "loss is nan" in message
    assert "first non-finite tensor: batch.inputs;" in message
    step = int(message.split("step ")[1].split()[0])
    source = tiny.TinySource(_config({}))
    ids = source.batch(*divmod(step, len(source)), 0, 1).ids.tolist()
    assert 17 in ids
    assert f"(epoch {step // 7}, batch {step % 7})" in message
    assert f"batch ids: {', '.join(map(str, ids))};" in message


def _bad_gradient_at(update: int) -> Any:
    """The loss is finite, its derivative is 0 / 0."""

    def step(state: tiny.TinyState, batch: tiny.TinyBatch) -> dict[str, torch.Tensor]:
        metrics = dict(tiny.step(state, batch))
        if state.counters["updates"] == update:
            weight = state.networks["helper"].weight
            metrics["loss"] = metrics["loss"] + (weight * 0).sum().sqrt()
        return metrics

    return step


def test_nan_in_a_gradient_is_found_before_the_weights_move(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"gradient of helper\.weight") as caught:
        _fit(tmp_path, step=_bad_gradient_at(9))
    assert "step 9 (epoch 1, batch 2): a gradient is not finite" in str(caught.value)
    assert (tmp_path / "checkpoints" / "last").read_text() == "00000007\n"
    for path in (tmp_path / "checkpoints" / "00000007").glob("*.safetensors"):
        assert all(t.isfinite().all() for t in read_tensors(path).values())


def test_looking_at_the_numbers_late_changes_nothing_but_the_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where several updates are under way before their numbers are read."""
    _fit(tmp_path / "eager")
    monkeypatch.setattr(guard, "_is_at_hand", lambda update: False)
    _fit(tmp_path / "late")
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("eager", "late")]
    assert logs[0] == logs[1]
    with pytest.raises(TrainingError, match=r"^step 9 \(epoch 1, batch 2\)"):
        _fit(tmp_path / "bad", step=_bad_gradient_at(9))
    # Weights that came after were never saved.
    for path in (tmp_path / "bad" / "checkpoints").rglob("*.safetensors"):
        assert all(t.isfinite().all() for t in read_tensors(path).values())


def test_networks_may_share_a_layer(tmp_path: Path) -> None:
    def build(config: tiny.TinyConfig, source: Any) -> tiny.TinyState:
        state = tiny.build(config, source)
        state.networks["twin"] = nn.Sequential(state.networks["main"].layers[0])
        return state

    plain = {"normalise": False, "dropout": 0.0, "noise": 0.0, "sample": False}
    for parts in (1, 2):
        values = {**plain, "train": {"accumulate": parts, "steps": 6, "best": ""}}
        _fit(tmp_path / str(parts), values, build=build)
    one, two = (_log(tmp_path / name, "train") for name in ("1", "2"))
    assert [a["loss"] for a in one] == pytest.approx([b["loss"] for b in two], rel=1e-6)
    tensors = read_tensors(tmp_path / "1" / "checkpoints" / "00000006" / "twin.safetensors")
    assert set(tensors) == {"0.weight", "0.bias"}


def test_skipping_leaves_the_update_out_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"poison": 17, "train": {"nonfinite": "skip", "steps": 14, "log_every": 14}}
    with caplog.at_level(logging.WARNING, "pyvqa"):
        outcome = _fit(tmp_path, options)
    assert outcome.step == 14
    assert sum("update left out" in record.message for record in caplog.records) == 2
    (line,) = _log(tmp_path, "train")
    assert line["skipped"] == 2
    assert line["loss"] is not None
    tensors = read_tensors(tmp_path / "checkpoints" / "00000014" / "main.safetensors")
    # Running statistics included, which the bad batch had gone into.
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_skipping_has_an_end(tmp_path: Path) -> None:
    def step(state: tiny.TinyState, batch: tiny.TinyBatch) -> dict[str, torch.Tensor]:
        return {"loss": tiny.step(state, batch)["loss"] * torch.nan}

    options = {"train": {"nonfinite": "skip", "steps": 1000, "validate_every": 0, "best": ""}}
    with pytest.raises(TrainingError, match="step 99 "):
        _fit(tmp_path, options, step=step)


def test_clipping_bounds_each_optimiser_by_itself(tmp_path: Path) -> None:
    lengths: list[float] = []

    class Recorder(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            grads = [p.grad for p in self.param_groups[0]["params"] if p.grad is not None]
            lengths.append(float(nn.utils.get_total_norm(grads)))
            return super().step(closure)

    def build(config: tiny.TinyConfig, source: Any) -> tiny.TinyState:
        state = tiny.build(config, source)
        recorder = Recorder(state.networks["helper"].parameters(), lr=0.01)
        recorder.param_groups[0]["clip_norm"] = 0.125
        state.optimisers["helper"] = recorder
        return state

    _fit(tmp_path, build=build)
    assert len(lengths) == 40
    assert max(lengths) == pytest.approx(0.125, rel=1e-3)
    assert max(line["grad_norm_helper"] for line in _log(tmp_path, "train")) > 0.2


def test_another_config_is_refused_by_name(tmp_path: Path) -> None:
    _fit(tmp_path, {"train": {"steps": 3}})
    with pytest.raises(ConfigError, match=r"\(optim\.lr: 0\.02 -> 0\.5\); .* another --out"):
        _fit(tmp_path, {"train": {"steps": 3}, "optim": {"lr": 0.5}})


def test_a_checkpoint_from_another_run_is_refused(tmp_path: Path) -> None:
    _fit(tmp_path / "one", {"train": {"steps": 3}})
    _fit(tmp_path / "other", {"train": {"steps": 3}, "optim": {"lr": 0.5}})
    (tmp_path / "other" / "checkpoints").rename(tmp_path / "aside")
    (tmp_path / "one" / "checkpoints").rename(tmp_path / "other" / "checkpoints")
    with pytest.raises(CheckpointError, match="written by tiny/train with another config"):
        _fit(tmp_path / "other", {"train": {"steps": 3}, "optim": {"lr": 0.5}})


def test_a_damaged_checkpoint_is_refused_and_going_back_is_exact(tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    for out in (whole, run):
        _fit(out)
    path = run / "checkpoints" / "00000040" / "main.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=r"00000040/main\.safetensors: is damaged"):
        _fit(run)
    for file in path.parent.iterdir():
        file.unlink()
    path.parent.rmdir()
    assert _fit(run).step == 40
    assert path.read_bytes() == (whole / "checkpoints" / "00000040" / path.name).read_bytes()
    assert (run / "log.jsonl").read_bytes() == (whole / "log.jsonl").read_bytes()


def test_a_shortened_log_is_refused(tmp_path: Path) -> None:
    _fit(tmp_path)
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(DataError, match="holds 0 bytes where the checkpoint knows"):
        _fit(tmp_path)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_sources_error_stays_one_line(tmp_path: Path, workers: int) -> None:
    class Source(tiny.TinySource):
        def batch(self, epoch: int, index: int, rank: int, ranks: int) -> tiny.TinyBatch:
            if index == 3:
                raise DataError("questions.h5: row 12 is out of range; wrong file?")
            return super().batch(epoch, index, rank, ranks)

    with pytest.raises(DataError) as caught:
        _fit(tmp_path, {"train": {"workers": workers}}, source=Source)
    assert str(caught.value) == "questions.h5: row 12 is out of range; wrong file?"


def test_best_needs_a_validation_that_gives_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no validation"):
        _fit(tmp_path / "a", validate=None)
    with pytest.raises(ConfigError, match="validation gives accuracy, luck"):
        _fit(tmp_path / "b", {"train": {"best": "acuracy"}})


def test_a_batch_must_have_an_item_for_every_share(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size is 8"):
        _fit(tmp_path, {"train": {"accumulate": 9}})


def test_a_source_without_data_is_refused(tmp_path: Path) -> None:
    class Empty(tiny.TinySource):
        def __len__(self) -> int:
            return 0

    with pytest.raises(ConfigError, match="no batch at all"):
        _fit(tmp_path, source=Empty)
