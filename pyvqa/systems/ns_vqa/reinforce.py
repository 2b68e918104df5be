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
from pyvqa.systems.ns_vqa.model.decode import sample
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

    Programs are drawn without gradients. Without an entropy term, those that carry no signal (all
    of a question's programs earned the same) are left out of the pass with gradients, and equal
    programs of a question go through it once.
    """
    samples, lengths = settings.samples, torch.tensor(batch.lengths)
    everything = bool(settings.entropy) or batch.questions.device.type != "cpu"
    with torch.set_grad_enabled(everything):
        memory = parser.encode(batch.questions, lengths)
    programs = sample(parser, memory, samples, grammar=grammar)
    scenes, gold = (x.repeat_interleave(samples) for x in (batch.scenes, batch.answers))
    rewards = executor.rewards(programs, scenes, gold).view(-1, samples)
    advantage = compare(rewards, baseline) / rewards.numel()
    owner: Tensor | None = None
    if everything:
        advantage = advantage.flatten()
    else:
        kept = (advantage != 0).any(1)
        kept[0] = True  # something must be left to make a loss of
        programs = torch.unflatten(programs, 0, (-1, samples))[kept]
        programs, owner, advantage = merge_equal(programs, advantage[kept])
        words = lengths[kept]
        memory = parser.encode(batch.questions[kept, : int(words.max())], words)
    loss, entropy = reinforce_loss(
        parser,
        memory,
        programs,
        advantage,
        owner=owner,
        entropy_weight=settings.entropy / rewards.numel(),
        grammar=grammar,
    )
    return {
        "loss": loss,
        "reward": rewards.mean(),
        "entropy": entropy,
        "solved": (rewards > 0).any(1).float().mean(),
        "undecided": (rewards != rewards[:, :1]).any(1).float().mean(),
    }


def compare(rewards: Tensor, baseline: Tensor) -> Tensor:
    """Give each reward's advantage over the question's other programs: [B, K] -> [B, K].

    With one program a question, over the running mean of rewards instead.
    """
    samples = rewards.shape[1]
    if samples > 1:
        return (rewards - rewards.mean(1, keepdim=True)) * (samples / (samples - 1))
    return rewards - torch.where(baseline == UNSET, rewards.mean(), baseline)


def moved_baseline(baseline: Tensor, reward: Tensor, settings: RewardConfig) -> Tensor:
    """Move the running mean of rewards by one batch; the first one sets it if it is unset."""
    moved = settings.decay * baseline + (1 - settings.decay) * reward
    return torch.where(baseline == UNSET, reward, moved)


def merge_equal(programs: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Add up the advantages of a question's equal programs: [B, K, S], [B, K] -> [R, S], [R], [R].

    Returns programs, the question of each, and advantages.
    """
    questions, samples = programs.shape[:2]
    owner = torch.arange(questions).repeat_interleave(samples)
    rows = torch.cat((owner.unsqueeze(1), programs.flatten(0, 1)), 1)
    distinct, place = torch.unique(rows, dim=0, return_inverse=True)
    total = advantage.new_zeros(distinct.shape[0]).index_add(0, place, advantage.flatten())
    return distinct[:, 1:].contiguous(), distinct[:, 0].contiguous(), total
