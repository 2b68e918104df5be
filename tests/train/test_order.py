"""The order of data: complete, shuffled, and a function of its arguments alone."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pyvqa.train.order import (
    batches_in_epoch,
    epoch_order,
    global_batch,
    mix,
    seed_everything,
    share,
)


def test_every_item_once_an_epoch() -> None:
    for epoch in range(3):
        assert sorted(epoch_order(101, 5, epoch)) == list(range(101))


def test_order_depends_on_seed_and_epoch_alone() -> None:
    first = epoch_order(100, 1, 0).copy()
    epoch_order.cache_clear()
    np.random.seed(99)
    assert np.array_equal(epoch_order(100, 1, 0), first)
    assert not np.array_equal(epoch_order(100, 1, 1), first)
    assert not np.array_equal(epoch_order(100, 2, 0), first)
    # Not the same as swapping the two.
    assert not np.array_equal(epoch_order(100, 1, 2), epoch_order(100, 2, 1))


def test_the_order_of_one_seed_is_fixed_for_good() -> None:
    """A change here would make every stored run unrepeatable."""
    assert epoch_order(8, 1, 0).tolist() == [5, 1, 3, 4, 0, 2, 6, 7]


def test_order_cannot_be_spoiled_by_its_user() -> None:
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(10, 1, 0)[0] = 3


@pytest.mark.parametrize("items", [1, 7, 8, 9, 64])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_shares_make_up_the_batches_and_batches_the_epoch(items: int, ranks: int) -> None:
    order = epoch_order(items, 3, 1)
    batches = [global_batch(order, i, 8) for i in range(batches_in_epoch(items, 8))]
    assert np.array_equal(np.concatenate(batches), order)
    for batch in batches:
        shares = [share(batch, rank, ranks) for rank in range(ranks)]
        assert np.array_equal(np.concatenate(shares), batch)
        sizes = [len(one) for one in shares]
        assert max(sizes) - min(sizes) <= 1


def test_micro_batches_cut_shares_finer() -> None:
    batch = np.arange(24)
    halves = [share(batch, rank, 2) for rank in range(2)]
    quarters = [share(batch, part, 4) for part in range(4)]
    assert np.array_equal(halves[1], np.concatenate(quarters[2:]))


def test_last_batch_can_be_dropped() -> None:
    assert batches_in_epoch(17, 8) == 3
    assert batches_in_epoch(17, 8, drop_last=True) == 2
    assert batches_in_epoch(0, 8) == 0


def test_seeds_do_not_collide() -> None:
    seeds = {mix(seed, step, part) for seed in range(9) for step in range(99) for part in range(9)}
    assert len(seeds) == 9 * 99 * 9
    assert all(0 <= seed < 1 << 64 for seed in seeds)


def test_seeding_reaches_all_three_generators() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))

    seed_everything(1, 2, 3)
    first = draw()
    seed_everything(1, 2, 3)
    assert draw() == first
    seed_everything(1, 2, 4)
    assert all(a != b for a, b in zip(draw(), first, strict=True))
