"""Optimisers by name, and learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyvqa.errors import ConfigError
from pyvqa.train.settings import OptimConfig, ScheduleConfig, TrainConfig

# Number of updates made so far -> factor on the learning rate.
Schedule = Callable[[int], float]


def build_optimiser(
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]], config: OptimConfig
) -> Optimizer:
    """Make the optimiser that a config names, over parameters or parameter groups.

    A group may set its own `lr` or `weight_decay` (Detectron doubles the rate of biases, for
    example); schedules scale each group's own rate.
    """
    groups: list[Any] = list(parameters)
    shared: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        optimiser: Optimizer = torch.optim.SGD(
            groups, momentum=config.momentum, nesterov=config.nesterov, **shared
        )
    else:
        shared |= {"betas": (config.beta1, config.beta2), "eps": config.eps}
        if config.name == "adamax":
            optimiser = torch.optim.Adamax(groups, **shared)
        else:
            kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.name]
            # Fused: one pass over each parameter instead of a dozen.
            optimiser = kind(groups, fused=True, **shared)
    for group in optimiser.param_groups:
        group["initial_lr"] = group["lr"]
        # Kept with the optimiser, because each one clips its own parameters.
        group["clip_norm"] = config.clip_norm
    return optimiser


def clip_gradients(optimiser: Optimizer) -> Tensor | None:
    """Scale the optimiser's gradients down to its `clip_norm`; give their norm before that.

    Returns a 0-dim tensor on the gradients' device, without waiting for it; None when no parameter
    has a gradient.
    """
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return None
    norm = nn.utils.get_total_norm(gradients)
    limit = optimiser.param_groups[0].get("clip_norm", 0.0)
    if limit > 0:
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def apply_schedule(optimiser: Optimizer, schedule: Schedule | None, step: int) -> float:
    """Set every group's learning rate for update `step`; give the first group's."""
    if schedule is not None:
        factor = schedule(step)
        for group in optimiser.param_groups:
            # An optimiser made elsewhere has no `initial_lr` before its first update.
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
    return float(optimiser.param_groups[0]["lr"])


def build_schedule(config: ScheduleConfig, train: TrainConfig, steps_per_epoch: int) -> Schedule:
    """Make the schedule that a config describes (see `ScheduleConfig`)."""
    divisor = steps_per_epoch if config.unit == "epoch" else 1
    total = math.ceil(total_steps(train, steps_per_epoch) / divisor)
    if config.milestones != sorted(config.milestones):
        raise ConfigError(
            f"schedule.milestones is {config.milestones}; the milestones must be in rising order"
        )

    def factor(step: int) -> float:
        now = step // divisor
        if now < config.warmup:
            return config.warmup_from + (1.0 - config.warmup_from) * now / config.warmup
        return _after_warmup(config, now, total)

    return factor


def _after_warmup(config: ScheduleConfig, now: int, total: int) -> float:
    if config.name == "step":
        return float(config.factor ** bisect.bisect_right(config.milestones, now))
    if config.name == "constant":
        return 1.0
    # How far along the way from the end of the warm-up to the end of the run, 0 to 1.
    done = min(1.0, (now - config.warmup) / max(1, total - config.warmup))
    fall = 1.0 - done if config.name == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
    return config.floor + (1.0 - config.floor) * fall


def total_steps(train: TrainConfig, steps_per_epoch: int) -> int:
    """Count the updates of a whole run.

    Raises:
        ConfigError: neither or both of `train.steps` and `train.epochs` are set, or there is no
            data to make an epoch of.
    """
    if (train.steps > 0) == (train.epochs > 0):
        raise ConfigError(
            f"train.steps is {train.steps} and train.epochs is {train.epochs}; "
            "set exactly one of the two"
        )
    if steps_per_epoch < 1:
        raise ConfigError("the training data gives no batch at all; check the data settings")
    return train.steps or train.epochs * steps_per_epoch
