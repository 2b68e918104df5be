"""A stage small enough to train in a blink, in which every random number and counter matters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pyvqa.train.checkpoint import save_network
from pyvqa.train.optim import build_optimiser, build_schedule
from pyvqa.train.order import batches_in_epoch, epoch_order, global_batch, share
from pyvqa.train.settings import OptimConfig, RunConfig, ScheduleConfig, TrainConfig, setting
from pyvqa.train.stage import Source, Stage, State

ITEMS = 52


@dataclass(kw_only=True)
class TinyConfig(RunConfig):
    """Settings of the tests' stage; `poison` is an item whose input is NaN."""

    width: int = setting(8, minimum=1)
    dropout: float = setting(0.2, minimum=0.0, below=1.0)
    noise: float = setting(0.1, minimum=0.0)
    normalise: bool = True
    sample: bool = True
    poison: int = -1
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=0.02))
    schedule: ScheduleConfig = field(default_factory=lambda: ScheduleConfig(name="cosine"))
    train: TrainConfig = field(
        default_factory=lambda: TrainConfig(
            steps=40,
            batch_size=8,
            validate_every=10,
            best="accuracy",
            checkpoint_every=7,
            log_every=3,
            device="cpu",
        )
    )


@dataclass
class TinyBatch:
    """Inputs [B, 4], targets [B], item numbers [B]."""

    inputs: Tensor
    targets: Tensor
    ids: Tensor


class TinySource:
    """Points in four dimensions; the target says on which side of a plane a point lies."""

    def __init__(self, config: TinyConfig) -> None:
        self.config = config

    def __len__(self) -> int:
        return batches_in_epoch(ITEMS, self.config.train.batch_size)

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> TinyBatch:
        order = epoch_order(ITEMS, self.config.train.seed, epoch)
        mine = share(global_batch(order, index, self.config.train.batch_size), rank, ranks)
        return make_batch(torch.from_numpy(mine.copy()), self.config.poison)


def make_batch(ids: Tensor, poison: int = -1) -> TinyBatch:
    every = torch.Generator().manual_seed(7)
    inputs = torch.randn(ITEMS, 4, generator=every)
    targets = (inputs.sum(1) > 0).long()
    if poison >= 0:
        inputs[poison, 2] = torch.nan
    return TinyBatch(inputs[ids], targets[ids], ids)


class Classifier(nn.Module):
    """Two layers with dropout: [B, 4] -> [B, 2] logits.

    With `normalise`, batch normalisation and a running mean that shifts the inputs: buffers, which
    a continued run needs as much as the weights.
    """

    def __init__(self, width: int, dropout: float, *, normalise: bool) -> None:
        super().__init__()
        norm = nn.BatchNorm1d(width) if normalise else nn.Identity()
        self.average: Tensor
        self.register_buffer("average", torch.zeros(4))
        self.normalise = normalise
        self.layers = nn.Sequential(
            nn.Linear(4, width), norm, nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 2)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        if self.normalise and self.training:
            self.average.lerp_(inputs.mean(0), 0.1)
        logits: Tensor = self.layers(inputs - self.average)
        return logits


@dataclass
class TinyState(State):
    noise: float = 0.0
    sample: bool = True


def build(config: TinyConfig, source: Source) -> TinyState:
    main = Classifier(config.width, config.dropout, normalise=config.normalise)
    helper = nn.Linear(4, 1)
    schedule = build_schedule(config.schedule, config.train, len(source))
    sgd = OptimConfig(name="sgd", lr=0.05, momentum=0.9, clip_norm=0.5)
    return TinyState(
        networks={"main": main, "helper": helper},
        optimisers={
            "main": build_optimiser(main.parameters(), config.optim),
            "helper": build_optimiser(helper.parameters(), sgd),
        },
        schedules={"main": schedule},
        counters={"baseline": torch.zeros(()), "updates": 0},
        noise=config.noise,
        sample=config.sample,
    )


def step(state: TinyState, batch: TinyBatch) -> dict[str, Tensor]:
    logits = state.networks["main"](batch.inputs + state.noise * torch.randn_like(batch.inputs))
    drawn = (logits - torch.empty_like(logits).exponential_().log()).argmax(1)
    guess = drawn if state.sample else logits.argmax(1)
    reward = (guess == batch.targets).float()
    supervised = nn.functional.cross_entropy(logits, batch.targets)
    value = state.networks["helper"](batch.inputs).squeeze(1)
    loss = supervised + (value - reward + state.counters["baseline"]).square().mean()
    return {"loss": loss, "reward": reward.mean(), "weight": torch.tensor(len(batch.ids))}


def after_step(state: TinyState, metrics: dict[str, Tensor]) -> None:
    state.counters["baseline"] = 0.9 * state.counters["baseline"] + 0.1 * metrics["reward"]
    state.counters["updates"] += 1


def validate(state: TinyState, config: TinyConfig) -> dict[str, float]:
    batch = make_batch(torch.arange(ITEMS))
    right = state.networks["main"](batch.inputs).argmax(1) == batch.targets
    return {"accuracy": right.float().mean().item(), "luck": torch.rand(()).item()}


def export(state: TinyState, config: TinyConfig, folder: Path) -> None:
    for name, network in state.networks.items():
        save_network(folder / f"{name}.safetensors", network, torch.float16)


STAGE = Stage(
    name="tiny/train",
    config_type=TinyConfig,
    source=TinySource,
    build=build,
    step=step,
    after_step=after_step,
    validate=validate,
    export=export,
)
