"""Weights of the original release -> a model folder of ours, and back.

The original's `question_parser.pt` is `{"net_params", "net_state"}` (ns-vqa
reason/models/parser.py). Its names live in this file alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyvqa.errors import CheckpointError
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.model.parser import END, START

# theirs -> ours; the LSTM's own names are the same on both sides
_PREFIXES = {
    "encoder.embedding.": "word_embedding.",
    "encoder.rnn.": "encoder.",
    "decoder.embedding.": "function_embedding.",
    "decoder.rnn.": "decoder.",
    "decoder.out_linear.": "classify.",
    "decoder.attention.linear_out.": "attend.",
}
_LSTM = re.compile(r"(weight|bias)_(ih|hh)_l\d+(_reverse)?")


def parser_names(names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Map the original's parameter names to ours; also give those that have no place."""
    ours, unplaced = {}, []
    for name in names:
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        rest = name.removeprefix(prefix or "")
        if prefix is None or not (rest in ("weight", "bias") or _LSTM.fullmatch(rest)):
            unplaced.append(name)
        else:
            ours[name] = _PREFIXES[prefix] + rest
    return ours, unplaced


def parser_from_upstream(
    checkpoint: Mapping[str, Any],
) -> tuple[ParserConfig, int, int, dict[str, Tensor], list[str]]:
    """Read a `question_parser.pt`: settings, words, functions, weights, keys without a place.

    Raises:
        CheckpointError: the file is of another kind, or its token framing is not the known one.
    """
    params, state = checkpoint.get("net_params"), checkpoint.get("net_state")
    if not isinstance(params, Mapping) or not isinstance(state, Mapping):
        raise CheckpointError(
            "not a question parser of the original release: net_params or net_state is missing; "
            "give the file named question_parser.pt or checkpoint*.pt"
        )
    if (params.get("start_id", START), params.get("end_id", END)) != (START, END):
        raise CheckpointError(
            f"net_params: start_id {params.get('start_id')} and end_id {params.get('end_id')} "
            f"are not {START} and {END}; this parser's vocabulary has an unknown framing"
        )
    names, unplaced = parser_names(list(state))
    config = ParserConfig(
        word_dim=int(params["word_vec_dim"]),
        hidden=int(params["hidden_size"]),
        layers=int(params["n_layers"]),
        bidirectional=bool(params["bidirectional"]),
        attention=bool(params["use_attention"]),
        variable_lengths=bool(params["variable_lengths"]),
        mask_padding=False,
        max_steps=int(params["decoder_max_len"]),
    )
    weights = {ours: state[theirs].float().clone() for theirs, ours in names.items()}
    if "word_embedding.weight" in weights:  # word vectors from a file fix the encoder's width
        config.word_dim = weights["word_embedding.weight"].shape[1]
        config.function_dim = int(params["word_vec_dim"])
    words, functions = int(params["input_vocab_size"]), int(params["output_vocab_size"])
    return config, words, functions, weights, unplaced


def parser_to_upstream(
    config: ParserConfig, words: int, functions: int, weights: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Give the content of a `question_parser.pt` that the original code can load."""
    back = {ours: theirs for theirs, ours in _PREFIXES.items()}
    state = {}
    for name, value in weights.items():
        prefix = name.split(".")[0] + "."
        state[back[prefix] + name.removeprefix(prefix)] = value.detach().float().cpu().contiguous()
    params = {
        "input_vocab_size": words,
        "output_vocab_size": functions,
        "hidden_size": config.hidden,
        "word_vec_dim": config.function_dim or config.word_dim,
        "n_layers": config.layers,
        "bidirectional": int(config.bidirectional),
        "variable_lengths": int(config.variable_lengths),
        "use_attention": int(config.attention),
        "encoder_max_len": 50,  # never used by the original either
        "decoder_max_len": config.max_steps,
        "start_id": START,
        "end_id": END,
        "word2vec_path": None,
        "fix_embedding": int(config.freeze_words),
    }
    return {"net_params": params, "net_state": state}


def read_upstream(path: str) -> Mapping[str, Any]:
    """Load an original .pt file without running any code that it may hold.

    Raises:
        CheckpointError: the file is missing, damaged or holds more than tensors and numbers.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many unrelated types for damaged files
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as weights ({reason})") from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{path}: holds a {type(checkpoint).__name__}, not a table of weights")
    return checkpoint
