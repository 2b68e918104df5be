"""The twelve COCO numbers on genuine instance files against perturbed detections of them.

PYVQA_REAL names a folder that holds `instances_*.json` files in COCO's layout at any depth.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from metrics.test_coco import check
from pycocotools import mask as coco_mask

ROOT = os.environ.get("PYVQA_REAL")


def cases() -> list[Any]:
    found = []
    for path in sorted(Path(ROOT or "/nowhere").rglob("instances_*.json")):
        if '"annotations"' in path.read_text()[: 10**7]:  # not a results file
            found.append(pytest.param(path, id=f"{path.parent.name}-{path.stem}"))
    if not found:
        reason = "PYVQA_REAL is not set" if ROOT is None else f"{ROOT} holds no COCO instances"
        found.append(pytest.param(Path(), marks=pytest.mark.skip(reason=reason)))
    return found


def perturbed(instances: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Shifted, cut and merged copies of the true masks under right and wrong categories."""
    rng = np.random.default_rng(seed)
    categories = [category["id"] for category in instances["categories"]]
    results = []
    for entry in instances["annotations"]:
        for _ in range(rng.integers(0, 4)):
            mask = coco_mask.decode(entry["segmentation"])
            mask = np.roll(mask, tuple(rng.integers(-6, 7, 2)), (0, 1))
            if rng.random() < 0.2:
                mask[: rng.integers(1, mask.shape[0])] = 0
            wrong = rng.random() < 0.1
            results.append(
                {
                    "image_id": entry["image_id"],
                    "category_id": int(rng.choice(categories)) if wrong else entry["category_id"],
                    "score": round(float(rng.random()), 2),
                    "segmentation": coco_mask.encode(np.asfortranarray(mask)),
                }
            )
    return results


@pytest.mark.parametrize("path", cases())
def test_numbers_equal_pycocotools(path: Path) -> None:
    instances = json.loads(path.read_text())
    results = perturbed(instances, seed=len(instances["images"]))
    assert len(results) > len(instances["annotations"])
    for kind in ("segm", "bbox"):
        numbers = check(instances, results, kind).numbers
        assert 0 < numbers["AP"] < numbers["AP50"] < 1
        with_boxes = [{**e, "bbox": coco_mask.toBbox(e["segmentation"]).tolist()} for e in results]
        assert check(instances, with_boxes, kind).numbers["AP"] > 0
