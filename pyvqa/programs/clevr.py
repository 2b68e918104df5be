"""The CLEVR language: its functions, values and answers (clevr-dataset-gen metadata.json)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pyvqa import _native
from pyvqa.ops.execute import AnswerTable

ATTRIBUTES = ("color", "material", "shape", "size")
VALUES: dict[str, tuple[str, ...]] = {
    "color": ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow"),
    "material": ("metal", "rubber"),
    "shape": ("cube", "cylinder", "sphere"),
    "size": ("large", "small"),
}
RELATIONS = ("left", "right", "behind", "front")
MAX_COUNT = 10  # largest number that is an answer in CLEVR

FUNCTIONS: tuple[str, ...] = tuple(
    sorted(
        ["scene", "unique", "count", "exist", "union", "intersect"]
        + ["equal_integer", "less_than", "greater_than"]
        + [f"relate[{relation}]" for relation in RELATIONS]
        + [f"{name}_{attribute}" for name in ("equal", "query", "same") for attribute in ATTRIBUTES]
        + [
            f"filter_{attribute}[{value}]"
            for attribute in ATTRIBUTES
            for value in VALUES[attribute]
        ]
    )
)

QUESTION_TYPES = ("count", "exist", "compare_num", "compare_attr", "query")


def question_type(root: str) -> str | None:
    """Return the question type of a program's root function, None for one that is no root."""
    if root in ("count", "exist"):
        return root
    if root in ("equal_integer", "less_than", "greater_than"):
        return "compare_num"
    if root.startswith("equal_"):
        return "compare_attr"
    return "query" if root.startswith("query_") else None


def instruction_table(tokens: Sequence[str]) -> Tensor:
    """Return the instruction word of each token string: int64 [V].

    `<END>` ends a program. Anything that is no function of the language is skipped by the machine,
    as in the original (reason/executors/clevr_executor.py).
    """
    return torch.from_numpy(_native.instruction_table("clevr", list(tokens)))


def answer_strings(extra: Sequence[str] = ()) -> list[str]:
    """Return the string of each string code: the known ones, then a scene file's own (`extra`)."""
    return [*_native.KNOWN_STRINGS, *extra]


def answer_table(answer_ids: Mapping[str, int], extra_strings: Sequence[str] = ()) -> AnswerTable:
    """Return the ids of a vocabulary's answers by string code and by number."""
    strings = [answer_ids.get(s, -1) for s in answer_strings(extra_strings)]
    numbers = [int(a) for a in answer_ids if a.isdecimal() and a == str(int(a)) and int(a) < 4096]
    integers = [answer_ids.get(str(n), -1) for n in range(max(numbers, default=-1) + 1)]
    return AnswerTable(
        torch.tensor(strings, dtype=torch.int32), torch.tensor(integers, dtype=torch.int32)
    )
