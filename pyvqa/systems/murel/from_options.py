"""From the original's options to our settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from pyvqa.errors import ConfigError
from pyvqa.systems.murel.build import BOX
from pyvqa.systems.murel.config import (
    AttentionConfig,
    FusionConfig,
    NetworkConfig,
    PairwiseConfig,
    QuestionConfig,
    RelationConfig,
)
from pyvqa.train.settings import OptimConfig, ScheduleConfig, TrainConfig

# The original's classes of skip-thoughts encoders, and the widths that it fixes.
ENCODERS = {"BayesianUniSkip": "bayesian", "DropUniSkip": "drop", "UniSkip": "uni", "BiSkip": "bi"}
MAX_NORM = 0.25  # gradients are clipped to this, which no option says
_GLIMPSES = 2  # of the question's attention

_NETWORK = "model.network"


@dataclass(frozen=True)
class Optimisation:
    """How the original trains with its options."""

    optim: OptimConfig
    schedule: ScheduleConfig
    train: TrainConfig


def network_config(
    options: Mapping[str, Any], state: Mapping[str, Tensor] | None = None
) -> tuple[NetworkConfig, int]:
    """Read the network's settings and the number of its answers from the original's options.

    Widths that the original fixes in its code (of words, question and hidden layers) are taken
    from `state`, its state dict, if given.

    Raises:
        ConfigError: an option is missing, or is of a kind that the original itself cannot run.
    """
    name = _required(options, f"{_NETWORK}.name")
    if name not in ("murel_net", "attention_net", "vqa_net"):
        raise ConfigError(
            f"options: {_NETWORK}.name is {name!r}; murel_net, attention_net and vqa_net are known"
        )
    question = _question(options, state or {})
    width = question.hidden * (question.glimpses if question.attention else 1)
    if "fusion" not in _required(options, f"{_NETWORK}.classif"):
        raise ConfigError(
            f"options: {_NETWORK}.classif has no fusion; its mlp crashes in the original's own code"
        )
    classify, dims, answers = _fusion(options, f"{_NETWORK}.classif.fusion")
    config = NetworkConfig(
        question=question,
        classify=classify,
        initialise=_optional(options, "optimizer.init", "default"),
    )
    if name == "murel_net":
        config.region_dim = seen = dims[1]
        config.relation = _relation(options, width, dims[1])
    else:
        config.relation = None
        config.attention, config.region_dim = _attention(options, width, state or {})
        seen = config.region_dim * (config.attention.glimpses or config.attention.width)
    _expect(f"{_NETWORK}.classif.fusion.input_dims", list(dims), [width, seen])
    return config, answers


def optimisation(options: Mapping[str, Any]) -> Optimisation:
    """Read the training settings; the schedule becomes a function of the epoch alone.

    Raises:
        ConfigError: an option is missing or not as the original has it.
    """
    name = str(_required(options, "optimizer.name"))
    if name not in ("Adam", "AdamW", "Adamax", "SGD"):
        raise ConfigError(f"options: optimizer.name is {name!r}; Adam, AdamW, Adamax, SGD exist")
    lr = float(_required(options, "optimizer.lr"))
    peak, schedule = _schedule(options)
    return Optimisation(
        OptimConfig(name=name.lower(), lr=lr * peak, clip_norm=MAX_NORM),
        schedule,
        TrainConfig(
            epochs=int(_required(options, "engine.nb_epochs")),
            batch_size=int(_required(options, "dataset.batch_size")),
            seed=int(_optional(options, "misc.seed", 1337)),
        ),
    )


def _schedule(options: Mapping[str, Any]) -> tuple[float, ScheduleConfig]:
    """Give the factor on the rate after the warm-up, and the schedule relative to that.

    Epoch e of the first n runs at linspace(start, end, n)[e]; then the last of these stays, and at
    each epoch of a range it is multiplied by the decay rate (block optimizers/lr_scheduler.py).
    """
    warmup = _optional(options, "optimizer.gradual_warmup_steps", None)
    decay = _optional(options, "optimizer.lr_decay_epochs", None)
    start, peak, epochs = 1.0, 1.0, 0
    if warmup is not None:
        start, end, epochs = *map(float, _three(warmup, "gradual_warmup_steps")[:2]), int(warmup[2])
        peak = end if epochs > 1 else start if epochs == 1 else 1.0
    if peak <= 0 or start < 0 or epochs < 0:
        raise ConfigError(
            f"options: optimizer.gradual_warmup_steps is {warmup}; start, end and number of epochs "
            "must be positive"
        )
    schedule = ScheduleConfig(unit="epoch")
    if epochs > 1:
        schedule.warmup, schedule.warmup_from = epochs - 1, start / peak
    if decay is not None:
        first, end_epoch, step = map(int, _three(decay, "lr_decay_epochs"))
        if step < 1:
            raise ConfigError(f"options: optimizer.lr_decay_epochs is {decay}; it steps by {step}")
        schedule.name = "step"
        schedule.milestones = [e for e in range(first, end_epoch, step) if e >= epochs]
        schedule.factor = float(_required(options, "optimizer.lr_decay_rate"))
    return peak, schedule


def _question(options: Mapping[str, Any], state: Mapping[str, Tensor]) -> QuestionConfig:
    where = f"{_NETWORK}.txt_enc"
    kind = _required(options, f"{where}.type")
    name = _required(options, f"{where}.name")
    if name != "skipthoughts" or kind not in ENCODERS:
        raise ConfigError(
            f"options: {where} is {name}, {kind}; known: skipthoughts, {', '.join(ENCODERS)}"
        )
    encoder = ENCODERS[kind]
    dropped = encoder in ("bayesian", "drop")
    config = QuestionConfig(
        encoder=encoder,
        dropout=float(_optional(options, f"{where}.dropout", 0.25)) if dropped else 0.0,
        freeze_words=bool(_optional(options, f"{where}.fixed_emb", False)),
        attention=bool(_optional(options, f"{_NETWORK}.self_q_att", False)),
        glimpses=_GLIMPSES,
    )
    embedding = state.get("txt_enc.embedding.weight")
    if embedding is not None and embedding.dim() == 2:
        config.word_dim = embedding.shape[1]
    for name, factor in (
        ("txt_enc.rnn.gru_cell.weight_hn.weight", 1),
        ("txt_enc.rnn.weight_hh", 1),
        ("txt_enc.rnn.weight_hh_l0", 2 if encoder == "bi" else 1),
    ):
        if name in state:
            config.hidden = factor * state[name].shape[-1]
    if "q_att_linear0.bias" in state:
        config.attention_hidden = state["q_att_linear0.bias"].shape[0]
    return config


def _relation(options: Mapping[str, Any], question: int, regions: int) -> RelationConfig:
    where = f"{_NETWORK}.cell"
    pairwise = _optional(options, f"{where}.pairwise", {})
    return RelationConfig(
        steps=int(_required(options, f"{_NETWORK}.n_step")),
        shared=bool(_required(options, f"{_NETWORK}.shared")),
        fusion=_fusion_of(options, f"{where}.fusion", [question, regions], regions),
        residual=bool(_required(options, f"{where}.residual")),
        pairwise=_pairwise(options, regions) if pairwise else None,
        aggregate=str(_required(options, f"{_NETWORK}.agg.type")),
    )


def _pairwise(options: Mapping[str, Any], regions: int) -> PairwiseConfig:
    where = f"{_NETWORK}.cell.pairwise"
    parts: list[FusionConfig | None] = []
    for name, dim in (("fusion_coord", BOX), ("fusion_feat", regions)):
        key = f"{where}.{name}"
        given = _optional(options, key, {})
        parts.append(_fusion_of(options, key, [dim, dim], regions) if given else None)
    return PairwiseConfig(
        coordinates=parts[0],
        features=parts[1],
        residual=bool(_optional(options, f"{where}.residual", True)),
        aggregate=str(_required(options, f"{where}.agg.type")),
    )


def _attention(
    options: Mapping[str, Any], question: int, state: Mapping[str, Tensor]
) -> tuple[AttentionConfig, int]:
    """Read the attention over regions, and the width of a region."""
    where = f"{_NETWORK}.attention"
    fusion, dims, width = _fusion(options, f"{where}.fusion")
    _expect(f"{where}.fusion.input_dims", list(dims), [question, dims[1]])
    config = AttentionConfig(
        fusion=fusion, width=width, glimpses=int(_optional(options, f"{where}.mlp_glimpses", 0))
    )
    if "attention.linear0.bias" in state:
        config.hidden = state["attention.linear0.bias"].shape[0]
    return config, dims[1]


def _fusion_of(
    options: Mapping[str, Any], where: str, inputs: list[int], output: int
) -> FusionConfig:
    """Read a fusion whose widths are known."""
    config, dims, width = _fusion(options, where)
    _expect(f"{where}.input_dims", list(dims), inputs)
    _expect(f"{where}.output_dim", width, output)
    return config


def _fusion(options: Mapping[str, Any], where: str) -> tuple[FusionConfig, tuple[int, int], int]:
    """Read a fusion: its settings, input widths and output width."""
    given = dict(_required(options, where))
    dims = _required(options, f"{where}.input_dims")
    output = _required(options, f"{where}.output_dim")
    if not isinstance(dims, list) or len(dims) != 2:
        raise ConfigError(f"options: {where}.input_dims is {dims}; two widths are needed")
    known = {field.name for field in dataclasses.fields(FusionConfig)}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("input_dims", "output_dim"):
            continue
        if name not in known:
            raise ConfigError(f"options: {where}.{name} is no option of a fusion")
        # An empty activation is none at all, where ours would mean the type's own.
        chosen[name] = "none" if value is None and name.startswith("activ") else value
    if chosen.get("type") == "tucker":
        chosen.pop("shared", None)  # has no effect in the original
    return FusionConfig(**chosen), (int(dims[0]), int(dims[1])), int(output)


def _expect(key: str, found: Any, needed: Any) -> None:
    """Refuse widths that do not follow from each other: the original would crash on them."""
    if found != needed:
        raise ConfigError(f"options: {key} is {found} where {needed} arrives; correct it")


def _three(values: Any, name: str) -> Any:
    if not isinstance(values, list) or len(values) != 3:
        raise ConfigError(f"options: optimizer.{name} is {values}; three numbers are needed")
    return values


def _required(options: Mapping[str, Any], key: str) -> Any:
    value: Any = options
    for name in key.split("."):
        if not isinstance(value, Mapping) or name not in value:
            raise ConfigError(f"options: {key} is missing; is this MuRel's or BLOCK's option file?")
        value = value[name]
    return value


def _optional(options: Mapping[str, Any], key: str, default: Any) -> Any:
    value: Any = options
    for name in key.split("."):
        if not isinstance(value, Mapping) or value.get(name) is None:
            return default
        value = value[name]
    return value
