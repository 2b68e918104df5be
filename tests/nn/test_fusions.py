"""Fusions: broadcasting, gradients, dropout, edge cases."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pyvqa.nn.fusions import FUSIONS, fusion_options
from pyvqa.nn.fusions.base import root_normalise
from pyvqa.nn.fusions.block import Block, Mutan, chunk_sizes, rank_product

SMALL = {
    "block": {"mm_dim": 10, "chunks": 3, "rank": 2},
    "block_tucker": {"mm_dim": 7, "chunks": 2},
    "mutan": {"mm_dim": 6, "rank": 3, "normalize": True},
    "tucker": {"mm_dim": 5, "normalize": True},
    "mlb": {"mm_dim": 6, "normalize": True, "activ_output": "tanh"},
    "mfb": {"mm_dim": 4, "factor": 3, "normalize": True},
    "mfh": {"mm_dim": 4, "factor": 3, "activ_input": "sigmoid"},
    "mcb": {"mm_dim": 9},
    "linear_sum": {"mm_dim": 6, "activ_input": None},
    "cat_mlp": {"dimensions": [6, 5], "activation": "tanh"},
}


def make(kind: str, **more):
    torch.manual_seed(3)
    return FUSIONS[kind]((5, 4), 3, **{**SMALL[kind], **more}).double()


def rows(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator, requires_grad=True)


def test_every_fusion_is_tested():
    assert set(SMALL) == set(FUSIONS)


@pytest.mark.parametrize("kind", FUSIONS)
def test_broadcasting_changes_nothing(kind: str):
    fusion = make(kind)
    one, many = rows(2, 1, 5), rows(2, 3, 4, seed=1)
    y = fusion(one, many)
    weight = rows(*y.shape, seed=2).detach()
    names = dict(fusion.named_parameters())
    inputs = [one, many, *names.values()]
    ours = torch.autograd.grad((y * weight).sum(), inputs, allow_unused=True)
    plain = fusion(one.expand(2, 3, 5).reshape(6, 5), many.reshape(6, 4)).view(2, 3, 3)
    theirs = torch.autograd.grad((plain * weight).sum(), inputs, allow_unused=True)
    torch.testing.assert_close(y, plain, rtol=0, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "chunk", "all"])
def test_rank_product_has_the_right_gradient(norm: str):
    block = Block((5, 5), 3, mm_dim=5, chunks=2, rank=2).double()
    left, right = list(block.merge_linears0), list(block.merge_linears1)
    a, b = rows(2, 1, 5), rows(1, 3, 5, seed=1)
    weights = [w for layer in (*left, *right) for w in (layer.weight, layer.bias)]

    def run(a, b, *_):
        return rank_product(a, b, left, right, 2, norm)

    assert torch.autograd.gradcheck(run, (a, b, *weights), eps=1e-7, atol=1e-5, rtol=1e-3)


def test_rank_sums_and_normalises_as_written():
    fusion = make("block", mm_dim=7, chunks=2)
    x0, x1 = rows(4, 5), rows(4, 4, seed=1)
    a, b = fusion.linear0(x0), fusion.linear1(x1)
    chunks = []
    for c, (ac, bc) in enumerate(zip(a.split([4, 3], 1), b.split([4, 3], 1), strict=True)):
        u, v = fusion.merge_linears0[c](ac), fusion.merge_linears1[c](bc)
        z = (u * v).view(4, 2, -1).sum(1)
        chunks.append(F.normalize(torch.sqrt(F.relu(z)) - torch.sqrt(F.relu(-z)), dim=1))
    expected = fusion.linear_out(torch.cat(chunks, 1))
    torch.testing.assert_close(fusion(x0, x1), expected, rtol=0, atol=1e-12)


def test_roots_of_nothing_have_no_gradient():
    z = torch.tensor([[0.0, 0.0], [4.0, 0.0], [-1e-30, 1e-30]], dtype=torch.float64)
    z.requires_grad_()
    y = root_normalise(z)
    torch.testing.assert_close(y[:2], torch.tensor([[0.0, 0.0], [1.0, 0.0]]).double())
    small = 1e-15 / 1e-12  # too short to be brought to unit length: divided by 1e-12 instead
    torch.testing.assert_close(y[2], torch.tensor([-small, small]).double())
    y.backward(torch.ones_like(y))
    assert torch.equal(z.grad[0], torch.zeros(2).double())
    assert z.grad.isfinite().all()
    assert z.grad[1, 0].abs() < 1e-12  # the length is one whatever the entry is


@pytest.mark.parametrize("kind", FUSIONS)
def test_no_rows(kind: str):
    fusion = make(kind)
    x0, x1 = rows(0, 5), rows(0, 4)
    y = fusion(x0, x1)
    assert y.shape == (0, 3)
    y.sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in fusion.parameters())


@pytest.mark.parametrize("kind", [k for k in FUSIONS if "dropout_input" in fusion_options(k)])
def test_dropout_draws_for_every_pair(kind: str):
    # Without an activation, so that no entry is silent beforehand.
    plain = {"activ_input": None} if "activ_input" in fusion_options(kind) else {}
    fusion = make(kind, dropout_input=0.5, **plain)
    one, same = rows(1, 1, 5), rows(1, 1, 4, seed=1).expand(1, 64, 4)
    fusion.train()
    assert len(fusion(one, same)[0].detach().unique(dim=0)) > 8
    fusion.eval()
    assert len(fusion(one, same)[0].detach().unique(dim=0)) == 1
    assert torch.equal(fusion(one, same), make(kind, **plain).eval()(one, same))


@pytest.mark.parametrize("kind", FUSIONS)
@pytest.mark.parametrize(
    "option", ["dropout_pre_lin", "dropout_pre_norm", "dropout_output", "dropout"]
)
def test_other_dropouts_silence_in_training_alone(kind: str, option: str):
    if option not in fusion_options(kind):
        with pytest.raises(TypeError):
            make(kind, **{option: 0.5})
        return
    fusion, x0, x1 = make(kind, **{option: 0.5}), rows(8, 5), rows(8, 4, seed=1)
    assert not torch.equal(fusion(x0, x1), fusion(x0, x1))
    assert torch.equal(fusion.eval()(x0, x1), make(kind).eval()(x0, x1))


def test_ends_linear_says_what_follows():
    assert make("block").ends_linear
    assert not make("mlb").ends_linear
    dropped = make("block", dropout_output=0.1)
    assert not dropped.ends_linear
    assert dropped.eval().ends_linear


@pytest.mark.parametrize(
    ("width", "chunks", "sizes"),
    [
        (1600, 20, [80] * 20),
        (20, 3, [7, 7, 6]),
        (10, 8, [2, 2, 1, 1, 1, 1, 1, 1]),
        (6, 4, [2, 2, 2, 0]),
        (5, 1, [5]),
    ],
)
def test_chunk_sizes(width: int, chunks: int, sizes: list[int]):
    assert chunk_sizes(width, chunks) == sizes


def test_chunks_always_add_up():
    for width in range(1, 40):
        for chunks in range(1, width + 1):
            sizes = chunk_sizes(width, chunks)
            assert sum(sizes) == width
            assert len(sizes) == chunks
            assert min(sizes) >= 0


def test_an_empty_last_chunk_is_no_trouble():
    fusion = Block((5, 4), 3, mm_dim=6, chunks=4, rank=2).double()
    y = fusion(rows(2, 5), rows(2, 4))
    y.sum().backward()
    assert y.isfinite().all()
    assert fusion.linear0.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("block", {"chunks": 11}),
        ("block", {"rank": 0}),
        ("block", {"pos_norm": "later"}),
        ("block", {"dropout_input": 1.0}),
        ("block", {"shared": True}),
        ("mutan", {"mm_dim": 0}),
        ("mlb", {"activ_input": "rule"}),
        ("cat_mlp", {"dimensions": []}),
        ("cat_mlp", {"dropout": -0.1}),
    ],
)
def test_impossible_options(kind: str, options: dict):
    with pytest.raises(ValueError, match=r".+"):
        make(kind, **options)


def test_shared_weights_count_and_save_once():
    shared = Mutan((5, 5), 3, mm_dim=4, rank=2, shared=True)
    assert shared.linear0 is shared.linear1
    assert shared.n_params == (5 * 4 + 4) + (4 * 8 + 8) + (4 * 3 + 3)
    other = Mutan((5, 5), 3, mm_dim=4, rank=2, shared=True)
    other.load_state_dict(shared.state_dict())
    x0, x1 = torch.randn(2, 5), torch.randn(2, 5)
    assert torch.equal(other(x0, x1), shared(x0, x1))


def test_bfloat16_products_keep_float32_results():
    torch.manual_seed(0)
    fusion = Block((16, 12), 8, mm_dim=20, chunks=4, rank=3)
    x0, x1 = torch.randn(6, 16), torch.randn(6, 12)
    exact = fusion(x0, x1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = fusion(x0, x1)
    rounded.sum().backward()
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1
    assert fusion.linear0.weight.grad.dtype == torch.float32
