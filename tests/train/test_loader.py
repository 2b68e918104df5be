"""Batches of any shape reach the device; a worker that dies is explained."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pyvqa.errors import TrainingError
from pyvqa.train.guard import batch_ids, tensors_of
from pyvqa.train.loader import explained_workers, shares, to_device
from pyvqa.train.settings import TrainConfig

CPU = torch.device("cpu")


class Pair(NamedTuple):
    left: Tensor
    right: list[Tensor]


@dataclass
class Batch:
    pair: Pair
    words: tuple[str, ...]
    more: dict[str, Tensor]


def _batch() -> Batch:
    return Batch(Pair(torch.ones(2), [torch.ones(1)]), ("a",), {"x": torch.ones(3)})


def test_nested_batches_move_whole() -> None:
    moved = to_device(_batch(), torch.device("meta"))
    assert isinstance(moved, Batch)
    assert isinstance(moved.pair, Pair)
    assert moved.words == ("a",)
    places = {name: tensor.device.type for name, tensor in tensors_of(moved, "batch")}
    assert places == dict.fromkeys(
        ["batch.pair.left", "batch.pair.right.0", "batch.more.x"], "meta"
    )


class Counting:
    """Give the arguments back; draw from a global generator as well."""

    def __len__(self) -> int:
        return 3

    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> tuple[Any, ...]:
        return (epoch, index, rank, ranks, torch.rand(2))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_shares_come_in_order_whoever_prepares_them(workers: int) -> None:
    config = TrainConfig(accumulate=2, workers=workers)
    found = list(shares(Counting(), config, range(2, 5), CPU, 1, 2))
    assert [item[:4] for item in found] == [
        (0, 2, 2, 4), (0, 2, 3, 4), (1, 0, 2, 4), (1, 0, 3, 4), (1, 1, 2, 4), (1, 1, 3, 4)
    ]  # fmt: skip
    again = list(shares(Counting(), TrainConfig(accumulate=2), range(2, 5), CPU, 1, 2))
    assert all(torch.equal(a[4], b[4]) for a, b in zip(found, again, strict=True))
    assert len({float(item[4][0]) for item in found}) == 6


class Dying(Counting):
    def batch(self, epoch: int, index: int, rank: int, ranks: int) -> tuple[Any, ...]:
        if index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(epoch, index, rank, ranks)


def test_a_killed_worker_is_explained() -> None:
    with pytest.raises(TrainingError, match=r"a worker .* was killed"), explained_workers():
        list(shares(Dying(), TrainConfig(workers=1), range(6), CPU, 0, 1))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({"ids": torch.tensor([3, 1])}, "3, 1"),
        ({"ids": ["a.png", "b.png"]}, "a.png, b.png"),
        ({"ids": torch.arange(20)}, ", ".join(map(str, range(16))) + " and 4 more"),
        ({"x": 1}, "not given by the source"),
        (Pair(torch.ones(1), []), "not given by the source"),
    ],
)
def test_ids_are_quoted(batch: Any, expected: str) -> None:
    assert batch_ids(batch) == expected
