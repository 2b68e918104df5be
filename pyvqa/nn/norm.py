"""Channel-wise normalisation: frozen, folded into convolutions, or over the ranks of a job."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class FrozenAffine(nn.Module):
    """A batch normalisation that has been reduced to `x * weight + bias` and is never trained.

    forward(x [B, C, H, W]) -> [B, C, H, W]
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.ones(channels))
        self.register_buffer("bias", torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation whose training statistics are those of all ranks' images together.

    Ranks may hold different numbers of images. Without a job of several ranks it is plain batch
    normalisation. Works on any backend, gloo on CPUs included.
    """

    def forward(self, input: Tensor) -> Tensor:
        shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        if not (self.training and shared):
            return super().forward(input)
        x = input.float()
        normal, mean, variance, count = _SharedNormal.apply(x, self.eps)  # type: ignore[no-untyped-call]
        if self.track_running_stats and self.running_mean is not None:
            self._follow(mean, variance, count)
        if self.weight is not None:
            normal = normal * self.weight[:, None, None] + self.bias[:, None, None]
        result: Tensor = normal.to(input.dtype)
        return result

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics; the variance is the unbiased one, as in torch."""
        if self.running_mean is None or self.running_var is None:
            return
        share = self.momentum
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            share = 1 / int(self.num_batches_tracked) if share is None else share
        self.running_mean.lerp_(mean, share or 0.0)
        self.running_var.lerp_(variance * (count / (count - 1)), share or 0.0)


class _SharedNormal(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) over all ranks: x [B, C, H, W] -> same, mean, variance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        # Two reductions: a variance taken around the common mean does not cancel.
        size = x.new_tensor([x.numel() // x.shape[1]])
        total = torch.cat((x.sum((0, 2, 3)), size))
        dist.all_reduce(total)
        count = total[-1]
        mean = total[:-1] / count
        centred = x - mean[:, None, None]
        variance = centred.square().sum((0, 2, 3))
        dist.all_reduce(variance)
        variance /= count
        scale = torch.rsqrt(variance + eps)
        normal = centred * scale[:, None, None]
        ctx.save_for_backward(normal, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        return normal, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        normal, scale, count = ctx.saved_tensors
        sums = torch.stack((grad.sum((0, 2, 3)), (grad * normal).sum((0, 2, 3))))
        dist.all_reduce(sums)
        along_one, along_normal = (sums / count)[..., None, None]
        return (grad - along_one - normal * along_normal) * scale[:, None, None], None


def conv_norm(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a convolution without bias and its norm, as one convolution where that is the same.

    A frozen norm, and batch normalisation in evaluation, scale the convolution's weights instead
    of its output: weights are far smaller than maps.
    """
    if isinstance(norm, FrozenAffine):
        scale, shift = norm.weight, norm.bias
    elif (
        isinstance(norm, nn.BatchNorm2d)
        and not norm.training
        and norm.running_mean is not None
        and norm.running_var is not None
    ):
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        shift = norm.bias - norm.running_mean * scale
    else:
        return norm(conv(x))  # type: ignore[no-any-return]
    weight = conv.weight * scale[:, None, None, None]
    return F.conv2d(x, weight, shift, conv.stride, conv.padding, conv.dilation, conv.groups)
