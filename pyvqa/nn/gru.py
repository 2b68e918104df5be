"""A gated recurrent unit over packed rows, with dropout masks that last a whole sequence.

Rows are packed as in `pyvqa.nn.recurrent`. Gates come in the order reset, update, candidate:

    r = s(W_r x + b_r + U_r h)    z = s(W_z x + b_z + U_z h)    n = tanh(W_n x + b_n + r (U_n h))
    h' = (1 - z) n + z h

Masks: Gal and Ghahramani 2016, "A Theoretically Grounded Application of Dropout in RNNs", as in
skip-thoughts.torch (gru.py).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyvqa.nn.product import compute_dtype, linear, prepare, product
from pyvqa.nn.recurrent import Packing

# What one mask is drawn for: nothing, the state as a whole, or every gate by itself.
MASKS = {"none": 0, "state": 1, "gate": 3}


class GruMasks(NamedTuple):
    """What is silenced in each of B sequences; entries are 0 or 1 / (1 - p)."""

    inputs: Tensor  # [M, B, D], M = 1 for all gates or 3 for one each
    hidden: Tensor  # [M, B, H]


class _Scan(torch.autograd.Function):
    """One direction of a GRU over packed rows.

    forward(gates [P, 3H] from the inputs; W_hh [3H, H]; b_hh [3H] or None; masks [M, B, H] or
    None, rows as sorted) -> hidden [P, H]
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        masks: Tensor | None,
        sizes: list[int],
        dtype: torch.dtype,
    ) -> Tensor:
        width = weight.shape[1]
        parts = weight.chunk(3) if _per_gate(masks) else (weight,)
        ready = [prepare(part.to(dtype), sizes[0]) for part in parts]
        squashed = torch.empty_like(gates)  # r, z, n
        hidden, before, candidate = (gates.new_empty(gates.shape[0], width) for _ in range(3))
        state = gates.new_zeros(sizes[0], width)
        rows = (
            torch.split_with_sizes(x, sizes) for x in (gates, squashed, hidden, before, candidate)
        )
        for t, (gate, done, new, entering, u) in enumerate(zip(*rows, strict=True)):
            h = state[: new.shape[0]]
            if masks is not None and not _per_gate(masks):
                h = h * masks[0, : h.shape[0]]
            entering.copy_(h)
            total = _recurrent(h, ready, masks, dtype) if t else torch.zeros_like(gate)
            if bias is not None:
                total += bias
            reset_update, of_candidate = total[:, : 2 * width], total[:, 2 * width :]
            u.copy_(of_candidate)
            r, z, n = done.chunk(3, 1)
            torch.sigmoid(reset_update.add_(gate[:, : 2 * width]), out=done[:, : 2 * width])
            # tanh(x) = 2 sigmoid(2x) - 1: torch's tanh takes ten times as long as its sigmoid.
            of_candidate.mul_(r).add_(gate[:, 2 * width :]).mul_(2).sigmoid_()
            torch.mul(of_candidate, 2, out=n).sub_(1)
            torch.lerp(n, h, z, out=new)
            state = new
        ctx.layout = sizes, dtype, bias is not None
        ctx.save_for_backward(weight, masks, squashed, before, candidate)
        return hidden

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhidden: Tensor) -> tuple[Any, ...]:
        weight, masks, squashed, before, candidate = ctx.saved_tensors
        sizes, dtype, has_bias = ctx.layout
        r, z, n = squashed.chunk(3, 1)
        # d h' / d (r, z, n) before squashing, all steps at once; dh comes in step by step.
        to_n = (1 - z) * (1 - n * n)
        slopes = torch.cat((to_n * candidate * r * (1 - r), (before - n) * z * (1 - z), to_n), 1)
        dtotal = torch.empty_like(slopes)
        parts = weight.chunk(3) if _per_gate(masks) else (weight,)
        ready = [prepare(part.t().to(dtype), sizes[0]) for part in parts]
        dh_all = torch.split_with_sizes(dhidden.clone(), sizes)
        steps = [torch.split_with_sizes(x, sizes) for x in (slopes, dtotal, r, z)]
        carry = dhidden[:0]
        for t in reversed(range(len(sizes))):
            slope, of_total, reset, update = (x[t] for x in steps)
            dh = dh_all[t]
            dh[: carry.shape[0]] += carry
            torch.unflatten(slope, 1, (3, -1)).mul_(dh.unsqueeze(1))
            of_total.copy_(slope)
            of_total[:, 2 * dh.shape[1] :].mul_(reset)
            if t:
                carry = torch.addcmul(_recurrent_slope(of_total, ready, masks, dtype), dh, update)
                if masks is not None and not _per_gate(masks):
                    carry *= masks[0, : carry.shape[0]]
        dweight = _weight_slope(dtotal, before, masks, sizes, dtype).to(weight.dtype)
        dbias = dtotal.sum(0) if has_bias else None
        return slopes, dweight, dbias, None, None, None


def _per_gate(masks: Tensor | None) -> bool:
    return masks is not None and masks.shape[0] == 3


