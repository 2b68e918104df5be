"""A training step of MuRel at its published size, against the original's order in plain torch.

The rival lays out the question for every region and the regions for every pair, as the original
does (pyvqa/systems/murel/model/reference.py); both share the question's encoder. Equality first,
then processor time, and the memory that each holds on to for its backward pass: at a small batch.

Whole steps at the published batch (clipping and Adam included), each side in a process of its own
whose peak memory is measured, take minutes and up to 20 GB, or half of that at half the batch:

    make bench ARGS="-m slow benchmarks/systems/bench_murel_step.py"
    python benchmarks/systems/bench_murel_step.py --batch 84 --threads 2
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.config import NetworkConfig
from pyvqa.systems.murel.model.network import MurelNet
from pyvqa.systems.murel.model.reference import answer_by_pairs

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the processes of single sides
import timing

BATCH, REGIONS, WORDS, ANSWERS = 4, 36, 13_000, 3000
PUBLISHED_BATCH = 84
ROOM = 20e9  # bytes that must be free for the rival at the published batch
STEPS = 3  # of which the first is not timed
FASTER, SMALLER = 4.0, 4.0  # what is wanted of a whole step


@pytest.fixture(scope="module")
def network() -> MurelNet:
    torch.set_num_threads(1)
    return published()


def published() -> MurelNet:
    torch.manual_seed(0)
    built = build_network(NetworkConfig(), [""] + ["word"] * WORDS, ANSWERS)
    assert isinstance(built, MurelNet)
    return built


def inputs(batch: int = BATCH, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(1, WORDS, (batch, 14), generator=generator)
    lengths = torch.randint(5, 15, (batch,), generator=generator)
    regions = torch.randn(batch, REGIONS, 2048, generator=generator).relu()
    return tokens, lengths, regions, torch.rand(batch, REGIONS, 4, generator=generator)


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


# Whole steps, in processes of their own ---------------------------------------------------------


def whole_steps(side: str, batch: int, threads: int) -> dict[str, Any]:
    """Train for some steps; give losses, seconds of the fastest and bytes beyond the start.

    At the start, the network and its batches are there; gradients and Adam's means are not.
    """
    torch.set_num_threads(threads)
    network = published().train()
    batches = [inputs(batch, seed) for seed in range(STEPS)]
    targets = torch.arange(batch) % ANSWERS
    adam = torch.optim.Adam(network.parameters(), lr=1.5e-4)
    losses, seconds = [], []
    before = peak()
    for step, given in enumerate(batches):
        torch.manual_seed(step)
        began = time.perf_counter()
        logits = network(*given).logits if side == "ours" else answer_by_pairs(network, *given)
        loss = F.cross_entropy(logits, targets)
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 0.25)
        adam.step()
        seconds.append(time.perf_counter() - began)
        losses.append(loss.item())
    return {"losses": losses, "seconds": min(seconds[1:]), "bytes": peak() - before}


def peak() -> int:
    """The most memory that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measured(side: str, batch: int, threads: int) -> dict[str, Any]:
    """Run `whole_steps` in a process of its own."""
    command = [sys.executable, __file__, "--side", side, "--batch", str(batch)]
    done = subprocess.run(
        [*command, "--threads", str(threads)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def compared(batch: int, threads: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure both sides and print them; their losses must agree.

    Adam turns the rounding of tiny gradients into steps, so later losses agree less than the first.
    """
    ours, rival = (measured(side, batch, threads) for side in ("ours", "rival"))
    assert ours["losses"][0] == pytest.approx(rival["losses"][0], rel=1e-5)
    assert ours["losses"] == pytest.approx(rival["losses"], rel=1e-3)
    print(f"\nB={batch} N={REGIONS}, 3 reasoning steps, float32, {threads} threads")
    for name, side in (("ours", ours), ("the original's order", rival)):
        print(f"{name:22}{side['seconds']:8.2f} s{side['bytes'] / 1e6:10,.0f} MB")
    faster, smaller = rival["seconds"] / ours["seconds"], rival["bytes"] / ours["bytes"]
    print(f"{faster:.1f} times as fast, 1/{smaller:.1f} of the memory")
    return ours, rival


def free_memory() -> float:
    """Bytes that the system can give out."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return 1024 * next(float(x.split()[1]) for x in lines if x.startswith("MemAvailable"))


@pytest.mark.slow
def test_whole_step_at_the_published_batch() -> None:
    batch = PUBLISHED_BATCH if free_memory() > ROOM else PUBLISHED_BATCH // 2
    ours, rival = compared(batch, threads=2)
    milliseconds = (1e3 * rival["seconds"], 1e3 * ours["seconds"])
    case = f"B={batch} N={REGIONS}, float32, 2 threads, wall clock"
    name = "the original's order"
    timing.ROWS.append(timing.Row("murel whole step", case, name, *milliseconds, FASTER))
    assert rival["seconds"] >= timing.SLACK * FASTER * ours["seconds"]
    assert rival["bytes"] >= SMALLER * ours["bytes"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=PUBLISHED_BATCH)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", choices=("ours", "rival"), help="this one alone, as JSON")
    args = parser.parse_args()
    if args.side:
        print(json.dumps(whole_steps(args.side, args.batch, args.threads)))
    else:
        compared(args.batch, args.threads)


if __name__ == "__main__":
    main()
