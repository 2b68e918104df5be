"""The five systems, found by name and imported when they are needed."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyvqa.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from pyvqa.data.region_origin import FindRegions, RegionOrigin

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


def is_shipped(name: str) -> bool:
    """Say whether a model of that name comes with the package."""
    return (ZOO / name / "config.yaml").is_file()


def load(model: str | Path, *, detector: str | Path | None = None) -> Any:
    """Load a model: a shipped one by name, a model folder, or the best of a run folder.

    `detector`: for MuRel, a model with the detector of its features, where that is no longer where
    it was.

    Raises:
        DataError: there is no such model.
        ConfigError, CheckpointError: its files are damaged, or it takes no detector.
    """
    system = system_of(model)
    module = importlib.import_module(SYSTEMS[system])
    if system == "murel":
        return module.load(find_model(model), partial(find_regions, detector=detector))
    if detector is not None:
        raise ConfigError(f"{model}: is an {system} model, which takes no detector of another one")
    return module.load(find_model(model))


def find_regions(origin: RegionOrigin, detector: str | Path | None = None) -> FindRegions:
    """Look at pictures as those were looked at that features of this origin are of.

    This is where one system sees for another: neither knows of it.

    Raises:
        DataError, ConfigError, CheckpointError: that detector cannot be found, or is damaged.
    """
    from pyvqa.systems.ns_vqa.regions import region_finder

    return region_finder(find_detector(origin, detector), origin.regions)


def find_detector(origin: RegionOrigin, detector: str | Path | None = None) -> Path:
    """Find the model folder with the detector of an origin.

    `detector` names it; without that it is looked for under its old name and among the shipped.

    Raises:
        DataError: there is no model of the name given.
        CheckpointError: no model has that detector.
    """
    if detector is not None:
        folder = find_model(detector)
        if _has_detector(folder, origin):
            return folder
        raise CheckpointError(
            f"{detector}: its detector is another one than made the features that the model was "
            f"trained on; that was the one of {origin.detector}, SHA-256 {origin.weights:.12}..."
        )
    places = sorted(path.parent for path in ZOO.glob("*/config.yaml"))
    try:
        places.insert(0, find_model(origin.detector))
    except DataError:
        pass  # it was moved, or made elsewhere
    for folder in places:
        if _has_detector(folder, origin):
            return folder
    raise CheckpointError(
        f"the model was trained on features by the detector of {origin.detector}, SHA-256 "
        f"{origin.weights:.12}..., and no model here has it; name the folder that does with "
        "--detector (pyvqa.load: detector=), or train on its features anew"
    )


def _has_detector(folder: Path, origin: RegionOrigin) -> bool:
    from pyvqa.files import sha256

    weights = folder / "detector.safetensors"
    return weights.is_file() and sha256(weights) == origin.weights
