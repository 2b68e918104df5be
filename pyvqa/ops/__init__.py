"""The kernels: one file per op, each with its fake kernel and shapes in its docstring."""

from pyvqa._core import cuda_missing, isa
from pyvqa.ops import coco_eval
from pyvqa.ops.box_codec import clip_boxes, decode_boxes, encode_boxes
from pyvqa.ops.boxes import (
    anchor_grid,
    assign_levels,
    box_area,
    box_iou,
    cell_anchors,
    generalized_box_iou,
)
from pyvqa.ops.execute import (
    AnswerTable,
    Execution,
    Kind,
    PackedScenes,
    Reason,
    Trace,
    execute,
    execute_trace,
    reward,
    verify,
)
from pyvqa.ops.mask_match import mask_nms, match_masks
from pyvqa.ops.masks import (
    Masks,
    PackedMasks,
    Rle,
    decode_masks,
    decode_rows,
    encode_masks,
    encode_rows,
    mask_iou,
    merge_rles,
    pack_masks,
    pack_rles,
    rle_area,
    rle_boxes,
    unpack_masks,
)
from pyvqa.ops.nms import batched_nms, nms, nms_padded
from pyvqa.ops.pairwise import PairLayout, pair_features, pairwise_max
from pyvqa.ops.paste import paste_masks
from pyvqa.ops.render import (
    CUBE,
    CYLINDER,
    METAL,
    RUBBER,
    SPHERE,
    TRAINING_QUALITY,
    Rendering,
    RenderObjects,
    object_ids,
    object_ids_reference,
    projected_boxes,
    render,
)
from pyvqa.ops.roi_align import multiscale_roi_align, roi_align, roi_align_backward_

__all__ = [
    "CUBE",
    "CYLINDER",
    "METAL",
    "RUBBER",
    "SPHERE",
    "TRAINING_QUALITY",
    "AnswerTable",
    "Execution",
    "Kind",
    "Masks",
    "PackedMasks",
    "PackedScenes",
    "PairLayout",
    "Reason",
    "RenderObjects",
    "Rendering",
    "Rle",
    "Trace",
    "anchor_grid",
    "assign_levels",
    "batched_nms",
    "box_area",
    "box_iou",
    "cell_anchors",
    "clip_boxes",
    "coco_eval",
    "cuda_missing",
    "decode_boxes",
    "decode_masks",
    "decode_rows",
    "encode_boxes",
    "encode_masks",
    "encode_rows",
    "execute",
    "execute_trace",
    "generalized_box_iou",
    "has_cuda",
    "isa",
    "mask_iou",
    "mask_nms",
    "match_masks",
    "merge_rles",
    "multiscale_roi_align",
    "nms",
    "nms_padded",
    "object_ids",
    "object_ids_reference",
    "pack_masks",
    "pack_rles",
    "pair_features",
    "pairwise_max",
    "paste_masks",
    "projected_boxes",
    "render",
    "reward",
    "rle_area",
    "rle_boxes",
    "roi_align",
    "roi_align_backward_",
    "unpack_masks",
    "verify",
]


def has_cuda() -> bool:
    """Say whether the CUDA kernels are loaded; `cuda_missing()` says why they are not."""
    return cuda_missing() is None
