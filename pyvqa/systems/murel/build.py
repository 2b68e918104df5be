"""From settings to networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from pyvqa.errors import ConfigError
from pyvqa.nn.fusions import FUSIONS, Fusion, fusion_options
from pyvqa.nn.gru import PackedGru
from pyvqa.nn.question import Attention, QuestionEncoder
from pyvqa.systems.murel.config import (
    AttentionConfig,
    FusionConfig,
    NetworkConfig,
    PairwiseConfig,
    QuestionConfig,
    RelationConfig,
)
from pyvqa.systems.murel.model.aggregate import AGGREGATES, several
from pyvqa.systems.murel.model.attention import AttentionNet, RegionAttention
from pyvqa.systems.murel.model.cell import MurelCell
from pyvqa.systems.murel.model.network import MurelNet
from pyvqa.systems.murel.model.pairwise import Pairwise
from pyvqa.systems.murel.skip_thoughts import read_skip_thoughts
from pyvqa.train.config import nearest

Network = MurelNet | AttentionNet

BOX = 4  # numbers of a region's coordinates

# encoder -> dropout masks, directions, whether the recurrent products have a bias
_ENCODERS = {
    "bayesian": ("gate", 1, False),
    "drop": ("state", 1, True),
    "uni": ("none", 1, True),
    "bi": ("none", 2, True),
}


def build_network(config: NetworkConfig, words: Sequence[str], answers: int) -> Network:
    """Make a network with fresh weights for a vocabulary and a number of answers.

    `words` are in the order of their numbers, number 0 being the padding.

    Raises:
        ConfigError: settings that contradict each other; the setting is named.
        DataError: a skip-thoughts file is missing or damaged.
    """
    if (config.relation is None) == (config.attention is None):
        raise ConfigError(
            "set exactly one of relation (MuRel) and attention (the baseline), the other to null"
        )
    if config.initialise == "glorot" and config.question.skip_thoughts is not None:
        raise ConfigError(
            "initialise is glorot, which overwrites what question.skip_thoughts reads; set one"
        )
    question = build_question(config.question, len(words))
    network: Network
    if config.relation is not None:
        network = _murel(config, config.relation, question, answers)
    else:
        network = _baseline(config, config.attention or AttentionConfig(), question, answers)
    if config.initialise == "glorot":
        glorot_(network)
    elif config.question.skip_thoughts is not None:
        read_skip_thoughts(Path(config.question.skip_thoughts), question, words)
    question.embedding.weight.requires_grad_(not config.question.freeze_words)
    return network


def build_question(config: QuestionConfig, words: int) -> QuestionEncoder:
    """Make a question encoder with random weights for that many words, padding among them.

    Raises:
        ConfigError: dropout where the encoder has none, or a hidden width that cannot be halved.
    """
    masks, directions, hidden_bias = _ENCODERS[config.encoder]
    if masks == "none" and config.dropout > 0:
        raise ConfigError(
            f"question.dropout is {config.dropout}; the encoder {config.encoder!r} has none, set 0"
        )
    if config.hidden % directions:
        raise ConfigError(f"question.hidden is {config.hidden}; it must be even for two directions")
    gru = PackedGru(
        config.word_dim,
        config.hidden // directions,
        masks=masks,
        dropout=config.dropout,
        bidirectional=directions == 2,
        hidden_bias=hidden_bias,
    )
    attention = None
    if config.attention:
        attention = Attention(gru.output_dim, config.attention_hidden, config.glimpses)
    return QuestionEncoder(words, gru, attention)


def build_fusion(
    config: FusionConfig, input_dims: tuple[int, int], output_dim: int, where: str
) -> Fusion:
    """Make a fusion; `where` is the path of its settings, for errors.

    Raises:
        ConfigError: an option that the type does not have, or a value that cannot be.
    """
    given = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    options = {k: v for k, v in given.items() if k != "type" and v is not None}
    known = fusion_options(config.type)
    for name in options:
        if name not in known:
            raise ConfigError(
                f"{where}.{name} is {options[name]}, {config.type} has no such option; "
                f"set it to null{nearest(name, known) or '; it has: ' + ', '.join(known)}"
            )
    try:
        return FUSIONS[config.type](input_dims, output_dim, **options)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def glorot_(network: nn.Module) -> None:
    """Give every matrix Glorot's uniform values and every vector zeros, in place.

    That is what the original does for `optimizer.init: glorot`: to all parameters, embedded words
    and the row of padding included.
    """
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() >= 2:
                nn.init.xavier_uniform_(parameter)
            else:
                parameter.zero_()


def _murel(
    config: NetworkConfig, relation: RelationConfig, question: QuestionEncoder, answers: int
) -> MurelNet:
    width = question.output_dim
    count = 1 if relation.shared else relation.steps
    cells = [build_cell(relation, width, config.region_dim) for _ in range(count)]
    for name in several(relation.aggregate):
        _aggregate(name, "relation.aggregate")
    dims = (width, config.region_dim * len(several(relation.aggregate)))
    return MurelNet(
        question,
        cells,
        build_fusion(config.classify, dims, answers, "classify"),
        steps=relation.steps,
        aggregate=relation.aggregate,
        scale=config.region_scale,
    )


def build_cell(config: RelationConfig, question: int, regions: int) -> MurelCell:
    """Make a cell for questions and regions of these widths; raises ConfigError."""
    fusion = build_fusion(config.fusion, (question, regions), regions, "relation.fusion")
    pairwise = None if config.pairwise is None else build_pairwise(config.pairwise, regions)
    return MurelCell(fusion, pairwise, residual=config.residual)


def build_pairwise(config: PairwiseConfig, regions: int) -> Pairwise:
    """Make a pairwise module for regions of this width; raises ConfigError."""
    where = "relation.pairwise"
    parts = (
        None if options is None else build_fusion(options, (dim, dim), regions, f"{where}.{name}")
        for name, options, dim in (
            ("coordinates", config.coordinates, BOX),
            ("features", config.features, regions),
        )
    )
    try:
        return Pairwise(
            *parts,
            aggregate=_aggregate(config.aggregate, f"{where}.aggregate"),
            residual=config.residual,
            detach_inputs=config.detach_inputs,
        )
    except ValueError as error:
        raise ConfigError(f"{where}: {error}; or set {where} itself to null") from error


def _baseline(
    config: NetworkConfig, attention: AttentionConfig, question: QuestionEncoder, answers: int
) -> AttentionNet:
    width = question.output_dim
    dims = (width, config.region_dim)
    fusion = build_fusion(attention.fusion, dims, attention.width, "attention.fusion")
    glimpses = None
    if attention.glimpses:
        glimpses = Attention(attention.width, attention.hidden, attention.glimpses)
    seen = config.region_dim * (attention.glimpses or attention.width)
    classify = build_fusion(config.classify, (width, seen), answers, "classify")
    return AttentionNet(
        question, RegionAttention(fusion, glimpses), classify, scale=config.region_scale
    )


def _aggregate(name: str, where: str) -> str:
    if name not in AGGREGATES:
        near = nearest(name, AGGREGATES)
        raise ConfigError(f"{where} is {name!r}; it must be one of {', '.join(AGGREGATES)}{near}")
    return name
