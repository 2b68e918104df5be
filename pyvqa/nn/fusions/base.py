"""What all fusions of two vectors have in common, and how they normalise.

A fusion takes x0 [..., D0] and x1 [..., D1] to y [..., O]. The leading sizes need only broadcast:
what depends on one vector alone (`prepare`) runs once per row that is really there, so a question
that meets 36 regions, or a region that meets every other one, is projected once and not 36 times.

    y = finish(output(joint(prepare(x0, 0), prepare(x1, 1))))

Parameters carry the names of the published ones (block, models/networks/fusions/fusions.py), so
that state dicts load as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from pyvqa.nn.product import linear
from pyvqa.ops import PairLayout

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "celu": F.celu,
    "gelu": F.gelu,
    "silu": F.silu,
    "softplus": F.softplus,
    "softsign": F.softsign,
    "logsigmoid": F.logsigmoid,
    "hardtanh": F.hardtanh,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}

# Below this sum of magnitudes a vector is divided by this instead: (1e-12)^2 of the unit norm.
SMALLEST = 1e-24


def activation(name: str | None) -> Callable[[Tensor], Tensor] | None:
    """Find an activation by torch's name; None or "none" for none at all.

    Raises:
        ValueError: there is no such activation.
    """
    if name is None or name == "none":
        return None
    if name not in ACTIVATIONS:
        raise ValueError(f"activation {name!r} is none of {', '.join(ACTIVATIONS)}, none")
    return ACTIVATIONS[name]


def rows_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Apply x W' + b to the last dimension of [..., D] -> [..., O]."""
    return linear(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], weight.shape[0])


def apply_layer(layer: nn.Linear, x: Tensor) -> Tensor:
    """Apply a linear layer to [..., D] -> [..., O], with the machine's fastest product."""
    return rows_linear(x, layer.weight, layer.bias)


def root_(z: Tensor) -> Tensor:
    """Replace z by sign(z) sqrt(|z| / l), l = max(sum |z|, 1e-24) over the last dimension; give l.

    That is the signed square root divided by its Euclidean norm, for |sqrt|^2 sums to l.
    """
    size = z.abs()
    total = size.sum(-1, keepdim=True).clamp_min_(SMALLEST)
    z.copy_(size.div_(total).sqrt_().copysign_(z))
    return total


def root_slope(y: Tensor, dy: Tensor, total: Tensor) -> Tensor:
    """Give the gradient before `root_` from that behind it; 0 where y is 0.

    dz = sign(y) (dy / y - sum(y dy)) / (2 l); without the sum where l was raised to its least value
    """
    along = (y * dy).sum(-1, keepdim=True).masked_fill_(total <= SMALLEST, 0.0)
    slope = dy.div(y).sub_(along).mul_(y.sign()).div_(2 * total)
    return slope.masked_fill_(y == 0, 0.0)


def joint_rows(left: Tensor, right: Tensor) -> torch.Size:
    """Give the leading sizes [...] to which two [..., K] broadcast.

    Raises:
        ValueError: they do not.
    """
    # torch.broadcast_shapes would bring sympy along, which takes longer than a small network runs.
    shapes = (left.shape[:-1], right.shape[:-1])
    pairs = [*zip_longest(*(reversed(shape) for shape in shapes), fillvalue=1)]
    for a, b in pairs:
        if a != b and 1 not in (a, b):
            raise ValueError(f"rows {list(shapes[0])} and {list(shapes[1])} do not broadcast")
    return torch.Size([b if a == 1 else a for a, b in reversed(pairs)])


