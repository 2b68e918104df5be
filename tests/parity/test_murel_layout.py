"""Names and shapes of the published networks, and the folder of an experiment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import AttentionConfig, NetworkConfig
from pyvqa.systems.murel.upstream import network_from_upstream, network_to_upstream


@pytest.mark.kit("murel", "state_dict_layout.json")
def test_published_networks_have_the_originals_names_and_shapes(case: Path):
    for name, layout in json.loads(case.read_text()).items():
        config = NetworkConfig()
        if name.endswith("/attention"):
            config = NetworkConfig(relation=None, attention=AttentionConfig())
        expected = layout["state_dict"]
        answers = next(v for k, v in expected.items() if k.endswith("linear_out.bias"))[0]
        for key in ("classif_module.linear_out.bias", "fusion.linear_out.bias"):
            answers = expected.get(key, [answers])[0]
        with torch.device("meta"):
            words = [""] + ["word"] * layout["vocab_assumed"]
            model = build_network(config, words, answers)
        state = network_to_upstream(model.state_dict(), "bayesian", shared=True)
        assert {k: list(v.shape) for k, v in state.items()} == expected, name
        assert list(state) == list(expected), name
        assert sum(p.numel() for p in model.parameters()) == layout["nparams"], name
        ours, unplaced = network_from_upstream(state)
        assert unplaced == []
        assert {k: v.shape for k, v in ours.items()} == {
            k: v.shape for k, v in model.state_dict().items()
        }
