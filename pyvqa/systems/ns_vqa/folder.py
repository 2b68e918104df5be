"""NS-VQA's model folder: config.yaml, one .safetensors per network, vocab.json, card.md.

A folder may hold any of the three networks; what config.yaml does not describe is not there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.errors import CheckpointError, ConfigError
from pyvqa.files import write_text
from pyvqa.nn.mask_rcnn import MaskRcnn
from pyvqa.nn.resnet import ResNet
from pyvqa.systems import find_model
from pyvqa.systems.ns_vqa.build import build_attributes, build_detector, build_parser
from pyvqa.systems.ns_vqa.config import (
    AttributesConfig,
    DetectorConfig,
    ParserConfig,
    PerceptionConfig,
)
from pyvqa.systems.ns_vqa.model.attributes import AttributeNetwork
from pyvqa.systems.ns_vqa.model.parser import QuestionParser
from pyvqa.train.checkpoint import load_network, read_tensors, read_weights, save_network
from pyvqa.train.config import read_source, to_yaml, typed

NETWORK = "parser"


@dataclass(kw_only=True)
class FolderConfig:
    """The config.yaml of a model folder."""

    system: str = "ns-vqa"
    parser: ParserConfig | None = field(default_factory=ParserConfig)
    detector: DetectorConfig | None = None
    attributes: AttributesConfig | None = None
    perception: PerceptionConfig = field(default_factory=PerceptionConfig)


class ParserPart(NamedTuple):
    """A parser with what a folder needs to know about it."""

    network: QuestionParser
    config: ParserConfig
    vocabulary: ClevrVocabulary


class DetectorPart(NamedTuple):
    """A detector with its settings."""

    network: MaskRcnn
    config: DetectorConfig


class AttributesPart(NamedTuple):
    """An attribute network with its settings."""

    network: AttributeNetwork
    config: AttributesConfig


def write_model(
    folder: Path,
    card: str,
    *,
    parser: ParserPart | None = None,
    detector: DetectorPart | None = None,
    attributes: AttributesPart | None = None,
    perception: PerceptionConfig | None = None,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Fill an existing folder with networks; `card` says where they come from and what they can do.

    Weights are stored in `dtype`, whatever type they have in memory.
    """
    config = FolderConfig(
        parser=None if parser is None else _settled(parser),
        detector=None if detector is None else detector.config,
        attributes=None if attributes is None else attributes.config,
        perception=perception or PerceptionConfig(),
    )
    write_text(folder / "config.yaml", to_yaml(config))
    for name, part in (("parser", parser), ("detector", detector), ("attributes", attributes)):
        if part is not None:
            save_network(folder / f"{name}.safetensors", part.network, dtype)
    if parser is not None:
        parser.vocabulary.write(folder / "vocab.json")
    write_text(folder / "card.md", card)


def _settled(parser: ParserPart) -> ParserConfig:
    """Give a parser's settings without the file of word vectors, which are in its weights now."""
    settings = ParserConfig(**{**vars(parser.config), "word_vectors": None})
    settings.word_dim = parser.network.word_embedding.embedding_dim
    settings.function_dim = parser.network.function_embedding.embedding_dim
    return settings


