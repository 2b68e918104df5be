"""One step of NS-VQA's question parser against the same network written with plain `nn.LSTM`.

The rival is what the original is made of: packed encoder, decoder over all padded steps, attention
by two batched products, `torch.optim.Adam`. Equality first, then time, one thread, batch 64,
default size. Questions have the length statistics of CLEVR.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.programs.clevr import FUNCTIONS as FUNCTION_STRINGS
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.decode import greedy, sample
from pyvqa.systems.ns_vqa.model.loss import imitation_loss, reinforce_loss
from pyvqa.systems.ns_vqa.model.parser import END, START, QuestionParser, token_lengths
from pyvqa.systems.ns_vqa.reasoning import Executor
from pyvqa.train.optim import build_optimiser
from pyvqa.train.settings import OptimConfig
from pyvqa.world.scenes import sample_scenes

WORDS, FUNCTIONS, BATCH, QUESTION, PROGRAM = 92, 44, 64, 46, 27
ROUNDS, WARM_UP = 10, 3


class PlainParser(nn.Module):
    """The network in torch's own layers; no masking, every step computed."""

    def __init__(self) -> None:
        super().__init__()
        self.word_embedding = nn.Embedding(WORDS, 300)
        self.encoder = nn.LSTM(300, 256, 2, batch_first=True, bidirectional=True)
        self.function_embedding = nn.Embedding(FUNCTIONS, 300)
        self.decoder = nn.LSTM(300, 512, 2, batch_first=True)
        self.classify = nn.Linear(512, FUNCTIONS)
        self.attend = nn.Linear(1024, 512)

    def encode(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        packed = pack_padded_sequence(self.word_embedding(x), lengths, batch_first=True)
        outputs, state = self.encoder(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True)
        h, c = (torch.cat((s[0::2], s[1::2]), 2).contiguous() for s in state)
        return outputs, (h, c)

    def decode(
        self, y: Tensor, memory: Tensor, state: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        states, state = self.decoder(self.function_embedding(y), state)
        weights = torch.softmax(torch.bmm(states, memory.transpose(1, 2)), 2)
        joint = torch.cat((torch.bmm(weights, memory), states), 2)
        return torch.log_softmax(self.classify(torch.tanh(self.attend(joint))), 2), state

    def loss(self, x: Tensor, lengths: Tensor, y: Tensor) -> Tensor:
        log_probs, _ = self.decode(y, *self.encode(x, lengths))
        return F.nll_loss(log_probs[:, :-1].flatten(0, 1), y[:, 1:].flatten())

    def write(self, x: Tensor, lengths: Tensor, draw: bool) -> tuple[Tensor, list[Tensor]]:
        memory, state = self.encode(x, lengths)
        token, tokens, steps = torch.full((x.shape[0], 1), START), [], []
        for _ in range(PROGRAM):
            log_probs, state = self.decode(token, memory, state)
            log_probs = log_probs.squeeze(1)
            steps.append(log_probs)
            token = torch.multinomial(log_probs.exp(), 1) if draw else log_probs.argmax(1, True)
            tokens.append(token.detach())
        return torch.cat(tokens, 1), steps

    def reinforce(self, x: Tensor, lengths: Tensor, advantage: float) -> Tensor:
        tokens, steps = self.write(x, lengths, draw=True)
        chosen = [s.gather(1, t[:, None]) for s, t in zip(steps, tokens.unbind(1), strict=True)]
        return -advantage * torch.cat(chosen).sum()


def framed(lengths: Tensor, width: int, vocabulary: int) -> Tensor:
    """Random token rows `<START> ... <END>` of the given lengths, padded to `width`."""
    rows = torch.randint(4, vocabulary, (lengths.shape[0], width))
    rows[:, 0] = START
    rows.scatter_(1, lengths[:, None] - 1, END)
    return rows.masked_fill(torch.arange(width)[None] >= lengths[:, None], 0)


Batch = tuple[Tensor, Tensor, Tensor]


def make_batch(seed: int) -> Batch:
    """Questions [B, T], sorted by length as the rival needs, their lengths, programs [B, L]."""
    torch.manual_seed(seed)
    # Mean and spread of CLEVR: questions 20.7 +- 6.8 framed words, programs 13.2 +- 4.2 tokens.
    words = (20.7 + 6.8 * torch.randn(BATCH)).round().clamp(6, QUESTION).long()
    words, _ = words.sort(descending=True)
    functions = (13.2 + 4.2 * torch.randn(BATCH)).round().clamp(4, PROGRAM).long()
    x, y = framed(words, QUESTION, WORDS), framed(functions, PROGRAM, FUNCTIONS)
    assert torch.equal(token_lengths(x), words)
    return x, words, y


@pytest.fixture(scope="module")
def batches() -> Iterator[list[Batch]]:
    """A new batch for every step: kernels made for one batch's sizes do not help with the next."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield [make_batch(seed) for seed in range(ROUNDS)]
    torch.set_num_threads(threads)


def parsers(mask_padding: bool) -> tuple[PlainParser, QuestionParser]:
    """The rival and ours with the same weights."""
    torch.manual_seed(1)
    plain, ours = PlainParser(), QuestionParser(WORDS, FUNCTIONS, mask_padding=mask_padding)
    ours.load_state_dict(plain.state_dict())
    return plain, ours


def training_step(
    loss: Callable[[Batch], Tensor], optimiser: torch.optim.Optimizer
) -> Callable[[Batch], float]:
    def step(batch: Batch) -> float:
        optimiser.zero_grad(set_to_none=True)
        value = loss(batch)
        value.backward()
        optimiser.step()
        return value.item()

    return step


def ratio(
    rival: Callable[[Batch], object], ours: Callable[[Batch], object], batches: list[Batch]
) -> float:
    """How many times longer the rival takes: the median over batches, both in turn on each.

    Processor time of this one thread, so that a busy machine disturbs little.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for k, batch in enumerate(batches):
        for run, record in zip((rival, ours), times, strict=True):
            start = time.thread_time()
            run(batch)
            if k >= WARM_UP:
                record.append(time.thread_time() - start)
    theirs, mine = (statistics.median(record) * 1e3 for record in times)
    print(f"\n  rival {theirs:.1f} ms, ours {mine:.1f} ms, {theirs / mine:.2f}x")
    return theirs / mine


def masked_reference(plain: PlainParser, x: Tensor, lengths: Tensor, y: Tensor) -> Tensor:
    """The new mode's loss from the rival's layers, one question at a time."""
    total, count = torch.zeros(()), 0
    for row in range(x.shape[0]):
        steps = int((y[row] == END).nonzero()[0]) + 1
        memory, state = plain.encode(x[row : row + 1], lengths[row : row + 1])
        log_probs, _ = plain.decode(y[row : row + 1, :steps], memory, state)
        total = total + F.nll_loss(log_probs[0, :-1], y[row, 1:steps], reduction="sum")
        count += steps - 1
    return total / count


def test_supervised_step_like_the_original(batches):
    plain, ours = parsers(mask_padding=False)

    def loss(batch: Batch) -> Tensor:
        x, lengths, y = batch
        return imitation_loss(ours, ours.encode(x, lengths), y)

    expected, got = plain.loss(*batches[0]), loss(batches[0])
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    rival = training_step(lambda batch: plain.loss(*batch), torch.optim.Adam(plain.parameters()))
    assert ratio(rival, training_step(loss, adam(ours)), batches) >= 1.0


@pytest.mark.parametrize(("precision", "target"), [("float32", 1.4), ("bfloat16", 2.5)])
def test_supervised_step_of_new_models(batches, precision, target):
    if precision == "bfloat16" and "avx512_bf16" not in cpu_flags():
        pytest.skip("this processor has no bfloat16 products")
    plain, ours = parsers(mask_padding=True)

    def loss(batch: Batch) -> Tensor:
        x, lengths, y = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return imitation_loss(ours, ours.encode(x, lengths), y)

    with torch.no_grad():
        expected = masked_reference(plain, *batches[0])
    close = 1e-5 if precision == "float32" else 1e-2
    torch.testing.assert_close(loss(batches[0]), expected, rtol=0, atol=close)
    rival = training_step(lambda batch: plain.loss(*batch), torch.optim.Adam(plain.parameters()))
    assert ratio(rival, training_step(loss, adam(ours)), batches) >= target


def adam(parser: QuestionParser) -> torch.optim.Optimizer:
    """The optimiser that the training loop would make."""
    return build_optimiser(parser.parameters(), OptimConfig(lr=1e-3))


def cpu_flags() -> set[str]:
    try:
        with open("/proc/cpuinfo") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(line.split())


@torch.no_grad()
def test_greedy_parse(batches):
    plain, ours = parsers(mask_padding=False)

    def rival(batch: Batch) -> Tensor:
        return plain.write(batch[0], batch[1], draw=False)[0]

    def parse(batch: Batch) -> Tensor:
        return greedy(ours, ours.encode(batch[0], batch[1]), stop=False)

    assert torch.equal(parse(batches[0]), rival(batches[0]))
    assert ratio(rival, parse, batches) >= 1.0


def test_reinforce_step(batches):
    plain, ours = parsers(mask_padding=False)
    x, lengths, _ = batches[0]
    with torch.no_grad():
        programs, _ = plain.write(x, lengths, draw=True)
        inputs = torch.cat((torch.full_like(programs[:, :1], START), programs[:, :-1]), 1)
        expected, _ = plain.decode(inputs, *plain.encode(x, lengths))
        scores = ours.score(ours.encode(x, lengths), inputs)
        torch.testing.assert_close(scores.padded(), expected, rtol=0, atol=1e-5)

    def loss(batch: Batch) -> Tensor:
        memory = ours.encode(batch[0], batch[1])
        drawn = sample(ours, memory, stop=False)
        return reinforce_loss(ours, memory, drawn, torch.full((BATCH,), 0.1))[0]

    rival = training_step(
        lambda batch: plain.reinforce(batch[0], batch[1], 0.1),
        torch.optim.Adam(plain.parameters()),
    )
    assert ratio(rival, training_step(loss, adam(ours)), batches) >= 1.0


def test_reward_is_a_small_part_of_a_step(batches):
    """The executor's share of a REINFORCE step with several programs a question: below 1 %."""
    names = ["<NULL>", "<START>", "<END>", "<UNK>", *FUNCTION_STRINGS]
    functions = {name: k for k, name in enumerate(names)}
    answers = {str(n): n for n in range(11)} | {"yes": 11, "no": 12}
    vocabulary = ClevrVocabulary({}, functions, answers)
    executor = Executor.of(sample_scenes(0, 0, BATCH).pack(), vocabulary)
    _, ours = parsers(mask_padding=True)
    optimiser = adam(ours)
    samples, owner = 8, torch.arange(BATCH).repeat_interleave(8)
    gold = torch.zeros(BATCH * samples, dtype=torch.int64)
    grammar = Grammar(names)
    whole, part = 0.0, 0.0
    for x, lengths, _ in batches[:3]:
        start = time.thread_time()
        memory = ours.encode(x, lengths)
        drawn = sample(ours, memory, samples, grammar=grammar)
        before = time.thread_time()
        rewards = executor.rewards(drawn, owner, gold)
        part += time.thread_time() - before
        optimiser.zero_grad()
        loss, _ = reinforce_loss(ours, memory, drawn, rewards - rewards.mean(), grammar=grammar)
        loss.backward()
        optimiser.step()
        whole += time.thread_time() - start
    print(f"\n  reward {part / 3 * 1e3:.3f} ms of {whole / 3 * 1e3:.0f} ms, {part / whole:.3%}")
    assert part < 0.01 * whole
