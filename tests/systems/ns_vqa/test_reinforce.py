"""REINFORCE: what a drawn program earns, and that leaving out what carries no signal is exact."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from pyvqa.systems.ns_vqa import reinforce as module
from pyvqa.systems.ns_vqa.config import RewardConfig
from pyvqa.systems.ns_vqa.data import load_questions
from pyvqa.systems.ns_vqa.model.loss import imitation_loss, reinforce_loss
from pyvqa.systems.ns_vqa.model.parser import QuestionParser, token_lengths
from pyvqa.systems.ns_vqa.reinforce import (
    UNSET,
    batch_mean_loss,
    compare,
    moved_baseline,
    per_sample_loss,
)


@pytest.fixture(scope="module")
def setting(small):
    """A parser that has learnt a little, and a batch of questions."""
    torch.manual_seed(0)
    data = load_questions([small.questions("train")], [small.scenes("train")], small.vocabulary)
    sizes = len(small.vocabulary.words), len(small.vocabulary.functions)
    parser = QuestionParser(*sizes, word_dim=12, hidden=12, max_steps=10)
    adam = torch.optim.Adam(parser.parameters(), lr=0.01)
    batch = data.batch(torch.arange(24))
    for _ in range(60):
        loss = imitation_loss(parser, parser.encode(batch.questions), batch.programs)
        adam.zero_grad()
        loss.backward()
        adam.step()
    return parser, data, batch


def gradients(parser: QuestionParser, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(parser.parameters())))


def test_gold_programs_earn_their_reward(setting):
    _, data, batch = setting
    rewards = data.executor.rewards(batch.programs[:, 1:], batch.scenes, batch.answers)
    assert rewards.tolist() == [1.0] * 24
    wrong = data.executor.rewards(batch.programs[:, 1:], batch.scenes, batch.answers + 1)
    assert not wrong.any()


def test_compare_leaves_the_program_itself_out():
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0])
    found = compare(rewards, torch.full((4,), 0.5), 4, torch.tensor(0.3), RewardConfig())
    torch.testing.assert_close(found, torch.tensor([2 / 3, -2 / 3, -2 / 3, 2 / 3]))
    settled = compare(torch.ones(4), torch.ones(4), 4, torch.tensor(0.3), RewardConfig())
    assert not settled.any()


def test_compare_with_the_running_mean_when_programs_are_single():
    rewards, settings = torch.tensor([1.0, 0.0]), RewardConfig(samples=1)
    found = compare(rewards, rewards, 1, torch.tensor(0.25), settings)
    torch.testing.assert_close(found, torch.tensor([0.75, -0.25]))
    unset = compare(rewards, rewards, 1, torch.tensor(UNSET), settings)
    torch.testing.assert_close(unset, torch.tensor([0.5, -0.5]))


def test_normalised_advantages_of_a_question_have_one_size():
    """One right program of eight and one wrong of eight: the squares of the advantages agree."""
    settings = RewardConfig(samples=8, normalise=True)
    sizes = []
    for right in (1, 4, 7):
        rewards = torch.tensor([1.0] * right + [0.0] * (8 - right))
        success = torch.full((8,), right / 8)
        advantage = compare(rewards, success, 8, torch.tensor(0.0), settings)
        assert advantage.sum().item() == pytest.approx(0.0, abs=1e-6)
        sizes.append(advantage.square().mean().item())
    assert sizes == pytest.approx([sizes[0]] * 3, rel=1e-5)
    settled = compare(torch.zeros(8), torch.zeros(8), 8, torch.tensor(0.0), settings)
    assert not settled.any()


def test_the_baseline_starts_at_the_first_reward_and_moves():
    settings = RewardConfig(decay=0.9)
    first = moved_baseline(torch.tensor(UNSET), torch.tensor(0.4), settings)
    assert first.item() == pytest.approx(0.4)
    assert moved_baseline(first, torch.tensor(1.0), settings).item() == pytest.approx(0.46)


@pytest.mark.parametrize("entropy", [0.0, 0.1])
@pytest.mark.parametrize("grammar", [False, True])
def test_per_sample_loss_has_the_gradient_of_the_plain_estimator(setting, small, grammar, entropy):
    """Leaving out settled questions and merging equal programs must not change the gradient."""
    from pyvqa.data.vocabulary import inverse
    from pyvqa.systems.ns_vqa.grammar import Grammar
    from pyvqa.systems.ns_vqa.model.decode import sample_distinct

    parser, data, batch = setting
    held_to = Grammar(inverse(small.vocabulary.functions)) if grammar else None
    settings = RewardConfig(samples=6, entropy=entropy)
    torch.manual_seed(5)
    metrics = per_sample_loss(parser, batch, data.executor, settings, torch.tensor(UNSET), held_to)
    assert 0 < metrics["undecided"] < 1  # both kinds of questions are in the batch
    got = gradients(parser, metrics["loss"])

    torch.manual_seed(5)
    memory = parser.encode(batch.questions)
    drawn = sample_distinct(parser, memory, 6, grammar=held_to)
    assert drawn.copies.max() > 1  # merging has something to merge
    programs = drawn.programs.repeat_interleave(drawn.copies, 0)
    scenes, gold = (x.repeat_interleave(6) for x in (batch.scenes, batch.answers))
    rewards = data.executor.rewards(programs, scenes, gold)
    torch.testing.assert_close(metrics["reward"], rewards.mean())
    others = (rewards.view(-1, 6).sum(1, keepdim=True) - rewards.view(-1, 6)) / 5
    advantage = (rewards.view(-1, 6) - others).flatten() / rewards.numel()
    loss, spread = reinforce_loss(
        parser,
        memory,
        programs,
        advantage,
        entropy_weight=entropy / rewards.numel(),
        grammar=held_to,
    )
    assert spread > 0
    for a, b in zip(got, gradients(parser, loss), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_entropy_pushes_towards_undecided_distributions(setting):
    parser, data, batch = setting
    settings = RewardConfig(samples=4, entropy=0.5)
    torch.manual_seed(5)
    before = per_sample_loss(parser, batch, data.executor, settings, torch.tensor(UNSET), None)
    step = gradients(parser, before["loss"])
    moved = [p.detach().clone() for p in parser.parameters()]
    try:
        with torch.no_grad():
            for parameter, gradient in zip(parser.parameters(), step, strict=True):
                parameter -= 0.05 * gradient
        torch.manual_seed(5)
        after = per_sample_loss(parser, batch, data.executor, settings, torch.tensor(UNSET), None)
        assert after["entropy"] > before["entropy"]
    finally:
        with torch.no_grad():
            for parameter, old in zip(parser.parameters(), moved, strict=True):
                parameter.copy_(old)


def test_batch_mean_gives_all_programs_one_advantage(setting, monkeypatch):
    parser, data, batch = setting
    plain = QuestionParser(
        parser.word_embedding.num_embeddings,
        parser.function_embedding.num_embeddings,
        word_dim=12,
        hidden=12,
        max_steps=10,
        mask_padding=False,
    )
    plain.load_state_dict(parser.state_dict())
    seen = {}

    def spy(*args, **kwargs):
        seen["programs"], seen["advantage"] = args[2], args[3]
        return reinforce_loss(*args, **kwargs)

    monkeypatch.setattr(module, "reinforce_loss", spy)
    settings = RewardConfig(mode="batch_mean", samples=1, decay=0.9)
    torch.manual_seed(2)
    metrics = batch_mean_loss(plain, batch, data.executor, settings, torch.tensor(0.2), None)
    rewards = data.executor.rewards(seen["programs"], batch.scenes, batch.answers)
    advantage = rewards.mean() - (0.1 * rewards.mean() + 0.9 * 0.2)
    torch.testing.assert_close(seen["advantage"], advantage.expand(24))
    assert seen["programs"].shape == (24, 10)
    assert metrics["reward"] == rewards.mean()


def test_data_without_padding_none_needs(setting):
    _, data, batch = setting
    assert batch.questions.shape[1] == max(batch.lengths)
    assert batch.lengths == token_lengths(batch.questions, missing=1).tolist()
    assert torch.equal(batch.ids, torch.arange(24))
    assert data.has_program.all()
    assert dataclasses.replace(data, programs=data.programs * 0).has_program.any().item() is False
