"""COCO evaluation on flat arrays against pycocotools, to the last bit."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from ops.coco_cases import (
    Problem,
    ellipse,
    flat,
    listed,
    quietly,
    random_problem,
    reference,
    rle,
)
from pyvqa.ops import coco_eval
from pyvqa.ops.coco_eval import CocoDetections, CocoMasks, CocoParams, CocoTruth


def same(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape
    np.testing.assert_array_equal(ours, theirs, strict=True)


def check(problem: Problem, kind: str = "bbox", params: CocoParams | None = None) -> None:
    """Both sides give the same curves and, where they are defined, the same twelve numbers."""
    evaluation = coco_eval.evaluate(*flat(problem), **listed(problem), params=params)
    curves = coco_eval.accumulate(evaluation)
    judge = reference(problem, kind, params)
    quietly(judge.evaluate)
    quietly(judge.accumulate)
    same(curves.precision, judge.eval["precision"])
    same(curves.recall, judge.eval["recall"])
    same(curves.scores, judge.eval["scores"])
    if len(curves.params.max_dets) == 3 and curves.recall.shape[0] and curves.recall.shape[2] == 4:
        quietly(judge.summarize)
        assert list(coco_eval.summarize(curves).values()) == judge.stats.tolist()


CUSTOM = [
    CocoParams(),
    CocoParams(use_categories=False),
    CocoParams(iou_thresholds=(0.5,), max_dets=(3,)),
    CocoParams(iou_thresholds=(0.9, 0.1, 1.0, 0.0, -2.0), max_dets=(100, 2, 2)),
    CocoParams(recall_thresholds=(0.5, -1.0, 2.0, 0.1), max_dets=(5, 0)),
    CocoParams(recall_thresholds=(), area_ranges=((0, 50), (40, 4000))),
    CocoParams(iou_thresholds=(), max_dets=(1, 2, 100)),
    CocoParams(area_ranges=(), max_dets=(1, 2, 100)),
    CocoParams(use_categories=False, max_dets=(1, 7, 20), iou_thresholds=(0.3, 0.75, 0.5)),
]


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("params", CUSTOM, ids=range(len(CUSTOM)))
@pytest.mark.parametrize("seed", range(3))
def test_random_problems(seed: int, params: CocoParams, masks: bool) -> None:
    problem = random_problem(seed, masks=masks)
    check(problem, "segm" if masks else "bbox", params)


@pytest.mark.parametrize("seed", range(40))
def test_many_small_problems(seed: int) -> None:
    rng = random.Random(seed)
    problem = random_problem(
        seed,
        images=rng.choice([1, 2, 9]),
        categories=rng.choice([1, 2, 9]),
        truths=rng.choice([0, 1, 5, 30]),
        detections=rng.choice([0, 1, 5, 60]),
        crowds=rng.choice([0.0, 0.5, 1.0]),
    )
    check(problem, params=CocoParams(use_categories=seed % 3 > 0))


def test_more_detections_than_are_looked_at() -> None:
    check(random_problem(5, images=1, categories=1, truths=60, detections=400))
    check(random_problem(5, images=1, categories=3, truths=60, detections=400, crowds=0.4))


@pytest.mark.parametrize("ids", [[0, -1, 5], [0], [-3, 7]])
def test_ids_of_zero_and_below_act_as_in_the_reference(ids: list[int]) -> None:
    problem = random_problem(3, images=2, categories=1)
    for k, entry in enumerate(problem.truth):
        entry["id"] = k  # the first is never seen as matched
    for k, entry in enumerate(problem.detections):
        entry["id"] = k - 40
    check(problem)
    for k, entry in enumerate(problem.truth[: len(ids)]):
        entry["id"] = ids[k] + 1000 * (ids[k] != 0)
    check(problem)


def test_scores_that_are_no_ordinary_numbers() -> None:
    problem = random_problem(8)
    odd = [float("nan"), float("inf"), -float("inf"), -0.0, 0.0, 5e-324]
    for k, entry in enumerate(problem.detections):
        entry["score"] = odd[k % 7] if k % 7 < 6 else entry["score"]
    check(problem)
    check(problem, params=CocoParams(use_categories=False, max_dets=(1, 4, 100)))


@pytest.mark.parametrize(
    "value", [0.0, -5.0, float("nan"), float("inf"), 1e308, -1e308, 5e-324], ids=str
)
@pytest.mark.parametrize("side", ["truth", "detections"])
@pytest.mark.filterwarnings("ignore:(overflow|invalid)")
def test_boxes_that_are_no_boxes(side: str, value: float) -> None:
    problem = random_problem(9, images=2, categories=1)
    for k, entry in enumerate(getattr(problem, side)):
        if k % 3 == 0:
            entry["bbox"][k // 3 % 4] = value
    check(problem)
    problem = random_problem(10, images=2, categories=1)
    for k, entry in enumerate(getattr(problem, side)):
        if k % 3 == 0:
            entry["area"] = value
    check(problem)


def test_exact_copies_and_ties_of_overlap() -> None:
    problem = random_problem(11, images=1, categories=1, truths=20, detections=0, crowds=0.3)
    boxes = [entry["bbox"] for entry in problem.truth]
    for k, entry in enumerate(problem.truth):
        entry["bbox"] = boxes[k // 2]  # every box twice
    found = [
        {**entry, "id": k + 1, "score": 1 - (k % 5) / 5, "iscrowd": 0}
        for k, entry in enumerate(problem.truth * 2)
    ]
    check(problem._replace(detections=found))


def test_masks_of_different_sizes_do_not_match() -> None:
    rng = np.random.default_rng(2)
    problem = random_problem(12, masks=True)
    for entry in problem.detections[::2]:
        entry["segmentation"] = rle(ellipse(rng, 50, 100))
    check(problem, "segm")
    check(problem, "segm", CocoParams(iou_thresholds=(-1.0, -2.0, 0.5), max_dets=(100,)))


def test_empty_and_full_masks() -> None:
    problem = random_problem(13, masks=True, images=2, categories=1)
    for k, entry in enumerate([*problem.truth, *problem.detections]):
        if k % 4 < 2:
            entry["segmentation"] = rle(np.full((60, 90), k % 4))
            entry["area"] = 5400.0 * (k % 4)
    check(problem, "segm")


def test_objects_of_unlisted_images_and_categories_do_not_count() -> None:
    problem = random_problem(14)
    few = problem._replace(images=problem.images[:3], categories=problem.categories[1:])
    for params in CUSTOM[:2]:
        check(few, params=params)


def test_pictures_times_categories_are_never_made() -> None:
    """10^10 pairs of picture and category, of which a few occur."""
    problem = random_problem(16)
    expected = coco_eval.evaluate(*flat(problem), **listed(problem)).matches
    many = coco_eval.evaluate(
        *flat(problem), images=range(-1000, 99_000), categories=range(-100, 99_900)
    ).matches
    same(many.outcome, expected.outcome)
    same(many.detection, expected.detection)


def test_order_of_the_input() -> None:
    """Only the order of equals within an image matters."""
    problem = random_problem(15, detections=60)
    for k, entry in enumerate(problem.detections):
        entry["score"] = k / 60
    expected = coco_eval.accumulate(coco_eval.evaluate(*flat(problem), **listed(problem)))
    shuffled = problem._replace(detections=problem.detections[::-1])
    found = coco_eval.accumulate(coco_eval.evaluate(*flat(shuffled), **listed(shuffled)))
    same(found.precision, expected.precision)
    same(found.scores, expected.scores)


# ---- overlaps and masks


@pytest.mark.parametrize("seed", range(20))
def test_overlap_of_masks(seed: int) -> None:
    """One detection against one truth at a threshold equal to the reference's IoU, and above."""
    rng = np.random.default_rng(seed)
    first, second = ellipse(rng, 70, 50), ellipse(rng, 70, 50)
    second |= first & (rng.random((70, 50)) < 0.7)
    for crowd in (False, True):
        iou = float(coco_mask.iou([rle(first)], [rle(second)], [int(crowd)])[0, 0])
        if not 0 < iou < 1:
            continue
        params = CocoParams(
            iou_thresholds=(iou, float(np.nextafter(iou, 2))), area_ranges=((0, 1e9),)
        )
        done = coco_eval.evaluate(
            CocoTruth([1], [1], [1.0], masks=[rle(second)], crowd=[crowd]),
            CocoDetections([1], [1], [1.0], masks=[rle(first)]),
            params=params,
        )
        matched = coco_eval.UNCOUNTED if crowd else coco_eval.RIGHT
        assert done.matches.outcome.tolist() == [[[matched, coco_eval.WRONG]]]


