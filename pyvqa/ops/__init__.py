"""The kernels: one file per op, each with its fake kernel and shapes in its docstring."""

from pyvqa._core import cuda_missing, isa
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

__all__ = [
    "AnswerTable",
    "Execution",
    "Kind",
    "Masks",
    "PackedMasks",
    "PackedScenes",
    "Reason",
    "Rle",
    "Trace",
    "cuda_missing",
    "decode_masks",
    "decode_rows",
    "encode_masks",
    "encode_rows",
    "execute",
    "execute_trace",
    "has_cuda",
    "isa",
    "mask_iou",
    "mask_nms",
    "match_masks",
    "merge_rles",
    "pack_masks",
    "pack_rles",
    "reward",
    "rle_area",
    "rle_boxes",
    "unpack_masks",
    "verify",
]


def has_cuda() -> bool:
    """Say whether the CUDA kernels are loaded; `cuda_missing()` says why they are not."""
    return cuda_missing() is None
