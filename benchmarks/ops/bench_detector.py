"""Somebody else's detector with these kernels in it: the README's example, run as it stands there.

torchvision's Mask R-CNN gets the same picture before and after its ops are replaced; the boxes must
not change. What is timed is all that comes after the convolutions of the trunk.

    make bench-rivals
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import rivals
import timing
import torch

from pyvqa import ops

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_example(tmp_path: Path) -> None:
    rivals.torchvision_ops()
    blocks = re.findall(r"^```py\n(.*?)^```", README.read_text(encoding="utf-8"), re.M | re.S)
    assert len(blocks) == 1
    script = tmp_path / "example.py"
    script.write_text(blocks[0], encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "same boxes: True" in done.stdout


def replace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put our ops where torchvision's detectors look for theirs."""
    from torchvision.models.detection import roi_heads
    from torchvision.ops import boxes, poolers

    monkeypatch.setattr(boxes, "batched_nms", ops.batched_nms)
    monkeypatch.setattr(boxes, "box_iou", ops.box_iou)
    monkeypatch.setattr(poolers, "roi_align", ops.roi_align)
    monkeypatch.setattr(roi_heads, "roi_align", ops.roi_align)


@torch.inference_mode()
def test_heads_of_mask_rcnn(benchmark: Any) -> None:
    """Region proposals, box head and mask head on given features, 1,000 proposals."""
    rivals.torchvision_ops()
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    torch.set_num_threads(1)
    detector = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, box_score_thresh=0.0
    ).eval()
    images, _ = detector.transform([torch.rand(3, 480, 640)])
    features = detector.backbone(images.tensors.contiguous(memory_format=torch.channels_last))

    def proposals() -> list[torch.Tensor]:
        found: list[torch.Tensor] = detector.rpn(images, features)[0]
        return found

    def pooled() -> torch.Tensor:
        boxes = proposals()
        result: torch.Tensor = detector.roi_heads.box_roi_pool(features, boxes, images.image_sizes)
        return result

    expected = pooled()
    theirs = min(timing.seconds(pooled) for _ in range(3))
    with pytest.MonkeyPatch.context() as monkeypatch:
        replace(monkeypatch)
        torch.testing.assert_close(pooled(), expected, rtol=1e-4, atol=1e-4)
        ours = min(timing.seconds(pooled) for _ in range(6))
        benchmark.pedantic(pooled, rounds=3)
    case = "proposals and pooling, 800x1066"
    timing.ROWS.append(
        timing.Row("torchvision's Mask R-CNN", case, "torchvision", theirs * 1e3, ours * 1e3, 0)
    )
