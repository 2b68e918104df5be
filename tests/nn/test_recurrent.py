"""The packed LSTM against `nn.LSTM` on the same weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from pyvqa.nn.recurrent import State, TokenLstm, pack_full, pack_lengths

CASES = [([5, 3, 3, 1], 6, 40), ([1], 1, 3), ([2, 7, 4, 7, 7], 9, 5), ([4, 4], 4, 50)]


def make(layers: int, bidirectional: bool, words: int) -> tuple[TokenLstm, torch.Tensor]:
    torch.manual_seed(layers + words)
    lstm = TokenLstm(6, 5, layers, bidirectional=bidirectional).double()
    return lstm, torch.randn(words, 6, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("lengths", "steps", "words"), CASES)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("with_state", [False, True])
def test_equals_torch(lengths, steps, words, bidirectional, layers, with_state):
    lstm, embedding = make(layers, bidirectional, words)
    packing = pack_lengths(torch.tensor(lengths), steps)
    tokens = packing.pack(torch.randint(words, (len(lengths), steps)))
    shape = (layers * (1 + bidirectional), len(lengths), 5)
    first = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    state = State(first[0], first[1]) if with_state else None
    weights = [embedding, *lstm.parameters()] + ([first] if with_state else [])

    outputs, final = lstm(embedding, tokens, packing, state)
    packed = PackedSequence(embedding[tokens], torch.tensor(packing.sizes))
    expected, expected_final = nn.LSTM.forward(lstm, packed, state)
    for ours, theirs in [(outputs, expected.data), *zip(final, expected_final, strict=True)]:
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)

    out_grad, state_grad = torch.randn_like(outputs), torch.randn(2, *shape, dtype=torch.float64)
    roots = (out_grad, *state_grad)
    ours = torch.autograd.grad((outputs, *final), weights, roots)
    theirs = torch.autograd.grad((expected.data, *expected_final), weights, roots)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


def test_the_path_of_other_devices_gives_the_same():
    lstm, embedding = make(2, True, 30)
    packing = pack_lengths(torch.tensor([4, 9, 2]), 9)
    tokens = packing.pack(torch.randint(30, (3, 9)))
    outputs, state = lstm(embedding, tokens, packing)
    expected, expected_state = lstm._forward_torch(embedding, tokens, packing, None)
    torch.testing.assert_close(outputs, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(state, expected_state, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_float32_and_bfloat16_follow_float64():
    lstm, embedding = make(2, True, 30)
    packing = pack_lengths(torch.randint(1, 12, (9,)), 12)
    tokens = packing.pack(torch.randint(30, (9, 12)))
    exact, _ = lstm(embedding, tokens, packing)
    lstm, embedding = lstm.float(), embedding.float()
    single, _ = lstm(embedding, tokens, packing)
    torch.testing.assert_close(single, exact.float(), rtol=1e-5, atol=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = lstm(embedding, tokens, packing)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, exact.float(), rtol=0, atol=2e-2)


def test_packing_and_padding_are_inverse():
    lengths = torch.tensor([2, 5, 1, 5, 3])
    packing = pack_lengths(lengths, 7)
    padded = torch.arange(35).view(5, 7, 1).float() + 1
    alive = torch.arange(7)[None] < lengths[:, None]
    assert packing.sizes == [5, 4, 3, 2, 2]
    torch.testing.assert_close(packing.pad(packing.pack(padded)), padded * alive[..., None])
    assert torch.equal(packing.order[packing.restore], torch.arange(5))
    ends = packing.pack(padded)[packing.last][packing.restore]
    assert torch.equal(ends.flatten(), padded[torch.arange(5), lengths - 1, 0])


def test_full_packing_is_the_packing_of_equal_lengths():
    full, equal = pack_full(3, 4, torch.device("cpu")), pack_lengths(torch.full((3,), 4), 4)
    for a, b in zip(full, equal, strict=True):
        assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
