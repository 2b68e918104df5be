"""Networks of the MuRel kit: its option trees as our settings, its weights by our names."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor

from pyvqa.systems.murel.config import (
    AttentionConfig,
    FusionConfig,
    NetworkConfig,
    PairwiseConfig,
    QuestionConfig,
    RelationConfig,
)
from pyvqa.systems.murel.model import pairwise as pairwise_module
from pyvqa.systems.murel.upstream import network_from_upstream

WAYS = ("kernel", "eager")  # of relating regions


def fusion(options: dict[str, Any]) -> FusionConfig:
    ignored = ("input_dims", "output_dim")
    return FusionConfig(**{k: v for k, v in options.items() if k not in ignored})


def pairwise(options: dict[str, Any]) -> PairwiseConfig | None:
    if not options:
        return None
    coordinates, features = options["fusion_coord"], options["fusion_feat"]
    return PairwiseConfig(
        coordinates=fusion(coordinates) if coordinates else None,
        features=fusion(features) if features else None,
        aggregate=options["agg"]["type"],
        residual=options["residual"],
    )


def relation(cell: dict[str, Any], **rest: Any) -> RelationConfig:
    return RelationConfig(
        fusion=fusion(cell["fusion"]),
        residual=cell["residual"],
        pairwise=pairwise(cell["pairwise"]),
        **rest,
    )


def network(options: dict[str, Any]) -> NetworkConfig:
    """Settings of a network of the kit, whose widths are all its own."""
    config = NetworkConfig(
        question=QuestionConfig(
            word_dim=options["emb"],
            hidden=options["hidden"],
            attention=options["self_q_att"],
            attention_hidden=options["q_att_hidden"],
        ),
        classify=fusion(options["classif"]["fusion"]),
    )
    if options["net"] == "MuRelNet":
        config.relation = relation(
            options["cell"],
            steps=options["n_step"],
            shared=options["shared"],
            aggregate=options["agg"]["type"],
        )
        config.region_dim = options["cell"]["fusion"]["output_dim"]
        return config
    attention = options["attention"]
    config.relation = None
    config.region_dim = attention["fusion"]["input_dims"][1]
    config.attention = AttentionConfig(
        fusion=fusion(attention["fusion"]),
        width=attention["fusion"]["output_dim"],
        glimpses=attention.get("mlp_glimpses", 0),
    )
    return config


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original's tensors by our names; each one has a place."""
    ours, unplaced = network_from_upstream(state)
    assert unplaced == []
    return ours


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def take(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every pairwise module relate its regions by the kernel, or in plain torch."""
    monkeypatch.setattr(pairwise_module, "_has_kernel", lambda x: way == "kernel")
