"""Optimisers are torch's own, schedules are functions of the step."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from pyvqa.errors import ConfigError
from pyvqa.train.optim import (
    apply_schedule,
    build_optimiser,
    build_schedule,
    clip_gradients,
    total_steps,
)
from pyvqa.train.settings import OptimConfig, ScheduleConfig, TrainConfig

PAIRS: list[tuple[OptimConfig, Any, dict[str, Any]]] = [
    (OptimConfig(lr=0.1), torch.optim.Adam, {"lr": 0.1, "fused": True}),
    (
        OptimConfig(lr=0.1, beta1=0.5, beta2=0.9, eps=1e-3, weight_decay=0.1),
        torch.optim.Adam,
        {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-3, "weight_decay": 0.1, "fused": True},
    ),
    (
        OptimConfig(name="adamw", lr=0.1, weight_decay=0.1),
        torch.optim.AdamW,
        {"lr": 0.1, "weight_decay": 0.1, "fused": True},
    ),
    (
        OptimConfig(name="adamax", lr=0.1, beta1=0.5, eps=1e-3),
        torch.optim.Adamax,
        {"lr": 0.1, "betas": (0.5, 0.999), "eps": 1e-3},
    ),
    (OptimConfig(name="sgd", lr=0.1), torch.optim.SGD, {"lr": 0.1}),
    (
        OptimConfig(name="sgd", lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
        torch.optim.SGD,
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
]


def _trained(make: Any) -> torch.Tensor:
    weight = nn.Parameter(torch.linspace(-1, 1, 5))
    optimiser = make([weight])
    for _ in range(4):
        optimiser.zero_grad()
        (weight.square().sum() + weight.sum().sin()).backward()
        optimiser.step()
    return weight.detach()


@pytest.mark.parametrize(("config", "kind", "options"), PAIRS)
def test_each_setting_reaches_torch(config: OptimConfig, kind: Any, options: Any) -> None:
    ours = _trained(lambda parameters: build_optimiser(parameters, config))
    theirs = _trained(lambda parameters: kind(parameters, **options))
    assert torch.equal(ours, theirs)


def test_groups_keep_their_own_rate_under_a_schedule() -> None:
    weight, bias = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    groups = [{"params": [weight]}, {"params": [bias], "lr": 0.2, "weight_decay": 0.0}]
    optimiser = build_optimiser(groups, OptimConfig(name="sgd", lr=0.1, weight_decay=0.01))
    assert apply_schedule(optimiser, lambda step: 0.5**step, 2) == pytest.approx(0.025)
    assert [group["lr"] for group in optimiser.param_groups] == pytest.approx([0.025, 0.05])
    assert [group["weight_decay"] for group in optimiser.param_groups] == [0.01, 0.0]
    # Not multiplied up by applying it again.
    assert apply_schedule(optimiser, lambda step: 0.5**step, 2) == pytest.approx(0.025)


def test_schedules_work_on_optimisers_made_elsewhere() -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.4)
    assert apply_schedule(optimiser, lambda step: 0.5, 7) == pytest.approx(0.2)
    assert apply_schedule(optimiser, lambda step: 0.5, 8) == pytest.approx(0.2)
    assert apply_schedule(optimiser, None, 8) == pytest.approx(0.2)


@pytest.mark.parametrize(("limit", "expected"), [(0.0, 5.0), (2.5, 2.5), (50.0, 5.0)])
def test_clipping(limit: float, expected: float) -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimiser = build_optimiser([weight], OptimConfig(clip_norm=limit))
    assert clip_gradients(optimiser) is None
    weight.grad = torch.tensor([3.0, 4.0])
    norm = clip_gradients(optimiser)
    assert norm is not None
    assert float(norm) == pytest.approx(5.0)
    assert float(weight.grad.norm()) == pytest.approx(expected, rel=1e-5)


def _factors(config: ScheduleConfig, train: TrainConfig, per_epoch: int = 10) -> list[float]:
    schedule = build_schedule(config, train, per_epoch)
    return [schedule(step) for step in range(total_steps(train, per_epoch))]


def test_constant_and_step() -> None:
    train = TrainConfig(steps=6)
    assert _factors(ScheduleConfig(), train) == [1.0] * 6
    config = ScheduleConfig(name="step", milestones=[2, 4], factor=0.5)
    assert _factors(config, train) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_milestones_in_epochs() -> None:
    config = ScheduleConfig(name="step", milestones=[1], factor=0.1, unit="epoch")
    factors = _factors(config, TrainConfig(epochs=2), per_epoch=3)
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


def test_linear_warm_up_as_in_detectron() -> None:
    config = ScheduleConfig(name="step", warmup=500, warmup_from=1 / 3, milestones=[800])
    factors = _factors(config, TrainConfig(steps=1000))
    for step in (0, 1, 250, 499):
        alpha = step / 500
        assert factors[step] == pytest.approx(1 / 3 * (1 - alpha) + alpha)
    assert (factors[500], factors[799]) == (1.0, 1.0)
    assert factors[800] == pytest.approx(0.1)


def test_warm_up_by_epochs_as_in_murel() -> None:
    """linspace(0.5, 2, 7) over the first epochs, on a base rate of twice the nominal one."""
    config = ScheduleConfig(name="step", unit="epoch", warmup=6, warmup_from=0.25)
    config = ScheduleConfig(**{**vars(config), "milestones": [14, 16], "factor": 0.25})
    factors = _factors(config, TrainConfig(epochs=18), per_epoch=1)
    assert [2 * f for f in factors[:7]] == pytest.approx([0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])
    assert [2 * f for f in factors[13:18]] == pytest.approx([2, 0.5, 0.5, 0.125, 0.125])


def test_cosine_and_linear_fall_to_the_floor() -> None:
    train = TrainConfig(steps=100)
    cosine = _factors(ScheduleConfig(name="cosine", floor=0.1), train)
    assert cosine[0] == 1.0
    assert cosine[50] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi / 2)))
    assert 0.1 < cosine[-1] < 0.101
    assert all(a > b for a, b in pairwise(cosine))
    linear = _factors(ScheduleConfig(name="linear", warmup=20), train)
    assert linear[:21] == pytest.approx([step / 20 for step in range(20)] + [1.0])
    assert linear[60] == pytest.approx(0.5)
    assert linear[-1] == pytest.approx(1 / 80)


def test_milestones_out_of_order_are_refused() -> None:
    config = ScheduleConfig(name="step", milestones=[5, 2])
    with pytest.raises(ConfigError, match="rising order"):
        build_schedule(config, TrainConfig(steps=10), 10)
