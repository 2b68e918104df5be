"""States of torch that hold for a while and are put back after."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils import deterministic as deterministic_options


@contextmanager
def evaluation(networks: Mapping[str, nn.Module]) -> Iterator[None]:
    """Put networks into evaluation mode without gradients; restore each module's mode after."""
    modes = [(module, module.training) for net in networks.values() for module in net.modules()]
    for network in networks.values():
        network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """Ask torch for deterministic algorithms where it has them."""
    if not wanted:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warn = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = deterministic_options.fill_uninitialized_memory  # type: ignore[attr-defined]
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Our kernels write every element they allocate; filling first would cost time for nothing.
    deterministic_options.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn)
        deterministic_options.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
