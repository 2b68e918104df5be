"""The small conventions in which detectors differ, chosen once per model.

A detector's weights only give their published results under the conventions they were trained
with, so these belong to a model like its widths do.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pyvqa.ops import (
    assign_levels,
    batched_nms,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
)

Weights = tuple[float, float, float, float]
PLAIN_WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class BoxRules:
    """How boxes are measured, suppressed, pooled and trained."""

    # Corners are pixel indices that belong to the box: a side is x2 - x1 + 1.
    inclusive: bool = False
    # A box is suppressed when its overlap reaches the threshold, not only when it exceeds it.
    suppress_equal: bool = False
    # Pool from half a pixel up and left, so that a box of whole pixels pools exactly these.
    aligned: bool = True
    # Share of a target mask's pixel that must be covered; at 0 any touch counts, which makes the
    # targets slightly larger than the objects.
    mask_cover: float = 0.5
    # In detection, proposals may reach into the padding at the right and bottom.
    propose_in_padding: bool = False
    # Negative anchors are drawn with replacement, so that often fewer than asked for differ.
    repeat_negatives: bool = False

    def iou(self, boxes1: Tensor, boxes2: Tensor) -> Tensor:
        """Give the overlap of every pair: [N, 4], [M, 4] -> [N, M]."""
        return box_iou(boxes1, boxes2, inclusive=self.inclusive)

    def encode(self, boxes: Tensor, proposals: Tensor, weights: Weights = PLAIN_WEIGHTS) -> Tensor:
        """Give the deltas that lead from proposals to boxes: [N, 4], [N, 4] -> [N, 4]."""
        return encode_boxes(boxes, proposals, weights=weights, inclusive=self.inclusive)

    def decode(self, deltas: Tensor, proposals: Tensor, weights: Weights = PLAIN_WEIGHTS) -> Tensor:
        """Move proposals by deltas: [N, 4 C], [N, 4] -> [N, 4 C]."""
        return decode_boxes(deltas, proposals, weights=weights, inclusive=self.inclusive)

    def clip(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """Bring boxes into an image of (height, width): [..., 4 C] -> [..., 4 C]."""
        return clip_boxes(boxes, size, inclusive=self.inclusive)

    def suppress(self, boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
        """Keep the best of overlapping boxes of the same group: int64 [K], best score first."""
        return batched_nms(
            boxes,
            scores,
            groups,
            threshold,
            inclusive=self.inclusive,
            suppress_equal=self.suppress_equal,
        )

    def levels(self, boxes: Tensor, count: int) -> Tensor:
        """Give the level of each box in a pyramid whose finest map has stride 4: int64 [N]."""
        return assign_levels(boxes, 2, 1 + count, inclusive=self.inclusive)


MODERN = BoxRules()
# Detectron's, under which the published NS-VQA detector was trained.
DETECTRON = BoxRules(
    inclusive=True,
    suppress_equal=True,
    aligned=False,
    mask_cover=0.0,
    propose_in_padding=True,
    repeat_negatives=True,
)
