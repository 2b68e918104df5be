"""From settings to networks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pyvqa.errors import DataError
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.model.parser import QuestionParser


def build_parser(config: ParserConfig, words: int, functions: int) -> QuestionParser:
    """Make a parser with fresh weights for vocabularies of the given sizes.

    Raises:
        DataError: the file of word vectors is unreadable or does not fit the vocabulary.
    """
    vectors = None if config.word_vectors is None else _read_vectors(config.word_vectors, words)
    if vectors is not None:
        function_dim = config.function_dim or config.word_dim
        config = replace(config, word_dim=vectors.shape[1], function_dim=function_dim)
    parser = QuestionParser(
        words,
        functions,
        word_dim=config.word_dim,
        function_dim=config.function_dim,
        hidden=config.hidden,
        layers=config.layers,
        bidirectional=config.bidirectional,
        attention=config.attention,
        variable_lengths=config.variable_lengths,
        mask_padding=config.mask_padding,
        max_steps=config.max_steps,
        dropout=config.dropout,
    )
    if vectors is not None:
        with torch.no_grad():
            parser.word_embedding.weight.copy_(vectors)
    parser.word_embedding.weight.requires_grad_(not config.freeze_words)
    return parser


def _read_vectors(path: str, words: int) -> torch.Tensor:
    try:
        vectors = np.load(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as an array of word vectors ({error})") from error
    if vectors.ndim != 2 or vectors.shape[0] != words or vectors.dtype.kind != "f":
        raise DataError(
            f"{path}: {vectors.dtype} of shape {vectors.shape}; a float array [{words}, D] with "
            "one row per word of the vocabulary is needed"
        )
    return torch.from_numpy(vectors.astype(np.float32))
