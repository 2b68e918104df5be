"""Files of the original releases of MuRel and BLOCK -> a model folder of ours, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pyvqa.data.vqa_questions import VqaVocabulary
from pyvqa.errors import CheckpointError, ConfigError
from pyvqa.files import atomic_folder, atomic_write, write_text
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import NetworkConfig
from pyvqa.systems.murel.experiment import Experiment
from pyvqa.systems.murel.folder import VOCABULARY, Model, read_model, write_model
from pyvqa.systems.murel.from_options import network_config, optimisation
from pyvqa.systems.murel.options import read_options
from pyvqa.systems.murel.upstream import network_from_upstream, network_to_upstream
from pyvqa.train.checkpoint import read_plain, read_torch
from pyvqa.train.config import to_yaml

# Widths that the original fixes in its code.
_FIXED = {"word_dim": 620, "hidden": 2400, "attention_hidden": 512, "glimpses": 2}


def import_model(
    source: Path,
    vocabulary: Path,
    out: Path,
    *,
    options: Path | None = None,
    arguments: Sequence[str] = (),
    checkpoint: str | None = None,
) -> int:
    """Make a model folder of an experiment's folder or of one checkpoint; give its tensors' number.

    A checkpoint by itself (`ckpt_*_model.pth.tar`) needs its `options`; in an experiment's folder
    `checkpoint` names which one (`last`, `best_<criterion>`; the best one if not given).

    Raises:
        CheckpointError: a file is missing or damaged, or some of its keys have no place here.
        ConfigError: the options are missing, or not of this network.
        DataError: the vocabulary is damaged.
    """
    origin = source.name
    if source.is_dir():
        experiment = Experiment(source)
        options = options or source / "options.yaml"
        name, source = experiment.model_file(checkpoint)
        epoch = experiment.epoch(name)
        origin += f", checkpoint {name}" + ("" if epoch is None else f" of epoch {epoch}")
    elif options is None:
        raise ConfigError(f"{source}: a checkpoint needs its options; add --options options.yaml")
    model = _model(source, read_options(options, arguments), read_vocabulary(vocabulary))
    card = f"# {_title(model.config)}, converted from the original release\n\n- from: {origin}\n"
    with atomic_folder(out) as folder:
        write_model(folder, model, card, dtype=None)
    return len(model.network.state_dict())


def import_settings(source: Path, arguments: Sequence[str], out: Path) -> None:
    """Write what an option file says of network and training as settings of ours.

    The file holds the groups `network`, `optim`, `schedule` and `train`.

    Raises:
        ConfigError: an option is missing or unknown.
    """
    options = read_options(source, arguments)
    network, _ = network_config(options)
    training = optimisation(options)
    groups = {"network": network, **vars(training)}
    write_text(out, "".join(to_yaml({name: group}) for name, group in groups.items()))


def export_model(model: Path, out: Path) -> list[str]:
    """Write a model folder's network as the original's checkpoint file.

    Gives remarks on what the original's code would have to be changed in to read it.
    """
    network, config, *_ = read_model(model)
    shared = config.relation is None or config.relation.shared
    state = network_to_upstream(network.state_dict(), config.question.encoder, shared)
    nothing: dict[str, Any] = {"train": {}, "eval": {}}
    content = {
        "network": {name: value.detach().float().clone() for name, value in state.items()},
        "criterions": nothing,
        "metrics": nothing,
    }
    with atomic_write(out) as temporary:
        torch.save(content, temporary)
    remarks = [
        f"question.{name} is {getattr(config.question, name)}, the original's code has {fixed}"
        for name, fixed in _FIXED.items()
        if getattr(config.question, name) != fixed
    ]
    if config.region_scale != 1:
        remarks.append(f"region_scale is {config.region_scale:g}, the original's code has none")
    if config.relation is not None and "+" in config.relation.aggregate:
        remarks.append(
            f"relation.aggregate is {config.relation.aggregate}, the original's code has one alone"
        )
    return remarks


def read_vocabulary(path: Path) -> VqaVocabulary:
    """Read a vocabulary: our file, a folder that has it, or a processed folder of the original.

    The last holds `wid_to_word.pth` (numbers from 1) and `aid_to_ans.pth`.

    Raises:
        DataError, CheckpointError: a file is missing or damaged.
    """
    if path.is_dir() and not (path / VOCABULARY).is_file():
        return _upstream_vocabulary(path)
    return VqaVocabulary.read(path / VOCABULARY if path.is_dir() else path)


def _upstream_vocabulary(folder: Path) -> VqaVocabulary:
    words = read_plain(folder / "wid_to_word.pth")
    answers = read_plain(folder / "aid_to_ans.pth")
    if not isinstance(words, Mapping) or sorted(words) != list(range(1, len(words) + 1)):
        raise CheckpointError(
            f"{folder / 'wid_to_word.pth'}: not a table of words numbered 1, 2, 3, ...; "
            "give the folder that the original processed"
        )
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
        raise CheckpointError(f"{folder / 'aid_to_ans.pth'}: not a list of answers")
    ordered = [str(words[number]) for number in range(1, len(words) + 1)]
    return VqaVocabulary(("", *ordered), tuple(answers))


def _model(source: Path, options: Mapping[str, Any], vocabulary: VqaVocabulary) -> Model:
    """Read one checkpoint into a network of its own options."""
    state = read_torch(source).get("network")
    if not isinstance(state, Mapping):
        raise CheckpointError(
            f"{source}: has no part named network; give the file named ckpt_*_model.pth.tar"
        )
    weights, unplaced = network_from_upstream(state)
    if unplaced:
        raise CheckpointError(
            f"{source}: no place for {', '.join(unplaced)}; is it another network?"
        )
    config, answers = network_config(options, state)
    words = state["txt_enc.embedding.weight"].shape[0] if "txt_enc.embedding.weight" in state else 0
    found = (len(vocabulary.words), len(vocabulary.answers))
    if found != (words, answers):
        raise CheckpointError(
            f"{source}: made for {words} words (padding among them) and {answers} answers, the "
            f"vocabulary has {found[0]} and {found[1]}; give its own one"
        )
    network = build_network(config, vocabulary.words, answers)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source}: the weights do not fit the options ({reason})") from error
    # As in block datasets/vqa_utils.py: of other names than these two, none does anything else.
    name = _data_options(options).get("nlp", "mcb")
    return Model(network, config, vocabulary, name if name in ("mcb", "nltk") else "naive")


def _data_options(options: Mapping[str, Any]) -> Mapping[str, Any]:
    found = options.get("dataset")
    return found if isinstance(found, Mapping) else {}


def _title(config: NetworkConfig) -> str:
    return "MuRel" if config.relation is not None else "Attention baseline"
