"""Norms: frozen ones, and statistics over the ranks of a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pyvqa.nn.norm import FrozenAffine, SharedBatchNorm2d

RANK = Path(__file__).with_name("norm_rank.py")


def test_frozen_affine():
    norm = FrozenAffine(3)
    norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    x = torch.randn(2, 3, 4, 5)
    expected = torch.stack((x[:, 0] + 0.5, 2 * x[:, 1], 3 * x[:, 2] - 1), 1)
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("training", [True, False])
def test_alone_it_is_plain_batch_norm(training):
    torch.manual_seed(0)
    shared, plain = SharedBatchNorm2d(4).train(training), nn.BatchNorm2d(4).train(training)
    x = torch.randn(3, 4, 5, 6) + 2
    assert torch.equal(shared(x), plain(x))
    for name, value in plain.state_dict().items():
        assert torch.equal(shared.state_dict()[name], value)


@pytest.mark.parametrize("momentum", ["0.1", "none"])
def test_two_ranks_see_one_batch(tmp_path, momentum):
    """Two ranks with three images and one give what one process with four gives."""
    arguments = [sys.executable, str(RANK), str(tmp_path / "store"), momentum]
    ranks = [
        subprocess.Popen([*arguments, str(rank), str(tmp_path / f"{rank}.pt")]) for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]

    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    norm = nn.BatchNorm2d(4, momentum=None if momentum == "none" else float(momentum))
    torch.manual_seed(0)
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    x, weights = parts[0]["x"], parts[0]["weights"]
    for step in range(2):
        leaf = x[step].clone().requires_grad_()
        y = norm(leaf)
        norm.zero_grad()
        (y * weights).sum().backward()
        ours = torch.cat([part["y"][step] for part in parts])
        torch.testing.assert_close(ours, y.detach(), rtol=1e-5, atol=1e-5)
        ours = torch.cat([part["grad"][step] for part in parts])
        torch.testing.assert_close(ours, leaf.grad, rtol=1e-4, atol=1e-5)
    for name, value in norm.state_dict().items():
        for part in parts:
            torch.testing.assert_close(part["state"][name], value, rtol=1e-5, atol=1e-6)
    # Weight gradients are each rank's own share; the job adds them up as all other gradients.
    total = parts[0]["weight_grad"] + parts[1]["weight_grad"]
    torch.testing.assert_close(total, norm.weight.grad, rtol=1e-4, atol=1e-4)
