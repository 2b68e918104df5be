"""Tiny networks and options in the original's form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pyvqa.data.vqa_questions import VqaVocabulary
from pyvqa.systems.murel.config import (
    AttentionConfig,
    FusionConfig,
    NetworkConfig,
    PairwiseConfig,
    QuestionConfig,
    RelationConfig,
)

REGION = 12


def block(mm: int = 8, chunks: int = 2, **more: Any) -> FusionConfig:
    return FusionConfig(mm_dim=mm, chunks=chunks, rank=2, **more)


def question(**more: Any) -> QuestionConfig:
    return QuestionConfig(**{"word_dim": 4, "hidden": 6, "attention_hidden": 5, **more})


def relation(**more: Any) -> RelationConfig:
    pairwise = PairwiseConfig(coordinates=block(), features=block())
    given = {"steps": 2, "fusion": block(10, 3, dropout_input=0.1), "pairwise": pairwise}
    return RelationConfig(**{**given, **more})


def murel(**more: Any) -> NetworkConfig:
    given = {"region_dim": REGION, "question": question(), "relation": relation()}
    return NetworkConfig(**{**given, "classify": block(), **more})


def attention(glimpses: int = 0, **more: Any) -> NetworkConfig:
    width = 7 if glimpses else 1
    given = AttentionConfig(fusion=block(), width=width, glimpses=glimpses, hidden=5)
    return murel(relation=None, attention=given, **more)


@pytest.fixture
def vocabulary() -> VqaVocabulary:
    return VqaVocabulary(("", "UNK", "cat", "how", "many", "is"), ("yes", "no", "2"))


def narrow(encoder: str = "BayesianUniSkip") -> dict[str, Tensor]:
    """A state dict by which words and questions have the widths of `question`."""
    recurrent = {
        "BayesianUniSkip": ("gru_cell.weight_hn.weight", 6),
        "DropUniSkip": ("weight_hh", 6),
        "UniSkip": ("weight_hh_l0", 6),
        "BiSkip": ("weight_hh_l0", 3),
    }
    name, width = recurrent[encoder]
    return {
        "txt_enc.embedding.weight": torch.zeros(1, 4),
        f"txt_enc.rnn.{name}": torch.zeros(3 * width, width),
        "q_att_linear0.bias": torch.zeros(5),
        "attention.linear0.bias": torch.zeros(5),
    }


def options(network: str = "murel_net", *, encoder: str = "BayesianUniSkip") -> dict[str, Any]:
    """What the original would be told for networks of these widths (see `narrow`)."""

    def fusion(first: int, second: int, output: int, **more: Any) -> dict[str, Any]:
        widths = {"input_dims": [first, second], "output_dim": output}
        return {"type": "block", **widths, "mm_dim": 8, "chunks": 2, "rank": 2, **more}

    tree: dict[str, Any] = {
        "name": network,
        "txt_enc": {"name": "skipthoughts", "type": encoder, "dropout": 0.25, "fixed_emb": False},
        "self_q_att": True,
    }
    if network == "murel_net":
        tree |= {
            "n_step": 2,
            "shared": True,
            "cell": {
                "residual": True,
                "fusion": fusion(12, REGION, REGION, dropout_input=0.1),
                "pairwise": {
                    "residual": True,
                    "fusion_coord": fusion(4, 4, REGION),
                    "fusion_feat": fusion(REGION, REGION, REGION),
                    "agg": {"type": "max"},
                },
            },
            "agg": {"type": "max"},
            "classif": {"fusion": fusion(12, REGION, 3)},
        }
    else:
        tree |= {
            "attention": {"mlp_glimpses": 2, "fusion": fusion(12, REGION, 7)},
            "classif": {"fusion": fusion(12, 2 * REGION, 3)},
        }
    return {
        "exp": {"dir": "logs/vqa2/murel", "resume": None},
        "dataset": {"batch_size": 84},
        "model": {"network": tree},
        "optimizer": {
            "name": "Adam",
            "lr": 0.0003,
            "gradual_warmup_steps": [0.5, 2.0, 7.0],
            "lr_decay_epochs": [14, 24, 2],
            "lr_decay_rate": 0.25,
        },
        "engine": {"nb_epochs": 25},
        "misc": {"seed": 1337},
    }
