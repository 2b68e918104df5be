"""Fusions by convolution of sketches (MCB) and by a plain network on both inputs (cat_mlp).

MCB: Fukui et al. 2016, "Multimodal Compact Bilinear Pooling", algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pyvqa.nn.fusions.base import Fusion, apply_layer, joint_rows, rows_linear, share
from pyvqa.nn.fusions.base import activation as find_activation


class CountSketch(nn.Module):
    """A fixed random projection: entry i is added to place h[i] with the sign s[i]."""

    h: Tensor
    s: Tensor

    def __init__(self, width: int, sketch: int) -> None:
        super().__init__()
        self.sketch = sketch
        self.register_buffer("h", torch.randint(sketch, (width,)))
        self.register_buffer("s", 2.0 * torch.randint(2, (width,)) - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Sketch [..., D] -> [..., sketch]."""
        empty = x.new_zeros(*x.shape[:-1], self.sketch)
        return empty.index_add(-1, self.h, x * self.s)


class _CompactBilinear(nn.Module):
    """The two sketches; a module of its own for the sake of their published names."""

    def __init__(self, input_dims: tuple[int, int], sketch: int) -> None:
        super().__init__()
        self.sketch1 = CountSketch(input_dims[0], sketch)
        self.sketch2 = CountSketch(input_dims[1], sketch)


class Mcb(Fusion):
    """MCB: a count sketch of the outer product, as the circular convolution of two sketches."""

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 16000,
        activ_output: str | None = "relu",
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__(
            input_dims, output_dim, activ_output=activ_output, dropout_output=dropout_output
        )
        self.mm_dim = mm_dim
        self.mcb = _CompactBilinear(self.input_dims, mm_dim)
        self.linear_out = nn.Linear(mm_dim, output_dim)

    def prepare(self, x: Tensor, side: int) -> Tensor:
        sketch: Tensor = (self.mcb.sketch2 if side else self.mcb.sketch1)(x)
        # Transforms of no rows at all are refused by some libraries.
        return torch.fft.rfft(sketch) if sketch.numel() else sketch.to(sketch.dtype.to_complex())

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        rows = joint_rows(left, right)
        if 0 in rows:
            return left.real.new_zeros(*rows, self.mm_dim)
        convolved: Tensor = torch.fft.irfft(left * right, n=self.mm_dim)
        return convolved


class _Mlp(nn.Module):
    """A list of linear layers; a module of its own for the sake of their published names."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))


class CatMlp(Fusion):
    """A multi-layer network on the two vectors one behind the other.

    Its first layer is applied to each vector alone and the two results are added.
    """

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        dimensions: Sequence[int] = (500, 500),
        activation: str | None = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(input_dims, output_dim)
        if not dimensions or min(dimensions) < 1:
            raise ValueError(f"dimensions is {list(dimensions)}; positive widths are needed")
        self.activate = find_activation(activation)
        self.dropout = share("dropout", dropout)
        self.mlp = _Mlp([sum(self.input_dims), *dimensions, self.output_dim])

    @property
    def output(self) -> nn.Linear:
        """The last linear layer."""
        return self.mlp.linears[-1]  # type: ignore[return-value]

    def prepare(self, x: Tensor, side: int) -> Tensor:
        first: nn.Linear = self.mlp.linears[0]  # type: ignore[assignment]
        own = torch.split_with_sizes(first.weight, list(self.input_dims), 1)[side]
        return rows_linear(x, own, None if side else first.bias)

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        z = self._behind(left + right)
        for layer in list(self.mlp.linears)[1:-1]:
            z = self._behind(apply_layer(layer, z))  # type: ignore[arg-type]
        return z

    def _behind(self, z: Tensor) -> Tensor:
        return self.drop(z if self.activate is None else self.activate(z), self.dropout)
