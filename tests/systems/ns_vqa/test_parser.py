"""The question parser's own promises: what padding, batches, stopping and sharing change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.model import loss as loss_module
from pyvqa.systems.ns_vqa.model.decode import greedy, sample, sample_distinct
from pyvqa.systems.ns_vqa.model.loss import imitation_loss, reinforce_loss
from pyvqa.systems.ns_vqa.model.parser import END, START, QuestionParser, token_lengths

WORDS, FUNCTIONS = 20, 11
SETTINGS = [
    {},
    {"attention": False},
    {"bidirectional": False, "layers": 1},
    {"layers": 3, "function_dim": 5},
]


def make(seed: int = 0, **settings: object) -> QuestionParser:
    torch.manual_seed(seed)
    options = {"word_dim": 6, "hidden": 7, "max_steps": 9, **settings}
    parser = QuestionParser(WORDS, FUNCTIONS, **options).double()
    for parameter in parser.parameters():
        parameter.data.mul_(2)  # fresh weights hardly tell inputs apart
    return parser


def framed(lengths: list[int], width: int, vocabulary: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(4, vocabulary, (len(lengths), width), generator=generator)
    rows[:, 0] = START
    for row, length in zip(rows, lengths, strict=True):
        row[length - 1] = END
        row[length:] = 0
    return rows


QUESTIONS = framed([5, 9, 3, 9, 6], 12, WORDS)
PROGRAMS = framed([4, 7, 9, 3, 5], 9, FUNCTIONS, seed=1)


def test_token_lengths():
    rows = torch.tensor([[1, 5, 2, 0], [1, 2, 2, 2], [1, 5, 5, 5]])
    assert token_lengths(rows).tolist() == [3, 2, 4]
    assert token_lengths(rows, missing=1).tolist() == [3, 2, 1]


@pytest.mark.parametrize("settings", SETTINGS)
def test_masked_results_do_not_depend_on_the_batch(settings):
    parser = make(**settings)
    memory = parser.encode(QUESTIONS)
    together = parser.score(memory, PROGRAMS).padded()
    programs = greedy(parser, memory)
    for k in range(len(QUESTIONS)):
        own = QUESTIONS[k : k + 1, : int(token_lengths(QUESTIONS)[k])]
        alone = parser.encode(own)
        scores = parser.score(alone, PROGRAMS[k : k + 1]).padded()
        torch.testing.assert_close(scores[0], together[k], rtol=0, atol=1e-12)
        assert torch.equal(greedy(parser, alone)[0], programs[k])


def test_unmasked_attention_depends_on_the_batch_and_masked_is_its_limit():
    plain, masked = make(mask_padding=False), make(mask_padding=True)
    same = QUESTIONS[[1, 3]]  # equal lengths: nothing is padded, so both modes agree
    ours, theirs = (p.score(p.encode(same), PROGRAMS[[1, 3]]).padded() for p in (masked, plain))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    alone = plain.score(plain.encode(QUESTIONS[2:3]), PROGRAMS[2:3]).padded()[0]
    together = plain.score(plain.encode(QUESTIONS), PROGRAMS).padded()[2]
    assert (alone - together).abs().max() > 1e-3


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("mask_padding", [True, False])
def test_stepping_follows_scoring(settings, mask_padding):
    """The step-by-step decoder picks exactly what the teacher-forced scores say."""
    parser = make(mask_padding=mask_padding, **settings)
    memory = parser.encode(QUESTIONS)
    programs = greedy(parser, memory, stop=False)
    inputs = torch.cat((torch.full_like(programs[:, :1], START), programs[:, :-1]), 1)
    assert torch.equal(parser.score(memory, inputs).padded().argmax(2), programs)


def test_dropout_silences_units_in_training_alone():
    parser, plain = make(dropout=0.5), make()
    expected = plain.score(plain.encode(QUESTIONS), PROGRAMS).padded()

    def score() -> Tensor:
        torch.manual_seed(3)
        return parser.score(parser.encode(QUESTIONS), PROGRAMS).padded()

    dropped = score()
    assert torch.equal(dropped, score())  # a function of the seed
    assert not torch.allclose(dropped, expected, atol=1e-3)
    with parser.without_dropout():
        assert torch.equal(score(), expected)
    assert torch.equal(dropped, score())
    assert torch.equal(parser.eval().score(parser.encode(QUESTIONS), PROGRAMS).padded(), expected)


def varied_parser(memory_of: Tensor) -> QuestionParser:
    """The first parser by seed whose programs end at different steps."""
    for seed in range(500):
        parser = make(seed=seed)
        programs = greedy(parser, parser.encode(memory_of), stop=False)
        if len(set(token_lengths(programs).tolist())) > 2:
            return parser
    raise AssertionError("no seed gives programs of different lengths")


def test_stopping_changes_nothing_before_the_end():
    parser = varied_parser(QUESTIONS)
    memory = parser.encode(QUESTIONS)
    full, stopped = greedy(parser, memory, stop=False), greedy(parser, memory)
    for row, other, length in zip(full, stopped, token_lengths(full).tolist(), strict=True):
        assert torch.equal(row[:length], other[:length])
        assert not other[length:].any()


def test_samples_follow_the_distribution():
    parser = make()
    memory = parser.encode(QUESTIONS[:2])
    torch.manual_seed(0)
    drawn = sample(parser, memory, samples=4000)
    first = torch.log_softmax(
        parser.score(memory, torch.full((2, 1), START)).padded()[:, 0], 1
    ).exp()
    for question in range(2):
        counts = torch.bincount(
            drawn[question * 4000 : (question + 1) * 4000, 0], minlength=FUNCTIONS
        )
        torch.testing.assert_close(counts / 4000, first[question].float(), rtol=0, atol=0.04)


def test_distinct_samples_are_counted_and_follow_the_distribution():
    parser = make()
    memory = parser.encode(QUESTIONS[:2])
    torch.manual_seed(0)
    drawn = sample_distinct(parser, memory, 4000)
    assert drawn.owner.tolist() == sorted(drawn.owner.tolist())
    rows = torch.cat((drawn.owner.unsqueeze(1), drawn.programs), 1)
    assert torch.unique(rows, dim=0).shape == rows.shape
    lengths = token_lengths(drawn.programs)
    for row, length in zip(drawn.programs, lengths.tolist(), strict=True):
        assert not row[length:].any()
    starts = torch.full_like(drawn.programs[:, :1], START)
    inputs = torch.cat((starts, drawn.programs[:, :-1]), 1)
    scores = parser.score(memory, inputs, lengths, drawn.owner)
    tokens = scores.packing.pack(drawn.programs[:, : scores.packing.steps])
    chosen = scores.packing.pad(scores.log_probs.gather(1, tokens.unsqueeze(1))).sum((1, 2))
    for question in range(2):
        mine = drawn.owner == question
        assert drawn.copies[mine].sum() == 4000
        often = mine & (drawn.copies >= 40)
        share = drawn.copies[often] / 4000
        torch.testing.assert_close(share, chosen[often].exp().float(), rtol=0, atol=0.04)


def test_scoring_several_programs_a_question_shares_its_memory():
    parser = make()
    memory = parser.encode(QUESTIONS)
    three = PROGRAMS.repeat_interleave(3, 0)
    three[1::3] = PROGRAMS.roll(1, 0)
    together = parser.score(memory, three).padded()
    owner = torch.arange(5).repeat_interleave(3)
    ragged = parser.score(memory, three, owner=owner).padded()
    torch.testing.assert_close(ragged, together, rtol=0, atol=1e-12)
    for k in range(15):
        alone = parser.score(memory.rows(owner[k : k + 1]), three[k : k + 1]).padded()[0]
        torch.testing.assert_close(alone, together[k], rtol=0, atol=1e-12)


def test_ragged_scoring_takes_any_order_and_any_number():
    parser = make()
    memory = parser.encode(QUESTIONS)
    owner = torch.tensor([3, 0, 3, 3, 2, 0])
    programs = PROGRAMS[[0, 1, 2, 3, 4, 0]]
    lengths = token_lengths(programs)
    scores = parser.score(memory, programs, lengths, owner).padded()
    for k, question in enumerate(owner.tolist()):
        alone = parser.score(memory.rows(torch.tensor([question])), programs[k : k + 1]).padded()[0]
        n = int(lengths[k])
        torch.testing.assert_close(scores[k, :n], alone[:n], rtol=0, atol=1e-12)
        assert not scores[k, n:].any()


def naive_nll(parser: QuestionParser) -> list[Tensor]:
    """Each program's negative log-likelihoods up to its <END>, one question at a time."""
    rows = []
    for k, length in enumerate(token_lengths(PROGRAMS).tolist()):
        memory = parser.encode(QUESTIONS[k : k + 1])
        scores = parser.score(memory, PROGRAMS[k : k + 1, : length - 1]).padded()[0]
        rows.append(-scores.gather(1, PROGRAMS[k, 1:length, None]).squeeze(1))
    return rows


