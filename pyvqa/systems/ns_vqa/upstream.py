"""The original's checkpoints: their names and settings, and ours, both ways.

`question_parser.pt` is `{"net_params", "net_state"}` (ns-vqa reason/models/parser.py),
`object_detector.pt` `{"model", ...}` (scene_parse/mask_rcnn), `attribute_net.pt`
`{"model_state", ...}` (scene_parse/attr_net). The original's names live in this file alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from pyvqa.errors import CheckpointError
from pyvqa.systems.ns_vqa.config import AttributesConfig, DetectorConfig, ParserConfig
from pyvqa.systems.ns_vqa.model.attributes import NUMBERS
from pyvqa.systems.ns_vqa.model.detector import CLASSES
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


# ---- detector and attribute network


def _residual(theirs: str, ours: str, blocks: int, convs: int) -> Iterator[tuple[str, str]]:
    """Pair the layers of one stage of a residual network."""
    names = [f"{kind}{k}" for k in range(1, convs + 1) for kind in ("conv", "bn")]
    for block in range(blocks):
        extra = ["downsample.0", "downsample.1"] if block == 0 else []
        for name in names + extra:
            yield f"{theirs}.{block}.{name}", f"{ours}.{block}.{name}"


def _detector_layers() -> dict[str, str]:
    """Pair the layers of the original R-50-FPN with ours; its lists run from coarse to fine."""
    body = "Conv_Body"
    layers = {f"{body}.conv_top": "pyramid.laterals.3"}
    for k in range(3):
        layers[f"{body}.topdown_lateral_modules.{k}.conv_lateral"] = f"pyramid.laterals.{2 - k}"
    for k in range(4):
        layers[f"{body}.posthoc_modules.{k}"] = f"pyramid.outputs.{3 - k}"
        layers[f"Mask_Head.conv_fcn.{2 * k}"] = f"mask_head.convs.{k}"
    for name in ("conv1", "bn1"):
        layers[f"{body}.conv_body.res1.{name}"] = f"backbone.{name}"
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        theirs = f"{body}.conv_body.res{stage + 1}"
        layers.update(_residual(theirs, f"backbone.layer{stage}", blocks, 3))
    return layers | {
        "RPN.FPN_RPN_conv": "proposer.conv",
        "RPN.FPN_RPN_cls_score": "proposer.score",
        "RPN.FPN_RPN_bbox_pred": "proposer.delta",
        "Box_Head.fc1": "box_head.fc1",
        "Box_Head.fc2": "box_head.fc2",
        "Box_Outs.cls_score": "box_head.score",
        "Box_Outs.bbox_pred": "box_head.delta",
        "Mask_Head.upconv": "mask_head.up",
        "Mask_Outs.classify": "mask_head.classify",
    }


def _attribute_layers() -> dict[str, str]:
    """Pair the layers of the original ResNet-34 with ours; its list also counts ReLU and pool."""
    layers = {"main.0": "conv1", "main.1": "bn1", "final_layer": "fc"}
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        layers.update(_residual(f"main.{stage + 3}", f"layer{stage}", blocks, 2))
    return layers


_DETECTOR = _detector_layers()
_ATTRIBUTES = _attribute_layers()
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def _placed(layers: Mapping[str, str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    ours, unplaced = {}, []
    for name in names:
        layer, _, leaf = name.rpartition(".")
        if layer in layers and leaf in _LEAVES:
            ours[name] = f"{layers[layer]}.{leaf}"
        else:
            unplaced.append(name)
    return ours, unplaced


def _upstream_state(layers: Mapping[str, str], weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    back = {ours: theirs for theirs, ours in layers.items()}
    state = {}
    for name, value in weights.items():
        layer, _, leaf = name.rpartition(".")
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() else value
        state[f"{back[layer]}.{leaf}"] = value.contiguous()
    return state


def detector_names(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Map the original detector's parameter names to ours; also give those without a place."""
    return _placed(_DETECTOR, names)


def attribute_names(names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Map the original attribute network's names to ours; also give those without a place."""
    return _placed(_ATTRIBUTES, names)


def detector_from_upstream(
    checkpoint: Mapping[str, Any],
) -> tuple[DetectorConfig, dict[str, Tensor], list[str]]:
    """Read an `object_detector.pt`: settings, weights, keys without a place.

    Raises:
        CheckpointError: the file is of another kind, or has an unknown number of classes.
    """
    state = checkpoint.get("model")
    if not isinstance(state, Mapping) or "Box_Outs.cls_score.bias" not in state:
        raise CheckpointError(
            "not a detector of the original release: model or its Box_Outs.cls_score.bias is "
            "missing; give the file named object_detector.pt or model_step*.pth"
        )
    classes = len(state["Box_Outs.cls_score.bias"])
    categories = next((name for name, count in CLASSES.items() if count == classes), None)
    if categories is None:
        known = " or ".join(f"{count} ({name})" for name, count in CLASSES.items())
        raise CheckpointError(f"Box_Outs.cls_score tells {classes} classes apart, not {known}")
    names, unplaced = detector_names(list(state))
    weights = {ours: state[theirs].float().clone() for theirs, ours in names.items()}
    return DetectorConfig(categories=categories), weights, unplaced


def detector_to_upstream(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Give the content of an `object_detector.pt`, to be used or tuned but not continued from."""
    return {"step": 0, "model": _upstream_state(_DETECTOR, weights)}


def attributes_from_upstream(
    checkpoint: Mapping[str, Any],
) -> tuple[AttributesConfig, dict[str, Tensor], list[str]]:
    """Read an `attribute_net.pt`: settings, weights, keys without a place.

    Raises:
        CheckpointError: the file is of another kind, or gives other numbers than ours.
    """
    state, channels = checkpoint.get("model_state"), checkpoint.get("input_channels")
    if not isinstance(state, Mapping) or channels not in (3, 6):
        raise CheckpointError(
            "not an attribute network of the original release: model_state is missing or "
            "input_channels is not 3 or 6; give the file named attribute_net.pt"
        )
    if checkpoint.get("output_dim", NUMBERS) != NUMBERS:
        raise CheckpointError(
            f"output_dim is {checkpoint['output_dim']}; CLEVR's attributes are {NUMBERS} numbers"
        )
    names, unplaced = attribute_names(list(state))
    weights = {ours: state[theirs].clone() for theirs, ours in names.items()}
    config = AttributesConfig(
        with_picture=channels == 6, reverse_channels=True, batch_statistics=True
    )
    return config, weights, unplaced


def attributes_to_upstream(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Give the content of an `attribute_net.pt` that the original code can load."""
    return {
        "input_channels": weights["conv1.weight"].shape[1],
        "output_dim": NUMBERS,
        "model_state": _upstream_state(_ATTRIBUTES, weights),
    }
