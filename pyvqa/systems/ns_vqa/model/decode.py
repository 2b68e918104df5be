"""Writing programs step by step: the likeliest one, or random ones, free or held to a grammar."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyvqa.nn.product import compute_dtype, prepare, product
from pyvqa.nn.recurrent import cell_step
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.parser import (
    END,
    NULL,
    START,
    Memory,
    QuestionParser,
    attention,
    ragged_attention,
)

Choose = Callable[[Tensor], Tensor]  # log-probabilities [R, V] -> tokens [R]


class _Stepper:
    """The decoder, one step at a time, with everything that does not change brought into form."""

    def __init__(self, parser: QuestionParser, rows: int) -> None:
        decoder, embedding = parser.decoder, parser.function_embedding.weight
        self.dtype = compute_dtype(embedding)
        self.table = decoder.input_gates(0, "", embedding)  # [V, 4 H]
        self.recurrent = [self._ready(decoder.weight("weight_hh_l0"), rows)]
        self.bias: list[Tensor] = []
        for layer in range(1, decoder.num_layers):
            both = [decoder.weight(f"weight_{name}_l{layer}") for name in ("ih", "hh")]
            self.recurrent.append(self._ready(torch.cat(both, 1), rows))
            self.bias.append(decoder.bias_of(layer, ""))
        self.attend: tuple[Tensor, Tensor] | None = None
        if parser.attend is not None:
            self.attend = self._ready(parser.attend.weight, rows), parser.attend.bias
        self.classify = self._ready(parser.classify.weight, rows)
        self.classify_bias = parser.classify.bias

    def _ready(self, weight: Tensor, rows: int) -> Tensor:
        return prepare(weight.to(self.dtype), rows)

    def _times(self, x: Tensor, weight: Tensor) -> Tensor:
        return product(x.to(self.dtype), weight).to(x.dtype)

    def step(
        self,
        tokens: Tensor,
        hidden: list[Tensor],
        cell: list[Tensor],
        memory: Memory,
        owner: Tensor | None = None,
    ) -> Tensor:
        """Feed one token a row and give the log-probabilities of the next; updates the states.

        `owner` [R]: the question of each row; None means equally many neighbouring rows a question.
        """
        for layer, weight in enumerate(self.recurrent):
            if layer == 0:
                gates = self._times(hidden[0], weight).add_(self.table[tokens])
            else:
                inputs = torch.cat((hidden[layer - 1], hidden[layer]), 1)
                gates = self._times(inputs, weight).add_(self.bias[layer - 1])
            hidden[layer], cell[layer] = cell_step(gates, cell[layer])
        top = hidden[-1]
        if self.attend is not None:
            if owner is None:
                grouped = torch.unflatten(top, 0, (memory.outputs.shape[0], -1))
                context = attention(grouped, memory).flatten(0, 1)
            else:
                context = ragged_attention(top, owner, memory)
            joint = torch.cat((context, top), 1)
            weight, bias = self.attend
            top = torch.tanh(self._times(joint, weight) + bias)
        return torch.log_softmax(self._times(top, self.classify) + self.classify_bias, 1)


def greedy(
    parser: QuestionParser, memory: Memory, *, grammar: Grammar | None = None, stop: bool = True
) -> Tensor:
    """Write each question's likeliest next token until `<END>`: -> int64 [B, max_steps].

    Without `stop` all steps run and rows go on after `<END>`, as the original does.
    """
    return _write(parser, memory, lambda log_probs: log_probs.argmax(1), 1, grammar, stop)


def sample(
    parser: QuestionParser,
    memory: Memory,
    samples: int = 1,
    *,
    grammar: Grammar | None = None,
    stop: bool = True,
) -> Tensor:
    """Draw programs from the parser's distribution: -> int64 [B * samples, max_steps]."""

    def draw(log_probs: Tensor) -> Tensor:
        return torch.multinomial(log_probs.exp(), 1).squeeze(1)

    return _write(parser, memory, draw, samples, grammar, stop)


@torch.no_grad()
def _write(
    parser: QuestionParser,
    memory: Memory,
    choose: Choose,
    samples: int,
    grammar: Grammar | None,
    stop: bool,
) -> Tensor:
    questions = memory.outputs.shape[0]
    device = memory.outputs.device
    stepper = _Stepper(parser, questions * samples)
    hidden = [h.repeat_interleave(samples, 0) for h in memory.state.hidden]
    cell = [c.repeat_interleave(samples, 0) for c in memory.state.cell]
    programs = torch.full((questions * samples, parser.max_steps), NULL, device=device)
    tokens = torch.full((questions * samples,), START, device=device)
    rows = torch.arange(questions * samples, device=device)  # those still being written
    place = grammar.start(rows.shape[0], device) if grammar is not None else None
    ended = torch.zeros_like(rows, dtype=torch.bool)
    for step in range(parser.max_steps):
        log_probs = stepper.step(tokens, hidden, cell, memory)
        if grammar is not None and place is not None:
            log_probs = grammar.constrain(log_probs, place, parser.max_steps - step)
        tokens = choose(log_probs)
        if grammar is not None and place is not None:
            place = grammar.advance(place, tokens)
        if not stop:
            programs[:, step] = tokens
            continue
        tokens = tokens.masked_fill(ended, NULL)
        programs[rows, step] = tokens
        ended |= tokens == END
        if device.type != "cpu":  # looking at `ended` would wait for the device
            continue
        open_questions = ~ended.view(-1, samples).all(1)
        alive = int(open_questions.sum())
        if alive == 0:
            break
        if alive <= 0.75 * open_questions.shape[0]:
            memory = memory.rows(open_questions.nonzero().squeeze(1))
            keep = open_questions.repeat_interleave(samples)
            rows, tokens, ended = rows[keep], tokens[keep], ended[keep]
            hidden, cell = [h[keep] for h in hidden], [c[keep] for c in cell]
            place = None if place is None else place[keep]
    return programs


