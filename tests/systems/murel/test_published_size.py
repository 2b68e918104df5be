"""Training at the published size in single precision, beside the original's order of work."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import NetworkConfig
from pyvqa.systems.murel.model.network import MurelNet
from pyvqa.systems.murel.model.reference import answer_by_pairs

WORDS, ANSWERS, REGIONS = 13_000, 3000, 36
BATCH, STEPS = 16, 10

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


def batch(step: int) -> tuple[Batch, Tensor]:
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(1, WORDS, (BATCH, 14), generator=generator)
    lengths = torch.randint(5, 15, (BATCH,), generator=generator)
    regions = torch.randn(BATCH, REGIONS, 2048, generator=generator).relu()
    boxes = torch.rand(BATCH, REGIONS, 4, generator=generator)
    return (tokens, lengths, regions, boxes), torch.randint(ANSWERS, (BATCH,), generator=generator)


def losses(network: MurelNet, answer: Callable[..., Tensor]) -> list[float]:
    """Train as published: Adam at the rate of the first epoch, gradients clipped at 0.25."""
    adam = torch.optim.Adam(network.parameters(), lr=1.5e-4)
    found = []
    for step in range(STEPS):
        inputs, targets = batch(step)
        torch.manual_seed(step)  # of the dropout masks
        loss = F.cross_entropy(answer(*inputs), targets)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.25)
        adam.step()
        found.append(loss.item())
    return found


@pytest.mark.slow
def test_ten_steps_lose_as_the_original_order_does() -> None:
    """Some minutes and 4 GB: the original lays out every pair."""
    torch.manual_seed(0)
    ours = build_network(NetworkConfig(), ["", *["word"] * WORDS], ANSWERS)
    assert isinstance(ours, MurelNet)
    theirs = copy.deepcopy(ours)
    found = losses(ours.train(), lambda *inputs: ours(*inputs).logits)
    expected = losses(theirs.train(), lambda *inputs: answer_by_pairs(theirs, *inputs))
    assert found[:5] == pytest.approx(expected[:5], rel=1e-4)
    assert found[5:] == pytest.approx(expected[5:], rel=1e-3)
    assert len(set(found)) == STEPS
