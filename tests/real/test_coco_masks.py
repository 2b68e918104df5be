"""Genuine masks: the codec, areas, boxes and overlaps equal pycocotools', and texts come back.

PYVQA_REAL names a folder that holds, at any depth, COCO files (annotations or results with
`segmentation` as run lengths) and CLEVR-Ref+ scene files with `obj_mask`.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import _mask as coco

from pyvqa import ops

ROOT = os.environ.get("PYVQA_REAL")

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")


def files(*patterns: str) -> list[pytest.param]:
    found = sorted({path for p in patterns for path in Path(ROOT or "/nowhere").rglob(p)})
    if found:
        return [pytest.param(path, id=f"{path.parent.name}/{path.name}") for path in found]
    reason = "PYVQA_REAL is not set" if ROOT is None else f"{ROOT} holds no {patterns[0]}"
    return [pytest.param(Path(), marks=pytest.mark.skip(reason=reason))]


def segmentations(path: Path) -> dict[Any, list[ops.Rle]]:
    """Run lengths by image, counts as bytes, which is what pycocotools takes."""
    content = json.loads(path.read_bytes())
    entries = content["annotations"] if isinstance(content, dict) else content
    found = defaultdict(list)
    for entry in entries:
        rle = entry["segmentation"]
        found[entry["image_id"]].append({"size": rle["size"], "counts": rle["counts"].encode()})
    return found


@pytest.mark.parametrize(
    "path",
    files("*segm_results.json", "segments_*.json", "instances_train.json", "instances_val.json"),
)
def test_everything_is_pycocotools(path: Path) -> None:
    images = segmentations(path)
    assert images
    for rles in images.values():
        masks = ops.decode_masks(rles)
        columns = masks.permute(1, 2, 0).to(torch.uint8).numpy()
        assert np.array_equal(columns, coco.decode(rles))
        packed = ops.pack_rles(rles)
        assert torch.equal(ops.unpack_masks(packed), masks)
        texts = coco.encode(np.asfortranarray(columns))
        assert ops.encode_masks(masks) == ops.encode_masks(packed) == texts
        assert ops.rle_area(rles).tolist() == coco.area(rles).tolist()
        assert ops.rle_boxes(rles).tolist() == coco.toBbox(rles).tolist()
        for intersect in (False, True):
            assert ops.merge_rles(rles, intersect=intersect) == coco.merge(rles, intersect)
        crowd = np.arange(len(rles)) % 3 == 0
        expected = coco.iou(rles, rles, crowd.tolist())
        for given in (rles, masks, packed):
            found = ops.mask_iou(given, rles, iscrowd=torch.from_numpy(crowd))
            assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("path", files("clevr_ref+_*_scenes.json"))
def test_texts_over_rows_and_columns_come_back(path: Path) -> None:
    scenes = json.loads(path.read_bytes())["scenes"]
    stored = 0
    for scene in scenes:
        texts = list(scene["obj_mask"].values())
        masks = ops.decode_rows(texts, (320, 480))
        assert ops.encode_rows(masks) == ops.encode_rows(ops.pack_masks(masks)) == texts
        rles = ops.encode_masks(masks)
        assert rles == coco.encode(np.asfortranarray(masks.permute(1, 2, 0).byte().numpy()))
        assert ops.encode_rows(ops.pack_rles(rles)) == texts
        stored += len(texts)
    assert stored > 0