def test_imitation_learns_from_real_tokens_alone():
    parser = make()
    expected = torch.cat(naive_nll(parser)).mean()
    loss = imitation_loss(parser, parser.encode(QUESTIONS), PROGRAMS)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-12)
    ours = torch.autograd.grad(loss, list(parser.parameters()))
    theirs = torch.autograd.grad(expected, list(parser.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_reinforce_loss_weighs_each_program():
    parser = make()
    advantage = torch.tensor([0.5, -1.0, 0.0, 2.0, -0.25], dtype=torch.float64)
    nll = naive_nll(parser)
    expected = sum(a * n.sum() for a, n in zip(advantage, nll, strict=True))
    loss, entropy = reinforce_loss(parser, parser.encode(QUESTIONS), PROGRAMS[:, 1:], advantage)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-11)
    assert 0 < entropy <= torch.tensor(FUNCTIONS).log()
    with_entropy, _ = reinforce_loss(
        parser, parser.encode(QUESTIONS), PROGRAMS[:, 1:], advantage, entropy_weight=0.1
    )
    steps = sum(len(n) for n in nll)
    torch.testing.assert_close(with_entropy - loss, -0.1 * entropy * steps, rtol=0, atol=1e-11)


def test_devices_that_compute_every_step_learn_the_same(monkeypatch):
    """Where counting would wait for the device, all steps are computed and padding is masked."""
    parser = make()
    advantage = torch.tensor([0.5, -1.0, 0.0, 2.0, -0.25], dtype=torch.float64)

    def losses() -> list[Tensor]:
        memory = parser.encode(QUESTIONS)
        drawn = reinforce_loss(parser, memory, PROGRAMS[:, 1:], advantage, entropy_weight=0.1)
        return [imitation_loss(parser, memory, PROGRAMS), *drawn]

    packed = losses()
    monkeypatch.setattr(loss_module, "_written", lambda *_: None)
    for ours, theirs in zip(losses(), packed, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


def test_reading_past_the_longest_question_changes_nothing():
    parser = make()
    wide = torch.cat((QUESTIONS, torch.zeros(5, 20, dtype=torch.int64)), 1)
    for a, b in zip(parser.encode(wide).state, parser.encode(QUESTIONS).state, strict=True):
        assert torch.equal(a, b)


def test_config_names_every_choice_of_the_network():
    import inspect

    options = set(inspect.signature(QuestionParser.__init__).parameters) - {"self"}
    known = set(ParserConfig.__dataclass_fields__)
    assert options - {"words", "functions"} == known - {"word_vectors", "freeze_words"}
