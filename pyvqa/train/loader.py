"""Carry batches from a source to the device, in order, through worker processes or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pyvqa.errors import PyvqaError, TrainingError
from pyvqa.train.order import seed_everything
from pyvqa.train.settings import TrainConfig
from pyvqa.train.signals import ignore_in_worker
from pyvqa.train.stage import Source

# Keeps the random numbers of data apart from those of steps (`loop`).
_DATA = 1

_KILLED = (
    "a worker process that prepares data was killed; run the same command to continue, "
    "with fewer train.workers if memory ran out"
)


@dataclasses.dataclass
class _Failure:
    """A user's error on its way out of a worker, whose traceback would bury the message."""

    error: PyvqaError


class _Shares(Dataset[Any]):
    """Number all shares of one rank through the whole run: micro-batch by micro-batch."""

    def __init__(self, source: Source, config: TrainConfig, rank: int, ranks: int) -> None:
        self._source = source
        self._seed = config.seed
        self._accumulate = config.accumulate
        self._rank, self._ranks = rank, ranks
        self._epoch_length = len(source)

    def __getitem__(self, number: int) -> Any:
        step, micro = divmod(number, self._accumulate)
        epoch, index = divmod(step, self._epoch_length)
        part, parts = self._rank * self._accumulate + micro, self._ranks * self._accumulate
        # A source that draws from a global generator is thereby still a pure function.
        seed_everything(self._seed, _DATA, epoch, index, part)
        try:
            return self._source.batch(epoch, index, part, parts)
        except PyvqaError as error:
            return _Failure(error)


def shares(
    source: Source, config: TrainConfig, steps: range, device: torch.device, rank: int, ranks: int
) -> Generator[Any, None, None]:
    """Yield the rank's shares of the given steps, `accumulate` of them per step, on the device.

    Worker processes only compute ahead; what they compute does not depend on their number.
    """
    numbers = range(steps.start * config.accumulate, steps.stop * config.accumulate)
    pinned = device.type == "cuda"
    loader: DataLoader[Any] = DataLoader(
        _Shares(source, config, rank, ranks),
        batch_size=None,
        sampler=numbers,
        collate_fn=_unchanged,
        num_workers=config.workers,
        prefetch_factor=config.prefetch if config.workers else None,
        worker_init_fn=_start_worker if config.workers else None,
        multiprocessing_context="fork" if config.workers else None,
        pin_memory=pinned,
        generator=torch.Generator(),
    )
    batches = iter(loader)
    try:
        for batch in batches:
            if isinstance(batch, _Failure):
                raise batch.error
            yield to_device(batch, device)
    except (EOFError, ConnectionError) as error:
        # How it shows when a batch's memory went with the worker. A source's own error of that
        # kind, coming out of a living worker, says "Caught ..." in front.
        if not config.workers or "Caught" in str(error):
            raise
        raise TrainingError(_KILLED) from error
    finally:
        if config.workers:
            # Else an error's traceback would keep the workers, and torch's watch over them, alive.
            batches._shutdown_workers()  # type: ignore[attr-defined]


@contextmanager
def explained_workers() -> Iterator[None]:
    """Turn the death of a worker process, which torch may raise at any place, into one line.

    Raises:
        TrainingError: a worker was killed, most often for want of memory.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error):
            raise
        raise TrainingError(_KILLED) from error


def to_device(value: Any, device: torch.device) -> Any:
    """Move the tensors in any nesting of containers, named tuples and dataclasses."""
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {key: to_device(inner, device) for key, inner in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(inner, device) for inner in value))
    if isinstance(value, list | tuple):
        return type(value)(to_device(inner, device) for inner in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value))
        moved = {name: to_device(getattr(value, name), device) for name in fields}
        return dataclasses.replace(value, **moved)
    return value


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    ignore_in_worker()
    torch.set_num_threads(1)
