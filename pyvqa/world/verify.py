"""A second opinion on made questions: the batched executor must give every answer again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.ops.execute import Kind, execute
from pyvqa.programs import clevr
from pyvqa.programs.scenes import Scenes
from pyvqa.world.questions import ANSWERS, Questions

_SPECIAL = ("<NULL>", "<START>", "<END>", "<UNK>")


def wrong_answers(questions: Questions, scenes: Scenes) -> NDArray[np.int64]:
    """Return the positions of questions whose program gives another answer on its scene.

    Expressions: another set of objects than the one they were made for. Executed by the kernel, in
    the semantics of the language that the answers will be judged by.
    """
    if questions.templates.language != "clevr-ref":
        return _wrong_questions(questions, scenes)
    return _wrong_expressions(questions, scenes)


def _wrong_questions(questions: Questions, scenes: Scenes) -> NDArray[np.int64]:
    tokens = [*_SPECIAL, *questions.functions]
    rows = torch.from_numpy(questions.token_rows({t: i for i, t in enumerate(tokens)}))
    answers = clevr.answer_table({answer: code for code, answer in enumerate(ANSWERS)})
    found = execute(
        rows,
        clevr.instruction_table(tokens),
        torch.from_numpy(questions.scene),
        scenes.packed,
        answers,
    )
    return np.nonzero(found.answer_id.numpy() != questions.answer)[0]


def _wrong_expressions(questions: Questions, scenes: Scenes) -> NDArray[np.int64]:
    present = questions.inputs >= 0
    input_offsets = np.concatenate([[0], np.cumsum(present.sum(1))])
    rows, table = _native.compile_programs(
        "clevr-ref",
        list(questions.functions),
        questions.offsets,
        questions.function.astype(np.int32),
        input_offsets,
        questions.inputs[present].astype(np.int32),
    )
    found = execute(
        torch.from_numpy(rows),
        torch.from_numpy(table),
        torch.from_numpy(questions.scene),
        scenes.packed,
        with_sets=True,
    )
    sets = (found.sets[:, 0, 0] | found.sets[:, 1, 0]).numpy().view(np.uint64)
    wanted = questions.objects[questions.offsets[1:] - 1]
    return np.nonzero((found.kind.numpy() != Kind.SET) | (sets != wanted))[0]
