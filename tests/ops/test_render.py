"""Pictures: the same bits for any threads, instruction set and device, and the light of simple
scenes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from host_cuda import library
from torch import Tensor

from ops.helpers import (
    assert_equal,
    check_compiles,
    check_deterministic,
    check_host_cuda,
    check_registration,
    run_python,
    strided,
)
from ops.random_worlds import (
    BACK,
    CAMERA,
    FILL,
    KEY,
    make_cameras,
    make_lamps,
    make_objects,
    one_object,
)
from pyvqa import ops
from pyvqa.ops import RenderObjects

BASE = torch.tensor([CAMERA], dtype=torch.float64)
LAMPS = torch.tensor([[KEY, FILL, BACK]], dtype=torch.float64)


def arguments(
    seed: int, counts: list[int], size: tuple[int, int], samples: int = 4, grain: float = 1.0
) -> tuple[Any, ...]:
    rng = random.Random(seed)
    objects = make_objects(rng, counts)
    cameras, lamps = make_cameras(rng, len(counts)), make_lamps(rng, len(counts))
    seeds = torch.tensor([rng.getrandbits(63) for _ in counts], dtype=torch.int64)
    return (
        *(objects.geometry, objects.kinds, objects.colors, objects.offsets),
        *(cameras, lamps.flatten(1), seeds, *size, samples, grain),
    )


def empty() -> RenderObjects:
    return RenderObjects(
        torch.empty((0, 5), dtype=torch.float64),
        torch.empty((0, 2), dtype=torch.uint8),
        torch.empty((0, 3)),
        torch.zeros(2, dtype=torch.int64),
    )


def levels(objects: RenderObjects, **options: Any) -> Tensor:
    options = {"size": (80, 120), "grain": 0.0, **options}
    return ops.render(objects, BASE, LAMPS, **options).picture[0].float()


# ---- what is seen


def test_ids_are_those_of_object_ids() -> None:
    rng = random.Random(1)
    objects, cameras, lamps = make_objects(rng, [7, 3]), make_cameras(rng, 2), make_lamps(rng, 2)
    drawn = ops.render(objects, cameras, lamps, size=(50, 70), samples=1)
    assert_equal(drawn.ids, ops.object_ids(objects, cameras, size=(50, 70)))
    lengths = drawn.normals.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.ones_like(lengths), atol=1e-4, rtol=0)
    assert torch.isfinite(drawn.depth).all()


def test_depth_is_along_the_view() -> None:
    objects = one_object(2)
    drawn = ops.render(objects, BASE, LAMPS, size=(81, 121), samples=1)
    distance = float(BASE.norm())
    # The ray through the middle aims at the origin: it meets the ball's upper half.
    back = BASE[0] / BASE.norm()
    along = distance - 0.7 * back[2] - (0.6992**2 - 0.49 + (0.7 * back[2]) ** 2).sqrt()
    torch.testing.assert_close(float(drawn.depth[0, 40, 60]), float(along), atol=1e-3, rtol=0)


def test_shadows_fall_away_from_the_key_lamp() -> None:
    free, stands = levels(empty()), levels(one_object(1))
    ids = ops.object_ids(one_object(1), BASE, size=(80, 120))[0]
    darker = ((free - stands).mean(-1) > 12) & (ids < 0)
    assert darker.sum() > 40
    columns = darker.nonzero()[:, 1].float()
    assert float(columns.mean()) < float((ids == 0).nonzero()[:, 1].float().mean())


def test_metal_shows_lamps_and_rubber_does_not() -> None:
    rubber, metal = one_object(2), one_object(2)
    metal.kinds[0, 1] = ops.METAL
    metal.colors[:] = rubber.colors[:] = 0.5
    assert levels(metal, size=(320, 480)).max() == 255
    assert levels(rubber, size=(320, 480)).max() < 250


def test_a_mirror_shows_its_neighbour() -> None:
    alone = one_object(0)
    alone.kinds[0, 1] = ops.METAL
    alone.colors[:] = 0.8
    alone.geometry[0, 4] = 0.7
    red = RenderObjects(
        torch.cat([alone.geometry, alone.geometry + torch.tensor([1.2, -1.2, 0, 0, 0])]),
        torch.tensor([[0, 1], [2, 0]], dtype=torch.uint8),
        torch.tensor([[0.8, 0.8, 0.8], [0.9, 0.02, 0.02]]),
        torch.tensor([0, 2]),
    )
    ids = ops.object_ids(red, BASE, size=(160, 240))[0]
    before, after = levels(alone, size=(160, 240)), levels(red, size=(160, 240))
    change = (after - before)[ids == 0]
    redder = change[:, 0] - change[:, 2]
    assert (redder > 25).sum() > 20


def test_more_samples_approach_the_reference() -> None:
    rng = random.Random(4)
    objects, cameras, lamps = make_objects(rng, [6]), make_cameras(rng, 1), make_lamps(rng, 1)

    def draw(samples: int) -> Tensor:
        seeds = torch.tensor([samples])
        options: dict[str, Any] = {"size": (40, 60), "grain": 0.0, "seeds": seeds}
        return ops.render(objects, cameras, lamps, samples=samples, **options).picture.float()

    truth = draw(2048)
    errors = [float((draw(n) - truth).abs().mean()) for n in (1, 16, 256)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[1] < 1.5
    assert errors[2] < 0.5


REFERENCE = 1024  # samples of the pictures that fewer samples are held to


@pytest.mark.parametrize(
    ("samples", "most_different", "most_biased", "least_alike"),
    [(1, 2.5, 0.6, 0.9), (ops.TRAINING_QUALITY, 0.8, 0.2, 0.99), (REFERENCE, 0.3, 0.1, 0.998)],
    ids=["draft", "training", "reference"],
)
def test_few_samples_are_held_to_the_reference(
    samples: int, most_different: float, most_biased: float, least_alike: float
) -> None:
    """Per picture, in grey levels: mean difference, its bias, and the share of pixels within 8."""
    rng = random.Random(11)
    objects, cameras, lamps = make_objects(rng, [7, 5, 9]), make_cameras(rng, 3), make_lamps(rng, 3)

    def draw(count: int, seed: int) -> Tensor:
        options: dict[str, Any] = {"size": (64, 96), "grain": 0.0, "seeds": torch.full((3,), seed)}
        return ops.render(objects, cameras, lamps, samples=count, **options).picture.float()

    change = draw(samples, 1) - draw(REFERENCE, 5)
    assert (change.abs().mean((1, 2, 3)) <= most_different).all()
    assert (change.mean((1, 2, 3)).abs() <= most_biased).all()
    assert ((change.abs().amax(-1) <= 8).float().mean((1, 2)) >= least_alike).all()


def test_grain_has_its_size() -> None:
    plain = levels(empty()).double()
    usual, bright = (plain - 105).abs() <= 6, plain >= 140
    for sigma in (1.0, 4.0):
        added = levels(empty(), grain=sigma, seeds=torch.tensor([3])).double() - plain
        assert abs(float(added[usual].std()) - sigma) < 0.08 * sigma + 0.1
        assert float(added[bright].std()) < 0.8 * sigma
    other = levels(empty(), grain=4.0, seeds=torch.tensor([4])).double()
    assert (other != plain + added).float().mean() > 0.5


def test_metal_has_no_grain_but_its_own_and_rubber_less_than_the_ground() -> None:
    rubber, metal = one_object(2), one_object(2)
    metal.kinds[0, 1] = ops.METAL
    shown = ops.object_ids(rubber, BASE, size=(80, 120))[0] == 0
    spread = {}
    for name, objects in (("rubber", rubber), ("metal", metal)):
        added = levels(objects, grain=4.0) - levels(objects)
        spread[name] = float(added[shown].std())
    assert spread["metal"] == 0
    assert 2 < spread["rubber"] < 3.2


def test_a_picture_does_not_know_its_neighbours() -> None:
    rng = random.Random(6)
    objects, cameras, lamps = make_objects(rng, [4, 7, 2]), make_cameras(rng, 3), make_lamps(rng, 3)
    seeds = torch.tensor([5, -6, 2**62])
    together = ops.render(objects, cameras, lamps, size=(40, 60), seeds=seeds)
    for b in range(3):
        span = slice(int(objects.offsets[b]), int(objects.offsets[b + 1]))
        alone = RenderObjects(
            objects.geometry[span],
            objects.kinds[span],
            objects.colors[span],
            torch.tensor([0, span.stop - span.start]),
        )
        one = slice(b, b + 1)
        drawn = ops.render(alone, cameras[one], lamps[one], size=(40, 60), seeds=seeds[one])
        for whole, part in zip(together, drawn, strict=True):
            assert_equal(part[0], whole[b])


# ---- as an op


def test_opcheck() -> None:
    check_registration(torch.ops.pyvqa.render.default, arguments(1, [3, 2], (16, 24)))


def test_compiles_to_one_graph() -> None:
    check_compiles(lambda *a: torch.ops.pyvqa.render(*a), arguments(1, [3, 2], (16, 24)))


def test_deterministic() -> None:
    check_deterministic(torch.ops.pyvqa.render, arguments(2, [8, 5], (50, 70), 16))


def test_layouts_change_nothing() -> None:
    plain = arguments(4, [5, 2], (20, 30))
    spread = tuple(strided(a) if isinstance(a, Tensor) else a for a in plain)
    assert_equal(torch.ops.pyvqa.render(*spread), torch.ops.pyvqa.render(*plain))


@pytest.mark.parametrize(
    ("counts", "size", "samples"),
    [
        ([], (1, 1), 1),
        ([0], (3, 5), 16),
        ([1], (1, 1), 64),
        ([6, 0, 9], (7, 13), 16),
        ([40], (5, 6), 4),
    ],
)
def test_host_cuda(counts: list[int], size: tuple[int, int], samples: int) -> None:
    """Colours too: a ray never knows the rays beside it."""
    check_host_cuda("render", arguments(3, counts, size, samples))


SETS = """
import sys
sys.path.insert(0, "tests")
import torch
from ops.helpers import digest
from ops.test_render import arguments
from pyvqa import ops
print(digest(*torch.ops.pyvqa.render(*arguments(7, [9, 10, 3], (60, 90), 16))))
"""


def test_instruction_sets() -> None:
    said = {isa: run_python(SETS, PYVQA_ISA=isa) for isa in ("base", "avx2", "avx512")}
    assert len(set(said.values())) == 1, said


# ---- what is not there, and what is wrong


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e30, 0.0])
def test_cameras_lamps_and_colors_may_be_anything(value: float) -> None:
    plain = arguments(9, [4], (12, 20))
    for position in (2, 4, 5):
        changed = list(plain)
        changed[position] = torch.full_like(plain[position], value)
        drawn = torch.ops.pyvqa.render(*changed)
        assert_equal(drawn, torch.ops.pyvqa.render(*changed))
        assert not torch.isnan(drawn[2]).any()


@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (2, torch.zeros(3, 4), r"render: colors must be \[rows, 3\] of Float"),
        (2, torch.zeros(4, 3), "geometry is of 3 objects, but colors of 4"),
        (5, torch.zeros(1, 9), r"lamps must be \[rows, 9\] of Double"),
        (5, torch.zeros((2, 9), dtype=torch.float64), "1 cameras, but lamps for 2"),
        (6, torch.zeros(2, dtype=torch.int64), "seeds must be a vector of Long, one per camera"),
        (6, torch.zeros(1), "seeds must be a vector of Long"),
        (8, 0, "size must be 1 to 8192 pixels a side, got 10 x 0"),
        (9, 0, "samples must be 1 to 4096, got 0"),
        (10, -1.0, "grain must be 0 to 255 grey levels"),
        (10, float("nan"), "grain must be 0 to 255 grey levels"),
    ],
)
def test_bad_input_is_explained(position: int, value: Any, message: str) -> None:
    changed = list(arguments(8, [3], (10, 12)))
    changed[position] = value
    with pytest.raises(RuntimeError, match=message):
        torch.ops.pyvqa.render(*changed)
    with pytest.raises(RuntimeError, match=message):
        library.load().render(*changed)


@pytest.mark.cuda
@pytest.mark.parametrize("seed", range(3))
def test_cuda_draws_what_the_cpu_draws(seed: int) -> None:
    given = arguments(seed, [6, 9], (40, 60), 16)
    expected = torch.ops.pyvqa.render(*given)
    found = torch.ops.pyvqa.render(*(a.cuda() if isinstance(a, Tensor) else a for a in given))
    assert_equal(found[1].cpu(), expected[1])
    assert (found[0].cpu().int() - expected[0].int()).abs().le(1).float().mean() > 0.999
