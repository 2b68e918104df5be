"""Scene metrics against plain loops, and on cases whose numbers are known."""

from __future__ import annotations

import math
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch

from pyvqa.metrics.scenes import (
    PAIRING_DISTANCE,
    PAIRING_IOU,
    Pairs,
    SceneObjects,
    confusions,
    pair_by_masks,
    pair_by_position,
    scene_scores,
)
from pyvqa.ops.masks import encode_masks
from pyvqa.programs.clevr import ATTRIBUTES


def scenes(counts: list[int], codes: Any = None, position: Any = None) -> SceneObjects:
    total = sum(counts)
    return SceneObjects(
        np.array(counts, np.int64),
        np.zeros((total, 4), np.int64) if codes is None else np.array(codes).reshape(total, 4),
        np.zeros((total, 3)) if position is None else np.array(position, float).reshape(total, 3),
    )


def random_scenes(generator: np.random.Generator, counts: list[int]) -> SceneObjects:
    total = sum(counts)
    # Coarse coordinates: some are equal, so that neither object is further left.
    position = generator.integers(-6, 7, (total, 3)) / 4
    return scenes(counts, generator.integers(0, 3, (total, 4)), position)


def squares(places: list[tuple[int, int]], side: int = 8) -> torch.Tensor:
    masks = torch.zeros(len(places), 40, 60, dtype=torch.bool)
    for mask, (y, x) in zip(masks, places, strict=True):
        mask[y : y + side, x : x + side] = True
    return masks


def plain_scores(seen: SceneObjects, true: SceneObjects, pairs: Pairs) -> dict[str, Any]:
    """The definitions of the docstring, one object at a time."""
    of_pair = list(zip(pairs.seen.tolist(), pairs.true.tolist(), strict=True))
    scene = [k for k, count in enumerate(true.counts.tolist()) for _ in range(count)]
    seen_scene = [k for k, count in enumerate(seen.counts.tolist()) for _ in range(count)]
    agree: list[list[bool]] = [[], []]
    for (s, t), (u, v) in combinations(of_pair, 2):
        if scene[t] != scene[v]:
            continue
        for axis in (0, 1):
            a, b = seen.position[s][axis], seen.position[u][axis]
            c, d = true.position[t][axis], true.position[v][axis]
            agree[axis].append((a < b) == (c < d) and (a > b) == (c > d))
    whole = 0
    for k in range(len(true.counts)):
        mine = [(s, t) for s, t in of_pair if scene[t] == k]
        good = all((seen.codes[s] == true.codes[t]).all() for s, t in mine)
        whole += good and len(mine) == scene.count(k) == seen_scene.count(k)
    distances = sorted(math.dist(seen.position[s], true.position[t]) for s, t in of_pair)
    right = [[seen.codes[s][a] == true.codes[t][a] for s, t in of_pair] for a in range(4)]
    return {
        "attribute": [sum(r) / len(r) if r else None for r in right],
        "error": sum(distances) / len(distances) if distances else None,
        "left_right": sum(agree[0]) / len(agree[0]) if agree[0] else None,
        "front_behind": sum(agree[1]) / len(agree[1]) if agree[1] else None,
        "scenes_right": whole / len(true.counts),
    }


@pytest.mark.parametrize("seed", range(8))
def test_scores_equal_plain_loops(seed):
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, 5, 6).tolist()
    true = random_scenes(generator, counts)
    seen = random_scenes(generator, counts)
    if seed % 2:  # nearly right, so that some scenes are wholly so
        seen = SceneObjects(true.counts, true.codes.copy(), true.position + 0.1)
        seen.codes[generator.random(seen.codes.shape) < 0.05] += 1
    pairs = pair_by_position(seen, true)
    found, plain = scene_scores(seen, true, pairs), plain_scores(seen, true, pairs)
    close = pytest.approx
    assert [found["attribute_accuracy"][a] for a in ATTRIBUTES] == close(plain["attribute"])
    assert found["position_error"]["mean"] == close(plain["error"])
    relations = found["relation_accuracy"]
    assert relations["left_right"] == close(plain["left_right"])
    assert relations["front_behind"] == close(plain["front_behind"])
    assert found["scenes_right"] == close(plain["scenes_right"])
    assert found["missing"] + found["paired"] == found["true"] == sum(counts)
    assert found["extra"] + found["paired"] == found["seen"]


@pytest.mark.parametrize("seed", range(6))
def test_pairs_by_position_have_the_smallest_distances(seed):
    generator = np.random.default_rng(seed)
    counts = [3, 0, 4]
    seen, true = (scenes(counts, None, generator.uniform(-0.6, 0.6, (7, 3))) for _ in range(2))
    pairs = pair_by_position(seen, true)
    for first, count in ((0, 3), (3, 4)):
        rows = range(first, first + count)
        mine = [(s, t) for s, t in zip(pairs.seen, pairs.true, strict=True) if s in rows]
        assert all(t in rows for _, t in mine)
        got = sum(_near(seen, true, s, t) for s, t in mine)
        best = max(
            sum(max(0.0, _near(seen, true, s, t)) for s, t in zip(rows, order, strict=True))
            for order in permutations(rows)
        )
        assert got == pytest.approx(best)
        assert all(_near(seen, true, s, t) > 0 for s, t in mine)


