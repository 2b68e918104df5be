"""Feature pyramid (Lin et al. 2017): maps of all scales with the same meaning and width."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class FeaturePyramid(nn.Module):
    """Add what coarse maps know to finer ones, and one more level by taking every second pixel.

    forward(maps fine to coarse [B, C_l, H_l, W_l]) -> one map more [B, width, H_l, W_l]
    """

    def __init__(self, widths: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in widths)
        self.outputs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in widths)
        for conv in (*self.laterals, *self.outputs):
            scaled_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for level in reversed(range(len(merged) - 1)):
            fine = merged[level]
            # The sizes are multiples of the coarsest stride: each coarse pixel covers 2 x 2.
            fine.add_(F.interpolate(merged[level + 1], size=fine.shape[2:], mode="nearest"))
        pyramid = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        return [*pyramid, pyramid[-1][:, :, ::2, ::2]]


def scaled_uniform_(weight: Tensor) -> None:
    """Draw weights [O, ...] from +-sqrt(3 / fan_in): unit variance in, unit variance out."""
    bound = (3 * weight.shape[0] / weight.numel()) ** 0.5
    nn.init.uniform_(weight, -bound, bound)
