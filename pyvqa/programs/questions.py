"""Question and expression files, compiled for the executor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyvqa import _native
from pyvqa.errors import DataError
from pyvqa.files import read_bytes


@dataclass(frozen=True)
class Compiled:
    """Q programs as the executor takes them."""

    rows: Tensor  # int16 or int32 [Q, L] positions in the table
    table: Tensor  # int64 [V] instruction words


def read_questions(path: str | Path) -> Any:
    """Read an official questions or expressions file (.json, .json.gz) of either flavour.

    Returns a `_native.QuestionTable`: texts, answers and programs as flat arrays.

    Raises DataError naming file, question and place of what is wrong.
    """
    content = read_bytes(path)
    try:
        return _native.read_questions(content)
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def compile_programs(questions: Any, language: str = "clevr") -> Compiled:
    """Compile the programs of a question table.

    Raises DataError naming the question for a function that the language does not have.
    """
    try:
        rows, table = _native.compile_programs(
            language,
            questions.functions,
            questions.program_offsets,
            questions.node_functions,
            questions.input_offsets,
            questions.inputs,
        )
    except ValueError as error:
        raise DataError(str(error)) from error
    ids = torch.int16 if len(table) < 2**15 else torch.int32
    return Compiled(torch.from_numpy(rows).to(ids), torch.from_numpy(table))
