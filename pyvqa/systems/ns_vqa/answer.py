"""One question about one scene, answered with the steps that led there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pyvqa import _native
from pyvqa.data.clevr_questions import ClevrVocabulary, encode_words, split_words
from pyvqa.data.vocabulary import START, inverse
from pyvqa.errors import DataError
from pyvqa.evidence import Answer
from pyvqa.ops.execute import execute_trace
from pyvqa.programs.clevr import question_type
from pyvqa.programs.explain import explain, plan, prefix_outcomes
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.folder import read_parser
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.parser import QuestionParser, token_lengths
from pyvqa.systems.ns_vqa.reasoning import Executor, token_names, write_programs


@dataclass(frozen=True)
class NsVqa:
    """A question parser with its vocabulary; scenes are given (`pyvqa.load("ns-vqa-clevr")`)."""

    parser: QuestionParser
    config: ParserConfig
    vocabulary: ClevrVocabulary = field(repr=False)  # hundreds of words

    @classmethod
    def read(cls, folder: Path) -> NsVqa:
        """Read a model folder; raises DataError, ConfigError or CheckpointError naming the file."""
        return cls(*read_parser(folder))

    @property
    def functions(self) -> list[str]:
        """The function strings by token number."""
        return inverse(self.vocabulary.functions)

    def write_programs(
        self, questions: Sequence[str], *, batch_size: int = 256, grammar: bool = False
    ) -> torch.Tensor:
        """Parse questions: -> token rows [N, max_steps]; unknown words are read as `<UNK>`."""
        rows = encode_words(questions, self.vocabulary.words, encode_unknown=True)
        held_to = Grammar(self.functions) if grammar else None
        tokens = torch.from_numpy(rows).long()
        return write_programs(self.parser, tokens, batch_size=batch_size, grammar=held_to)

    def parse(self, question: str, *, grammar: bool = False) -> list[str]:
        """Parse one question into function strings in prefix order."""
        typed = as_known(question, self.vocabulary.words)
        return token_names(self.write_programs([typed], grammar=grammar), self.functions)[0]

    def answer(
        self,
        scene: Mapping[str, Any] | Scenes,
        question: str,
        *,
        row: int = 0,
        grammar: bool = False,
    ) -> Answer:
        """Answer a question about a scene; see `answer_question`."""
        return answer_question(self, scene, question, row=row, grammar=grammar)


def as_known(question: str, words: Mapping[str, int]) -> str:
    """Respell what a user typed in known words, where only spaces or capitals are in the way."""
    for mark in ";,":
        question = question.replace(mark, f"{mark} ")
    for mark in "?.!":
        question = question.replace(mark, " ")
    text = " ".join(_known(chunk, words) for chunk in question.split())
    return text.replace(" ;", ";").replace(" ,", ",")


def _known(chunk: str, words: Mapping[str, int]) -> str:
    word = chunk.rstrip(";,")
    return chunk.lower() if word not in words and word.lower() in words else chunk


def scene_from_json(scene: Mapping[str, Any]) -> Scenes:
    """Pack one scene of an official or parsed scene file; raises DataError if malformed."""
    try:
        return from_table(_native.read_scenes(json.dumps({"scenes": [scene]}).encode()))
    except (TypeError, ValueError) as error:
        raise DataError(f"the scene cannot be read: {error}") from error


@torch.no_grad()
def answer_question(
    model: NsVqa,
    scene: Mapping[str, Any] | Scenes,
    question: str,
    *,
    row: int = 0,
    grammar: bool = False,
) -> Answer:
    """Parse a question, execute its program step by step and tell what each step found.

    `scene` is a scene as in an official file, or a read scene file of which `row` is meant.
    The score is the parser's probability of the program.
    """
    scenes = scene if isinstance(scene, Scenes) else scene_from_json(scene)
    if not 0 <= row < len(scenes):
        raise DataError(f"scene {row} is asked about, but there are {len(scenes)} scenes")
    typed = as_known(question, model.vocabulary.words)
    programs = model.write_programs([typed], grammar=grammar)
    tokens = token_names(programs, model.functions)[0]
    executor = Executor.of(scenes, model.vocabulary)
    at = torch.tensor([row])
    trace = execute_trace(programs, executor.table, at, scenes.packed)
    steps = explain(prefix_outcomes(_shown(programs, model.functions), trace, 0), scenes, row)
    unknown = _unknown_words(typed, model.vocabulary)
    return Answer(
        text=executor.run(programs, at).texts[0],
        question=question,
        score=_probability(model, typed, programs),
        category=(question_type(tokens[0]) or "") if tokens else "",
        canvas=plan(scenes, row),
        steps=steps,
        warnings=tuple(f"the word {word!r} is not in the vocabulary" for word in unknown),
    )


def _shown(programs: torch.Tensor, names: Sequence[str]) -> list[str]:
    """Spell the only row with every token before `<END>`, so that positions match the trace's."""
    length = int(token_lengths(programs)[0])
    tokens = [names[t] for t in programs[0, :length].tolist()]
    return tokens[:-1] if tokens and tokens[-1] == "<END>" else tokens


def _unknown_words(question: str, vocabulary: ClevrVocabulary) -> list[str]:
    return [word for word in split_words(question) if word not in vocabulary.words]


def _probability(model: NsVqa, question: str, programs: torch.Tensor) -> float:
    """Give the parser's probability of the row up to and including `<END>`."""
    rows = encode_words([question], model.vocabulary.words, encode_unknown=True)
    memory = model.parser.encode(torch.from_numpy(rows).long())
    length = token_lengths(programs)
    inputs = torch.cat((torch.full_like(programs[:, :1], START), programs[:, :-1]), 1)
    scores = model.parser.score(memory, inputs, length).padded()[0]
    steps = int(length[0])
    chosen = scores[:steps].gather(1, programs[0, :steps, None])
    return float(chosen.sum().exp())
