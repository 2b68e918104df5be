"""Questions to answers: write programs, execute them on scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.data.vocabulary import inverse
from pyvqa.metrics.clevr import Predictions, answer_texts
from pyvqa.ops.execute import AnswerTable, execute, reward
from pyvqa.programs.clevr import answer_table, instruction_table
from pyvqa.programs.scenes import Scenes
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.decode import greedy
from pyvqa.systems.ns_vqa.model.parser import QuestionParser, token_lengths


@dataclass(frozen=True)
class Executor:
    """Scenes and vocabulary, brought into the form that batches of programs are executed with."""

    scenes: Scenes
    functions: list[str]
    table: Tensor  # int64 [V] instruction words
    answers: AnswerTable

    @classmethod
    def of(cls, scenes: Scenes, vocabulary: ClevrVocabulary) -> Executor:
        """Prepare to execute programs of this vocabulary on these scenes."""
        functions = inverse(vocabulary.functions)
        answers = answer_table(vocabulary.answers, scenes.table.strings)
        return cls(scenes, functions, instruction_table(functions), answers)

    def to(self, device: torch.device) -> Executor:
        """Give the same executor with its tables on `device`."""
        scenes = replace(self.scenes, packed=self.scenes.packed.to(device))
        return Executor(scenes, self.functions, self.table.to(device), self.answers.to(device))

    def rewards(self, programs: Tensor, rows: Tensor, gold: Tensor) -> Tensor:
        """Give 1 where a program's answer is the gold answer id, else 0: float32 [B]."""
        return reward(programs, self.table, rows, self.scenes.packed, self.answers, gold)

    def run(self, programs: Tensor, rows: Tensor) -> Predictions:
        """Execute programs [N, S], each on the scene in its row [N]."""
        result = execute(programs, self.table, rows, self.scenes.packed)
        texts = answer_texts(result.kind, result.value, self.scenes.strings)
        return Predictions(programs, result.kind, result.value, texts)


@torch.no_grad()
def write_programs(
    parser: QuestionParser,
    questions: Tensor,
    *,
    batch_size: int = 256,
    grammar: Grammar | None = None,
) -> Tensor:
    """Write the likeliest program of each framed question [N, T]: -> int64 [N, max_steps].

    A parser that masks padding gets questions of like length together, which changes nothing but
    the time; one that does not gets them in their order, as the original does.
    """
    lengths = token_lengths(questions, missing=1)
    if parser.mask_padding:
        order = torch.argsort(lengths, stable=True)
    else:
        order = torch.arange(questions.shape[0])
    programs = torch.zeros(questions.shape[0], parser.max_steps, dtype=torch.int64)
    device = parser.classify.weight.device
    for rows in torch.split(order, batch_size):
        memory = parser.encode(questions[rows].to(device), lengths[rows])
        programs[rows] = greedy(parser, memory, grammar=grammar, stop=parser.mask_padding).cpu()
    return programs


def token_names(rows: Tensor, names: Sequence[str]) -> list[list[str]]:
    """Spell token rows [N, S] up to their `<END>`, special tokens left out."""
    ends = token_lengths(rows).tolist()
    spelt = ([names[t] for t in row[:end]] for row, end in zip(rows.tolist(), ends, strict=True))
    return [[name for name in tokens if not name.startswith("<")] for tokens in spelt]
