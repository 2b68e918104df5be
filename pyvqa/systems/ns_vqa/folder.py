"""NS-VQA's model folder: config.yaml, parser.safetensors, vocab.json, card.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.errors import CheckpointError
from pyvqa.files import write_text
from pyvqa.systems import find_model
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.model.parser import QuestionParser
from pyvqa.train.checkpoint import load_network, read_tensors, save_network
from pyvqa.train.config import read_source, to_yaml, typed

NETWORK = "parser"


@dataclass(kw_only=True)
class FolderConfig:
    """The config.yaml of a model folder."""

    system: str = "ns-vqa"
    parser: ParserConfig = field(default_factory=ParserConfig)


def write_parser(
    folder: Path,
    parser: QuestionParser,
    config: ParserConfig,
    vocabulary: ClevrVocabulary,
    card: str,
    dtype: torch.dtype = torch.float16,
) -> None:
    """Fill an existing folder with a parser; `card` says where it comes from and what it can do."""
    settings = ParserConfig(**{**vars(config), "word_vectors": None})  # they are in the weights now
    settings.word_dim = parser.word_embedding.embedding_dim
    settings.function_dim = parser.function_embedding.embedding_dim
    write_text(folder / "config.yaml", to_yaml(FolderConfig(parser=settings)))
    save_network(folder / f"{NETWORK}.safetensors", parser, dtype)
    vocabulary.write(folder / "vocab.json")
    write_text(folder / "card.md", card)


def read_parser(folder: Path) -> tuple[QuestionParser, ParserConfig, ClevrVocabulary]:
    """Read a parser back, in evaluation mode.

    Raises:
        DataError, ConfigError, CheckpointError: a file is missing, damaged or fits not the others.
    """
    config = typed(
        read_source(folder / "config.yaml"), FolderConfig, where=str(folder / "config.yaml")
    ).parser
    vocabulary = ClevrVocabulary.read(folder / "vocab.json")
    parser = build_parser(config, len(vocabulary.words), len(vocabulary.functions))
    load_network(folder / f"{NETWORK}.safetensors", parser)
    return parser.eval(), config, vocabulary


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