def test_what_masks_are_known_by() -> None:
    rng = np.random.default_rng(0)
    pictures = [ellipse(rng, 30, 40) for _ in range(20)] + [rng.random((30, 40)) < 0.5]
    pictures += [np.zeros((5, 6), bool), np.ones((5, 6), bool), np.zeros((0, 4), bool)]
    encoded = [rle(picture) for picture in pictures]
    masks = CocoMasks(encoded)
    assert len(masks) == len(pictures)
    assert masks.areas.tolist() == coco_mask.area(encoded).tolist()
    assert masks.boxes[:-1].tolist() == coco_mask.toBbox(encoded[:-1]).tolist()
    texts = [{**e, "counts": e["counts"].decode()} for e in encoded]
    assert CocoMasks(texts).boxes.tolist() == masks.boxes.tolist()


def test_uncompressed_masks() -> None:
    masks = CocoMasks([{"size": [3, 4], "counts": [2, 3, 0, 2, 5]}])
    assert masks.areas.tolist() == [5]
    assert masks.boxes.tolist() == [[0, 0, 3, 3]]


def polygon_problem(rng: np.random.Generator) -> tuple[list[list[float]], int, int]:
    height, width = (int(n) for n in rng.integers(1, 60, 2))
    polygons = []
    for _ in range(rng.integers(1, 4)):
        points = int(rng.integers(3, 12))
        xy = rng.uniform(-0.2, 1.2, (points, 2)) * (width, height)
        style = rng.integers(4)
        if style == 1:
            xy = np.round(xy)
        elif style == 2:
            xy = np.round(xy * 2) / 2
        elif style == 3:
            xy[rng.integers(points)] = xy[0]
        polygons.append(xy.ravel().tolist())
    return polygons, height, width


