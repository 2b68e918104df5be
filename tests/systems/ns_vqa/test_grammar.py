"""The grammar against the executor's own static check, and against all short programs."""

from __future__ import annotations

import itertools

import pytest
import torch

from pyvqa.errors import ConfigError
from pyvqa.ops.execute import verify
from pyvqa.programs.clevr import FUNCTIONS, instruction_table
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.decode import greedy, sample
from pyvqa.systems.ns_vqa.model.parser import END, QuestionParser, token_lengths

TOKENS = ["<NULL>", "<START>", "<END>", "<UNK>", *FUNCTIONS]
ANSWERING = ("count", "exist", "equal_integer", "query_color", "equal_color")


def random_programs(grammar: Grammar, rows: int, steps: int) -> torch.Tensor:
    """Programs drawn uniformly from what the grammar allows."""
    place = grammar.start(rows, torch.device("cpu"))
    written = []
    for step in range(steps):
        allowed = grammar.allowed(place, steps - step)
        assert allowed.any(1).all()
        tokens = torch.multinomial(allowed.float(), 1).squeeze(1)
        place = grammar.advance(place, tokens)
        written.append(tokens)
    return torch.stack(written, 1)


@pytest.mark.parametrize("steps", [4, 5, 8, 27])
def test_what_it_allows_is_well_formed(steps):
    torch.manual_seed(0)
    programs = random_programs(Grammar(TOKENS), 3000, steps)
    assert (programs == END).any(1).all()
    assert not verify(programs, instruction_table(TOKENS)).any()
    if steps >= 8:  # programs with two scenes are among them
        assert ((programs == TOKENS.index("scene")).sum(1) == 2).any()


def test_it_allows_all_that_is_well_formed():
    names = ["<NULL>", "<START>", "<END>", "<UNK>", "scene", "unique", "count", "exist"]
    names += ["union", "equal_integer", "query_color", "same_color", "equal_color"]
    grammar, table = Grammar(names), instruction_table(names)
    length = 5
    rows = torch.tensor(list(itertools.product(range(2, len(names)), repeat=length)))
    ends = torch.full((len(rows), 1), END)
    rows = torch.cat((rows, ends), 1)
    answering = torch.tensor([name in ANSWERING for name in names])
    good = (verify(rows, table) == 0) & answering[rows[:, 0]]  # sets and objects answer nothing
    place, allowed = grammar.start(len(rows), rows.device), torch.ones(len(rows), dtype=torch.bool)
    for step, tokens in enumerate(rows.unbind(1)):
        fits = grammar.allowed(place, length + 1 - step).gather(1, tokens[:, None]).squeeze(1)
        allowed &= fits
        place = torch.where(allowed, grammar.advance(place, tokens), 0)
    assert good.any()
    assert torch.equal(allowed, good)


def test_places_follow_each_prefix():
    grammar = Grammar(TOKENS)
    torch.manual_seed(1)
    programs = random_programs(grammar, 50, 12)
    places = grammar.places(programs)
    place = grammar.start(50, programs.device)
    for step in range(12):
        assert torch.equal(places[:, step], place)
        place = grammar.advance(place, programs[:, step])


def test_constrained_decoding_never_writes_a_malformed_program():
    torch.manual_seed(0)
    grammar, table = Grammar(TOKENS), instruction_table(TOKENS)
    parser = QuestionParser(30, len(TOKENS), word_dim=8, hidden=8, max_steps=10)
    memory = parser.encode(torch.randint(4, 30, (40, 9)))
    free = sample(parser, memory, 4)
    assert verify(free, table).any()
    for programs in (
        greedy(parser, memory, grammar=grammar),
        sample(parser, memory, 4, grammar=grammar),
    ):
        assert not verify(programs, table).any()
        assert (token_lengths(programs) <= 10).all()


def test_constrained_distributions_sum_to_one_and_forbid():
    grammar = Grammar(TOKENS)
    place = grammar.start(1, torch.device("cpu"))
    log_probs = torch.log_softmax(torch.randn(1, len(TOKENS)), 1)
    held = grammar.constrain(log_probs, place, 27)
    assert held.exp().sum() == pytest.approx(1.0)
    assert held[0, TOKENS.index("scene")] == -torch.inf  # a bare scene answers nothing
    assert held[0, TOKENS.index("count")] > log_probs[0, TOKENS.index("count")]


def test_a_vocabulary_that_cannot_answer_is_refused():
    with pytest.raises(ConfigError, match="cannot write any complete program"):
        Grammar(["<NULL>", "<START>", "<END>", "<UNK>", "count"])
