"""Model folders: `config.yaml`, `network.safetensors`, `vocabulary.json` and `card.md`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch

from pyvqa.data.region_origin import RegionOrigin
from pyvqa.data.vqa_questions import VqaVocabulary
from pyvqa.data.vqa_text import TOKENISERS
from pyvqa.files import write_text
from pyvqa.systems.murel.build import Network, build_network
from pyvqa.systems.murel.config import NetworkConfig
from pyvqa.train.checkpoint import load_network, save_network
from pyvqa.train.config import read_source, to_yaml, typed
from pyvqa.train.settings import setting

WEIGHTS = "network.safetensors"
VOCABULARY = "vocabulary.json"


@dataclass(kw_only=True)
class FolderConfig:
    """The config.yaml of a model folder."""

    system: str = "murel"
    tokeniser: str = setting("mcb", choices=tuple(TOKENISERS))  # of questions (data/vqa_text.py)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    # The detector of this package whose features it was trained on; null: those of another one.
    features: RegionOrigin | None = None


class Model(NamedTuple):
    """A network with what a folder needs to know about it."""

    network: Network
    config: NetworkConfig
    vocabulary: VqaVocabulary
    tokeniser: str = "mcb"
    origin: RegionOrigin | None = None  # of the features


def write_model(
    folder: Path, model: Model, card: str, dtype: torch.dtype | None = torch.float16
) -> None:
    """Fill an existing folder; `card` says where the network comes from and what it can do.

    Weights are stored in `dtype`, or as they are.
    """
    # What was read from skip-thoughts files is in the weights now.
    question = replace(model.config.question, skip_thoughts=None)
    network = replace(model.config, question=question)
    config = FolderConfig(tokeniser=model.tokeniser, network=network, features=model.origin)
    write_text(folder / "config.yaml", to_yaml(config))
    save_network(folder / WEIGHTS, model.network, dtype)
    model.vocabulary.write(folder / VOCABULARY)
    write_text(folder / "card.md", card)


def read_model(folder: Path) -> Model:
    """Read a model folder back, its network in evaluation mode.

    Raises:
        DataError, ConfigError, CheckpointError: a file is missing, damaged or fits not the others.
    """
    path = folder / "config.yaml"
    whole = typed(read_source(path), FolderConfig, where=str(path))
    config = whole.network
    vocabulary = VqaVocabulary.read(folder / VOCABULARY)
    network = build_network(config, vocabulary.words, len(vocabulary.answers))
    load_network(folder / WEIGHTS, network)
    return Model(network.eval(), config, vocabulary, whole.tokeniser, whole.features)
