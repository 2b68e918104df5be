"""Genuine CLEVR scenes drawn again: outlines to the pixel, boxes, and the pictures' looks.

PYVQA_REAL names the folder with `clevr_original` and `clevr_rendered`. The roundings of the solids
were fitted to every second genuine scene, so the others judge them.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("pycocotools")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks" / "world"))
import looks
import numpy as np

from pyvqa import ops

REAL = os.environ.get("PYVQA_REAL")
pytestmark = pytest.mark.skipif(REAL is None, reason="PYVQA_REAL is not set")


@pytest.fixture(scope="module")
def genuine() -> looks.Folder:
    return looks.read_folder(Path(REAL or "") / "clevr_original")


def test_outlines_of_scenes_that_nothing_was_fitted_to(genuine: looks.Folder) -> None:
    ids = ops.object_ids(genuine.objects, genuine.cameras).numpy()
    right, overlaps = looks.outlines(genuine, ids, range(1, len(genuine.scenes), 2))
    assert right >= 0.999
    assert overlaps.mean() >= 0.998
    assert (overlaps >= 0.99).mean() >= 0.99
    assert overlaps.min() >= 0.97


def test_boxes_are_those_of_the_whole_meshes(genuine: looks.Folder) -> None:
    path = Path(REAL or "") / "clevr_original" / "scenes" / "clevr_ref+_train_scenes.json"
    scenes = {s["image_filename"]: s for s in json.loads(path.read_text())["scenes"]}
    boxes = ops.projected_boxes(genuine.objects, genuine.cameras).numpy()
    offsets = genuine.objects.offsets.tolist()
    for b, scene in enumerate(genuine.scenes):
        annotated = scenes[scene["image_filename"]]["obj_bbox"]
        truth = np.array([annotated[str(k + 1)] for k in range(offsets[b + 1] - offsets[b])])
        found = boxes[offsets[b] : offsets[b + 1]]
        for edges in (found[:, :2] - truth[:, :2], (found - truth)[:, :2] + (found - truth)[:, 2:]):
            assert np.abs(edges).max() <= 1


@pytest.mark.parametrize(
    ("name", "most_different", "least_psnr"),
    [("clevr_original", 5.0, 31), ("clevr_rendered", 3.0, 32)],
)
def test_pictures_look_alike(name: str, most_different: float, least_psnr: float) -> None:
    folder = looks.read_folder(Path(REAL or "") / name)
    seeds = torch.arange(len(folder.scenes))
    drawn = ops.render(folder.objects, folder.cameras, folder.lamps, seeds=seeds)
    found = looks.looks(folder, drawn.picture.numpy(), drawn.ids.numpy())
    assert np.mean(found.absolute) <= most_different
    assert np.mean(found.psnr) >= least_psnr
    for group, mean in found.means().items():
        assert np.abs(mean).max() <= 4.0, group
