"""Files of the original release -> a model folder of ours, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.errors import CheckpointError, ConfigError
from pyvqa.files import atomic_folder, atomic_write
from pyvqa.systems.ns_vqa.build import build_attributes, build_detector, build_parser
from pyvqa.systems.ns_vqa.config import AttributesConfig, DetectorConfig, PerceptionConfig
from pyvqa.systems.ns_vqa.folder import (
    AttributesPart,
    DetectorPart,
    ParserPart,
    read_attributes,
    read_config,
    read_detector,
    read_parser,
    write_model,
)
from pyvqa.systems.ns_vqa.upstream import (
    attributes_from_upstream,
    attributes_to_upstream,
    detector_from_upstream,
    detector_to_upstream,
    parser_from_upstream,
    parser_to_upstream,
)
from pyvqa.train.checkpoint import read_torch


def import_model(sources: Sequence[Path], vocabulary_file: Path | None, out: Path) -> int:
    """Make one model folder of the original's .pt files and folders of ours.

    Of a folder the networks count that those before it lack. Returns the number of tensors placed.
    Weights of the original are stored as they are, those of our folders alone in half precision.

    Raises:
        CheckpointError: a file is unreadable or of no known kind, some of its keys have no place
            here, a source adds no network, or the vocabulary is of another size.
        ConfigError: there is a parser but no vocabulary.
    """
    parts: dict[str, Any] = {}
    places: dict[str, str] = {}
    total = 0
    for source in sources:
        if source.is_dir():
            found, placed = _own_parts(source, besides=parts)
        else:
            name, part, placed = _part(source, read_torch(source), vocabulary_file)
            found = {} if name in parts else {name: part}
        if not found:
            raise CheckpointError(
                f"{source}: adds no network to {' and '.join(parts)}; give one of each"
            )
        parts |= found
        places |= dict.fromkeys(found, source.name)
        total += placed
    original = any(not source.is_dir() for source in sources)
    settings = PerceptionConfig(score=0.9, suppression=False) if original else PerceptionConfig()
    dtype = torch.float32 if original else torch.float16
    with atomic_folder(out) as folder:
        write_model(folder, _card(parts, places), perception=settings, dtype=dtype, **parts)
    return total


def _own_parts(folder: Path, besides: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """Read what a folder of ours holds besides networks already there, and count the tensors."""
    config = read_config(folder)
    parts: dict[str, Any] = {}
    if config.parser is not None and "parser" not in besides:
        parts["parser"] = ParserPart(*read_parser(folder))
    if config.detector is not None and "detector" not in besides:
        parts["detector"] = read_detector(folder)
    if config.attributes is not None and "attributes" not in besides:
        parts["attributes"] = read_attributes(folder)
    return parts, sum(len(part.network.state_dict()) for part in parts.values())


def _card(parts: Mapping[str, Any], places: Mapping[str, str]) -> str:
    card = "# NS-VQA, put together from parts\n\n"
    card += "".join(f"- {name}: {place}\n" for name, place in places.items())
    if "parser" in parts and not parts["parser"].config.mask_padding:
        card += "- the parser attends to padding, as the original: results depend on the batch\n"
    if "attributes" in parts and parts["attributes"].config.batch_statistics:
        card += (
            "- the attribute network normalises by the batch at hand, as the original's tables were"
            " made; set attributes.batch_statistics to false for results that do not depend on it\n"
        )
    return card


def _part(
    source: Path, checkpoint: Mapping[str, Any], vocabulary_file: Path | None
) -> tuple[str, Any, int]:
    """Read one file: which network it is, what a folder holds of it, number of tensors."""
    if "model_state" in checkpoint:
        attributes, weights, unplaced = attributes_from_upstream(checkpoint)
        _refuse(source, unplaced)
        attribute_network = build_attributes(attributes)
        _fill(source, attribute_network, weights)
        return "attributes", AttributesPart(attribute_network, attributes), len(weights)
    if "model" in checkpoint:
        config, weights, unplaced = detector_from_upstream(checkpoint)
        _refuse(source, unplaced)
        detector = build_detector(config)
        _fill(source, detector, weights)
        return "detector", DetectorPart(detector, config), len(weights)
    if vocabulary_file is None:
        raise ConfigError(
            "--vocab is required: the vocabulary file that the parser was trained with"
        )
    return _parser_part(source, checkpoint, vocabulary_file)


def _parser_part(
    source: Path, checkpoint: Mapping[str, Any], vocabulary_file: Path
) -> tuple[str, ParserPart, int]:
    vocabulary = ClevrVocabulary.read(vocabulary_file)
    config, words, functions, weights, unplaced = parser_from_upstream(checkpoint)
    _refuse(source, unplaced)
    if (words, functions) != (len(vocabulary.words), len(vocabulary.functions)):
        raise CheckpointError(
            f"{source}: made for {words} words and {functions} functions, {vocabulary_file} has "
            f"{len(vocabulary.words)} and {len(vocabulary.functions)}; give its own vocabulary"
        )
    parser = build_parser(config, words, functions)
    _fill(source, parser, weights)
    return "parser", ParserPart(parser, config, vocabulary), len(weights)


def _refuse(source: Path, unplaced: Sequence[str]) -> None:
    if unplaced:
        raise CheckpointError(
            f"{source}: no place for {', '.join(unplaced)}; is it another network?"
        )


def _fill(source: Path, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{source}: the weights do not fit the file's own settings ({reason})"
        ) from error


def export_model(model: Path, network: str, out: Path) -> None:
    """Write one network of a model folder as the original's .pt file.

    Raises:
        CheckpointError: the folder has no such network, or the original has none of its kind.
    """
    content = _EXPORTS[network](model)
    with atomic_write(out) as temporary:
        torch.save(content, temporary)


def _export_parser(model: Path) -> dict[str, Any]:
    parser, config, vocabulary = read_parser(model)
    if config.mask_padding and config.attention and config.variable_lengths:
        raise CheckpointError(
            f"{model}: its attention masks padding, which the original cannot do; "
            "train with parser.mask_padding=false for that"
        )
    words, functions = len(vocabulary.words), len(vocabulary.functions)
    return parser_to_upstream(config, words, functions, parser.state_dict())


def _export_detector(model: Path) -> dict[str, Any]:
    detector, config = read_detector(model)
    _same(model, config, DetectorConfig(), _FIXED_IN_DETECTOR)
    return detector_to_upstream(detector.state_dict())


def _export_attributes(model: Path) -> dict[str, Any]:
    network, config = read_attributes(model)
    _same(model, config, AttributesConfig(reverse_channels=True), _FIXED_IN_ATTRIBUTES)
    return attributes_to_upstream(network.state_dict())


# What the original's code cannot be told.
_FIXED_IN_DETECTOR = (
    "depth",
    "widths",
    "stride_first",
    "frozen_norm",
    "pyramid_width",
    "head_width",
    "mask_width",
    "anchor_size",
    "rules",
    "pixels",
)
_FIXED_IN_ATTRIBUTES = ("depth", "widths", "size", "reverse_channels")


def _same(model: Path, config: Any, published: Any, names: Sequence[str]) -> None:
    """Refuse to export what the original's code would run differently."""
    for name in names:
        ours, theirs = getattr(config, name), getattr(published, name)
        if ours != theirs:
            raise CheckpointError(
                f"{model}: {name} is {ours}, the original's is fixed at {theirs}; "
                "its code cannot run this network"
            )


_EXPORTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "parser": _export_parser,
    "detector": _export_detector,
    "attributes": _export_attributes,
}
