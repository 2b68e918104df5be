"""The one training loop.

    with distributed.join(config.train) as ranks:
        run = Run.open(folder, config, writer=ranks.rank == 0)
        outcome = fit(run, stage, config, ranks)

Everything that a step depends on is a function of (seed, step) and the checkpointed state, so a run
that is killed at any moment and started again ends with the same bits as one that was left alone.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pyvqa.errors import CheckpointError, ConfigError
from pyvqa.files import atomic_folder
from pyvqa.train import checkpoint
from pyvqa.train.config import digest
from pyvqa.train.distributed import Ranks
from pyvqa.train.guard import Guard, Ledger, Update
from pyvqa.train.loader import explained_workers, shares
from pyvqa.train.logging import Progress, logger
from pyvqa.train.modes import determinism, evaluation
from pyvqa.train.optim import apply_schedule, clip_gradients, total_steps
from pyvqa.train.order import seed_everything
from pyvqa.train.run import Run
from pyvqa.train.settings import RunConfig
from pyvqa.train.signals import Interruption, Signals
from pyvqa.train.stage import Stage

# Purposes of random numbers, kept apart (1 is the loader's).
_BUILD, _STEP, _VALIDATE = 0, 2, 3


@dataclass(frozen=True)
class Outcome:
    """How a call of `fit` ended: at which step, and whether the run is complete.

    `signal` is the signal that paused it, 0 if none did; `best` is the best validation so far.
    """

    step: int
    finished: bool
    signal: int
    best: float | None


def fit(
    run: Run,
    stage: Stage,
    config: RunConfig,
    ranks: Ranks,
    *,
    after_checkpoint: Callable[[Run], None] | None = None,
) -> Outcome:
    """Train a stage to its end, from wherever its run folder stands.

    Raises:
        TrainingError: a loss or gradient is not finite, or a rank is lost.
        CheckpointError: the checkpoint to continue from is damaged or not of this config.
        DataError: the source's data are at fault, or the disk is full.
    """
    with ExitStack() as stack:
        signals = stack.enter_context(Signals())
        stack.enter_context(determinism(config.train.deterministic))
        stack.enter_context(ranks.explained())
        stack.enter_context(explained_workers())
        try:
            # Of several ranks none may leave before they have agreed to.
            with signals.interruptible(ranks.ranks == 1):
                loop = _Loop(run, stage, config, ranks, after_checkpoint)
        except Interruption:
            return Outcome(0, False, signals.received, None)
        return loop.run_to_end(signals)


class _Loop:
    def __init__(
        self,
        run: Run,
        stage: Stage,
        config: RunConfig,
        ranks: Ranks,
        after_checkpoint: Callable[[Run], None] | None,
    ) -> None:
        self.run, self.stage, self.config, self.ranks = run, stage, config, ranks
        self.train = config.train
        self.after_checkpoint = after_checkpoint
        self.started = time.monotonic()
        if self.train.best and stage.validate is None:
            raise ConfigError(
                f"train.best is {self.train.best!r}, but {stage.name} has no validation; clear it"
            )
        seed_everything(self.train.seed, _BUILD)
        self.source = stage.source(config)
        self.epoch_length = len(self.source)
        self.total = total_steps(self.train, self.epoch_length)
        if self.train.batch_size < ranks.ranks * self.train.accumulate:
            raise ConfigError(
                f"train.batch_size is {self.train.batch_size}, less than one item for each of "
                f"{ranks.ranks} ranks x {self.train.accumulate} micro-batches; make it larger"
            )
        self.state = stage.build(config, self.source)
        self.state.to(ranks.device)
        # By identity: two networks may share a layer.
        networks = self.state.networks.values()
        every = {id(p): p for network in networks for p in network.parameters()}
        self.parameters = list(every.values())
        self.ledger = Ledger()
        self.step = self._restore()
        self.is_saved = self.step > 0
        place = f", rank {ranks.rank}" if ranks.ranks > 1 else ""
        self.guard = Guard(self.train, self.state, self.ledger, self.epoch_length, place)
        self.last_time, self.last_time_step = self.started, self.step

    def run_to_end(self, signals: Signals) -> Outcome:
        """Update, log, validate and save until the run is complete or paused."""
        shown = self.ranks.rank == 0
        with ExitStack() as stack:
            progress = stack.enter_context(Progress(self.step, self.total, shown=shown))
            steps = range(self.step, self.total)
            place = (self.ranks.device, self.ranks.rank, self.ranks.ranks)
            batches = stack.enter_context(closing(shares(self.source, self.train, steps, *place)))
            # A run killed between an update and its validation has the validation to make up for.
            paused = self._is_asked_to_pause(signals) or not self._look_up_from_work(signals)
            while not paused and not self._is_finished():
                self._update(batches)
                progress.advance()
                if self._is_due(self.train.log_every) or self.step == self.total:
                    progress.note(self._log())
                paused = self._is_asked_to_pause(signals) or not self._look_up_from_work(signals)
                if paused or self._is_due(self.train.checkpoint_every):
                    self._save()
            finished = self._is_finished() and not paused
            if finished:
                self._save()
                self._export_model()
        return Outcome(self.step, finished, signals.received, self.ledger.best)

    def _update(self, batches: Iterator[Any]) -> None:
        """Make one update of the weights from the next `accumulate` shares."""
        self.ranks.note_step(self.step)
        norms = {}
        for name, optimiser in self.state.optimisers.items():
            apply_schedule(optimiser, self.state.schedules.get(name), self.step)
        for parameter in self.parameters:
            parameter.grad = None
        # A bad batch has spoilt running statistics by the time it is noticed.
        kept = [b.clone() for b in self._buffers()] if self.train.nonfinite == "skip" else []
        batch, metrics = self._backward(batches)
        for name, optimiser in self.state.optimisers.items():
            norm = clip_gradients(optimiser)
            if norm is not None:
                norms[name] = norm
        if self.guard.admit(Update(self.step, batch, metrics, norms)):
            for optimiser in self.state.optimisers.values():
                optimiser.step()
            if self.stage.after_step is not None:
                self.stage.after_step(self.state, metrics)
        else:
            for buffer, before in zip(self._buffers(), kept, strict=True):
                buffer.copy_(before)
        # The running statistics that get saved are rank 0's; going on with others would not be
        # what a continued run does.
        if self.ranks.ranks > 1:
            self.ranks.broadcast_(self._buffers())
        self.step += 1
        self.is_saved = False

    def _backward(self, batches: Iterator[Any]) -> tuple[Any, dict[str, Tensor]]:
        """Average gradients and metrics over micro-batches and ranks; give the last share too."""
        parts = self.train.accumulate * self.ranks.ranks
        if parts == 1:
            batch, metrics, _ = self._step(batches, 0)
            torch.autograd.backward(metrics["loss"])
            return batch, {name: value.detach() for name, value in metrics.items()}
        rows = []
        for micro in range(self.train.accumulate):
            batch, metrics, weight = self._step(batches, micro)
            if weight is not None:  # None: this share is empty, and its means are not numbers.
                torch.autograd.backward(metrics["loss"] * weight.to(metrics["loss"].dtype))
            values = torch.stack([metrics[name].detach().double() for name in sorted(metrics)])
            row = torch.cat([values, values.new_ones(1)])
            rows.append(torch.zeros_like(row) if weight is None else row * weight.double())
        self.ranks.sum_gradients(self.parameters)
        total = self.ranks.sum_(torch.stack(rows).sum(0))
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter.grad /= total[-1].to(parameter.grad.dtype)
        means = (total[:-1] / total[-1]).float().unbind()
        return batch, dict(zip(sorted(metrics), means, strict=True))

    def _step(
        self, batches: Iterator[Any], micro: int
    ) -> tuple[Any, dict[str, Tensor], Tensor | None]:
        """Run the stage's step on the next share; give batch, metrics and weight."""
        batch = next(batches)
        part = self.ranks.rank * self.train.accumulate + micro
        seed_everything(self.train.seed, _STEP, self.step, part)
        with self._autocast():
            values = self.stage.step(self.state, batch)
        metrics = {name: torch.as_tensor(value) for name, value in values.items()}
        weight = metrics.pop("weight", torch.ones(()))
        # Only a weight that the host has at hand anyway is looked at.
        is_empty = weight.device.type == "cpu" and float(weight) == 0.0
        return batch, metrics, None if is_empty else weight.to(self.ranks.device)

    def _log(self) -> dict[str, float]:
        """Write the means of the numbers since the last line, and the learning rates."""
        values = self.guard.take_window()
        shown = {"loss": values["loss"]} if values else {}
        several = len(self.state.optimisers) > 1
        for name, optimiser in self.state.optimisers.items():
            values[f"lr_{name}" if several else "lr"] = optimiser.param_groups[0]["lr"]
        if self.ledger.skipped:
            values["skipped"] = self.ledger.skipped
        self.run.log("train", self.step, (self.step - 1) // self.epoch_length, values)
        now, steps = time.monotonic(), self.step - self.last_time_step
        speed = steps * self.train.batch_size / max(1e-9, now - self.last_time)
        self.run.log_time(self.step, {"seconds": round(now - self.started, 3),
                                      "items_per_second": round(speed, 1)})  # fmt: skip
        self.last_time, self.last_time_step = now, self.step
        return shown

    def _look_up_from_work(self, signals: Signals) -> bool:
        """Validate if it is time to; tell whether that was left undone because of a signal."""
        due = self._is_due(self.train.validate_every) or (
            self.step == self.total and self.train.validate_every > 0
        )
        if self.stage.validate is None or not due or self.ledger.validated == self.step:
            return True
        self.guard.settle()
        try:
            values = self._validate(signals)
        except Interruption:
            return False
        self.run.log("validate", self.step, (self.step - 1) // self.epoch_length, values)
        self.ledger.validated = self.step
        self.is_saved = False
        self._keep_best(values)
        return True

    def _validate(self, signals: Signals) -> dict[str, float]:
        assert self.stage.validate is not None
        seed_everything(self.train.seed, _VALIDATE, self.step)
        with evaluation(self.state.networks), self._autocast():
            with signals.interruptible(self.ranks.ranks == 1):
                values = self.stage.validate(self.state, self.config)
        plain = {name: float(value) for name, value in values.items()}
        return {name: float(value) for name, value in self.ranks.broadcast_json(plain).items()}

    def _keep_best(self, values: Mapping[str, float]) -> None:
        metric = self.train.best
        if not metric:
            return
        if metric not in values:
            raise ConfigError(
                f"train.best is {metric!r}, but validation gives {', '.join(sorted(values))}"
            )
        value, ledger = values[metric], self.ledger
        sign = 1.0 if self.train.best_mode == "max" else -1.0
        is_better = ledger.best is None or sign * value > sign * ledger.best
        if math.isnan(value) or not is_better:
            ledger.bad_validations += 1
            return
        ledger.best, ledger.best_step, ledger.bad_validations = value, self.step, 0
        self._export(f"best_{metric}")
        # The next start must know of it, else it might put a lesser one in its place.
        self._save()

    def _save(self) -> None:
        """Write a checkpoint of this moment, unless there is one."""
        if self.is_saved:
            return
        self.guard.settle()
        self.is_saved = True
        if self.run.writer:
            meta = {
                "stage": self.stage.name,
                "config": digest(self.config),
                "ledger": dataclasses.asdict(self.ledger),
                "log_bytes": self.run.sync_log(),
            }
            folder, keep = self.run.checkpoints, self.train.keep
            checkpoint.save(folder, self.step, self.state, meta, keep=keep)
            if self.after_checkpoint is not None:
                self.after_checkpoint(self.run)

    def _restore(self) -> int:
        """Continue from the newest checkpoint; give the step."""
        self.ranks.wait()
        found = checkpoint.latest(self.run.checkpoints)
        step, offset = 0, 0
        if found is not None:
            step, meta = checkpoint.load(found, self.state)
            if meta["stage"] != self.stage.name or meta["config"] != digest(self.config):
                raise CheckpointError(
                    f"{found}: written by {meta['stage']} with another config; "
                    "continue that run in its own folder, or use an empty one"
                )
            self.ledger = Ledger(**meta["ledger"])
            offset = meta["log_bytes"]
            if self.run.writer:
                checkpoint.prune(found, self.train.keep)  # A kill may have come in between.
                logger.info("continuing %s at step %d of %d", self.run.folder, step, self.total)
        self.run.start_log(offset)
        self.ranks.broadcast_([*self.parameters, *self._buffers()])
        return step

    def _export_model(self) -> None:
        if not (self.run.folder / "model").is_dir():
            self._export("model")

    def _export(self, name: str) -> None:
        if self.stage.export is not None and self.run.writer:
            with atomic_folder(self.run.folder / name) as folder:
                self.stage.export(self.state, self.config, folder)

    def _buffers(self) -> list[Tensor]:
        return [b for network in self.state.networks.values() for b in network.buffers()]

    def _autocast(self) -> torch.autocast:
        half = self.train.precision == "bfloat16"
        return torch.autocast(self.ranks.device.type, torch.bfloat16, enabled=half)

    def _is_due(self, every: int) -> bool:
        return every > 0 and self.step > 0 and self.step % every == 0

    def _is_finished(self) -> bool:
        patience = self.train.patience
        gave_up = 0 < patience <= self.ledger.bad_validations
        return self.step >= self.total or gave_up

    def _is_asked_to_pause(self, signals: Signals) -> bool:
        """Tell whether any rank has received a signal or used up its time."""
        minutes = (time.monotonic() - self.started) / 60
        out_of_time = 0 < self.train.max_minutes <= minutes
        return self.ranks.any([bool(signals.received) or out_of_time])[0]
