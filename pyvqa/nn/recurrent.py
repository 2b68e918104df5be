"""LSTMs over token ids of unequal length, laid out so that no padded step is computed.

Sequences are *packed* as in `torch.nn.utils.rnn.PackedSequence`: sorted by length, then step by
step, at step t only the rows that are still alive. On a CPU the recurrence is ours (`_Scan`):
what does not depend on the previous step is done for all steps in one product, and so are the
weight gradients; on other devices torch's own kernels run. Weights keep `nn.LSTM`'s layout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from pyvqa.nn.product import compute_dtype, linear, prepare, product


class Packing(NamedTuple):
    """Where each step of a padded batch [B, T] goes in the packed rows [P]."""

    order: Tensor  # [B] batch row of each sorted row
    sizes: list[int]  # rows alive at each step, not increasing
    place: Tensor  # [P] position in the flattened [B * T]
    steps: int  # T of the padded batch
    last: Tensor  # [B] packed position of each sorted row's last step

    def to(self, device: torch.device) -> Packing:
        """Give the same plan with its tensors on `device`."""
        return self._replace(
            order=self.order.to(device), place=self.place.to(device), last=self.last.to(device)
        )

    @property
    def restore(self) -> Tensor:
        """Give the sorted row of each batch row, [B]."""
        return torch.argsort(self.order)

    def pad(self, packed: Tensor, value: float = 0.0) -> Tensor:
        """Lay packed rows [P, D] out as [B, T, D], `value` where a sequence has ended."""
        rows = self.order.shape[0]
        flat = packed.new_full((rows * self.steps, *packed.shape[1:]), value)
        filled = flat.index_copy(0, self.place, packed)
        return torch.unflatten(filled, 0, (rows, self.steps))

    def pack(self, padded: Tensor) -> Tensor:
        """Pick the packed rows of a padded batch [B, T, ...] -> [P, ...]."""
        return padded.flatten(0, 1)[self.place]


def pack_lengths(lengths: Tensor, steps: int) -> Packing:
    """Plan the packing of B sequences of the given lengths (CPU, each in 1..steps)."""
    order = torch.argsort(lengths, descending=True, stable=True)
    longest_first = lengths[order]
    alive = longest_first[None] > torch.arange(int(longest_first[0]))[:, None]  # [longest, B]
    sizes = alive.sum(1)
    step, row = alive.nonzero(as_tuple=True)
    starts = sizes.cumsum(0) - sizes
    last = starts[longest_first - 1] + torch.arange(lengths.shape[0])
    return Packing(order, sizes.tolist(), order[row] * steps + step, steps, last)


def pack_full(rows: int, steps: int, device: torch.device) -> Packing:
    """Plan a batch in which every sequence has all steps; needs no look at the data."""
    order = torch.arange(rows, device=device)
    place = (order[None] * steps + torch.arange(steps, device=device)[:, None]).flatten()
    return Packing(order, [rows] * steps, place, steps, order + rows * (steps - 1))


class State(NamedTuple):
    """What an LSTM carries from step to step: hidden and cell, both [layers * directions, B, H]."""

    hidden: Tensor
    cell: Tensor


def _entering(
    done: list[Tensor], initial: Tensor, sizes: list[int], t: int, reverse: bool
) -> Tensor:
    """Give the state rows with which step t starts, [sizes[t], H]."""
    if not reverse:
        return done[t - 1][: sizes[t]] if t else initial
    if t == len(sizes) - 1:
        return initial[: sizes[t]]
    if sizes[t + 1] == sizes[t]:
        return done[t + 1]
    return torch.cat((done[t + 1], initial[sizes[t + 1] : sizes[t]]))


class _Scan(torch.autograd.Function):
    """One LSTM layer in one direction over packed rows.

    forward(gates [P, 4H] in torch's order i, f, g, o; W_hh [4H, H]; h0, c0 [B, H])
    -> hidden [P, H], cell [P, H]
    """

    @staticmethod
    def forward(
        ctx: Any,
        gates: Tensor,
        weight: Tensor,
        hidden0: Tensor,
        cell0: Tensor,
        sizes: list[int],
        reverse: bool,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        width = weight.shape[1]
        ready = prepare(weight.to(dtype), sizes[0])
        squashed = torch.empty_like(gates)  # sigmoid of the gates; for g, of twice its value
        hiddens, cells, tanhs = (gates.new_empty(gates.shape[0], width) for _ in range(3))
        hidden, cell, tanh, gate, s = (
            list(torch.split_with_sizes(x, sizes)) for x in (hiddens, cells, tanhs, gates, squashed)
        )
        before: tuple[list[Tensor], list[Tensor]] = ([cell0] * len(sizes), [cell0] * len(sizes))
        for t in reversed(range(len(sizes))) if reverse else range(len(sizes)):
            h = before[0][t] = _entering(hidden, hidden0, sizes, t, reverse)
            c = before[1][t] = _entering(cell, cell0, sizes, t, reverse)
            total = product(h.to(dtype), ready).to(gates.dtype).add_(gate[t])
            total[:, 2 * width : 3 * width].mul_(2)
            i, f, g, o = torch.sigmoid(total, out=s[t]).chunk(4, 1)
            # tanh(x) = 2 sigmoid(2x) - 1: torch's tanh takes ten times as long as its sigmoid.
            torch.mul(i, torch.add(g, g).sub_(1), out=cell[t]).addcmul_(f, c)
            torch.sigmoid(torch.add(cell[t], cell[t]), out=tanh[t]).mul_(2).sub_(1)
            torch.mul(o, tanh[t], out=hidden[t])
        ctx.layout = sizes, reverse, dtype
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(weight, squashed, tanhs, *(torch.cat(rows) for rows in before))
        return hiddens, cells

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dhiddens: Tensor | None, dcells: Tensor | None) -> tuple[Any, ...]:
        weight, squashed, tanhs, hidden_before, cell_before = ctx.saved_tensors
        sizes, reverse, dtype = ctx.layout
        dhiddens = torch.zeros_like(tanhs) if dhiddens is None else dhiddens.clone()
        dgates, dcell_of_hidden = _slopes(squashed, tanhs, cell_before)
        dcell = None if dcells is None else torch.split_with_sizes(dcells, sizes)
        forget, dgate, dh_all, dc_all = (
            torch.split_with_sizes(x, sizes)
            for x in (squashed.chunk(4, 1)[1], dgates, dhiddens, dcell_of_hidden)
        )
        ready = prepare(weight.t().to(dtype), sizes[0])
        dhidden0, dcell0 = tanhs.new_zeros(2, sizes[0], weight.shape[1])
        carry_h, carry_c = dhidden0[:0], dcell0[:0]
        for t in range(len(sizes)) if reverse else reversed(range(len(sizes))):
            rows, carried = sizes[t], carry_h.shape[0]
            if carried > rows:  # these rows of the reverse direction started right here
                dhidden0[rows:carried], dcell0[rows:carried] = carry_h[rows:], carry_c[rows:]
                carry_h, carry_c = carry_h[:rows], carry_c[:rows]
            dh, dc = dh_all[t], dc_all[t]
            dh[:carried].add_(carry_h)
            dc.mul_(dh)
            dc[:carried].add_(carry_c)
            if dcell is not None:
                dc.add_(dcell[t])
            by_gate = torch.unflatten(dgate[t], 1, (4, -1))
            by_gate[:, :3].mul_(dc.unsqueeze(1))
            by_gate[:, 3].mul_(dh)
            carry_c = dc * forget[t]
            carry_h = product(dgate[t].to(dtype), ready).to(dh.dtype)
        dhidden0[: carry_h.shape[0]], dcell0[: carry_c.shape[0]] = carry_h, carry_c
        dweight = product(dgates.to(dtype).t(), hidden_before.to(dtype).t()).to(weight.dtype)
        return dgates, dweight, dhidden0, dcell0, None, None, None


def _slopes(squashed: Tensor, tanhs: Tensor, cell_before: Tensor) -> tuple[Tensor, Tensor]:
    """Give d cell / d (i, f, g) and d hidden / d o before squashing [P, 4H]; d hidden / d cell."""
    slopes = torch.addcmul(squashed, squashed, squashed, value=-1)  # s (1 - s)
    i, _, g, o = squashed.chunk(4, 1)
    to_i, to_f, to_g, to_o = slopes.chunk(4, 1)
    to_i.mul_(torch.add(g, g).sub_(1))
    to_f.mul_(cell_before)
    to_g.mul_(i).mul_(4)  # 1 - tanh(x)^2 = 4 s (1 - s) with s = sigmoid(2x)
    to_o.mul_(tanhs)
    return slopes, torch.addcmul(o, o * tanhs, tanhs, value=-1)


def cell_step(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Take one LSTM step from pre-activations [B, 4 H] (i, f, g, o): -> hidden, cell, [B, H]."""
    torch.unflatten(gates, 1, (4, -1))[:, 2].mul_(2)
    i, f, g, o = gates.sigmoid_().chunk(4, 1)
    cell = (f * cell).addcmul_(i, torch.add(g, g).sub_(1))
    tanh = torch.add(cell, cell).sigmoid_().mul_(2).sub_(1)
    return o * tanh, cell


class TokenLstm(nn.LSTM):
    """An LSTM that reads token ids; weights in `nn.LSTM`'s layout and names.

    There are fewer words than positions, so the first layer's input projection is computed once
    for every word and then looked up.

    forward(embedding [V, D], tokens [P], packing, state) -> outputs [P, directions * H] and the
    state after each sequence's last step, both in the packing's sorted order
    """

    def forward(  # type: ignore[override]
        self, embedding: Tensor, tokens: Tensor, packing: Packing, state: State | None = None
    ) -> tuple[Tensor, State]:
        if embedding.device.type != "cpu":
            return self._forward_torch(embedding, tokens, packing, state)
        if embedding.shape[0] <= tokens.shape[0]:
            inputs, lookup = embedding, tokens
        else:
            inputs, lookup = F.embedding(tokens, embedding), None
        hiddens, cells = [], []
        for layer in range(self.num_layers):
            inputs, final_h, final_c = self._layer(layer, inputs, lookup, packing, state)
            lookup = None
            hiddens += final_h
            cells += final_c
        return inputs, State(torch.stack(hiddens), torch.stack(cells))

    def input_gates(self, layer: int, suffix: str, inputs: Tensor) -> Tensor:
        """Project a layer's inputs [P, D] to its gates [P, 4H], biases included."""
        weight = self.weight(f"weight_ih_l{layer}{suffix}")
        return linear(inputs, weight, self.bias_of(layer, suffix))

    def weight(self, name: str) -> Tensor:
        """Give a weight by `nn.LSTM`'s name."""
        weight: Tensor = getattr(self, name)
        return weight

    def bias_of(self, layer: int, suffix: str) -> Tensor:
        """Give the sum of a layer's two biases, [4H]."""
        return self.weight(f"bias_ih_l{layer}{suffix}") + self.weight(f"bias_hh_l{layer}{suffix}")

    def _layer(
        self,
        layer: int,
        inputs: Tensor,
        lookup: Tensor | None,
        packing: Packing,
        state: State | None,
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        outputs, final_h, final_c = [], [], []
        directions = 2 if self.bidirectional else 1
        for direction in range(directions):
            suffix = "_reverse" if direction else ""
            gates = self.input_gates(layer, suffix, inputs)
            if lookup is not None:
                gates = F.embedding(lookup, gates)
            if state is None:
                hidden0 = cell0 = gates.new_zeros(packing.sizes[0], self.hidden_size)
            else:
                k = layer * directions + direction
                hidden0, cell0 = state.hidden[k], state.cell[k]
            weight = self.weight(f"weight_hh_l{layer}{suffix}")
            hidden, cell = _Scan.apply(  # type: ignore[no-untyped-call]
                gates, weight, hidden0, cell0, packing.sizes, bool(direction), compute_dtype(gates)
            )
            outputs.append(hidden)
            # The reverse direction ends at step 0, whose rows come first.
            final_h.append(hidden[: packing.sizes[0]] if direction else hidden[packing.last])
            final_c.append(cell[: packing.sizes[0]] if direction else cell[packing.last])
        return torch.cat(outputs, 1) if directions == 2 else outputs[0], final_h, final_c

    def _forward_torch(
        self, embedding: Tensor, tokens: Tensor, packing: Packing, state: State | None
    ) -> tuple[Tensor, State]:
        packed = PackedSequence(F.embedding(tokens, embedding), torch.tensor(packing.sizes))
        outputs, (hidden, cell) = super().forward(packed, state)
        return outputs.data, State(hidden, cell)
