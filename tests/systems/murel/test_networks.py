"""MuRel's modules: relations by node and by pair, regions left out, the paper's gradient."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from pyvqa.errors import ConfigError
from pyvqa.systems.murel.build import build_network, build_pairwise
from pyvqa.systems.murel.config import FusionConfig, PairwiseConfig
from pyvqa.systems.murel.model import pairwise as pairwise_module
from pyvqa.systems.murel.model.aggregate import AGGREGATES, pool_regions, reduce_regions
from pyvqa.systems.murel.model.network import MurelNet
from pyvqa.systems.murel.model.reference import answer_by_pairs, relate_pairs

from .conftest import REGION, attention, block, murel, question, relation

WORDS, ANSWERS = ["", "UNK", "a", "b", "c"], 3
MASK = torch.tensor([[True, True, False, True, True], [True, False, True, True, False]])


def relations(**settings):
    torch.manual_seed(1)
    given = {"coordinates": block(), "features": block(10, 3)}
    return build_pairwise(PairwiseConfig(**{**given, **settings}), REGION).double()


def pictures(batch: int = 2, regions: int = 5):
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(batch, regions, REGION, dtype=torch.float64, generator=generator)
    boxes = torch.rand(batch, regions, 4, dtype=torch.float64, generator=generator)
    return x.requires_grad_(), boxes


@pytest.mark.parametrize("at_once", [None, 8192, 3], ids=["kernel", "whole", "blocks"])
@pytest.mark.parametrize("valid", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"features": None},
        {"coordinates": None, "residual": False},
        {"features": block(9, 2, pos_norm="after_cat"), "detach_inputs": True},
        {"features": FusionConfig(type="mutan", mm_dim=5, rank=2)},
        {"features": FusionConfig(type="mlb", mm_dim=5, activ_output="tanh")},
        {"features": FusionConfig(type="mlb", mm_dim=5, activ_output="none")},
        {"features": FusionConfig(type="mfb", mm_dim=3, factor=2, activ_output="none")},
        *({"aggregate": name} for name in AGGREGATES if name != "max"),
    ],
    ids=lambda settings: " ".join(f"{k}={getattr(v, 'type', v)}" for k, v in settings.items()),
)
def test_by_node_is_by_pair(settings, valid, at_once: int | None, monkeypatch):
    monkeypatch.setattr(pairwise_module, "PAIRS_AT_ONCE", at_once or 0)
    module = relations(**settings)
    x, boxes = pictures()
    relate = module.by_blocks if at_once else module
    ours = relate(x, module.prepare(boxes), valid)
    theirs = relate_pairs(module, x, boxes, valid)
    torch.testing.assert_close(ours.regions, theirs.regions, rtol=0, atol=1e-12)
    if settings.get("aggregate", "max") == "max":
        assert torch.equal(ours.winner, theirs.winner)
    else:
        assert ours.winner is None
    weight = torch.randn(*x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    inputs = [x, *module.parameters()]
    gradients = [
        torch.autograd.grad((y.regions * weight).sum(), inputs, allow_unused=True)
        for y in (ours, theirs)
    ]
    for a, b in zip(*gradients, strict=True):
        if a is not None or b is not None:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_the_kernel_is_used_where_it_can_be(monkeypatch):
    module = relations()
    x, boxes = pictures()
    taken = []
    monkeypatch.setattr(
        pairwise_module,
        "_by_kernel",
        lambda parts, valid: taken.append(1) or module._by_blocks(parts, valid),
    )
    module(x, module.prepare(boxes))
    assert taken == [1]
    for settings in ({"aggregate": "sum"}, {"features": block(10, 3, dropout_input=0.5)}):
        other = relations(**settings)
        other(x, other.prepare(boxes))
        assert taken == [1]
    dropped = relations(features=block(10, 3, dropout_input=0.5)).eval()
    dropped(x, dropped.prepare(boxes))
    assert taken == [1, 1]


def test_the_papers_gradient_goes_through_the_residual_alone():
    x, boxes = pictures()
    module = relations(detach_inputs=True)
    module(x, module.prepare(boxes)).regions.sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
    assert module.features.linear0.weight.grad.abs().max() > 0
    current = relations()
    x.grad = None
    current(x, current.prepare(boxes)).regions.sum().backward()
    assert not torch.equal(x.grad, torch.ones_like(x))


def test_the_first_of_equals_wins():
    module = relations()
    x = torch.ones(1, 4, REGION, dtype=torch.float64)
    boxes = torch.full((1, 4, 4), 0.5, dtype=torch.float64)
    assert not module(x, module.prepare(boxes)).winner.any()


def test_dropout_before_the_product_is_drawn_for_each_pair():
    module = relations(features=block(10, 3, dropout_input=0.5))
    x = torch.ones(1, 6, REGION, dtype=torch.float64)
    boxes = module.prepare(torch.full((1, 6, 4), 0.5, dtype=torch.float64))
    module.train()
    assert module(x, boxes).winner.unique().numel() > 1
    assert module.eval()(x, boxes).winner.unique().numel() == 1


@pytest.mark.parametrize("how", AGGREGATES)
def test_left_out_regions_do_not_count(how: str):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 6, 4, dtype=torch.float64, generator=generator)
    valid = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 1, 1, 0, 0, 0], [0] * 6]).bool()
    reduced, _ = reduce_regions(values, how, valid)
    for row in range(2):
        alone, _ = reduce_regions(values[row][valid[row]], how, None)
        torch.testing.assert_close(reduced[row], alone)
    assert not reduced[2].any()


def build(config):
    torch.manual_seed(2)
    return build_network(config, WORDS, ANSWERS).double().eval()


TOKENS, LENGTHS = torch.tensor([[2, 3, 4], [1, 2, 0]]), torch.tensor([3, 2])


@pytest.mark.parametrize(
    "config",
    [
        murel(),
        murel(relation=relation(shared=False, aggregate="mean", residual=False)),
        murel(relation=relation(pairwise=None), question=question(attention=False)),
        murel(relation=relation(aggregate="max+mean"), region_scale=0.5),
        attention(),
        attention(glimpses=2, region_scale=0.5),
    ],
    ids=["murel", "two cells", "no pairs", "max and mean", "attention", "two glimpses"],
)
def test_regions_that_are_not_there_change_nothing(config):
    network = build(config)
    x, boxes = pictures()
    logits, reasoning = network(TOKENS, LENGTHS, x, boxes, MASK)
    assert logits.shape == (2, ANSWERS)
    for row in range(2):
        there = MASK[row]
        alone, _ = network(
            TOKENS[row : row + 1],
            LENGTHS[row : row + 1],
            x[row, there][None],
            boxes[row, there][None],
        )
        torch.testing.assert_close(alone[0], logits[row])
    logits.sum().backward()
    assert not x.grad[~MASK].any()
    if isinstance(network, MurelNet):
        assert len(reasoning.steps) == 2
        if reasoning.steps[0].winner is not None:
            assert reasoning.steps[0].winner.shape == x.shape
    else:
        torch.testing.assert_close(
            reasoning.regions.sum(2), torch.ones_like(reasoning.regions[..., 0])
        )
        assert not reasoning.regions.transpose(1, 2)[~MASK].any()


@pytest.mark.parametrize("config", [murel(), attention(glimpses=2)], ids=["murel", "attention"])
def test_a_picture_without_regions_gives_an_answer(config):
    network = build(config)
    x, boxes = pictures()
    valid = MASK.clone()
    valid[1] = False
    logits, _ = network(TOKENS, LENGTHS, x, boxes, valid)
    logits.sum().backward()
    assert logits.isfinite().all()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("config", [murel(), attention(glimpses=2)], ids=["murel", "attention"])
def test_no_regions_at_all(config):
    network = build(config)
    logits, _ = network(TOKENS, LENGTHS, *(x[:, :0] for x in pictures()))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert logits.shape == (2, ANSWERS)
    blocks = relations()
    x, boxes = (values[:, :0] for values in pictures())
    assert blocks.by_blocks(x, blocks.prepare(boxes)).regions.shape == (2, 0, REGION)
    assert blocks(x, blocks.prepare(boxes)).regions.shape == (2, 0, REGION)


def test_chosen_regions_and_winners_explain_the_answer():
    network = build(murel())
    x, boxes = pictures()
    _, reasoning = network(TOKENS, LENGTHS, x, boxes)
    last = reasoning.steps[-1].regions
    best = last.gather(1, reasoning.chosen[:, None]).squeeze(1)
    torch.testing.assert_close(best, last.amax(1))
    assert reasoning.words.shape == (2, 2, 3)


@pytest.mark.parametrize("config", [murel(), attention(glimpses=2)], ids=["murel", "attention"])
def test_bfloat16_products_keep_float32_results(config):
    network = build(config).float().train()
    x, boxes = (values.detach().float() for values in pictures())
    torch.manual_seed(0)
    exact = network(TOKENS, LENGTHS, x, boxes).logits
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, reasoning = network(TOKENS, LENGTHS, x, boxes)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1
    rounded.sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name
    assert all(step.regions.dtype == torch.float32 for step in reasoning.steps)


def test_several_aggregates_stand_side_by_side():
    one, two = (build(murel(relation=relation(aggregate=how))) for how in ("max", "mean+max"))
    assert two.classify.input_dims[1] == 2 * one.classify.input_dims[1] == 2 * REGION
    x, boxes = pictures()
    *_, chosen, _ = two(TOKENS, LENGTHS, x, boxes).reasoning
    last = two(TOKENS, LENGTHS, x, boxes).reasoning.steps[-1].regions
    pooled, winner = pool_regions(last, "mean+max", None)
    torch.testing.assert_close(pooled, torch.cat([last.mean(1), last.amax(1)], 1))
    assert torch.equal(winner, chosen)
    assert torch.equal(chosen, last.argmax(1))


@pytest.mark.parametrize("make", [murel, attention])
def test_regions_are_scaled_first(make):
    plain, scaled = build(make()), build(make(region_scale=0.25))
    x, boxes = pictures()
    expected = plain(TOKENS, LENGTHS, 0.25 * x, boxes).logits
    torch.testing.assert_close(scaled(TOKENS, LENGTHS, x, boxes).logits, expected)
    assert not torch.allclose(plain(TOKENS, LENGTHS, x, boxes).logits, expected)


def test_cells_must_fit_the_steps():
    network = build(murel())
    with pytest.raises(ValueError, match="2 cells for 3 steps"):
        MurelNet(network.question, list(network.cells) * 2, network.classify, steps=3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (murel(attention=attention().attention), "exactly one"),
        (murel(relation=None), "exactly one"),
        (murel(classify=FusionConfig(type="mlb", rank=2)), "classify.rank is 2, mlb has no such"),
        (murel(classify=block(4, 9)), "classify: 9 chunks"),
        (murel(classify=block(pos_norm="never")), "classify: pos_norm"),
        (murel(relation=relation(aggregate="maxx")), "did you mean max"),
        (murel(relation=relation(aggregate="max+meen")), "did you mean mean"),
        (murel(question=question(encoder="uni")), "question.dropout"),
        (murel(question=question(encoder="bi", dropout=0.0, hidden=5)), "must be even"),
        (
            murel(relation=relation(pairwise=PairwiseConfig(coordinates=None, features=None))),
            "relation.pairwise: a pairwise module needs",
        ),
        (
            murel(initialise="glorot", question=question(skip_thoughts="data")),
            "initialise is glorot",
        ),
    ],
)
def test_settings_that_contradict_each_other(config, message: str):
    with pytest.raises(ConfigError, match=message):
        build_network(config, WORDS, ANSWERS)


def test_glorot_values_and_frozen_words():
    network = build(murel(initialise="glorot", question=question(freeze_words=True)))
    for name, parameter in network.named_parameters():
        assert parameter.dim() >= 2 or not parameter.any(), name
        assert parameter.dim() < 2 or parameter.any(), name
    assert not network.question.embedding.weight.requires_grad
    bound = (6 / (len(WORDS) + 4)) ** 0.5
    assert network.question.embedding.weight.abs().max() <= bound


def test_twenty_steps_are_those_of_the_original_order():
    """The same dropout masks, the same losses: kernel and node-wise work change rounding alone."""
    ours = build(murel(classify=block(dropout_input=0.1))).train()
    theirs = copy.deepcopy(ours)
    x, boxes = (values.detach() for values in pictures())
    answers = torch.tensor([2, 0])
    runs = []
    for network, answer in (
        (ours, lambda: ours(TOKENS, LENGTHS, x, boxes).logits),
        (theirs, lambda: answer_by_pairs(theirs, TOKENS, LENGTHS, x, boxes)),
    ):
        adam = torch.optim.Adam(network.parameters(), lr=3e-3)
        losses = []
        for step in range(20):
            torch.manual_seed(step)
            adam.zero_grad()
            loss = F.cross_entropy(answer(), answers)
            loss.backward()
            adam.step()
            losses.append(loss.item())
        runs.append(losses)
    assert runs[0] == pytest.approx(runs[1], rel=1e-9)
    assert runs[0][-1] < 0.8 * runs[0][0]