def _near(seen: SceneObjects, true: SceneObjects, s: int, t: int) -> float:
    return PAIRING_DISTANCE - math.dist(seen.position[s], true.position[t])


def test_pairs_by_masks_are_one_to_one_and_numbered_through():
    first = squares([(0, 0), (20, 20)])
    second = squares([(5, 40)])
    # In the first scene the other way round, one of them twice; in the second nothing.
    seen = [squares([(20, 21), (0, 0), (1, 0)]), squares([]), squares([(5, 40)])]
    pairs = pair_by_masks(seen, [first, second, second])
    assert pairs.seen.tolist() == [0, 1, 3]
    assert pairs.true.tolist() == [1, 0, 3]
    assert pairs.iou is not None
    assert pairs.iou.tolist() == pytest.approx([56 / 72, 1, 1])


def test_an_overlap_of_just_a_half_is_no_pair():
    half = squares([(0, 0)])
    half[:, 4:] = False
    assert PAIRING_IOU == 0.5
    assert len(pair_by_masks([half], [squares([(0, 0)])]).seen) == 0
    half[0, 4, 0] = True
    assert len(pair_by_masks([half], [squares([(0, 0)])]).seen) == 1


def test_run_lengths_pair_as_masks_do():
    dense = [squares([(0, 0), (20, 20)]), squares([]), squares([(5, 40)])]
    runs = [encode_masks(masks) for masks in dense]
    assert pair_by_masks(runs, runs).true.tolist() == [0, 1, 2]
    assert pair_by_masks(runs, dense).true.tolist() == [0, 1, 2]


def test_masks_of_another_size_name_their_scene():
    good, other = squares([(0, 0)]), torch.ones(1, 20, 30, dtype=torch.bool)
    with pytest.raises(ValueError, match="scene 1: "):
        pair_by_masks([good, encode_masks(good)], [good, encode_masks(other)])


def test_precision_and_recall_by_either_rule():
    true, seen = scenes([2, 1]), scenes([3, 1])
    pairs = Pairs(np.array([0, 1, 3]), np.array([1, 0, 2]), np.array([0.6, 0.9, 0.7]))
    found = scene_scores(seen, true, pairs)
    assert found["recall"] == {"iou_50": 1.0, "iou_70": 1 / 3}
    assert found["precision"] == {"iou_50": 0.75, "iou_70": 0.25}
    assert found["mean_mask_iou"] == pytest.approx(2.2 / 3)
    assert (found["missing"], found["extra"], found["scenes_right"]) == (0, 1, 0.5)
    plain = scene_scores(seen, true, pairs._replace(iou=None))
    assert plain["recall"] == {"within_0.5": 1.0}
    assert plain["mean_mask_iou"] is None


def test_nothing_there_and_nothing_seen():
    found = scene_scores(scenes([0, 0]), scenes([0, 0]), pair_by_position(*[scenes([0, 0])] * 2))
    assert found["recall"] == {"within_0.5": None}
    assert found["attribute_accuracy"] == dict.fromkeys(ATTRIBUTES)
    assert found["position_error"] == {"mean": None, "percentile_95": None}
    assert set(found["relation_accuracy"].values()) == {None}
    assert found["scenes_right"] == 1.0
    empty = pair_by_masks([], [])
    assert scene_scores(scenes([]), scenes([]), empty)["scenes_right"] is None


def test_relations_need_no_exact_positions_but_the_same_order():
    true = scenes([3], None, [[0, 0, 0], [1, 0, 0], [2, 1, 0]])
    near = scenes([3], None, [[0.4, 0.2, 0], [1.4, 0.3, 0], [2, 0.4, 0]])
    pairs = Pairs(np.arange(3), np.arange(3), np.ones(3))
    relations = scene_scores(near, true, pairs)["relation_accuracy"]
    assert relations["left_right"] == 1.0
    assert relations["front_behind"] == pytest.approx(2 / 3)  # equal ones came apart
    assert relations["all"] == pytest.approx(5 / 6)


def test_confusions_are_named_the_most_frequent_first():
    true = scenes([3], [[2, 10, 12, 15], [2, 10, 12, 15], [3, 11, 13, 16]])
    seen = scenes([3], [[4, 10, 12, 15], [4, 10, 12, 16], [2, 11, 13, 16]])
    pairs = Pairs(np.arange(3), np.arange(3), np.ones(3))
    words = "no yes blue brown cyan gray green purple red yellow metal rubber".split()
    words += "cube cylinder sphere large small".split()
    found = confusions(seen, true, pairs, words)
    assert list(found["color"].items()) == [("blue as cyan", 2), ("brown as blue", 1)]
    assert found["size"] == {"large as small": 1}
    assert found["shape"] == found["material"] == {}
