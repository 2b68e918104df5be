"""The five systems, found by name and imported when they are needed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pyvqa.errors import DataError

# system -> module with `load(folder)`
SYSTEMS: dict[str, str] = {
    "ns-vqa": "pyvqa.systems.ns_vqa",
    "murel": "pyvqa.systems.murel",
}

# training stage -> module:attribute of a `pyvqa.train.stage.Stage`
STAGES: dict[str, str] = {
    "ns-vqa/detector": "pyvqa.systems.ns_vqa.train_detector:DETECTOR",
    "ns-vqa/attributes": "pyvqa.systems.ns_vqa.train_attributes:ATTRIBUTES",
    "ns-vqa/parser-pretrain": "pyvqa.systems.ns_vqa.train:PRETRAIN",
    "ns-vqa/parser-reinforce": "pyvqa.systems.ns_vqa.train:REINFORCE",
    "ns-vqa/parser-world": "pyvqa.systems.ns_vqa.train_world:WORLD",
    "murel/answers": "pyvqa.systems.murel.train:ANSWERS",
}

ZOO = Path(__file__).resolve().parent.parent / "zoo"


def find_model(model: str | Path) -> Path:
    """Find the model folder of a shipped model's name, a model folder or a run folder.

    Raises:
        DataError: there is no such model, or the run has none yet.
    """
    from pyvqa.train.run import model_folder

    folder = Path(model)
    if not folder.exists() and (ZOO / str(model)).is_dir():
        return ZOO / str(model)
    if folder.is_dir():
        found = model_folder(folder)
        if (found / "config.yaml").is_file():
            return found
    shipped = sorted(p.parent.name for p in ZOO.glob("*/config.yaml"))
    raise DataError(
        f"{model}: neither a shipped model ({', '.join(shipped) or 'none'}) nor a model or run "
        "folder with a config.yaml; check the path"
    )


def system_of(model: str | Path) -> str:
    """Say which system a model is of (see `load`).

    Raises:
        DataError: there is no such model, or it is of no known system.
    """
    from pyvqa.train.config import read_source

    path = find_model(model) / "config.yaml"
    system = read_source(path).get("system")
    if system not in SYSTEMS:
        raise DataError(f"{path}: system is {system!r}; known: {', '.join(SYSTEMS)}")
    return str(system)


def load(model: str | Path) -> Any:
    """Load a model: a shipped one by name, a model folder, or the best of a run folder.

    Raises:
        DataError: there is no such model.
        ConfigError, CheckpointError: its files are damaged.
    """
    system = system_of(model)
    return importlib.import_module(SYSTEMS[system]).load(find_model(model))
