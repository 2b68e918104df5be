"""Evaluation of genuine CLEVR pictures by eyes that see what is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import pyvqa
from pyvqa.systems.ns_vqa.evaluate import Looked, evaluate, pictures_of, read_split
from pyvqa.systems.ns_vqa.seeing import SeenParts, Sight
from tests.systems.ns_vqa.seeing_eyes import perfect_eyes

REAL = os.environ.get("PYVQA_REAL")
pytestmark = pytest.mark.skipif(not REAL, reason="PYVQA_REAL is not set")
ROOT = Path(REAL or "") / "clevr_original"
SPLIT = "train"


def test_perfect_eyes_are_perfect_by_either_file_of_masks(tmp_path: Path) -> None:
    if not ROOT.is_dir():
        pytest.skip(f"{ROOT} does not exist")
    eyes = perfect_eyes(ROOT, SPLIT)
    pictures = pictures_of(ROOT, SPLIT, read_split(ROOT, SPLIT))
    parts = SeenParts(tmp_path / "seen", Sight(eyes), pictures)
    parts.look(parts.missing(), lambda _: None)
    looked, model = Looked(parts.read(), eyes.detector.config), pyvqa.load("ns-vqa-clevr")
    result = evaluate(model, ROOT, SPLIT, looked=looked).result
    objects = result["objects"]
    assert objects["true"] == objects["paired"] == 841
    assert objects["recall"]["iou_70"] == objects["mean_mask_iou"] == objects["scenes_right"] == 1
    assert objects["relation_accuracy"]["all"] == 1
    assert result["coco"]["segm"]["AP"] == pytest.approx(1)
    assert result["accuracy"] >= 0.998
    wrong = result["wrong_answers"]
    assert wrong["parser"] == {"program": wrong["total"], "program and scene": 0}

    # The pictures of CLEVR-mini's file are numbered anew: they must be found by their names.
    root = tmp_path / "root"
    root.mkdir()
    for name in ("images", "scenes", "questions", "CLEVR_mini_coco_anns.json"):
        (root / name).symlink_to(ROOT / name)
    mini = evaluate(model, root, SPLIT, looked=looked).result
    assert mini["coco"]["instances"] == "CLEVR_mini_coco_anns.json"
    assert mini["objects"] == objects
