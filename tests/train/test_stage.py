"""Stages are found by name, imported when needed."""

from __future__ import annotations

import pytest
import torch

from pyvqa.errors import ConfigError
from pyvqa.train.stage import State, resolve_stage

from .tiny import STAGE


def test_stage_is_imported_by_its_entry() -> None:
    table = {"tiny/train": f"{__name__.rpartition('.')[0]}.tiny:STAGE"}
    assert resolve_stage("tiny/train", table) is STAGE


def test_unknown_stage_is_met_with_the_nearest() -> None:
    table = {"tiny/train": "nowhere:STAGE"}
    with pytest.raises(ConfigError, match=r"did you mean tiny/train\?"):
        resolve_stage("tiny/trian", table)
    with pytest.raises(ConfigError, match="known: tiny/train"):
        resolve_stage("murel", table)


def test_state_moves_networks_and_counters() -> None:
    state = State({"net": torch.nn.Linear(1, 1)}, counters={"mean": torch.zeros(2), "count": 3})
    state.to(torch.device("meta"))
    assert state.networks["net"].weight.device.type == "meta"
    assert torch.as_tensor(state.counters["mean"]).device.type == "meta"
    assert state.counters["count"] == 3
