"""The shipped model on genuine CLEVR pictures, which it was not trained on: pixels to answers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pyvqa.cli.main import main

REAL = os.environ.get("PYVQA_REAL")
pytestmark = pytest.mark.skipif(not REAL, reason="PYVQA_REAL is not set")
ROOT = Path(REAL or "")


@pytest.mark.parametrize(
    ("folder", "split"), [("clevr_original", "train"), ("clevr_rendered", "val")]
)
def test_questions_about_pictures_are_answered(folder: str, split: str, tmp_path: Path) -> None:
    root = ROOT / folder
    if not root.is_dir():
        pytest.skip(f"{root} does not exist")
    command = ["eval", "ns-vqa-clevr", "--root", str(root), "--split", split]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    assert result["questions"] > 1000
    assert result["accuracy"] >= 0.99
    objects = result["objects"]
    assert objects["recall"]["iou_50"] >= 0.995
    assert objects["precision"]["iou_50"] >= 0.995
    assert objects["mean_mask_iou"] >= 0.92
    assert min(objects["attribute_accuracy"].values()) >= 0.995
    assert objects["relation_accuracy"]["all"] >= 0.999