class _Root(torch.autograd.Function):
    """`root_` on a copy, with its gradient."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        y = z.clone()
        ctx.save_for_backward(y, root_(y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        y, total = ctx.saved_tensors
        return root_slope(y, dy, total)


def root_normalise(z: Tensor) -> Tensor:
    """Take the signed square root and divide by its Euclidean norm, [..., K] -> [..., K]."""
    result: Tensor = _Root.apply(z)  # type: ignore[no-untyped-call]
    return result


class Fusion(nn.Module):
    """The frame of a fusion; see the module's head for how its parts follow each other.

    Args:
        input_dims: widths D0 and D1.
        output_dim: width O.
        activ_output: activation behind the output layer.
        dropout_output: share of silenced outputs, last of all.

    Raises:
        ValueError: a width, share or activation that cannot be.
    """

    def __init__(
        self,
        input_dims: tuple[int, int],
        output_dim: int,
        *,
        activ_output: str | None = None,
        dropout_output: float = 0.0,
    ) -> None:
        super().__init__()
        if min(*input_dims, output_dim) < 1:
            raise ValueError(f"widths {tuple(input_dims)} -> {output_dim} must all be positive")
        self.input_dims = (int(input_dims[0]), int(input_dims[1]))
        self.output_dim = int(output_dim)
        self.activ_output = activation(activ_output)
        self.dropout_output = share("dropout_output", dropout_output)

    @property
    def output(self) -> nn.Linear:
        """The last linear layer, K -> O."""
        layer: nn.Linear = self.get_submodule("linear_out")  # type: ignore[assignment]
        return layer

    @property
    def n_params(self) -> int:
        """Number of trained values; what two sides share counts once."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def ends_linear(self) -> bool:
        """Whether nothing but the output layer follows `joint`, as things stand."""
        return self.activ_output is None and not (self.training and self.dropout_output > 0)

    @property
    def dropout_shares(self) -> tuple[float, ...]:
        """The shares of silenced entries before the output layer."""
        names = ("dropout_input", "dropout_pre_lin", "dropout_pre_norm")
        return tuple(getattr(self, name, 0.0) for name in names)

    @property
    def pair_layout(self) -> PairLayout | None:
        """How `pairwise_max` can do `joint` and the output layer, as things stand; None: it cannot.

        It takes what `factors` gives of both sides.
        """
        silenced = self.training and any(self.dropout_shares)
        return self.layout() if self.ends_linear and not silenced else None

    def layout(self) -> PairLayout | None:
        """Lay `joint` out as sums of products of factors, if that is what it is."""
        return None

    def factors(self, prepared: Tensor, side: int) -> Tensor:
        """Go on from `prepare` to the factors of the products, [..., F] as in `layout`."""
        raise NotImplementedError

    def prepare(self, x: Tensor, side: int) -> Tensor:
        """Do what depends on one vector alone; side 0 for x0, 1 for x1."""
        raise NotImplementedError

    def joint(self, left: Tensor, right: Tensor) -> Tensor:
        """Bring two prepared vectors together -> [..., K]."""
        raise NotImplementedError

    def finish(self, y: Tensor) -> Tensor:
        """Do what comes behind the output layer."""
        if self.activ_output is not None:
            y = self.activ_output(y)
        return self.drop(y, self.dropout_output)

    def forward(self, x0: Tensor, x1: Tensor) -> Tensor:
        """Fuse [..., D0] and [..., D1] -> [..., O]; leading sizes broadcast."""
        return self.fuse(self.prepare(x0, 0), self.prepare(x1, 1))

    def fuse(self, left: Tensor, right: Tensor) -> Tensor:
        """Go from two prepared vectors to the end."""
        return self.finish(apply_layer(self.output, self.joint(left, right)))

    def drop(self, x: Tensor, p: float) -> Tensor:
        """Silence a share p of x in training."""
        return F.dropout(x, p, self.training) if p > 0 else x

    def drop_both(self, left: Tensor, right: Tensor, p: float) -> tuple[Tensor, Tensor]:
        """Silence a share p of both sides in training, anew for every row of their broadcast."""
        if p == 0 or not self.training:
            return left, right
        rows = joint_rows(left, right)
        # Laid out in order, so that masks do not depend on how a side was broadcast.
        sides = (x.expand(*rows, x.shape[-1]).contiguous() for x in (left, right))
        return F.dropout(next(sides), p), F.dropout(next(sides), p)


def share(name: str, value: float) -> float:
    """Check a dropout share.

    Raises:
        ValueError: it is not in 0 <= p < 1.
    """
    if not 0 <= value < 1:
        raise ValueError(f"{name} is {value}; it must be at least 0 and below 1")
    return float(value)
