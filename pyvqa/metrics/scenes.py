"""How well scenes are read from pictures: which objects were found, and what is said of them.

The objects of S scenes stand in flat arrays, scene after scene. Objects that were seen are paired
with true ones first, one to one: by their masks, or by position where the true masks are not known
(`pair_by_masks`, `pair_by_position`). Everything else is counted on the pairs (`scene_scores`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa.ops import mask_iou, match_masks
from pyvqa.ops.masks import Masks
from pyvqa.programs.clevr import ATTRIBUTES

PAIRING_IOU = 0.5  # masks that overlap more may be of one object
STRICT_IOU = 0.7  # of a pair whose outline is good, too
# In scene units. Objects of CLEVR lie at least 0.95 apart (two radii of 0.35 and a gap of 0.25), so
# that hardly any place is as near as this to two of them.
PAIRING_DISTANCE = 0.5

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SceneObjects:
    """The N objects of S scenes, scene after scene."""

    counts: Integers  # [S]
    codes: Integers  # [N, 4] values of `ATTRIBUTES`, numbered alike in all that is compared
    position: Floats  # [N, 3] along right, along front, height

    @property
    def scene(self) -> Integers:
        """The scene of each object: [N]."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def starts(self) -> Integers:
        """Where the objects of each scene begin: [S + 1]."""
        return np.concatenate(([0], np.cumsum(self.counts)))


class Pairs(NamedTuple):
    """P objects that were seen and what they are, numbered through all scenes."""

    seen: Integers  # [P] ascending
    true: Integers  # [P] each at most once
    iou: Floats | None  # [P] of their masks, where pairs were found by them


def pair_by_masks(seen: Sequence[Masks], true: Sequence[Masks]) -> Pairs:
    """Pair the masks of each of S scenes one to one, with the largest sum of overlaps.

    Only pairs with an IoU above `PAIRING_IOU` count.

    Raises:
        ValueError: the masks of a scene differ in size; names the scene by its number.
    """
    rows, partners, overlaps = [], [], []
    first = second = 0
    for number, (found, known) in enumerate(zip(seen, true, strict=True)):
        try:
            table = mask_iou(found, known)
        except ValueError as error:
            raise ValueError(f"scene {number}: {error}") from error
        row, partner = _matched(table, PAIRING_IOU)
        rows.append(row + first)
        partners.append(partner + second)
        overlaps.append(table.numpy()[row, partner])
        first, second = first + table.shape[0], second + table.shape[1]
    none = np.zeros(0, np.int64)
    return Pairs(
        np.concatenate([none, *rows]),
        np.concatenate([none, *partners]),
        np.concatenate([np.zeros(0), *overlaps]),
    )


def pair_by_position(seen: SceneObjects, true: SceneObjects) -> Pairs:
    """Pair the objects of each scene one to one, those with the smallest distances.

    Only objects less than `PAIRING_DISTANCE` apart are paired. An object whose position was read
    worse than that counts as one missing and one extra.
    """
    rows, partners = [], []
    starts = zip(seen.starts[:-1], true.starts[:-1], seen.counts, true.counts, strict=True)
    for first, second, found, known in starts:
        here, there = seen.position[first : first + found], true.position[second : second + known]
        distance = np.linalg.norm(here[:, None] - there[None], axis=2)
        row, partner = _matched(torch.from_numpy(PAIRING_DISTANCE - distance), 0.0)
        rows.append(row + first)
        partners.append(partner + second)
    none = np.zeros(0, np.int64)
    return Pairs(np.concatenate([none, *rows]), np.concatenate([none, *partners]), None)


def _matched(table: torch.Tensor, threshold: float) -> tuple[Integers, Integers]:
    partner = match_masks(table, threshold, rule="optimal").numpy()
    row = np.flatnonzero(partner >= 0)
    return row, partner[row]


