"""Fusions by an elementwise product or sum: MLB, MFB, MFH, and the linear sum.

MLB: Kim et al. 2017, "Hadamard Product for Low-rank Bilinear Pooling", eq. 8; MFB: Yu et al. 2017,
"Multi-modal Factorized Bilinear Pooling", eq. 3-4; MFH: Yu et al. 2018, "Beyond Bilinear", eq. 9.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyvqa.nn.fusions.base import Fusion, activation, apply_layer, root_normalise, share
from pyvqa.ops import PairLayout


class _Elementwise(Fusion):
    """A fusion of two activated projections of one width."""

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1200,
        activ_input: str | None = "relu",
        activ_output: str | None = "relu",
        normalize: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_lin: float = 0.0,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__(
            input_dims, output_dim, activ_output=activ_output, dropout_output=dropout_output
        )
        self.activ_input = activation(activ_input)
        self.normalize = normalize
        self.dropout_input = share("dropout_input", dropout_input)
        self.dropout_pre_lin = share("dropout_pre_lin", dropout_pre_lin)
        self.linear0 = nn.Linear(self.input_dims[0], mm_dim)
        self.linear1 = nn.Linear(self.input_dims[1], mm_dim)
        self.linear_out = nn.Linear(mm_dim, output_dim)

    def prepare(self, x: Tensor, side: int) -> Tensor:
        y = apply_layer(self.linear1 if side else self.linear0, x)
        return y if self.activ_input is None else self.activ_input(y)

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        z = self.bring_together(*self.drop_both(left, right, self.dropout_input))
        return self.drop(root_normalise(z) if self.normalize else z, self.dropout_pre_lin)

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        """Join the two projections, [..., mm] each -> [..., mm]."""
        raise NotImplementedError


class Mlb(_Elementwise):
    """MLB: the elementwise product of the activated projections."""

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        return a * b

    def layout(self) -> PairLayout:
        return PairLayout.of([self.linear0.out_features], 1, "whole" if self.normalize else "not")

    def factors(self, prepared: Tensor, side: int) -> Tensor:
        return prepared


class LinearSum(_Elementwise):
    """The sum of the activated projections."""

    def bring_together(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class _Factorised(Fusion):
    """What MFB and MFH share: projections of mm x factor entries, summed over the factors."""

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        mm_dim: int = 1200,
        factor: int = 2,
        activ_input: str | None = "relu",
        activ_output: str | None = "relu",
        normalize: bool = False,
        dropout_input: float = 0.0,
        dropout_pre_norm: float = 0.0,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__(
            input_dims, output_dim, activ_output=activ_output, dropout_output=dropout_output
        )
        self.activ_input = activation(activ_input)
        self.factor, self.normalize = factor, normalize
        self.dropout_input = share("dropout_input", dropout_input)
        self.dropout_pre_norm = share("dropout_pre_norm", dropout_pre_norm)
        self.add_layers(mm_dim)

    def add_layers(self, mm_dim: int) -> None:
        """Make the linear layers for a joint width of mm_dim."""
        raise NotImplementedError

    def activated(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """Project x and apply the input activation."""
        y = apply_layer(layer, x)
        return y if self.activ_input is None else self.activ_input(y)

    def product(self, left: Tensor, right: Tensor, first: Tensor | None = None) -> Tensor:
        """Multiply entry by entry (MFH: also by the first stage), dropout before and behind."""
        left, right = self.drop_both(left, right, self.dropout_input)
        z = left * right if first is None else left * right * first
        return self.drop(z, self.dropout_pre_norm)

    def pooled(self, z: Tensor) -> Tensor:
        """Sum neighbouring factors, [..., mm factor] -> [..., mm], and normalise."""
        z = torch.unflatten(z, -1, (-1, self.factor)).sum(-1)
        return root_normalise(z) if self.normalize else z


class Mfb(_Factorised):
    """MFB: MLB's product, summed over groups of neighbouring entries."""

    def add_layers(self, mm_dim: int) -> None:
        self.linear0 = nn.Linear(self.input_dims[0], mm_dim * self.factor)
        self.linear1 = nn.Linear(self.input_dims[1], mm_dim * self.factor)
        self.linear_out = nn.Linear(mm_dim, self.output_dim)

    def prepare(self, x: Tensor, side: int) -> Tensor:
        return self.activated(self.linear1 if side else self.linear0, x)

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        return self.pooled(self.product(left, right))

    def layout(self) -> PairLayout:
        width = self.linear_out.in_features
        return PairLayout.of([width], self.factor, "whole" if self.normalize else "not")

    def factors(self, prepared: Tensor, side: int) -> Tensor:
        return torch.unflatten(prepared, -1, (-1, self.factor)).transpose(-1, -2).flatten(-2)


class Mfh(_Factorised):
    """MFH: two MFB in a row, the second one's product multiplied by the first one's."""

    def add_layers(self, mm_dim: int) -> None:
        first, second = self.input_dims
        self.linear0_0 = nn.Linear(first, mm_dim * self.factor)
        self.linear1_0 = nn.Linear(second, mm_dim * self.factor)
        self.linear0_1 = nn.Linear(first, mm_dim * self.factor)
        self.linear1_1 = nn.Linear(second, mm_dim * self.factor)
        self.linear_out = nn.Linear(2 * mm_dim, self.output_dim)

    def prepare(self, x: Tensor, side: int) -> Tensor:
        layers = (self.linear1_0, self.linear1_1) if side else (self.linear0_0, self.linear0_1)
        return torch.cat([self.activated(layer, x) for layer in layers], -1)

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        (left0, left1), (right0, right1) = left.chunk(2, -1), right.chunk(2, -1)
        first = self.product(left0, right0)
        second = self.product(left1, right1, first)
        return torch.cat((self.pooled(first), self.pooled(second)), -1)
