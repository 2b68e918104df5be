"""What the parser is trained on: imitation of given programs, and rewards of drawn ones.

ns-vqa reason/models/{parser,seq2seq}.py, Yi et al. 2018 section 3.3. A parser that masks padding
learns from the tokens up to `<END>`; one that does not, from every position, as the original.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.parser import (
    END,
    START,
    Memory,
    QuestionParser,
    Scores,
    token_lengths,
)


def imitation_loss(parser: QuestionParser, memory: Memory, programs: Tensor) -> Tensor:
    """Give the mean negative log-likelihood of framed programs [B, L], under teacher forcing."""
    inputs, targets = programs[:, :-1], programs[:, 1:]
    scores = parser.score(memory, inputs, _written(parser, targets))
    tokens = scores.packing.pack(targets[:, : scores.packing.steps])
    counted = _counted(parser, scores, targets)
    chosen = scores.log_probs.gather(1, tokens.long().unsqueeze(1)).squeeze(1)
    return -(chosen * counted).sum() / counted.sum()


def reinforce_loss(
    parser: QuestionParser,
    memory: Memory,
    programs: Tensor,
    advantage: Tensor,
    *,
    owner: Tensor | None = None,
    entropy_weight: float | Tensor = 0.0,
    grammar: Grammar | None = None,
) -> tuple[Tensor, Tensor]:
    """Weigh the log-likelihood of drawn programs [R, S] by their advantage [R].

    `owner` as for `QuestionParser.score`. The loss is summed over steps and programs; a positive
    `entropy_weight` (one for all, or [R]) keeps distributions undecided. Returns the loss and the
    mean entropy of a step in nats (not differentiable).
    """
    starts = torch.full_like(programs[:, :1], START)
    inputs = torch.cat((starts, programs[:, :-1]), 1)
    scores = parser.score(memory, inputs, _written(parser, programs), owner)
    packing, log_probs = scores.packing, scores.log_probs
    if grammar is not None:
        log_probs = _constrain(scores, programs, grammar, parser.max_steps)
    tokens = packing.pack(programs[:, : packing.steps])
    chosen = log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)
    counted = _counted(parser, scores, programs)
    weight = packing.pack(advantage.unsqueeze(1).expand(-1, packing.steps))
    loss = -(weight * chosen * counted).sum()
    plain = log_probs.masked_fill(log_probs == -torch.inf, 0)
    negative_entropy = (log_probs.exp() * plain).sum(1) * counted
    if isinstance(entropy_weight, Tensor):
        each = packing.pack(entropy_weight.unsqueeze(1).expand(-1, packing.steps))
        loss = loss + (each * negative_entropy).sum()
    elif entropy_weight:
        loss = loss + entropy_weight * negative_entropy.sum()
    return loss, -negative_entropy.detach().sum() / counted.sum()


def _written(parser: QuestionParser, targets: Tensor) -> Tensor | None:
    """Count the steps of each row that are computed; None for all of them.

    On other devices that is all, since counting would wait for the device.
    """
    if not parser.mask_padding or targets.device.type != "cpu":
        return None
    return token_lengths(targets)


def _counted(parser: QuestionParser, scores: Scores, targets: Tensor) -> Tensor:
    """Give 1 for each computed step that is learned from, else 0: [P]."""
    if not parser.mask_padding:
        return torch.ones_like(scores.log_probs[:, 0])
    is_end = (targets == END).long()
    until_end = is_end.cumsum(1) - is_end == 0
    return scores.packing.pack(until_end[:, : scores.packing.steps]).to(scores.log_probs.dtype)


def _constrain(scores: Scores, programs: Tensor, grammar: Grammar, max_steps: int) -> Tensor:
    """Renormalise packed log-probabilities over what the grammar allows at each step."""
    steps = scores.packing.steps
    budget = max_steps - torch.arange(steps, device=programs.device)
    place = scores.packing.pack(grammar.places(programs[:, :steps]))
    budget = scores.packing.pack(budget.expand(programs.shape[0], -1))
    return grammar.constrain(scores.log_probs, place, budget.unsqueeze(1))