def _recurrent(h: Tensor, ready: list[Tensor], masks: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Project the state [rows, H] for all gates, each under its own mask if there are three."""
    if len(ready) == 1 or masks is None:
        return product(h.to(dtype), ready[0]).to(h.dtype)
    parts = [
        product((h * mask[: h.shape[0]]).to(dtype), w) for mask, w in zip(masks, ready, strict=True)
    ]
    return torch.cat(parts, 1).to(h.dtype)


def _recurrent_slope(
    dtotal: Tensor, ready: list[Tensor], masks: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Give the gradient of the state from that of its projections, [rows, 3H] -> [rows, H]."""
    if len(ready) == 1 or masks is None:
        return product(dtotal.to(dtype), ready[0]).to(dtotal.dtype)
    parts = zip(dtotal.chunk(3, 1), ready, masks, strict=True)
    terms = [product(d.to(dtype), w).to(d.dtype) * mask[: d.shape[0]] for d, w, mask in parts]
    total: Tensor = terms[0].add_(terms[1]).add_(terms[2])
    return total


def _weight_slope(
    dtotal: Tensor, before: Tensor, masks: Tensor | None, sizes: list[int], dtype: torch.dtype
) -> Tensor:
    if not _per_gate(masks) or masks is None:
        return product(dtotal.to(dtype).t(), before.to(dtype).t())
    rows = torch.cat([torch.arange(size, device=dtotal.device) for size in sizes])
    parts = zip(dtotal.chunk(3, 1), masks, strict=True)
    return torch.cat(
        [product(d.to(dtype).t(), (before * mask[rows]).to(dtype).t()) for d, mask in parts]
    )


class GruDirection(nn.Module):
    """The weights of one direction, gates one below the other (3H rows)."""

    def __init__(self, width: int, hidden: int, *, hidden_bias: bool) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.empty(3 * hidden, width))
        self.weight_hidden = nn.Parameter(torch.empty(3 * hidden, hidden))
        self.bias_input = nn.Parameter(torch.empty(3 * hidden))
        self.bias_hidden = nn.Parameter(torch.zeros(3 * hidden)) if hidden_bias else None
        for parameter, inputs in (
            (self.weight_input, width),
            (self.weight_hidden, hidden),
            (self.bias_input, width),
        ):
            nn.init.uniform_(parameter, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs))

    def forward(self, inputs: Tensor, packing: Packing, masks: GruMasks | None) -> Tensor:
        """Run over packed rows [P, D] -> [P, H]."""
        masked_state = None if masks is None else masks.hidden[:, packing.order]
        hidden: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
            self._gates(inputs, packing, masks),
            self.weight_hidden,
            self.bias_hidden,
            masked_state,
            packing.sizes,
            compute_dtype(inputs),
        )
        return hidden

    def _gates(self, inputs: Tensor, packing: Packing, masks: GruMasks | None) -> Tensor:
        if masks is None:
            return linear(inputs, self.weight_input, self.bias_input)
        sequence = packing.place // packing.steps
        masked = [inputs * mask[sequence] for mask in masks.inputs]
        if len(masked) == 1:
            return linear(masked[0], self.weight_input, self.bias_input)
        weights = zip(masked, self.weight_input.chunk(3), self.bias_input.chunk(3), strict=True)
        return torch.cat([linear(x, w, b) for x, w, b in weights], 1)


class PackedGru(nn.Module):
    """A GRU of one layer over packed rows.

    Args:
        width, hidden: D, and H of one direction.
        masks: what dropout draws a mask for, one of `MASKS`; "none": there is no dropout.
        dropout: share of silenced entries, in training only.
        bidirectional: a second direction from the end, its outputs behind the first one's.
        hidden_bias: a bias also on the recurrent projections, zero at first.

    Raises:
        ValueError: dropout without masks, or masks in two directions.
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        *,
        masks: str = "gate",
        dropout: float = 0.0,
        bidirectional: bool = False,
        hidden_bias: bool = False,
    ) -> None:
        super().__init__()
        if masks not in MASKS or (masks == "none" and dropout > 0):
            raise ValueError(f"dropout {dropout} with masks {masks!r}; masks: {', '.join(MASKS)}")
        if bidirectional and masks != "none":
            raise ValueError("two directions have no dropout masks")
        self.width, self.hidden = width, hidden
        self.masks, self.dropout = masks, dropout
        self.directions = nn.ModuleList(
            GruDirection(width, hidden, hidden_bias=hidden_bias) for _ in range(1 + bidirectional)
        )

    @property
    def output_dim(self) -> int:
        """Width of an output row."""
        return self.hidden * len(self.directions)

    def forward(self, inputs: Tensor, packing: Packing, masks: GruMasks | None = None) -> Tensor:
        """Run over packed rows [P, D] -> [P, output_dim].

        In training, masks are drawn anew unless they are given.
        """
        if masks is None and self.training and self.dropout > 0:
            masks = self.draw_masks(packing.order.shape[0], inputs)
        outputs = [self.directions[0](inputs, packing, masks)]
        if len(self.directions) == 2:
            back = _reversal(packing)
            outputs.append(self.directions[1](inputs[back], packing, None)[back])
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)

    def draw_masks(self, sequences: int, like: Tensor) -> GruMasks:
        """Draw masks for that many sequences, in `like`'s type and on its device."""
        keep = 1 - self.dropout
        count = MASKS[self.masks]
        return GruMasks(
            like.new_empty(count, sequences, self.width).bernoulli_(keep).div_(keep),
            like.new_empty(count, sequences, self.hidden).bernoulli_(keep).div_(keep),
        )


def _reversal(packing: Packing) -> Tensor:
    """Give the packed row at the mirrored step of the same sequence, [P] (its own inverse)."""
    device = packing.place.device
    sizes = torch.tensor(packing.sizes, device=device)
    starts = sizes.cumsum(0) - sizes
    step = torch.repeat_interleave(torch.arange(len(packing.sizes), device=device), sizes)
    row = torch.arange(step.shape[0], device=device) - starts[step]
    lengths = (sizes[None] > torch.arange(packing.sizes[0], device=device)[:, None]).sum(1)
    mirrored: Tensor = starts[lengths[row] - 1 - step] + row
    return mirrored
