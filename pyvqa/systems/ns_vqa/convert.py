"""Weights of the original release -> a model folder of ours, and back.

The original's `question_parser.pt` is `{"net_params", "net_state"}` (ns-vqa
reason/models/parser.py). Its names live in this file alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.errors import CheckpointError
from pyvqa.files import atomic_folder, atomic_write
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.folder import read_parser, write_parser
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


def import_parser(source: Path, vocabulary_file: Path, out: Path) -> int:
    """Make a model folder of an original .pt file; give the number of tensors placed.

    Raises:
        CheckpointError: the file is unreadable or of another kind, some of its keys have no place
            here, or the vocabulary is of another size.
    """
    vocabulary = ClevrVocabulary.read(vocabulary_file)
    config, words, functions, weights, unplaced = parser_from_upstream(read_upstream(source))
    if unplaced:
        raise CheckpointError(
            f"{source}: no place for {', '.join(unplaced)}; is it another network?"
        )
    if (words, functions) != (len(vocabulary.words), len(vocabulary.functions)):
        raise CheckpointError(
            f"{source}: made for {words} words and {functions} functions, {vocabulary_file} has "
            f"{len(vocabulary.words)} and {len(vocabulary.functions)}; give its own vocabulary"
        )
    parser = build_parser(config, words, functions)
    try:
        parser.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source}: the weights do not fit net_params ({reason})") from error
    card = (
        "# NS-VQA question parser\n\n"
        f"- converted from {source.name} of the original release\n"
        "- attends to padding, as the original: results depend on the batch\n"
    )
    with atomic_folder(out) as folder:
        write_parser(folder, parser, config, vocabulary, card, torch.float32)
    return len(weights)


def export_parser(model: Path, out: Path) -> None:
    """Write a model folder's parser as the original's .pt file.

    Raises:
        CheckpointError: the parser cannot be expressed there (it masks padding).
    """
    parser, config, vocabulary = read_parser(model)
    if config.mask_padding and config.attention and config.variable_lengths:
        raise CheckpointError(
            f"{model}: its attention masks padding, which the original cannot do; "
            "train with parser.mask_padding=false for that"
        )
    content = parser_to_upstream(
        config, len(vocabulary.words), len(vocabulary.functions), parser.state_dict()
    )
    with atomic_write(out) as temporary:
        torch.save(content, temporary)


def read_upstream(path: str | Path) -> Mapping[str, Any]:
    """Load an original .pt file without running any code that it may hold.

    Raises:
        CheckpointError: the file is missing, damaged or holds more than tensors and numbers.
    """
    if not Path(path).is_file():
        raise CheckpointError(f"{path}: no such file; check the path")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many unrelated types for damaged files
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise CheckpointError(f"{path}: cannot be read as weights ({reason})") from error
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f"{path}: holds a {type(checkpoint).__name__}, not a table of weights"
        )
    return checkpoint
