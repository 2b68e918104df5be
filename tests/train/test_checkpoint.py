"""Checkpoints: complete or not there, checked, and general in what they hold."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pyvqa.errors import CheckpointError, DataError
from pyvqa.files import clean_leftovers
from pyvqa.train import checkpoint
from pyvqa.train.stage import State


def _state(
    kind: Callable[..., torch.optim.Optimizer] = torch.optim.Adam, seed: int = 0, **options: Any
) -> State:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    state = State(
        networks={"net": network},
        optimisers={"net": kind(network.parameters(), lr=0.1, **options)},
        counters={"baseline": torch.tensor(0.1 + seed), "count": seed, "rate": 0.1 * seed},
    )
    _train(state, steps=2 * seed)
    return state


def _train(state: State, steps: int) -> None:
    network, optimiser = state.networks["net"], state.optimisers["net"]
    for number in range(steps):
        optimiser.zero_grad()
        inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(number))
        network(inputs).square().mean().backward()
        optimiser.step()


def _numbers(state: State) -> list[torch.Tensor]:
    values = [*state.networks["net"].state_dict().values()]
    values += [torch.as_tensor(state.counters[name]) for name in sorted(state.counters)]
    for row in state.optimisers["net"].state_dict()["state"].values():
        values += [torch.as_tensor(row[k]) for k in sorted(row) if row[k] is not None]
    return [value.clone() for value in values]


def _assert_equal(one: State, other: State) -> None:
    first, second = _numbers(one), _numbers(other)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    groups = [s.optimisers["net"].state_dict()["param_groups"] for s in (one, other)]
    assert groups[0] == groups[1]


OPTIMISERS = [
    (torch.optim.Adam, {}),
    (torch.optim.AdamW, {"amsgrad": True}),
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (torch.optim.Adamax, {}),
    (torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    (torch.optim.Adagrad, {}),
    (torch.optim.ASGD, {}),
]


@pytest.mark.parametrize(("kind", "options"), OPTIMISERS)
def test_any_optimiser_comes_back_and_goes_on(
    tmp_path: Path, kind: Callable[..., torch.optim.Optimizer], options: dict[str, Any]
) -> None:
    saved, loaded = _state(kind, 3, **options), _state(kind, 0, **options)
    checkpoint.save(tmp_path, 6, saved, {"note": [1, 0.1]}, keep=2)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert checkpoint.load(found, loaded) == (6, {"note": [1, 0.1]})
    _assert_equal(loaded, saved)
    _train(saved, 3)
    _train(loaded, 3)
    _assert_equal(loaded, saved)


def test_counters_keep_type_and_bits(tmp_path: Path) -> None:
    saved, loaded = _state(seed=3), _state()
    saved.counters["rate"] = float("nan")
    checkpoint.load(checkpoint.save(tmp_path, 1, saved, {}, keep=2), loaded)
    assert isinstance(loaded.counters["count"], int)
    assert loaded.counters["rate"] != loaded.counters["rate"]
    assert torch.equal(torch.as_tensor(loaded.counters["baseline"]), torch.tensor(3.1))


def test_tied_weights_are_written_once_each(tmp_path: Path) -> None:
    network = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    network[1].weight = network[0].weight
    checkpoint.save_network(tmp_path / "net.safetensors", network)
    other = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3)])
    checkpoint.load_network(tmp_path / "net.safetensors", other)
    assert torch.equal(other[0].weight, network[0].weight)
    assert torch.equal(other[1].weight, network[0].weight)


def test_half_precision_model_files_load_into_single(tmp_path: Path) -> None:
    network, other = nn.Linear(3, 3), nn.Linear(3, 3)
    checkpoint.save_network(tmp_path / "net.safetensors", network, torch.float16)
    checkpoint.load_network(tmp_path / "net.safetensors", other)
    assert other.weight.dtype == torch.float32
    assert torch.equal(other.weight, network.weight.half().float())


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in range(1, 6):
        checkpoint.save(tmp_path, step, _state(), {}, keep=3)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "00000003",
        "00000004",
        "00000005",
        "last",
    ]


def test_continues_before_a_deleted_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2):
        checkpoint.save(tmp_path, step, _state(), {}, keep=2)
    for path in (tmp_path / "00000002").iterdir():
        path.unlink()
    (tmp_path / "00000002").rmdir()
    assert checkpoint.latest(tmp_path) == tmp_path / "00000001"
    (tmp_path / "last").write_text("../../etc\n")
    assert checkpoint.latest(tmp_path) == tmp_path / "00000001"
    assert checkpoint.latest(tmp_path / "nowhere") is None


class _Failing:
    """Fail the n-th call to the disk, and every later one like a disk that stays full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, code: int) -> None:
        self.calls, self.at, self.code = 0, at, code
        for name in ("fsync", "replace"):
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, real: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            self.calls += 1
            if self.at and self.calls == self.at:
                raise OSError(self.code, os.strerror(self.code))
            real(*arguments)

        return call


