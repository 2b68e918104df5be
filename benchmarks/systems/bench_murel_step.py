"""A training step of MuRel at its published size, against the original's order in plain torch.

The rival lays out the question for every region and the regions for every pair, as the original
does (pyvqa/systems/murel/model/reference.py); both share the question's encoder. Equality first,
then processor time, and the memory that each holds on to for its backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import timing
import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import NetworkConfig
from pyvqa.systems.murel.model.network import MurelNet
from pyvqa.systems.murel.model.reference import answer_by_pairs

BATCH, REGIONS, WORDS, ANSWERS = 4, 36, 13_000, 3000


@pytest.fixture(scope="module")
def network() -> MurelNet:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    built = build_network(NetworkConfig(), [""] + ["word"] * WORDS, ANSWERS)
    assert isinstance(built, MurelNet)
    return built


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, WORDS, (BATCH, 14), generator=generator)
    lengths = torch.randint(5, 15, (BATCH,), generator=generator)
    regions = torch.randn(BATCH, REGIONS, 2048, generator=generator).relu()
    return tokens, lengths, regions, torch.rand(BATCH, REGIONS, 4, generator=generator)


def steps(network: MurelNet) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """Forward and backward of ours and the rival's, with the same dropout masks."""
    batch = inputs()
    targets = torch.arange(BATCH)

    def run(answer: Callable[[], Tensor]) -> Tensor:
        torch.manual_seed(7)
        network.zero_grad()
        loss = F.cross_entropy(answer(), targets)
        loss.backward()
        return loss.detach()

    return (
        lambda: run(lambda: network(*batch).logits),
        lambda: run(lambda: answer_by_pairs(network, *batch)),
    )


@contextmanager
def kept(network: MurelNet) -> Iterator[list[int]]:
    """Count the bytes, weights aside, that are kept for backward passes inside."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    storages: dict[int, int] = {}
    total: list[int] = []

    def note(value: Tensor) -> Tensor:
        storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value):
        yield total
    total.append(sum(size for place, size in storages.items() if place not in weights))


def test_training_step(network: MurelNet, benchmark):
    ours, rival = steps(network.train())
    torch.testing.assert_close(ours(), rival(), rtol=1e-4, atol=1e-4)
    timing.compare(
        "murel step",
        f"B={BATCH} N={REGIONS}, float32",
        ours=ours,
        rival=rival,
        rival_name="the original's order",
        target=4.0,
    )
    benchmark.pedantic(ours, rounds=1)


def test_memory_kept_for_the_backward_pass(network: MurelNet):
    batch = inputs()
    with kept(network) as ours:
        logits = network.train()(*batch).logits
    with kept(network) as rival:
        pairs = answer_by_pairs(network, *batch)
    assert logits.shape == pairs.shape
    a, b = ours[0], rival[0]
    print(f"\nkept beside the weights: {a / 1e6:.0f} MB, the original's order {b / 1e6:.0f} MB")
    assert 4 * a <= b
