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
    "PackedScenes",
    "Reason",
    "RenderObjects",
    "Rendering",
    "Trace",
    "cuda_missing",
    "execute",
    "execute_trace",
    "has_cuda",
    "isa",
    "object_ids",
    "object_ids_reference",
    "projected_boxes",
    "render",
    "reward",
    "verify",
]


def has_cuda() -> bool:
    """Say whether the CUDA kernels are loaded; `cuda_missing()` says why they are not."""
    return cuda_missing() is None