def scene_scores(seen: SceneObjects, true: SceneObjects, pairs: Pairs) -> dict[str, Any]:
    """Count what was found, and compare the objects of pairs; None where nothing can be counted.

    - `precision`, `recall`: shares of the objects seen, and of the true ones, that are paired;
      by masks also of those with an IoU above `STRICT_IOU` (which are not paired anew).
    - `mean_mask_iou`, `attribute_accuracy`, `position_error` (distance in scene units): of pairs.
    - `relation_accuracy`: of any two paired objects of a scene, is the same one further left (and
      the same one further to the front) by the positions seen as by the true ones? Neither, if
      their coordinates are equal.
    - `scenes_right`: share of scenes with nothing missing, extra or of a wrong attribute.
    """
    right = seen.codes[pairs.seen] == true.codes[pairs.true]
    moved = seen.position[pairs.seen] - true.position[pairs.true]
    distance = np.linalg.norm(moved, axis=1)
    return {
        "scenes": len(true.counts),
        "true": len(true.codes),
        "seen": len(seen.codes),
        "paired": len(pairs.seen),
        "missing": len(true.codes) - len(pairs.true),
        "extra": len(seen.codes) - len(pairs.seen),
        "precision": _shares(pairs, len(seen.codes)),
        "recall": _shares(pairs, len(true.codes)),
        "mean_mask_iou": None if pairs.iou is None else _mean(pairs.iou),
        "attribute_accuracy": {
            name: _mean(right[:, column]) for column, name in enumerate(ATTRIBUTES)
        },
        "position_error": {
            "mean": _mean(distance),
            "percentile_95": float(np.percentile(distance, 95)) if len(distance) else None,
        },
        "relation_accuracy": _relations(seen, true, pairs),
        "scenes_right": _mean(_right_scenes(seen, true, pairs, right)),
    }


def _shares(pairs: Pairs, total: int) -> dict[str, float | None]:
    """Give the share of so many objects that are paired, under each rule."""
    if pairs.iou is None:
        counts = {f"within_{PAIRING_DISTANCE}": len(pairs.seen)}
    else:
        counts = {
            "iou_50": len(pairs.seen),
            "iou_70": int((pairs.iou > STRICT_IOU).sum()),
        }
    return {name: count / total if total else None for name, count in counts.items()}


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean(dtype=np.float64)) if len(values) else None


def _right_scenes(
    seen: SceneObjects, true: SceneObjects, pairs: Pairs, right: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    good = np.bincount(true.scene[pairs.true[right.all(1)]], minlength=len(true.counts))
    complete: NDArray[np.bool_] = (good == true.counts) & (good == seen.counts)
    return complete


def _relations(seen: SceneObjects, true: SceneObjects, pairs: Pairs) -> dict[str, float | None]:
    first, second = _couples(true.scene[pairs.true])
    here, there = seen.position[pairs.seen, :2], true.position[pairs.true, :2]
    agrees = np.sign(here[first] - here[second]) == np.sign(there[first] - there[second])
    return {
        "all": _mean(agrees.ravel()),
        "left_right": _mean(agrees[:, 0]),
        "front_behind": _mean(agrees[:, 1]),
    }


def _couples(scene: Integers) -> tuple[Integers, Integers]:
    """List any two entries of one scene once: scene [P] -> positions [C], [C]."""
    order = np.argsort(scene, kind="stable")
    _, begin, size = np.unique(scene[order], return_index=True, return_counts=True)
    begin, size = np.repeat(begin, size), np.repeat(size, size)  # by entry, in that order
    end = begin + size
    after = end - np.arange(len(order)) - 1  # entries of the scene behind this one
    first = np.repeat(np.arange(len(order)), after)
    nth = np.arange(len(first)) - np.repeat(np.cumsum(after) - after, after)
    return order[first], order[first + 1 + nth]


def confusions(
    seen: SceneObjects, true: SceneObjects, pairs: Pairs, words: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Count wrong attributes: attribute -> "small as large" -> pairs, the most frequent first.

    `words` are those of the codes.
    """
    found = {}
    here, there = seen.codes[pairs.seen], true.codes[pairs.true]
    for column, name in enumerate(ATTRIBUTES):
        wrong = here[:, column] != there[:, column]
        kinds, counts = np.unique(
            np.stack((there[wrong, column], here[wrong, column]), 1), axis=0, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")
        found[name] = {
            f"{words[was]} as {words[said]}": int(count)
            for (was, said), count in zip(kinds[order].tolist(), counts[order], strict=True)
        }
    return found
