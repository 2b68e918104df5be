"""What the parser is trained on: imitation of given programs, and rewards of drawn ones.

ns-vqa reason/models/{parser,seq2seq}.py, Yi et al. 2018 section 3.3. A parser that masks padding
learns from the tokens up to `<END>`; one that does not, from every position, as the original.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.parser import (
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
    targets = scores.packing.pack(targets[:, : scores.packing.steps])
    return -scores.log_probs.gather(1, targets.long().unsqueeze(1)).mean()


def reinforce_loss(
    parser: QuestionParser,
    memory: Memory,
    programs: Tensor,
    advantage: Tensor,
    *,
    owner: Tensor | None = None,
    entropy_weight: float = 0.0,
    grammar: Grammar | None = None,
) -> tuple[Tensor, Tensor]:
    """Weigh the log-likelihood of drawn programs [R, S] by their advantage [R].

    `owner` as for `QuestionParser.score`. The loss is summed over steps and programs; a positive
    `entropy_weight` keeps distributions undecided. Returns the loss and the mean entropy of a step
    in nats (not differentiable).
    """
    starts = torch.full_like(programs[:, :1], START)
    inputs = torch.cat((starts, programs[:, :-1]), 1)
    scores = parser.score(memory, inputs, _written(parser, programs), owner)
    packing, log_probs = scores.packing, scores.log_probs
    if grammar is not None:
        log_probs = _constrain(scores, programs, grammar, parser.max_steps)
    tokens = packing.pack(programs[:, : packing.steps])
    chosen = log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)
    weight = packing.pack(advantage.unsqueeze(1).expand(-1, packing.steps))
    loss = -(weight * chosen).sum()
    plain = log_probs.masked_fill(log_probs == -torch.inf, 0)
    negative_entropy = (log_probs.exp() * plain).sum(1)
    if entropy_weight:
        loss = loss + entropy_weight * negative_entropy.sum()
    return loss, -negative_entropy.detach().mean()


def _written(parser: QuestionParser, targets: Tensor) -> Tensor | None:
    """Count the steps of each row that are learned from, on the CPU; None for all of them."""
    if not parser.mask_padding or targets.device.type != "cpu":
        return None
    return token_lengths(targets)


def _constrain(scores: Scores, programs: Tensor, grammar: Grammar, max_steps: int) -> Tensor:
    """Renormalise packed log-probabilities over what the grammar allows at each step."""
    steps = scores.packing.steps
    budget = max_steps - torch.arange(steps, device=programs.device)
    place = scores.packing.pack(grammar.places(programs[:, :steps]))
    budget = scores.packing.pack(budget.expand(programs.shape[0], -1))
    return grammar.constrain(scores.log_probs, place, budget.unsqueeze(1))