def _calls_of_a_save(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        checkpoint.save(folder, 1, _state(seed=1), {}, keep=2)
        checkpoint.save(folder, 2, _state(seed=2), {}, keep=2)
        counter = _Failing(patch, 0, 0)
        checkpoint.save(folder, 3, _state(seed=3), {}, keep=2)
        return counter.calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_torn_writes_leave_a_checkpoint_that_loads(tmp_path: Path, code: int) -> None:
    total = _calls_of_a_save(tmp_path / "count")
    assert total >= 10
    outcomes = set()
    for at in range(1, total + 1):
        folder = tmp_path / str(at)
        checkpoint.save(folder, 1, _state(seed=1), {}, keep=2)
        checkpoint.save(folder, 2, _state(seed=2), {}, keep=2)
        with pytest.MonkeyPatch.context() as patch:
            _Failing(patch, at, code)
            with pytest.raises(DataError, match="cannot be written"):
                checkpoint.save(folder, 3, _state(seed=3), {}, keep=2)
        clean_leftovers(folder)
        found = checkpoint.latest(folder)
        assert found is not None
        loaded = _state()
        step, _ = checkpoint.load(found, loaded)
        _assert_equal(loaded, _state(seed=step))
        outcomes.add(step)
        # And the next attempt gets through.
        checkpoint.save(folder, 3, _state(seed=3), {}, keep=2)
        assert checkpoint.load(folder / "00000003", _state())[0] == 3
    assert outcomes == {2, 3}


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, _state(seed=1), {"note": 1}, keep=2)
    flips = 0
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 23)):
            bad = bytearray(whole)
            bad[place] ^= 1 << place % 8
            path.write_bytes(bytes(bad))
            with pytest.raises(CheckpointError, match=r"delete .* to continue"):
                checkpoint.load(folder, _state())
            flips += 1
        path.write_bytes(whole)
    assert flips > 80
    checkpoint.load(folder, _state())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_cut_off_and_missing_files_are_noticed(tmp_path: Path, share: float) -> None:
    folder = checkpoint.save(tmp_path, 1, _state(seed=1), {}, keep=2)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(CheckpointError, match=path.name):
            checkpoint.load(folder, _state())
        path.unlink()
        with pytest.raises(CheckpointError, match=path.name):
            checkpoint.load(folder, _state())
        path.write_bytes(whole)


def test_another_networks_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, _state(), {}, keep=2)
    other = _state()
    other.networks["net"] = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    with pytest.raises(
        CheckpointError, match=r"0\.bias has shape \[4\], the network expects \[5\]"
    ):
        checkpoint.load(folder, other)
    other.networks["net"] = nn.Linear(3, 5)
    with pytest.raises(CheckpointError, match=r"0\.bias is missing in the network"):
        checkpoint.load(folder, other)
    other = _state()
    other.counters["more"] = 1
    with pytest.raises(CheckpointError, match="has counters"):
        checkpoint.load(folder, other)


def test_another_optimisers_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, _state(), {}, keep=2)
    other = _state()
    half = list(other.networks["net"].parameters())[:2]
    other.optimisers["net"] = torch.optim.Adam(half)
    with pytest.raises(CheckpointError, match="the optimiser's parameters differ"):
        checkpoint.load(folder, other)


def test_newer_format_is_refused(tmp_path: Path) -> None:
    folder = checkpoint.save(tmp_path, 1, _state(), {}, keep=2)
    document = json.loads((folder / "meta.json").read_text())
    document["content"]["format"] = 99
    document["sha256"] = checkpoint._digest(document["content"])
    (folder / "meta.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match="has format 99"):
        checkpoint.load(folder, _state())


def test_state_that_no_file_can_hold_is_refused(tmp_path: Path) -> None:
    state = _state()
    parameter = next(iter(state.networks["net"].parameters()))
    state.optimisers["net"].state[parameter]["history"] = object()
    with pytest.raises(CheckpointError, match="keeps history as object"):
        checkpoint.save(tmp_path, 1, state, {}, keep=2)
    assert checkpoint.latest(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_optimisers_keep_the_layout_of_their_parameters(tmp_path: Path) -> None:
    def fresh(seed: int) -> State:
        torch.manual_seed(seed)
        net = torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)
        return State({"net": net}, {"net": torch.optim.Adam(net.parameters(), fused=True)})

    def go_on(state: State) -> None:
        torch.manual_seed(7)
        images = torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last)
        for _ in range(3):
            state.networks["net"].zero_grad()
            state.networks["net"](images).square().mean().backward()
            state.optimisers["net"].step()

    saved, loaded = fresh(3), fresh(0)
    go_on(saved)
    checkpoint.save(tmp_path, 3, saved, {}, keep=2)
    found = checkpoint.latest(tmp_path)
    assert found is not None
    checkpoint.load(found, loaded)
    go_on(saved)
    go_on(loaded)
    assert torch.equal(saved.networks["net"].weight, loaded.networks["net"].weight)
