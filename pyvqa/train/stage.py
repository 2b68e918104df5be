"""What a system brings to the training loop: a state, a source of batches and a step.

A stage is plain data: a config class and a few functions. Supervised, REINFORCE, two-phase and
joint training differ in `step` alone; everything else (order of data, random numbers, precision,
accumulation, clipping, schedules, logging, checkpoints, ranks) is the loop's.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyvqa.errors import ConfigError
from pyvqa.train.config import nearest
from pyvqa.train.optim import Schedule
from pyvqa.train.settings import RunConfig


@dataclass
class State:
    """All that training changes: what a checkpoint holds besides the seed and the step.

    A schedule belongs to the optimiser of the same name and gives the factor on its learning rate.
    Counters are running values such as a reward baseline; they may be numbers or tensors, and keep
    their type. A stage may derive from this class to carry what its step needs and never changes.
    """

    networks: dict[str, nn.Module]
    optimisers: dict[str, Optimizer] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    counters: dict[str, Tensor | float | int] = field(default_factory=dict)

    def to(self, device: torch.device) -> None:
        """Move networks and counters to a device, in place; derived states move what they add."""
        for network in self.networks.values():
            network.to(device)
        for name, value in self.counters.items():
            if isinstance(value, Tensor):
                self.counters[name] = value.to(device)


class Source(Protocol):
    """Where batches come from: a pure function, so that nothing of it needs saving.

    Open files inside `batch`, on first use: worker processes are forked copies of the source, and
    h5 handles do not survive that.
    """

    def __len__(self) -> int:
        """Count the global batches of one epoch."""

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> Any:
        """Give one share of global batch `index` of `epoch`: tensors in any nesting.

        The union over `rank` is the global batch whatever `ranks` is (see `order.share`); gradient
        accumulation cuts shares finer in the same way. If the batch has `ids` (an attribute or a
        key), they are named when something goes wrong.
        """


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One way of training one system.

    `step(state, batch)` returns named scalars, among them `loss`, a mean over the share's items;
    the loop does backward and update. Where shares weigh differently, a scalar `weight` says over
    how much the loss is a mean (items, tokens); it defaults to 1. The loop has seeded torch, NumPy
    and Python from (seed, step, share), so dropout and sampling may use the global generators.

    `after_step(state, metrics)` runs once per update with the metrics averaged over all shares and
    ranks: the place to move counters, so that they do not depend on how the batch was cut.

    `validate(state, config)` returns named numbers and changes nothing; it runs on every rank, in
    evaluation mode and without gradients, and rank 0's numbers count. `export(state, config,
    folder)` fills a model folder.
    """

    name: str
    config_type: type[RunConfig]
    source: Callable[[Any], Source]
    build: Callable[[Any, Source], State]
    step: Callable[[Any, Any], Mapping[str, Tensor]]
    after_step: Callable[[Any, Mapping[str, Tensor]], None] | None = None
    validate: Callable[[Any, Any], Mapping[str, float]] | None = None
    export: Callable[[Any, Any, Path], None] | None = None


def resolve_stage(name: str, table: Mapping[str, str]) -> Stage:
    """Import the stage that `table` lists as `module:attribute`.

    Raises:
        ConfigError: the table has no such name (the nearest one is named).
    """
    if name not in table:
        known = f"; known: {', '.join(sorted(table))}"
        raise ConfigError(f"unknown stage {name!r}{nearest(name, list(table)) or known}")
    module, _, attribute = table[name].partition(":")
    stage: Stage = getattr(importlib.import_module(module), attribute)
    return stage
