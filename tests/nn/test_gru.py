"""The masked GRU against torch's own, and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyvqa.nn.gru import MASKS, GruMasks, PackedGru
from pyvqa.nn.question import Attention, QuestionEncoder
from pyvqa.nn.recurrent import pack_full, pack_lengths

LENGTHS = torch.tensor([2, 5, 1, 5])


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)


@pytest.mark.parametrize("both", [False, True])
def test_equal_to_torch(both: bool):
    torch.manual_seed(0)
    theirs = nn.GRU(3, 4, batch_first=True, bidirectional=both).double()
    ours = PackedGru(3, 4, masks="none", bidirectional=both, hidden_bias=True).double()
    for direction, suffix in zip(ours.directions, ("", "_reverse"), strict=False):
        for name, origin in [
            ("weight_input", "weight_ih"),
            ("weight_hidden", "weight_hh"),
            ("bias_input", "bias_ih"),
            ("bias_hidden", "bias_hh"),
        ]:
            getattr(direction, name).data.copy_(getattr(theirs, f"{origin}_l0{suffix}"))
    x = randn(4, 5, 3)
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(theirs(packed)[0], batch_first=True)
    packing = pack_lengths(LENGTHS, 5)
    y = packing.pad(ours(packing.pack(x), packing))
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    weight = randn(*y.shape, seed=1).detach()
    (dx,) = torch.autograd.grad((expected * weight).sum(), x, retain_graph=True)
    (expected * weight).sum().backward()
    (ours_dx,) = torch.autograd.grad((y * weight).sum(), x, retain_graph=True)
    torch.testing.assert_close(ours_dx, dx, rtol=1e-9, atol=1e-12)
    (y * weight).sum().backward()
    for direction, suffix in zip(ours.directions, ("", "_reverse"), strict=False):
        for name, origin in [("weight_hidden", "weight_hh"), ("bias_hidden", "bias_hh")]:
            reference = getattr(theirs, f"{origin}_l0{suffix}").grad
            torch.testing.assert_close(
                getattr(direction, name).grad, reference, rtol=1e-9, atol=1e-12
            )


@pytest.mark.parametrize("kind", ["gate", "state"])
def test_gradients_under_masks(kind: str):
    gru = PackedGru(2, 3, masks=kind, dropout=0.4, hidden_bias=True).double()
    packing = pack_lengths(torch.tensor([3, 1]), 3)
    masks = gru.draw_masks(2, torch.zeros((), dtype=torch.float64))
    parameters = list(gru.parameters())

    def run(x, *_):
        return gru(x, packing, masks)

    assert torch.autograd.gradcheck(run, (randn(4, 2), *parameters), atol=1e-6)


def test_a_state_mask_acts_on_all_of_the_state():
    gru = PackedGru(2, 3, masks="state", dropout=0.5).double()
    packing = pack_full(1, 2, torch.device("cpu"))
    ones = torch.ones(1, 1, 2, dtype=torch.float64)
    nothing = GruMasks(ones, torch.zeros(1, 1, 3, dtype=torch.float64))
    x = randn(1, 2).expand(2, 2)
    forgetful = gru(x, packing, nothing)
    torch.testing.assert_close(forgetful[0], forgetful[1])  # each step starts from nothing
    remembering = gru(x, packing, GruMasks(ones, torch.ones(1, 1, 3, dtype=torch.float64)))
    assert not torch.allclose(remembering[0], remembering[1])


@pytest.mark.parametrize("kind", ["gate", "state"])
def test_masks_are_drawn_in_training_alone(kind: str):
    torch.manual_seed(0)
    gru = PackedGru(4, 5, masks=kind, dropout=0.25)
    masks = gru.draw_masks(200, torch.zeros(()))
    assert masks.inputs.shape == (MASKS[kind], 200, 4)
    assert masks.hidden.shape == (MASKS[kind], 200, 5)
    for mask in masks:
        values, counts = mask.unique(return_counts=True)
        torch.testing.assert_close(values, torch.tensor([0.0, 1 / 0.75]))
        assert abs(counts[0] / mask.numel() - 0.25) < 0.05
    packing = pack_full(3, 2, torch.device("cpu"))
    x = torch.randn(6, 4)
    assert not torch.equal(gru(x, packing), gru(x, packing))
    gru.eval()
    assert torch.equal(gru(x, packing), gru(x, packing))


@pytest.mark.parametrize(
    "options",
    [
        {"masks": "none", "dropout": 0.1},
        {"masks": "word", "dropout": 0.0},
        {"masks": "gate", "bidirectional": True},
    ],
)
def test_impossible_options(options: dict):
    with pytest.raises(ValueError, match="masks"):
        PackedGru(2, 3, **options)


def encoder(glimpses: int = 2) -> QuestionEncoder:
    torch.manual_seed(0)
    gru = PackedGru(4, 6, dropout=0.25)
    attention = Attention(6, 5, glimpses) if glimpses else None
    return QuestionEncoder(9, gru, attention).double().eval()


@pytest.mark.parametrize("glimpses", [0, 1, 2])
def test_padding_changes_nothing(glimpses: int):
    model = encoder(glimpses)
    tokens = torch.tensor([[3, 4, 5, 0, 0, 0], [1, 2, 3, 4, 5, 6], [8, 0, 0, 0, 0, 0]])
    vectors, words = model(tokens, torch.tensor([3, 6, 1]))
    assert vectors.shape == (3, model.output_dim)
    for row, length in enumerate([3, 6, 1]):
        alone, weights = model(tokens[row : row + 1, :length], torch.tensor([length]))
        torch.testing.assert_close(alone[0], vectors[row])
        if glimpses:
            torch.testing.assert_close(weights[0], words[row, :, :length])
            torch.testing.assert_close(words[row].sum(1), torch.ones(glimpses).double())
            assert not words[row, :, length:].any()


def test_lengths_beyond_the_table_are_refused():
    with pytest.raises(ValueError, match="3 words in 2 columns"):
        encoder()(torch.tensor([[3, 4]]), torch.tensor([3]))


def test_huge_scores_and_empty_questions_stay_finite():
    model = encoder()
    model.attention.scores.weight.data.mul_(1e6)
    vectors, _ = model(torch.tensor([[3, 4], [0, 0]]), torch.tensor([2, 0]))
    assert vectors.isfinite().all()
    vectors.sum().backward()
    assert not model.embedding.weight.grad[0].any()  # padding is not trained
