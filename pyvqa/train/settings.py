"""The settings that every training run has, as dataclasses.

A system's own config class adds its model and data to these:

    @dataclass(kw_only=True)
    class ParserConfig(RunConfig):
        data: DataConfig = field(default_factory=DataConfig)
        optim: OptimConfig = field(default_factory=lambda: OptimConfig(lr=7e-4))

`setting` declares what a value may be; `pyvqa.train.config.load_config` enforces it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


def setting(
    default: Any = MISSING,
    *,
    factory: Callable[[], Any] | None = None,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    operational: bool = False,
) -> Any:
    """Declare a config field with its limits.

    `minimum` is inclusive, `above` and `below` are not. An `operational` setting changes how a run
    is carried out but not what comes out, so it may differ when a run is continued.
    """
    limits = {
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "below": below,
        "operational": operational,
    }
    if factory is not None:
        return field(default_factory=factory, metadata=limits)
    return field(default=default, metadata=limits)


@dataclass(kw_only=True)
class OptimConfig:
    """Which optimiser moves the weights, and how far. Unused fields of a name are ignored."""

    name: str = setting("adam", choices=("adam", "adamw", "adamax", "sgd"))
    lr: float = setting(1e-3, minimum=0.0)
    # Adam, AdamW, Adamax: decay of the two running means, and the guard of the division.
    beta1: float = setting(0.9, minimum=0.0, below=1.0)
    beta2: float = setting(0.999, minimum=0.0, below=1.0)
    eps: float = setting(1e-8, above=0.0)
    momentum: float = setting(0.0, minimum=0.0)
    nesterov: bool = False
    weight_decay: float = setting(0.0, minimum=0.0)
    # Longest allowed gradient over all of the optimiser's parameters; 0 leaves it alone.
    clip_norm: float = setting(0.0, minimum=0.0)


@dataclass(kw_only=True)
class ScheduleConfig:
    """How the learning rate moves, as a factor on `optim.lr`.

    For the first `warmup` units the factor climbs in a straight line from `warmup_from` to 1;
    then `constant` stays, `step` multiplies by `factor` at each milestone, `linear` and `cosine`
    fall to `floor` at the end of the run. `unit` says what `warmup` and `milestones` count.
    """

    name: str = setting("constant", choices=("constant", "step", "linear", "cosine"))
    unit: str = setting("step", choices=("step", "epoch"))
    warmup: int = setting(0, minimum=0)
    warmup_from: float = setting(0.0, minimum=0.0)
    milestones: list[int] = field(default_factory=list)
    factor: float = setting(0.1, above=0.0)
    floor: float = setting(0.0, minimum=0.0)


@dataclass(kw_only=True)
class TrainConfig:
    """How long and how a stage trains. Steps count optimiser updates."""

    # One of the two: a number of updates, or of passes over the data.
    steps: int = setting(0, minimum=0)
    epochs: int = setting(0, minimum=0)
    # Items of one update, over all ranks and micro-batches together.
    batch_size: int = setting(64, minimum=1)
    # Micro-batches per update and rank: less memory, same mathematics.
    accumulate: int = setting(1, minimum=1)
    seed: int = setting(1, minimum=0)
    precision: str = setting("float32", choices=("float32", "bfloat16"))
    deterministic: bool = True
    # 0: never. Validation also takes place after the last step.
    validate_every: int = setting(0, minimum=0)
    # The metric of `validate` that decides which weights are kept as best; empty: none.
    best: str = ""
    best_mode: str = setting("max", choices=("max", "min"))
    # Stop after this many validations in a row without a new best; 0: never.
    patience: int = setting(0, minimum=0)
    # What to do when a loss or gradient is not finite: end the run, or leave out the update.
    nonfinite: str = setting("stop", choices=("stop", "skip"))
    log_every: int = setting(10, minimum=1)
    # Settings from here on change nothing in what comes out.
    checkpoint_every: int = setting(1000, minimum=0, operational=True)
    keep: int = setting(2, minimum=2, operational=True)
    workers: int = setting(0, minimum=0, operational=True)
    prefetch: int = setting(2, minimum=1, operational=True)
    device: str = setting("auto", operational=True)
    # Pause the run (checkpoint, then leave) after this many minutes; 0: never.
    max_minutes: float = setting(0.0, minimum=0.0, operational=True)
    # Seconds after which a collective operation, and a rank without a sign of life, is given up.
    timeout: float = setting(600.0, above=0.0, operational=True)
    lost_after: float = setting(20.0, minimum=3.0, operational=True)


@dataclass(kw_only=True)
class RunConfig:
    """What the loop needs to know of any run; systems derive their config classes from it."""

    stage: str = MISSING
    train: TrainConfig = field(default_factory=TrainConfig)
