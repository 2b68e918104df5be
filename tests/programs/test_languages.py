"""The tables of the two languages."""

from __future__ import annotations

import pytest
import torch

from pyvqa import _native
from pyvqa.programs import clevr, clevr_ref


def test_clevr_has_forty_functions_in_order() -> None:
    assert len(clevr.FUNCTIONS) == 40
    assert list(clevr.FUNCTIONS) == sorted(set(clevr.FUNCTIONS))


def test_clevr_ref_has_fifty_six_functions_in_order() -> None:
    assert len(clevr_ref.FUNCTIONS) == 56
    assert list(clevr_ref.FUNCTIONS) == sorted(set(clevr_ref.FUNCTIONS))
    assert "filter_ordinal[the nineth one of the,from front]" in clevr_ref.FUNCTIONS


@pytest.mark.parametrize(
    ("language", "functions"),
    [
        ("clevr", clevr.FUNCTIONS),
        ("clevr-ref", clevr_ref.FUNCTIONS + clevr_ref.QUESTION_FUNCTIONS),
    ],
)
def test_the_machine_knows_every_function(language: str, functions: tuple[str, ...]) -> None:
    unknown = [f for f in functions if not _native.knows_function(language, f)]
    assert unknown == []


@pytest.mark.parametrize("name", ["filter_color[pink]", "relate[above]", "", "filter", "scene[x]"])
def test_the_machine_knows_nothing_else(name: str) -> None:
    assert not _native.knows_function("clevr", name)


def test_instruction_table_tells_functions_from_specials() -> None:
    table = clevr.instruction_table(["<NULL>", "<START>", "<END>", "<UNK>", *clevr.FUNCTIONS])
    assert table.dtype == torch.int64
    words = table.tolist()
    assert words[0] == words[1] == words[3] == 0  # skipped
    assert len(set(words[4:])) == 40
    assert words[2] not in {0, *words[4:]}


@pytest.mark.parametrize(
    ("root", "kind"),
    [
        ("count", "count"),
        ("exist", "exist"),
        ("equal_integer", "compare_num"),
        ("less_than", "compare_num"),
        ("equal_shape", "compare_attr"),
        ("query_color", "query"),
        ("unique", None),
    ],
)
def test_question_types(root: str, kind: str | None) -> None:
    assert clevr.question_type(root) == kind


def test_answer_table_gives_ids_by_code_and_number() -> None:
    table = clevr.answer_table({"yes": 4, "10": 5, "2": 6, "red": 7, "02": 8}, ["pink"])
    strings = dict(zip(clevr.answer_strings(["pink"]), table.strings.tolist(), strict=True))
    assert (strings["yes"], strings["red"], strings["no"], strings["pink"]) == (4, 7, -1, -1)
    assert table.integers.tolist() == [-1, -1, 6, *[-1] * 7, 5]
