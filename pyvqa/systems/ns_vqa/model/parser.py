"""The question parser: words in, the tokens of a CLEVR program out.

A bidirectional LSTM reads the question; an LSTM decoder with attention over its outputs writes
the program in prefix order (Yi et al. 2018, section 3; ns-vqa reason/models/{encoder,decoder,
attention}.py). Two ways of treating padding, chosen per model:

* `mask_padding=True` (new models): a question's result does not depend on its batch, and nothing
  is computed after a program's `<END>`.
* `mask_padding=False` (original checkpoints): padded positions hold zeros but take part in the
  attention's softmax, so a result depends on the longest question of the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvqa.nn.product import linear
from pyvqa.nn.recurrent import Packing, State, TokenLstm, pack_full, pack_lengths

NULL, START, END = 0, 1, 2


class Memory(NamedTuple):
    """What the encoder leaves for the decoder, in the batch's own order."""

    outputs: Tensor  # [B, T, D]
    padding: Tensor | None  # [B, T] true where attention must not look; None: it looks everywhere
    state: State  # [layers, B, D] each

    def rows(self, keep: Tensor) -> Memory:
        """Give the memory of the questions `keep` [M] alone."""
        padding = None if self.padding is None else self.padding[keep]
        state = State(self.state.hidden[:, keep], self.state.cell[:, keep])
        return Memory(self.outputs[keep], padding, state)


class Scores(NamedTuple):
    """Log-probabilities of every function at every decoded step, packed."""

    log_probs: Tensor  # [P, V]
    packing: Packing

    def padded(self) -> Tensor:
        """Lay the log-probabilities out as [B, S, V], zero where nothing was computed."""
        return self.packing.pad(self.log_probs)


def token_lengths(tokens: Tensor, missing: int | None = None) -> Tensor:
    """Count each row's tokens up to and including its first `<END>`: [B, T] -> int64 [B].

    A row without `<END>` counts `missing`, by default all its tokens.
    """
    is_end = tokens == END
    first = is_end.to(torch.uint8).argmax(1) + 1
    return torch.where(is_end.any(1), first, tokens.shape[1] if missing is None else missing)


