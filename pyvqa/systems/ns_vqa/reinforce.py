"""Learning from answers alone: programs are drawn, executed and rewarded (REINFORCE).

The original gives a whole batch one reward and lets its mean wander through a running baseline
(ns-vqa reason/trainer.py); that is `batch_mean_loss`. By default every program earns its own reward
and is compared with the other programs drawn for its question (`per_sample_loss`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyvqa.systems.ns_vqa.config import RewardConfig
from pyvqa.systems.ns_vqa.data import Batch
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.decode import Drawn, sample, sample_distinct
from pyvqa.systems.ns_vqa.model.loss import reinforce_loss
from pyvqa.systems.ns_vqa.model.parser import QuestionParser
from pyvqa.systems.ns_vqa.reasoning import Executor

UNSET = -1.0  # a baseline that no batch has moved yet


def batch_mean_loss(
    parser: QuestionParser,
    batch: Batch,
    executor: Executor,
    settings: RewardConfig,
    baseline: Tensor,
    grammar: Grammar | None,
) -> dict[str, Tensor]:
    """Reward every program by the mean reward of the batch; the loss is a sum over programs."""
    memory = parser.encode(batch.questions, torch.tensor(batch.lengths))
    programs = sample(parser, memory, grammar=grammar, stop=parser.mask_padding)
    reward = executor.rewards(programs, batch.scenes, batch.answers).mean()
    # The running mean takes this batch's reward in before it is compared with it.
    advantage = reward - moved_baseline(baseline, reward, settings)
    loss, entropy = reinforce_loss(
        parser,
        memory,
        programs,
        advantage.expand(programs.shape[0]),
        entropy_weight=settings.entropy,
        grammar=grammar,
    )
    return {"loss": loss, "reward": reward, "entropy": entropy}


def per_sample_loss(
    parser: QuestionParser,
    batch: Batch,
    executor: Executor,
    settings: RewardConfig,
    baseline: Tensor,
    grammar: Grammar | None,
) -> dict[str, Tensor]:
    """Reward each of K programs a question by its own answer; the loss is a mean over programs.

    Programs are drawn without gradients. On a CPU a question's equal programs go through the pass
    with gradients once; without an entropy term, questions whose programs all earned the same are
    left out of it, since they carry no signal.
    """
    samples, lengths = settings.samples, torch.tensor(batch.lengths)
    on_cpu = batch.questions.device.type == "cpu"
    everything = bool(settings.entropy) or not on_cpu
    with torch.set_grad_enabled(everything):
        memory = parser.encode(batch.questions, lengths)
    if on_cpu:
        drawn = sample_distinct(parser, memory, samples, grammar=grammar)
    else:
        drawn = _apart(sample(parser, memory, samples, grammar=grammar), samples)
    programs, owner, copies = drawn
    rewards = executor.rewards(programs, batch.scenes[owner], batch.answers[owner])
    success = torch.zeros_like(lengths, dtype=torch.float32, device=rewards.device)
    success.index_add_(0, owner, rewards * copies / samples)
    total = success.shape[0] * samples
    weight = compare(rewards, success[owner], samples, baseline, settings) * copies / total
    undecided = (success > 0) & (success < 1)
    if not everything:
        kept = undecided if samples > 1 else torch.ones_like(undecided)
        kept[0] = True  # something must be left to make a loss of
        of_kept = kept[owner]
        programs, weight, copies = programs[of_kept], weight[of_kept], copies[of_kept]
        owner = (kept.cumsum(0) - 1)[owner[of_kept]]
        words = lengths[kept]
        memory = parser.encode(batch.questions[kept, : int(words.max())], words)
    loss, entropy = reinforce_loss(
        parser,
        memory,
        programs,
        weight,
        owner=owner if on_cpu else None,
        entropy_weight=settings.entropy * copies / total,
        grammar=grammar,
    )
    return {
        "loss": loss,
        "reward": success.mean(),
        "entropy": entropy,
        "solved": (success > 0).float().mean(),
        "undecided": undecided.float().mean(),
    }


def _apart(programs: Tensor, samples: int) -> Drawn:
    """Take programs [B * K, S] as they are, equal ones side by side."""
    owner = torch.arange(programs.shape[0], device=programs.device) // samples
    return Drawn(programs, owner, torch.ones_like(owner))


def compare(
    rewards: Tensor, success: Tensor, samples: int, baseline: Tensor, settings: RewardConfig
) -> Tensor:
    """Give each program's advantage over its question's other programs, [R].

    `success` [R] is the mean reward of all programs of the question. With one program a question
    the running mean of rewards takes the others' place.
    """
    if samples == 1:
        return rewards - torch.where(baseline == UNSET, rewards.mean(), baseline)
    advantage = (rewards - success) * (samples / (samples - 1))
    if settings.normalise:  # by the standard deviation of a reward of 0 or 1, at most 1 / 2
        spread = (success * (1 - success)).clamp(min=0).sqrt()
        advantage = advantage / (2 * spread).clamp(min=1 / samples)
    return advantage


def moved_baseline(baseline: Tensor, reward: Tensor, settings: RewardConfig) -> Tensor:
    """Move the running mean of rewards by one batch; the first one sets it if it is unset."""
    moved = settings.decay * baseline + (1 - settings.decay) * reward
    return torch.where(baseline == UNSET, reward, moved)