@pytest.mark.parametrize("seed", range(300))
def test_polygons(seed: int) -> None:
    polygons, height, width = polygon_problem(np.random.default_rng(seed))
    expected = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
    painted = coco_mask.decode(expected)
    masks = CocoMasks([polygons], [[height, width]])
    assert masks.areas.tolist() == [painted.sum()]
    if painted.any():
        rows, columns = np.nonzero(painted.any(1))[0], np.nonzero(painted.any(0))[0]
        box = [columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert masks.boxes.tolist() == [box]
    # Equal area and an overlap of one: the same pixels.
    done = coco_eval.evaluate(
        CocoTruth([1], [1], [1.0], masks=[expected]),
        CocoDetections([1], [1], [1.0], masks=masks),
        params=CocoParams(iou_thresholds=(1.0,), area_ranges=((0, 1e9),)),
    )
    assert done.matches.outcome.item() == (coco_eval.RIGHT if painted.any() else coco_eval.WRONG)


# ---- bad input


RLE = {"size": [3, 4], "counts": "4"}


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (5, "mask 1: it must be a dictionary of size and counts, or polygons"),
        ({"size": [3, 4]}, 'mask 1: it needs "size" and "counts"'),
        ({"size": [3], "counts": "<"}, r"mask 1: its size must be \[height, width\]"),
        ({"size": "34", "counts": "<"}, r"mask 1: its size must be \[height, width\]"),
        ({"size": [3, 4.0], "counts": "<"}, r"mask 1: its size must be \[height, width\]"),
        ({"size": [2**70, 4], "counts": "<"}, "mask 1: its size is beyond 64 bits"),
        ({"size": [-3, 4], "counts": "<"}, "mask 1: a mask has a negative size"),
        ({"size": [2**40, 2**40], "counts": "<"}, "mask 1: a mask of .* is too large"),
        ({"size": [3, 4], "counts": "x"}, "mask 1: character 0 of a COCO mask"),
        ({"size": [3, 4], "counts": None}, "mask 1: its counts must be a string or a list"),
        ({"size": [3, 4], "counts": "4"}, "mask 1: the run lengths of a mask sum to 4 instead"),
        ({"size": [3, 4], "counts": "\udc80"}, "mask 1: its counts must be a string"),
        ({"size": [3, 4], "counts": [3, 4.5]}, "mask 1: its run lengths must be whole numbers"),
        ({"size": [3, 4], "counts": [3, -1, 10]}, "mask 1: a mask has a negative run length"),
        ({"size": [3, 4], "counts": [2**80]}, "mask 1: the run lengths of a mask sum to more"),
        ([], "mask 1: it has no polygon"),
        ([[1, 2, 3, 4]], "mask 1: a polygon must list x and y of at least three points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "mask 1: a polygon must list x and y"),
        ([[1, 2, 3, 4, 5, "6"]], "mask 1: a polygon must be a list of numbers"),
        ([7], "mask 1: a polygon must be a list of numbers"),
        (["123456"], "mask 1: a polygon must be a list of numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "mask 1: a polygon has a coordinate that is no number"),
        ([[1, 2, 3, 4, 5, 1e300]], "mask 1: a polygon has a coordinate that is no number within"),
    ],
)
def test_bad_masks_are_named(mask: Any, message: str) -> None:
    good = rle(np.ones((3, 4), bool))
    with pytest.raises(ValueError, match=f"coco_eval: {message}"):
        CocoMasks([good, mask], [[3, 4]] * 2)


def test_polygons_need_a_size() -> None:
    triangle = [[0.0, 0.0, 3.0, 0.0, 0.0, 3.0]]
    with pytest.raises(ValueError, match="mask 0: polygons need the size of their picture"):
        CocoMasks([triangle])
    with pytest.raises(ValueError, match=r"sizes must be \[N, 2\]"):
        CocoMasks([triangle], [[3, 4]] * 2)


GOOD_TRUTH = CocoTruth([1, 1], [1, 2], [9.0, 9.0], boxes=[[0, 0, 3, 3], [4, 4, 3, 3]])
GOOD = CocoDetections([1], [1], [0.5], boxes=[[0, 0, 3, 3]])


@pytest.mark.parametrize(
    ("truth", "found", "error", "message"),
    [
        ({"category": [1]}, {}, ValueError, "ground truth has 2 images, but 1 of category"),
        ({"area": [1.0]}, {}, ValueError, "ground truth has 2 images, but 1 of area"),
        ({"crowd": [True]}, {}, ValueError, "ground truth has 2 images, but 1 of crowd"),
        ({"boxes": [[0, 0, 1, 1]]}, {}, ValueError, "ground truth has 2 images, but 1 of boxes"),
        ({"boxes": [[0, 0, 1]] * 2}, {}, ValueError, r"boxes of ground truth must be \[N, 4\]"),
        ({"image": [1.5, 2.5]}, {}, TypeError, "image must hold integers of 64 bits, got float64"),
        ({"image": [[1, 2]]}, {}, ValueError, "image must be a vector, got 2 dimensions"),
        ({}, {"score": [0.1, 0.2]}, ValueError, "detections has 1 images, but 2 of score"),
        ({}, {"score": [[0.1]]}, ValueError, "score must be a vector, got 2 dimensions"),
        ({}, {"score": [None, {}]}, TypeError, "score cannot be read as numbers"),
        ({}, {"score": ["high"]}, TypeError, "score cannot be read as numbers"),
        ({}, {"boxes": [[1], [2, 3]]}, TypeError, "boxes cannot be read as numbers"),
        ({"image": [[1], [2, 3]]}, {}, TypeError, "image cannot be read as numbers"),
        ({"image": [2**63, 1]}, {}, TypeError, "image must hold integers of 64 bits"),
        ({"crowd": [[1], [2, 3]]}, {}, TypeError, "crowd cannot be read as numbers"),
        ({}, {"ids": [1, 2]}, ValueError, "detections has 1 images, but 2 of id"),
        ({}, {"boxes": None}, ValueError, "give either boxes or masks"),
        ({}, {"masks": []}, ValueError, "give either boxes or masks"),
        (
            {},
            {"boxes": None, "masks": [{"size": [1, 1], "counts": "1"}]},
            ValueError,
            "must both be boxes or masks",
        ),
    ],
)
def test_arrays_that_do_not_fit(
    truth: dict[str, Any], found: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"coco_eval: .*{message}|coco_eval: {message}"):
        coco_eval.evaluate(GOOD_TRUTH._replace(**truth), GOOD._replace(**found))


def test_settings_that_mean_nothing() -> None:
    with pytest.raises(ValueError, match="must not be NaN"):
        CocoParams(iou_thresholds=(float("nan"),))
    with pytest.raises(ValueError, match=r"every area range must be \(low, high\)"):
        CocoParams(area_ranges=((1.0,),))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_dets must not be negative"):
        CocoParams(max_dets=(-1,))
    with pytest.raises(TypeError, match="max_dets must hold integers"):
        CocoParams(max_dets=(1.5,))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="thresholds and area ranges cannot be read as numbers"):
        CocoParams(recall_thresholds=("low",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lists an id twice"):
        coco_eval.evaluate(
            GOOD_TRUTH, GOOD, categories=[1, 1], params=CocoParams(use_categories=False)
        )
    curves = coco_eval.accumulate(
        coco_eval.evaluate(GOOD_TRUTH, GOOD, params=CocoParams(max_dets=(1,)))
    )
    with pytest.raises(ValueError, match="need three max_dets and four area_ranges"):
        coco_eval.summarize(curves)


def test_nothing_at_all() -> None:
    none = coco_eval.evaluate(CocoTruth([], [], [], boxes=[]), CocoDetections([], [], [], boxes=[]))
    assert set(coco_eval.summarize(coco_eval.accumulate(none)).values()) == {-1.0}
    none = coco_eval.evaluate(CocoTruth([], [], [], masks=[]), CocoDetections([], [], [], masks=[]))
    assert none.matches.outcome.shape == (0, 4, 10)
    assert none.matches.positives.shape == (0, 4)


def test_results_outlive_their_matches() -> None:
    problem = random_problem(1)
    outcome = coco_eval.evaluate(*flat(problem), **listed(problem)).matches.outcome
    again = coco_eval.evaluate(*flat(problem), **listed(problem)).matches.outcome
    assert outcome.base is not None
    same(outcome, again)
