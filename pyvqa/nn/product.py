"""Matrix products as fast as the machine allows, and a linear layer made of them.

On x86 processors that are not Intel's, the float32 product behind `torch.mm` runs at half speed
(116 against 270 GFLOP/s on one core of an AMD EPYC); oneDNN, which every CPU build of torch
carries, does not. `product` goes there for float32 and to `torch.mm` for everything else.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

_NAMES = ("_linear_pointwise", "_reorder_linear_weight")
_HAS_ONEDNN: bool = torch.backends.mkldnn.is_available() and all(  # type: ignore[no-untyped-call]
    hasattr(torch.ops.mkldnn, name) for name in _NAMES
)
# Multiplications below which oneDNN gains nothing, and below which it is not worth making a kernel
# that will be used once: it compiles one for every new shape, in about a millisecond.
_SMALL, _ONCE = 1 << 22, 1 << 28


def _on_cpu(a: Tensor, dtype: torch.dtype) -> bool:
    return _HAS_ONEDNN and a.device.type == "cpu" and a.dtype == dtype


def _rounded(rows: int) -> int:
    """Round a number of rows up, so that batches of all sizes share few kernels."""
    step = 8 if rows <= 64 else 32 if rows <= 512 else 128
    return -(-rows // step) * step


def _gains(rows: int, columns: int, inner: int) -> bool:
    least = _SMALL if inner % 32 == 0 else _ONCE
    return rows * columns * inner >= least


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply a [M, K] by the transpose of b [N, K] -> [M, N]; not differentiable.

    `b` may have gone through `prepare`.
    """
    rows, inner = a.shape
    single = b.is_mkldnn or (_on_cpu(a, torch.float32) and _gains(rows, b.shape[0], inner))
    if not single and not _on_cpu(a, torch.bfloat16):
        return torch.mm(a, b.t())
    missing = _rounded(rows) - rows
    if missing:
        a = F.pad(a, (0, 0, 0, missing))
    if single:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], "")
    else:
        result = torch.mm(a, b.t())
    return result[:rows] if missing else result


def prepare(b: Tensor, rows: int) -> Tensor:
    """Bring b [N, K] into the form `product` likes best for repeated use with up to [rows, K]."""
    if _on_cpu(b, torch.float32) and _gains(rows, b.shape[0], b.shape[1]):
        result: Tensor = torch.ops.mkldnn._reorder_linear_weight(b.contiguous(), _rounded(rows))
        return result
    return b.contiguous()


def compute_dtype(like: Tensor) -> torch.dtype:
    """Tell in which precision products on `like` should run: autocast's, or its own."""
    device = like.device.type
    if like.dtype == torch.float32 and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return like.dtype


class _Linear(torch.autograd.Function):
    """x W' + b, with products in `dtype` and everything that is stored in x's own precision."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        low_x, low_weight = x.to(dtype), weight.to(dtype)
        ctx.save_for_backward(low_x, low_weight)
        ctx.has_bias = bias is not None  # type: ignore[attr-defined]
        y = product(low_x, low_weight).to(x.dtype)
        return y if bias is None else y.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        need_x, need_weight, need_bias, _ = ctx.needs_input_grad  # type: ignore[attr-defined]
        low_dy = dy.to(x.dtype)
        dx = product(low_dy, weight.t()).to(dy.dtype) if need_x else None
        dweight = product(low_dy.t(), x.t()).to(dy.dtype) if need_weight else None
        dbias = dy.sum(0) if need_bias and ctx.has_bias else None  # type: ignore[attr-defined]
        return dx, dweight, dbias, None


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply x W' + b to rows: [P, D], [O, D], [O] -> [P, O], in x's precision.

    Under autocast the products run in autocast's type and the result is float32 all the same.
    """
    result: Tensor = _Linear.apply(x, weight, bias, compute_dtype(x))  # type: ignore[no-untyped-call]
    return result
