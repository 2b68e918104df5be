"""Pairing masks by overlap, and suppressing them."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import Tensor

from ops.helpers import assert_equal, strided
from ops.mask_samples import ellipses, random_masks
from pyvqa import ops
from pyvqa.ops.mask_match import (
    MatchRule,
    mask_iou_reference,
    mask_nms_reference,
    match_masks_reference,
)

RULES: list[MatchRule] = ["first", "best", "greedy", "optimal"]
TABLES = [(0, 0), (0, 3), (3, 0), (1, 1), (1, 5), (5, 1), (4, 6), (6, 4), (30, 41)]


def table(rows: int, columns: int, seed: int, steps: int = 0) -> Tensor:
    """Random overlaps; with `steps` many of them are equal."""
    values = torch.rand((rows, columns), generator=torch.Generator().manual_seed(seed)).double()
    return (values * steps).floor() / steps if steps else values


@pytest.mark.parametrize("rule", ["first", "best", "greedy"])
@pytest.mark.parametrize("shape", TABLES)
def test_rules_are_the_references(shape: tuple[int, int], rule: MatchRule) -> None:
    for seed, steps in itertools.product(range(6), (0, 4)):
        overlap = table(*shape, seed, steps)
        for threshold in (-1.0, 0.0, 0.5, 0.99, 2.0):
            expected = match_masks_reference(overlap, threshold, rule)
            assert_equal(ops.match_masks(overlap, threshold, rule=rule), expected)
            assert_equal(ops.match_masks(strided(overlap), threshold, rule=rule), expected)


def brute_force(overlap: Tensor, threshold: float) -> float:
    """The largest sum of overlaps of one-to-one pairs above the threshold."""
    rows = overlap.tolist()

    def best(row: int, taken: frozenset[int]) -> float:
        if row == len(rows):
            return 0.0
        sums = [best(row + 1, taken)]
        for column, value in enumerate(rows[row]):
            if value > threshold and column not in taken:
                sums.append(value + best(row + 1, taken | {column}))
        return max(sums)

    return best(0, frozenset())


def pairs(matched: Tensor) -> list[tuple[int, int]]:
    return [(i, j) for i, j in enumerate(matched.tolist()) if j >= 0]


@pytest.mark.parametrize("shape", [s for s in TABLES if max(s) <= 6])
def test_optimal_pairs_have_the_largest_sum(shape: tuple[int, int]) -> None:
    for seed, steps in itertools.product(range(10), (0, 3)):
        overlap = table(*shape, seed, steps)
        for threshold in (0.0, 0.3, 0.9):
            matched = pairs(ops.match_masks(overlap, threshold, rule="optimal"))
            assert len({j for _, j in matched}) == len(matched)
            assert all(overlap[i, j] > threshold for i, j in matched)
            found = sum(float(overlap[i, j]) for i, j in matched)
            assert found == pytest.approx(brute_force(overlap, threshold), abs=1e-12)


def test_optimal_beats_greedy_where_it_can() -> None:
    overlap = torch.tensor([[0.9, 0.8], [0.8, 0.1]])
    assert ops.match_masks(overlap, 0.05, rule="greedy").tolist() == [0, 1]
    assert ops.match_masks(overlap, 0.05, rule="optimal").tolist() == [1, 0]
    large = table(60, 45, 7)
    sums = {}
    for rule in ("greedy", "optimal"):
        matched = pairs(ops.match_masks(large, 0.2, rule=rule))
        sums[rule] = sum(float(large[i, j]) for i, j in matched)
    assert sums["optimal"] > sums["greedy"]


def test_thresholds_are_strict_and_float32_is_compared_exactly() -> None:
    overlap = torch.tensor([[0.5, 0.7, 0.9]])
    assert ops.match_masks(overlap, 0.5).tolist() == [1]
    assert ops.match_masks(overlap, float(overlap[0, 1])).tolist() == [2]
    assert ops.match_masks(overlap, 0.9, rule="best").tolist() == [-1]  # 0.9f < 0.9


@pytest.mark.parametrize("rule", RULES)
def test_numbers_that_are_none(rule: MatchRule) -> None:
    nan, inf = float("nan"), float("inf")
    overlap = torch.tensor([[nan, nan, nan], [nan, 0.4, nan], [-inf, nan, inf], [1e300, nan, 0.3]])
    assert ops.match_masks(overlap, 0.2, rule=rule).tolist() == [-1, 1, 2, 0]
    assert ops.match_masks(overlap, nan, rule=rule).tolist() == [-1] * 4
    assert ops.match_masks(overlap, inf, rule=rule).tolist() == [-1] * 4
    everything = ops.match_masks(torch.full((5, 7), inf), 0.0, rule=rule).tolist()
    assert everything == ([0] * 5 if rule in ("first", "best") else everything)
    assert rule in ("first", "best") or len(set(everything)) == 5


def test_pairs_masks_as_ns_vqa_does() -> None:
    """Several proposals may take the first object over the threshold; empty ones take none."""
    objects = ellipses(12, 320, 480, seed=1)
    proposals = torch.cat([objects.roll(3, 2), objects.roll(-9, 1), torch.zeros_like(objects[:1])])
    iou = mask_iou_reference(proposals, objects)
    expected = [next((j for j, x in enumerate(row) if x > 0.7), -1) for row in iou.tolist()]
    for left in (proposals, ops.pack_masks(proposals), ops.encode_masks(proposals)):
        assert ops.match_masks((left, objects), 0.7).tolist() == expected
    assert expected[-1] == -1
    assert len(set(expected)) > 5


# ---- suppression


@pytest.mark.parametrize("size", [(1, 1), (40, 70), (130, 65)])
@pytest.mark.parametrize("count", [0, 1, 25])
def test_suppression_is_the_references(count: int, size: tuple[int, int]) -> None:
    for seed in range(6):
        masks = random_masks(count, *size, seed=seed)
        scores = torch.rand(count, generator=torch.Generator().manual_seed(seed))
        scores[::3] = 0.5  # ties keep their order
        for thresholds in ((0.5, 0.5), (0.3, 0.9), (0.9, 0.3), (1.0, 1.0), (0.0, 2.0)):
            names = dict(zip(("iou_threshold", "iomin_threshold"), thresholds, strict=True))
            expected = mask_nms_reference(masks, scores, *thresholds)
            assert_equal(ops.mask_nms(masks, scores, **names), expected)
            assert_equal(ops.mask_nms(ops.pack_masks(masks), scores, **names), expected)
            assert_equal(ops.mask_nms(ops.encode_masks(masks), scores, **names), expected)


def test_empty_masks_are_dropped_as_soon_as_one_is_kept() -> None:
    masks = torch.zeros(3, 4, 4, dtype=torch.bool)
    masks[1, 0, 0] = True
    scores = torch.tensor([0.3, 0.2, 0.1])
    assert ops.mask_nms(masks, scores).tolist() == [0]
    assert ops.mask_nms(masks, scores, iomin_threshold=1.0).tolist() == [0, 1, 2]


def test_scores_of_every_kind() -> None:
    masks = torch.eye(5, dtype=torch.bool).reshape(5, 1, 5)
    nan = float("nan")
    scores = torch.tensor([1.0, -float("inf"), nan, float("inf"), 1.0])
    assert ops.mask_nms(masks, scores).tolist() == [2, 3, 0, 4, 1]
    assert ops.mask_nms(masks, torch.tensor([3, 1, 2, 5, 4])).tolist() == [3, 4, 0, 2, 1]


# ---- bad arguments


def test_bad_input_is_explained() -> None:
    overlap = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="rule must be one of first, best, greedy, optimal, got"):
        ops.match_masks(overlap, 0.5, rule="worst")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"overlap must be \[N, M\], got 1 dim"):
        ops.match_masks(overlap[0], 0.5)
    with pytest.raises(RuntimeError, match="there is no rule 4"):
        torch.ops.pyvqa.match_masks(overlap.double(), 0.5, 4)
    with pytest.raises(RuntimeError, match=r"overlap must be float64 \[N, M\], got 2 .* Float"):
        torch.ops.pyvqa.match_masks(overlap, 0.5, 0)
    masks = random_masks(3, 4, 5)
    for scores in (torch.zeros(2), torch.zeros(3, 1), torch.tensor(0.5)):
        with pytest.raises(ValueError, match=r"scores must be \[3\], one for each mask"):
            ops.mask_nms(masks, scores)
    packed = ops.pack_masks(masks)
    with pytest.raises(RuntimeError, match=r"order must be a int64 vector, got 1 .* Float"):
        torch.ops.pyvqa.mask_nms(packed.bits, packed.extents, 5, torch.zeros(3), 0.5, 0.5)


def test_large_tables_with_ties_pair_everyone() -> None:
    rng = random.Random(5)
    overlap = torch.tensor([[rng.choice((0.25, 0.5)) for _ in range(50)] for _ in range(50)])
    for rule in ("greedy", "optimal"):
        assert sorted(ops.match_masks(overlap, 0.0, rule=rule).tolist()) == list(range(50))
