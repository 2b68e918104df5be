"""Optimiser, schedule and clipping against the original's training of a tiny network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from murel_kit import cases
from torch import nn
from torch.nn import functional as F

from pyvqa.systems.murel.from_options import optimisation
from pyvqa.train.optim import apply_schedule, build_optimiser, build_schedule, clip_gradients


@pytest.mark.kit("murel", "optimizer.safetensors")
def test_training(case: Path):
    recorded = json.loads(case.with_suffix(".json").read_text())
    for entry in cases(case):
        run = recorded[entry.name]
        epochs = len(run["lr_per_epoch"])
        settings = optimisation(
            {
                "optimizer": run["config"],
                "engine": {"nb_epochs": epochs},
                "dataset": {"batch_size": 6},
            }
        )
        network = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
        network.load_state_dict(entry.of("w0", torch.float64))
        optimiser = build_optimiser(network.parameters(), settings.optim)
        schedule = build_schedule(settings.schedule, settings.train, 1)
        x, t = entry.of("x", torch.float64), entry.of("t", torch.float64)
        total = 0.0
        for epoch in range(epochs):
            lr = apply_schedule(optimiser, schedule, epoch)
            assert lr == pytest.approx(run["lr_per_epoch"][epoch], rel=1e-12)
            optimiser.zero_grad()
            F.cross_entropy(5 * network(x[str(epoch)]), t[str(epoch)]).backward()
            total += clip_gradients(optimiser).item()
            # The original logs the mean of all norms so far, ours each one by itself.
            mean = run["running_mean_grad_norm_before_clip"][epoch]
            assert total / (epoch + 1) == pytest.approx(mean, rel=1e-9)
            optimiser.step()
        for name, value in entry.of("w_end", torch.float64).items():
            ours = network.get_parameter(name).detach()
            torch.testing.assert_close(ours, value, rtol=1e-9, atol=1e-12)
