"""What the tests of the pictures' networks share: formula weights and genuine pictures."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

Scale = Callable[[str, Sequence[int], np.ndarray], np.ndarray]


def formula_weights(shapes: Mapping[str, Sequence[int]], scale: Scale) -> dict[str, Tensor]:
    """Make the weights that kits describe by a formula instead of storing them."""
    weights = {}
    for k, (name, shape) in enumerate(shapes.items()):
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
            continue
        j = np.arange(int(np.prod(shape)), dtype=np.float64)
        u = np.sin(12.9898 * j + 78.233 * k) * 43758.5453
        u = 2 * (u - np.floor(u)) - 1
        weights[name] = torch.from_numpy(scale(name, shape, u)).float().view(*shape)
    return weights


def convolution(shape: Sequence[int], u: np.ndarray) -> np.ndarray:
    """Scale a convolution's numbers by its fan-in."""
    return u * np.sqrt(6 / (shape[1] * shape[2] * shape[3]))


def _scaled(name: str, shape: Sequence[int], u: np.ndarray) -> np.ndarray:
    """The kit's formula for the attribute network's weights."""
    if len(shape) == 4:
        return convolution(shape, u)
    if len(shape) == 2:
        return u / np.sqrt(shape[1])
    if name.endswith("running_var"):
        return 1 + 0.5 * np.abs(u)
    return 0.5 + 0.1 * u if name.endswith("weight") else 0.1 * u


def attribute_checkpoint(folder: Path, channels: int) -> dict[str, Any]:
    """Make the kit's attribute network as the original stores it, or skip the test."""
    file = folder / "attr_net_meta.json"
    if not file.is_file():
        pytest.skip(f"the kit holds no {file.name}")
    shapes = json.loads(file.read_text())["state_dict_shapes"]
    shapes["main.0.weight"][1] = channels
    state = formula_weights(shapes, _scaled)
    return {"input_channels": channels, "output_dim": 18, "model_state": state}


def genuine_file(name: str) -> Path:
    """Find a genuine CLEVR picture, or skip the test."""
    root = os.environ.get("PYVQA_REAL")
    if not root:
        pytest.skip("PYVQA_REAL is not set")
    found = sorted((Path(root) / "clevr_original" / "images").rglob(name))
    if not found:
        pytest.skip(f"{root}/clevr_original/images holds no {name}")
    return found[0]


def genuine_picture(name: str) -> Tensor:
    """Read a genuine CLEVR picture as RGB bytes [H, W, 3], or skip the test."""
    images = pytest.importorskip("PIL.Image", reason="needs Pillow to read pictures")
    with images.open(genuine_file(name)) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB")))


def decoded(rles: Sequence[Mapping[str, object]]) -> Tensor:
    """Decode run-length masks to bool [N, H, W], by the reference library."""
    masks = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    return torch.from_numpy(np.stack([masks.decode(dict(rle)) for rle in rles])).bool()


def read_json(file: Path) -> Any:
    """Read a JSON file of a kit, packed or not."""
    return json.loads(
        gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_text()
    )