class QuestionParser(nn.Module):
    """Encoder and attention decoder.

    encode(questions [B, T]) -> Memory
    score(memory, inputs [B * K, S]) -> log-probabilities of what follows each input token
    """

    def __init__(
        self,
        words: int,
        functions: int,
        *,
        word_dim: int = 300,
        function_dim: int | None = None,
        hidden: int = 256,
        layers: int = 2,
        bidirectional: bool = True,
        attention: bool = True,
        variable_lengths: bool = True,
        mask_padding: bool = True,
        max_steps: int = 27,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        width = hidden * (2 if bidirectional else 1)
        self.word_embedding = nn.Embedding(words, word_dim)
        self.encoder = TokenLstm(word_dim, hidden, layers, bidirectional=bidirectional)
        self.function_embedding = nn.Embedding(functions, function_dim or word_dim)
        self.decoder = TokenLstm(function_dim or word_dim, width, layers)
        self.classify = nn.Linear(width, functions)
        self.attend = nn.Linear(2 * width, width) if attention else None
        self.variable_lengths = variable_lengths
        self.mask_padding = mask_padding
        self.max_steps = max_steps
        self.dropout = dropout

    def encode(self, questions: Tensor, lengths: Tensor | None = None) -> Memory:
        """Read framed questions [B, T]; `lengths` [B] on the CPU saves looking for `<END>`."""
        rows, steps = questions.shape
        if self.variable_lengths:
            lengths = token_lengths(questions, missing=1).cpu() if lengths is None else lengths
            questions = questions[:, : int(lengths.max())]
            packing = pack_lengths(lengths, questions.shape[1]).to(questions.device)
        else:
            packing = pack_full(rows, steps, questions.device)
        tokens = packing.pack(questions)
        packed, state = self.encoder(self.word_embedding.weight, tokens, packing)
        outputs = packing.pad(self._drop(packed))
        padding = None
        if self.mask_padding and self.variable_lengths:
            padding = packing.pad(torch.zeros_like(packing.place, dtype=torch.bool), value=True)
        restore = packing.restore
        state = State(*(self._drop(self._join(x[:, restore])) for x in state))
        return Memory(outputs, padding, state)

    def _drop(self, x: Tensor) -> Tensor:
        """Silence a random share of units in training, so that few programs are learned well."""
        return F.dropout(x, self.dropout, self.training) if self.dropout else x

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """Keep all units for a while, also in training."""
        share, self.dropout = self.dropout, 0.0
        try:
            yield
        finally:
            self.dropout = share

    def _join(self, state: Tensor) -> Tensor:
        """Put both directions' states side by side: [layers * 2, B, H] -> [layers, B, 2 H]."""
        if not self.encoder.bidirectional:
            return state
        return torch.unflatten(state, 0, (-1, 2)).transpose(1, 2).flatten(2)

    def score(
        self,
        memory: Memory,
        inputs: Tensor,
        lengths: Tensor | None = None,
        owner: Tensor | None = None,
    ) -> Scores:
        """Feed the tokens of R programs `inputs` [R, S] and score what follows each of them.

        `lengths` [R] on the CPU: how many inputs of each row matter; None means all of them.
        `owner` [R]: the question of each row; None means R / B neighbouring rows a question.
        """
        if lengths is None:
            packing = pack_full(inputs.shape[0], inputs.shape[1], inputs.device)
        else:
            inputs = inputs[:, : int(lengths.max())]
            packing = pack_lengths(lengths, inputs.shape[1]).to(inputs.device)
        each = inputs.shape[0] // memory.outputs.shape[0]
        question = packing.order // each if owner is None else owner[packing.order]
        state = State(memory.state.hidden[:, question], memory.state.cell[:, question])
        tokens = packing.pack(inputs)
        states, _ = self.decoder(self.function_embedding.weight, tokens, packing, state)
        states = self._drop(states)
        if self.attend is not None:
            if owner is None:
                grouped = torch.unflatten(packing.pad(states), 0, (-1, each)).flatten(1, 2)
                context = attention(grouped, memory)  # [B, each * S, D]
                context = packing.pack(torch.unflatten(context, 1, (each, -1)).flatten(0, 1))
            else:
                row = packing.place // packing.steps
                context = ragged_attention(states, owner[row], memory)
            joint = torch.cat((context, states), 1)
            states = self._drop(torch.tanh(linear(joint, self.attend.weight, self.attend.bias)))
        logits = linear(states, self.classify.weight, self.classify.bias)
        return Scores(torch.log_softmax(logits, 1), packing)


def ragged_attention(queries: Tensor, owner: Tensor, memory: Memory) -> Tensor:
    """Let each query [P, D] look at the words of its own question `owner` [P]: -> [P, D]."""
    questions = memory.outputs.shape[0]
    order = torch.argsort(owner, stable=True)
    counts = torch.bincount(owner, minlength=questions)
    width = int(counts.max())
    column = torch.arange(owner.shape[0], device=owner.device)
    column = column - (counts.cumsum(0) - counts)[owner[order]]
    place = torch.empty_like(order)
    place[order] = owner[order] * width + column
    rows = queries.new_zeros(questions * width, queries.shape[1]).index_copy(0, place, queries)
    grouped = torch.unflatten(rows, 0, (questions, width))
    return attention(grouped, memory).flatten(0, 1)[place]


def attention(queries: Tensor, memory: Memory) -> Tensor:
    """Average the encoder's outputs by their likeness to each query: [B, Q, D] -> [B, Q, D]."""
    weights = attention_weights(queries, memory)
    return torch.bmm(weights, memory.outputs.to(weights.dtype)).to(queries.dtype)


def attention_weights(queries: Tensor, memory: Memory) -> Tensor:
    """Say how much each query looks at each word, [B, Q, D] -> [B, Q, T]; rows sum to one."""
    likeness = torch.bmm(queries, memory.outputs.transpose(1, 2))
    if memory.padding is not None:
        likeness = likeness.masked_fill(memory.padding.unsqueeze(1), -torch.inf)
    return torch.softmax(likeness, 2)
