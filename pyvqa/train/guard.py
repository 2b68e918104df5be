"""The numbers of updates on their way to the log, and what happens when one is not finite."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pyvqa.errors import TrainingError
from pyvqa.train.logging import logger
from pyvqa.train.settings import TrainConfig
from pyvqa.train.stage import State

# Updates left out one after another before `nonfinite=skip` gives up.
_MOST_SKIPPED = 100
# On a GPU, so many updates may be under way before the host looks at their numbers.
_LAG = 8


@dataclass
class Ledger:
    """The loop's own share of what a checkpoint holds."""

    best: float | None = None
    best_step: int = 0
    bad_validations: int = 0
    validated: int = 0
    skipped: int = 0
    skipped_in_a_row: int = 0
    # Sums since the last log line, so that a line does not depend on interruptions.
    window: dict[str, float] = field(default_factory=dict)
    window_steps: int = 0


@dataclass
class Update:
    """What there is to know about an update: its number, last share, metrics, gradient norms."""

    step: int
    batch: Any
    metrics: Mapping[str, Tensor]
    norms: Mapping[str, Tensor]


class Guard:
    """Read each update's numbers into the ledger's window, and refuse those that are not finite.

    On a CPU they are read before the weights move. On a GPU reading would wait for the device, so
    updates are looked at in bunches, and always before anything is saved; with `nonfinite=skip`
    the wait is the price.
    """

    def __init__(
        self, train: TrainConfig, state: State, ledger: Ledger, epoch_length: int, place: str
    ) -> None:
        self._train, self._state, self._ledger = train, state, ledger
        self._epoch_length, self._place = epoch_length, place
        self._pending: list[Update] = []

    def admit(self, update: Update) -> bool:
        """Take an update's numbers; tell whether its weights may move.

        Raises:
            TrainingError: a number is not finite and `train.nonfinite` says to stop.
        """
        self._pending.append(update)
        must_know = self._train.nonfinite == "skip" or _is_at_hand(update)
        return self.settle() if must_know or len(self._pending) >= _LAG else True

    def settle(self) -> bool:
        """Read all numbers still under way; tell whether they are finite.

        Raises:
            TrainingError: as for `admit`.
        """
        pending, self._pending = self._pending, []
        fine = [self._read(update) for update in pending]
        return all(fine)

    def take_window(self) -> dict[str, float]:
        """Give the means since the last call, and begin a new window."""
        self.settle()
        ledger = self._ledger
        means = {name: total / ledger.window_steps for name, total in ledger.window.items()}
        ledger.window, ledger.window_steps = {}, 0
        return means

    def _read(self, update: Update) -> bool:
        values = {name: float(value) for name, value in update.metrics.items()}
        norms = {name: float(value) for name, value in update.norms.items()}
        if not all(map(math.isfinite, (values["loss"], *norms.values()))):
            self._refuse(update, values["loss"])
            return False
        ledger = self._ledger
        ledger.skipped_in_a_row = 0
        for name, norm in norms.items():
            values[f"grad_norm_{name}" if len(norms) > 1 else "grad_norm"] = norm
        for name, value in values.items():
            ledger.window[name] = ledger.window.get(name, 0.0) + value
        ledger.window_steps += 1
        return True

    def _refuse(self, update: Update, loss: float) -> None:
        """Stop at an update whose numbers are not finite, or count it as left out."""
        epoch, index = divmod(update.step, self._epoch_length)
        what = f"loss is {loss}" if not math.isfinite(loss) else "a gradient is not finite"
        text = (
            f"step {update.step} (epoch {epoch}, batch {index}{self._place}): {what}; "
            f"batch ids: {batch_ids(update.batch)}; first non-finite tensor: "
            f"{first_nonfinite(update.batch, self._state, update.metrics)}"
        )
        self._ledger.skipped += 1
        self._ledger.skipped_in_a_row += 1
        if self._train.nonfinite == "stop" or self._ledger.skipped_in_a_row >= _MOST_SKIPPED:
            raise TrainingError(
                f"{text}; lower optim.lr, set optim.clip_norm, or allow train.nonfinite=skip"
            )
        logger.warning("%s; update left out", text)


def _is_at_hand(update: Update) -> bool:
    """Tell whether reading the numbers would not wait for a device."""
    return update.metrics["loss"].device.type == "cpu"


def first_nonfinite(batch: Any, state: State, metrics: Mapping[str, Tensor]) -> str:
    """Name the first tensor with a NaN or infinity: batch, weights, counters, metrics, gradients.

    The order is that of cause and effect: a bad input before what it spoils.
    """
    for name, tensor in _named(batch, state, metrics):
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return "none that is left (an intermediate value)"


def batch_ids(batch: Any, limit: int = 16) -> str:
    """Quote the batch's `ids`, or say that it has none."""
    ids = batch.get("ids") if isinstance(batch, Mapping) else getattr(batch, "ids", None)
    if ids is None:
        return "not given by the source"
    listed = ids.flatten().tolist() if hasattr(ids, "tolist") else list(ids)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(str(item) for item in listed[:limit]) + more


def tensors_of(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Walk the tensors in nested dictionaries, sequences, named tuples and dataclasses."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tensors_of(inner, f"{name}.{key}")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        yield from tensors_of(dict(zip(value._fields, value, strict=True)), name)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from tensors_of(inner, f"{name}.{index}")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from tensors_of(getattr(value, field.name), f"{name}.{field.name}")


def _named(batch: Any, state: State, metrics: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    yield from tensors_of(batch, "batch")
    for network_name, network in state.networks.items():
        for key, value in network.state_dict().items():
            yield f"{network_name}.{key}", value
    for key, counter in state.counters.items():
        yield f"counter {key}", torch.as_tensor(counter)
    for key, value in metrics.items():
        yield f"metric {key}", value
    for network_name, network in state.networks.items():
        for key, parameter in network.named_parameters():
            if parameter.grad is not None:
                yield f"gradient of {network_name}.{key}", parameter.grad
