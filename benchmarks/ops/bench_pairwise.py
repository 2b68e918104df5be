"""Pairwise fusion of MuRel at its published sizes, against plain torch.

Features of 2048 and coordinates of 4, each a Block fusion (200 wide, 5 chunks, rank 5) to 2048.
Two rivals: "pairs" builds the rows of all pairs and runs both fusions on them, as MuRel's own code
does; "restructured" does everything that belongs to one region once for each region, and only then
meets in pairs (`pairwise_max_reference`). All sides, ours in float32 and with bfloat16 products,
take turns; everything before and behind the kernel is in the times. Memory is the peak of the
process above what it held before; accuracy is against float64. It prints three tables:

    pytest benchmarks/ops/bench_pairwise.py -s
"""

from __future__ import annotations

import ctypes
import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timing
import torch
from torch import Tensor, nn
from torch.nn import functional

from pyvqa.ops import PairLayout, pairwise_max
from pyvqa.ops.pairwise import pairwise_max_reference

REGION, WIDTH, CHUNKS, RANK = 2048, 200, 5, 5
STATUS = Path("/proc/self/status")
TURNS = 3
CASES = [(4, 36), (1, 100)]

Pairwise = Callable[[Tensor, Tensor], Tensor]


class Block(nn.Module):
    """A Block fusion of rows."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        size = WIDTH // CHUNKS
        self.linear0, self.linear1 = nn.Linear(inputs, WIDTH), nn.Linear(inputs, WIDTH)
        self.merges = nn.ModuleList(
            nn.ModuleList(nn.Linear(size, size * RANK) for _ in range(CHUNKS)) for _ in range(2)
        )
        self.linear_out = nn.Linear(WIDTH, REGION)

    def factors(self, x: Tensor, side: int) -> list[Tensor]:
        chunks = (self.linear0, self.linear1)[side](x).chunk(CHUNKS, dim=-1)
        merges: Any = self.merges[side]
        return [merge(chunk) for merge, chunk in zip(merges, chunks, strict=True)]

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        parts = []
        for u, v in zip(self.factors(x0, 0), self.factors(x1, 1), strict=True):
            z = (u * v).view(len(u), RANK, -1).sum(1)
            z = torch.sqrt(functional.relu(z)) - torch.sqrt(functional.relu(-z))
            parts.append(functional.normalize(z, p=2))
        out: Tensor = self.linear_out(torch.cat(parts, dim=1))
        return out


class Fusions(nn.Module):
    """The fusions of a pairwise module, and the three ways through them."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.coordinates = Block(REGION), Block(4)
        one = PairLayout.of([WIDTH // CHUNKS] * CHUNKS, RANK, "each")
        self.layout = one + one

    def pairs(self, x: Tensor, coordinates: Tensor) -> Tensor:
        """Every pair as a row."""
        batch, regions = x.shape[:2]

        def rows(t: Tensor) -> list[Tensor]:
            shape = (batch, regions, regions, t.shape[-1])
            first, second = t[:, :, None].expand(shape), t[:, None].expand(shape)
            return [side.contiguous().view(-1, t.shape[-1]) for side in (first, second)]

        fused = self.coordinates(*rows(coordinates)) + self.features(*rows(x))
        return fused.view(batch, regions, regions, -1).max(dim=2)[0] + x

    def of_regions(self, x: Tensor, coordinates: Tensor) -> tuple[Tensor, ...]:
        """What the pairs meet with: left and right factors, weight and bias."""
        sides = [
            torch.cat(
                self.features.factors(x, side) + self.coordinates.factors(coordinates, side), dim=-1
            )
            for side in (0, 1)
        ]
        outs = (self.features.linear_out, self.coordinates.linear_out)
        weight = torch.cat([out.weight for out in outs], dim=1)
        return *sides, weight, outs[0].bias + outs[1].bias

    def restructured(self, x: Tensor, coordinates: Tensor) -> Tensor:
        given = self.of_regions(x, coordinates)
        return pairwise_max_reference(*given, layout=self.layout)[0] + x

    def ours(self, x: Tensor, coordinates: Tensor, bfloat16: bool = False) -> Tensor:
        given = self.of_regions(x, coordinates)
        return pairwise_max(*given, layout=self.layout, bfloat16=bfloat16)[0] + x

    def ways(self) -> dict[str, Pairwise]:
        return {
            "pairs": self.pairs,
            "restructured": self.restructured,
            "float32": self.ours,
            "bfloat16": functools.partial(self.ours, bfloat16=True),
        }


@functools.cache
def fusions() -> Fusions:
    torch.manual_seed(0)
    return Fusions()


def inputs(batch: int, regions: int) -> tuple[Tensor, Tensor]:
    """Features as a detector's are: none negative, half of them zero; boxes in [0, 1]."""
    generator = torch.Generator().manual_seed(regions)
    x = torch.randn(batch, regions, REGION, generator=generator).relu()
    return x, torch.rand(batch, regions, 4, generator=generator)


def forward(way: Pairwise, x: Tensor, coordinates: Tensor) -> None:
    with torch.no_grad():
        way(x, coordinates)


def step(way: Pairwise, x: Tensor, coordinates: Tensor) -> None:
    """Forward and backward, of the inputs too: another cell is below."""
    fusions().zero_grad()
    way(x.requires_grad_(), coordinates.requires_grad_()).square().mean().backward()
    x.grad = coordinates.grad = None


def fastest(runs: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Processor seconds of the fastest run of each, all taking turns."""
    for name in ("float32", "bfloat16"):
        runs[name]()
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(TURNS):
        for name, run in runs.items():
            best[name] = min(best[name], timing.seconds(run))
    return best


@pytest.mark.parametrize("mode", ["forward", "forward and backward"])
@pytest.mark.parametrize(("batch", "regions"), CASES)
def test_speed(batch: int, regions: int, mode: str, benchmark: Any) -> None:
    torch.set_num_threads(1)
    case = inputs(batch, regions)
    run_of = forward if mode == "forward" else step
    ways = fusions().ways()
    best = fastest({name: functools.partial(run_of, way, *case) for name, way in ways.items()})
    wanted = {"float32": 6.0 if mode == "forward" else 8.0, "bfloat16": 12.0}
    name = f"{mode}, {batch} x {regions} regions"
    for ours, target in wanted.items():
        for rival in ("pairs", "restructured"):
            seconds = best[rival]
            held = target if rival == "pairs" else 0.0
            row = timing.Row(
                "pairwise", f"{name}, {ours}", rival, seconds * 1e3, best[ours] * 1e3, held
            )
            timing.ROWS.append(row)
            assert row.ratio >= timing.SLACK * held, row
    benchmark.pedantic(lambda: forward(ways["float32"], *case), rounds=2)


# ---- memory


def kilobytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.M)
    if found is None:
        pytest.skip(f"this system does not tell {field} of a process")
    return int(found[1])


def peak_megabytes(run: Callable[[], None]) -> float:
    """The most that `run` held above what was held before."""
    ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    except OSError:
        pytest.skip("this system does not reset the peak of a process")
    before = kilobytes("VmRSS")
    run()
    return (kilobytes("VmHWM") - before) / 1024


@pytest.mark.parametrize(("batch", "regions"), CASES)
def test_memory(batch: int, regions: int, benchmark: Any) -> None:
    if not STATUS.is_file():
        pytest.skip("no /proc here")
    torch.set_num_threads(1)
    case, ways = inputs(batch, regions), fusions().ways()
    for name in ("float32", "bfloat16"):
        step(ways[name], *case)  # gradients of the weights exist from here on
    rows = []
    for mode, run_of in (("forward", forward), ("forward and backward", step)):
        peaks = {
            name: peak_megabytes(functools.partial(run_of, way, *case))
            for name, way in reversed(ways.items())
        }
        rows.append((mode, peaks))
        told = ", ".join(f"{name} {peak:.1f} MB" for name, peak in peaks.items())
        print(f"\nmemory, {mode}, {batch} x {regions} regions: {told}")
    for mode, peaks in rows:
        assert peaks["float32"] <= peaks["pairs"] / 10, (mode, peaks)
    benchmark.pedantic(lambda: None, rounds=1)


def test_a_large_step_fits(benchmark: Any) -> None:
    """16 x 100 regions, forward and backward, within 2 GB."""
    if not STATUS.is_file():
        pytest.skip("no /proc here")
    torch.set_num_threads(1)
    case = inputs(16, 100)
    peak = peak_megabytes(functools.partial(step, fusions().ours, *case))
    print(f"\nmemory, forward and backward, 16 x 100 regions: float32 {peak:.0f} MB")
    assert peak < 2048
    benchmark.pedantic(lambda: None, rounds=1)


# ---- accuracy


def errors(way: str, exact: dict[str, Tensor], case: tuple[Tensor, Tensor]) -> dict[str, float]:
    found = values(fusions(), way, case)
    return {
        name: float((found[name].double() - value).norm() / value.norm())
        for name, value in exact.items()
    }


def values(module: Fusions, way: str, case: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """The outputs, and the gradients of all inputs and weights."""
    x, coordinates = (t.detach().clone().requires_grad_() for t in case)
    module.zero_grad()
    out = module.ways()[way](x, coordinates)
    (out - x).square().sum().backward()
    found = {name: p.grad for name, p in module.named_parameters()}
    found |= {"x": x.grad, "coordinates": coordinates.grad, "out": (out - x).detach()}
    return {name: t.clone() for name, t in found.items() if t is not None}


def test_accuracy(benchmark: Any) -> None:
    """No further from float64 than the pairs in float32 are."""
    torch.set_num_threads(1)
    case = inputs(1, 36)
    double = Fusions().double()
    double.load_state_dict(fusions().state_dict())
    exact = values(double, "restructured", (case[0].double(), case[1].double()))
    found = {way: errors(way, exact, case) for way in fusions().ways()}
    for way, of in found.items():
        gradients = [error for name, error in of.items() if name != "out"]
        mean = sum(gradients) / len(gradients)
        print(
            f"\naccuracy, {way}: outputs {of['out']:.2g}, gradients {mean:.2g} on average, "
            f"{max(gradients):.2g} at most"
        )
    ours, rival = found["float32"], found["pairs"]
    assert ours["out"] <= rival["out"]
    assert sum(ours.values()) <= 1.2 * sum(rival.values())
    benchmark.pedantic(lambda: None, rounds=1)
