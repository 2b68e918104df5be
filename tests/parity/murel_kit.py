"""Reading the MuRel kit: `<case>/<kind>/<name>` tensors beside a table of settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

# Precision -> tolerance of outputs, and of gradients as a relative Euclidean error.
OUTPUT = {
    torch.float64: {"rtol": 1e-9, "atol": 1e-12},
    torch.float32: {"rtol": 0.0, "atol": 2e-5},
}


class KitCase(NamedTuple):
    """One recorded case: its settings, and tensors by kind (w, in, out, gout, gin, gw, mask)."""

    name: str
    settings: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]

    def of(self, kind: str, dtype: torch.dtype) -> dict[str, Tensor]:
        """Give the tensors of one kind, real ones in the given precision."""
        found = self.tensors.get(kind, {})
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in found.items()}


def cases(path: Path) -> list[KitCase]:
    """List the cases of a .safetensors file, with the settings of the .json beside it, if any."""
    beside = path.with_suffix(".json")
    settings = json.loads(beside.read_text()) if beside.is_file() else {}
    tensors: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, value in load_file(path).items():
        case, kind, name = key.split("/", 2)
        tensors.setdefault(case, {}).setdefault(kind, {})[name] = value
    assert tensors
    return [KitCase(name, settings.get(name, {}), found) for name, found in tensors.items()]


def check_gradients(
    ours: Mapping[str, Tensor | None], expected: Mapping[str, Tensor], relative: float, where: str
) -> None:
    """Compare gradients by name: same names, and a bounded relative error of each.

    A gradient may be zero for a reason (of a bias before a softmax, say); then rounding is left.
    """
    floor = 1e-13 if relative < 1e-6 else 1e-7
    assert set(ours) == set(expected), where
    for name, value in expected.items():
        gradient = ours[name]
        assert gradient is not None, f"{where}: {name} has no gradient"
        error = (gradient.double() - value.double()).norm()
        assert error <= relative * value.double().norm() + floor, f"{where}: {name} {error}"


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    """Give the gradients of a module's parameters by name."""
    return {name: parameter.grad for name, parameter in module.named_parameters()}