class Ranked(NamedTuple):
    """The likeliest programs of a question, best first."""

    programs: Tensor  # int64 [R, max_steps]
    probability: Tensor  # float32 [R]


@torch.no_grad()
def likeliest(
    parser: QuestionParser, memory: Memory, width: int, *, grammar: Grammar | None = None
) -> Ranked:
    """Search for the `width` likeliest programs of the only question in `memory`.

    A beam search: of the beginnings of each length the `width` best are followed, ended ones among
    them. Held to a grammar, the probabilities are those among its programs.
    """
    device = memory.outputs.device
    stepper = _Stepper(parser, width)
    hidden, cell = list(memory.state.hidden), list(memory.state.cell)
    tokens = torch.full((1,), START, device=device)
    programs = torch.full((1, parser.max_steps), NULL, device=device)
    total = torch.zeros(1, device=device)
    place = None if grammar is None else grammar.start(1, device)
    ended = Ranked(programs[:0], total[:0])
    for step in range(parser.max_steps):
        log_probs = stepper.step(tokens, hidden, cell, memory)
        if grammar is not None and place is not None:
            log_probs = grammar.constrain(log_probs, place, parser.max_steps - step)
        reached = (total[:, None] + log_probs).flatten()
        total, best = reached.topk(min(width, reached.shape[0]))
        total, best = total[total > -torch.inf], best[total > -torch.inf]
        parent, tokens = best // log_probs.shape[1], best % log_probs.shape[1]
        programs = programs[parent]
        programs[:, step] = tokens
        if grammar is not None and place is not None:
            place = grammar.advance(place[parent], tokens)
        going = tokens != END if step + 1 < parser.max_steps else torch.zeros_like(tokens).bool()
        ended = _best(ended, programs[~going], total[~going], width)
        if ended.programs.shape[0] == width:  # what scores less already can only lose
            going &= total > ended.probability[-1]
        if not going.any():
            break
        programs, total, tokens = programs[going], total[going], tokens[going]
        place = None if place is None else place[going]
        hidden, cell = ([x[parent[going]] for x in state] for state in (hidden, cell))
    return Ranked(ended.programs, ended.probability.exp())


def _best(ended: Ranked, programs: Tensor, total: Tensor, width: int) -> Ranked:
    """Add ended programs with their log-probabilities and keep the best."""
    together = torch.cat((ended.probability, total))
    order = torch.argsort(together, descending=True, stable=True)[:width]
    return Ranked(torch.cat((ended.programs, programs))[order], together[order])


class Drawn(NamedTuple):
    """The distinct programs among those drawn for a batch, questions in order."""

    programs: Tensor  # int64 [R, max_steps]
    owner: Tensor  # int64 [R] the question of each program
    copies: Tensor  # int64 [R] how often it was drawn


@torch.no_grad()
def sample_distinct(
    parser: QuestionParser, memory: Memory, samples: int, *, grammar: Grammar | None = None
) -> Drawn:
    """Draw programs as `sample` does, `samples` for each question, and merge the equal ones.

    Programs that begin alike are written as one until they part, so that a sure parser draws many
    for the price of a few. Looks at the tokens after every step: for CPUs.
    """
    questions, device = memory.outputs.shape[0], memory.outputs.device
    stepper = _Stepper(parser, questions)
    hidden, cell = list(memory.state.hidden), list(memory.state.cell)
    owner = torch.arange(questions, device=device)
    copies = torch.full_like(owner, samples)
    tokens = torch.full_like(owner, START)
    programs = torch.full((questions, parser.max_steps), NULL, device=device)
    place = None if grammar is None else grammar.start(questions, device)
    ended: list[Drawn] = []
    for step in range(parser.max_steps):
        log_probs = stepper.step(tokens, hidden, cell, memory, owner)
        if grammar is not None and place is not None:
            log_probs = grammar.constrain(log_probs, place, parser.max_steps - step)
        parent, tokens, copies = _part(log_probs, copies, samples)
        programs, owner = programs[parent], owner[parent]
        programs[:, step] = tokens
        if grammar is not None and place is not None:
            place = grammar.advance(place[parent], tokens)
        going = tokens != END if step + 1 < parser.max_steps else torch.zeros_like(tokens).bool()
        ended.append(Drawn(programs[~going], owner[~going], copies[~going]))
        if not going.any():
            break
        programs, owner, copies, tokens = (x[going] for x in (programs, owner, copies, tokens))
        place = None if place is None else place[going]
        hidden, cell = ([x[parent[going]] for x in state] for state in (hidden, cell))
    together = Drawn(*(torch.cat(parts) for parts in zip(*ended, strict=True)))
    order = torch.argsort(together.owner, stable=True)
    return Drawn(*(x[order] for x in together))


def _part(log_probs: Tensor, copies: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw each copy's next token: row, token and number of copies of each distinct outcome."""
    drawn = torch.multinomial(log_probs.exp(), most, replacement=True)  # [R, most]
    real = torch.arange(most, device=copies.device) < copies.unsqueeze(1)
    rows = torch.arange(copies.shape[0], device=copies.device).repeat_interleave(copies)
    functions = log_probs.shape[1]
    outcome, counts = torch.unique(rows * functions + drawn[real], return_counts=True)
    return outcome // functions, outcome % functions, counts