def write_parser(
    folder: Path,
    parser: QuestionParser,
    config: ParserConfig,
    vocabulary: ClevrVocabulary,
    card: str,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Fill an existing folder with a parser alone."""
    write_model(folder, card, parser=ParserPart(parser, config, vocabulary), dtype=dtype)


def read_config(folder: Path) -> FolderConfig:
    """Read what a folder holds.

    Raises:
        DataError, ConfigError: config.yaml is missing, damaged or of another system.
    """
    path = folder / "config.yaml"
    return typed(read_source(path), FolderConfig, where=str(path))


def read_parser(folder: Path) -> tuple[QuestionParser, ParserConfig, ClevrVocabulary]:
    """Read a parser back, in evaluation mode.

    Raises:
        DataError, ConfigError, CheckpointError: a file is missing, damaged or fits not the others.
    """
    config = read_config(folder).parser
    if config is None:
        raise _absent(folder, "parser")
    vocabulary = ClevrVocabulary.read(folder / "vocab.json")
    parser = build_parser(config, len(vocabulary.words), len(vocabulary.functions))
    load_network(folder / f"{NETWORK}.safetensors", parser)
    return parser.eval(), config, vocabulary


def read_detector(folder: Path) -> DetectorPart:
    """Read a detector back, in evaluation mode.

    Raises:
        DataError, ConfigError, CheckpointError: a file is missing, damaged or fits not the others.
    """
    config = read_config(folder).detector
    if config is None:
        raise _absent(folder, "detector")
    detector = build_detector(config)
    load_network(folder / "detector.safetensors", detector)
    return DetectorPart(detector.eval(), config)


def read_attributes(folder: Path) -> AttributesPart:
    """Read an attribute network back, in evaluation mode.

    Raises:
        DataError, ConfigError, CheckpointError: a file is missing, damaged or fits not the others.
    """
    config = read_config(folder).attributes
    if config is None:
        raise _absent(folder, "attributes")
    network = build_attributes(config)
    load_network(folder / "attributes.safetensors", network)
    return AttributesPart(network.eval(), config)


def _absent(folder: Path, network: str) -> CheckpointError:
    return CheckpointError(
        f"{folder}: holds no {network}; give a model that has one, "
        "or convert or train one into a folder of its own"
    )


def begin_with(
    network: nn.Module, backbone: ResNet, name: str, *, init: str | None, start: str | None
) -> None:
    """Fill a network in training: its ResNet from a weight file, or all of it from a model.

    Raises:
        ConfigError: both are given.
        CheckpointError, DataError: the file or model cannot be read, or does not fit.
    """
    if init is not None and start is not None:
        raise ConfigError("init and start are both set; a network begins with one of them")
    if init is not None:
        start_backbone(backbone, init)
    if start is not None:
        load_network(find_model(start) / f"{name}.safetensors", network)


def start_backbone(backbone: ResNet, path: str) -> None:
    """Fill a ResNet with the weights of a file (.pth, .safetensors) by torchvision's names.

    Raises:
        CheckpointError: the file cannot be read, or is of a network of another depth or width.
    """
    try:
        backbone.start_from(read_weights(path))
    except ValueError as error:
        raise CheckpointError(f"{path}: does not fit this network: {error}") from error


def start_from(model: str, parser: QuestionParser, vocabulary: ClevrVocabulary) -> None:
    """Fill a parser with another one's weights; words that the other lacks keep their fresh ones.

    Raises:
        CheckpointError: the other's functions or sizes differ.
    """
    folder = find_model(model)
    other = ClevrVocabulary.read(folder / "vocab.json")
    if other.functions != vocabulary.functions:
        raise CheckpointError(
            f"{folder / 'vocab.json'}: its functions differ from those of data.vocabulary; "
            "expand that model's vocabulary (pyvqa prepare clevr-questions --expand-vocab)"
        )
    path = folder / f"{NETWORK}.safetensors"
    tensors = read_tensors(path)
    own = parser.state_dict()
    name = "word_embedding.weight"
    if name in tensors:
        tensors[name] = _by_word(tensors[name], own[name], other.words, vocabulary.words, path)
    for key, value in own.items():
        if key not in tensors or tensors[key].shape != value.shape:
            found = list(tensors[key].shape) if key in tensors else "missing"
            raise CheckpointError(
                f"{path}: {key} is {found}, this parser needs {list(value.shape)}; "
                "give the same parser settings as the model to start from"
            )
    nn.Module.load_state_dict(parser, tensors)


def _by_word(
    rows: Tensor, fresh: Tensor, theirs: dict[str, int], ours: dict[str, int], path: Path
) -> Tensor:
    """Place embeddings by word: [V', D], [V, D] -> [V, D]."""
    if rows.shape != (len(theirs), fresh.shape[1]):
        raise CheckpointError(
            f"{path}: word embeddings are {list(rows.shape)}, "
            f"{[len(theirs), fresh.shape[1]]} are needed; are file and vocabulary of one model?"
        )
    result = fresh.clone()
    shared = [word for word in ours if word in theirs]
    result[[ours[word] for word in shared]] = rows[[theirs[word] for word in shared]].to(
        fresh.dtype
    )
    return result
