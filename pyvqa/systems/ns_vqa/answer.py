"""One question about one picture or scene, answered with the steps that led there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pyvqa import _native
from pyvqa.data.clevr_questions import ClevrVocabulary, encode_words, split_words
from pyvqa.data.pictures import as_picture
from pyvqa.data.vocabulary import START, inverse
from pyvqa.errors import CheckpointError, DataError
from pyvqa.evidence import Answer, Canvas
from pyvqa.ops.execute import execute_trace
from pyvqa.programs.clevr import question_type
from pyvqa.programs.explain import explain, plan, prefix_outcomes
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.systems.ns_vqa.config import ParserConfig, PerceptionConfig
from pyvqa.systems.ns_vqa.folder import (
    AttributesPart,
    DetectorPart,
    ParserPart,
    read_attributes,
    read_config,
    read_detector,
    read_parser,
)
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.parser import QuestionParser, token_lengths
from pyvqa.systems.ns_vqa.perception import Eyes
from pyvqa.systems.ns_vqa.reasoning import Executor, token_names, write_programs


@dataclass(frozen=True)
class NsVqa:
    """The networks of a model folder (`pyvqa.load("ns-vqa-clevr")`): any of the three, or all.

    A parser alone answers questions about given scenes; with a detector and an attribute network
    beside it, questions about pictures. Asking for a part that the folder lacks is an error that
    says so.
    """

    folder: Path
    reader: ParserPart | None = field(repr=False)  # hundreds of words
    detector: DetectorPart | None = field(default=None, repr=False)
    attributes: AttributesPart | None = field(default=None, repr=False)
    perception: PerceptionConfig = field(default_factory=PerceptionConfig)

    @classmethod
    def read(cls, folder: Path) -> NsVqa:
        """Read a model folder.

        Raises:
            DataError, ConfigError, CheckpointError: a file is missing or damaged, or the folder
                holds no network at all.
        """
        config = read_config(folder)
        parts = (config.parser, config.detector, config.attributes)
        if parts == (None, None, None):
            raise CheckpointError(
                f"{folder / 'config.yaml'}: describes no network; it must have at least one of "
                "parser, detector and attributes"
            )
        return cls(
            folder,
            None if config.parser is None else ParserPart(*read_parser(folder)),
            None if config.detector is None else read_detector(folder),
            None if config.attributes is None else read_attributes(folder),
            config.perception,
        )

    @property
    def parser(self) -> QuestionParser:
        """The question parser."""
        return self._reader.network

    @property
    def config(self) -> ParserConfig:
        """The parser's settings."""
        return self._reader.config

    @property
    def vocabulary(self) -> ClevrVocabulary:
        """Words, functions and answers."""
        return self._reader.vocabulary

    @property
    def _reader(self) -> ParserPart:
        if self.reader is None:
            raise CheckpointError(
                f"{self.folder}: holds no parser, so it cannot read questions; give a model that "
                "has one"
            )
        return self.reader

    @property
    def has_eyes(self) -> bool:
        """Whether pictures can be understood."""
        return self.detector is not None and self.attributes is not None

    @property
    def eyes(self) -> Eyes:
        """What understands pictures.

        Raises:
            CheckpointError: the folder lacks one of the two networks for it.
        """
        if self.detector is None or self.attributes is None:
            lacks = [n for n in ("detector", "attributes") if getattr(self, n) is None]
            raise CheckpointError(
                f"{self.folder}: holds no {' and no '.join(lacks)}, so it cannot see pictures; "
                "give a model that has both, or ask about a scene"
            )
        return Eyes(self.detector, self.attributes, self.perception)

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
        image: Any,
        question: str,
        *,
        row: int = 0,
        grammar: bool = False,
    ) -> Answer:
        """Answer a question about a picture or a scene.

        `image`: a picture (path, Pillow image, array or tensor of uint8 [H, W, 3]; see
        `answer_seen`), or a scene (a dictionary as in an official file, or a read scene file of
        which `row` is meant; see `answer_question`).

        Raises:
            DataError: the picture or scene is damaged, or the question empty or far too long.
            CheckpointError: the model lacks a network that is needed.
        """
        if isinstance(image, Mapping | Scenes):
            return answer_question(self, image, question, row=row, grammar=grammar)
        from pyvqa.systems.ns_vqa.evidence import answer_seen  # it builds on this file

        eyes, _ = self.eyes, self.parser  # before any work
        picture = as_picture(image)
        title = Path(image).name if isinstance(image, str | Path) else ""
        seen = eyes.see([picture])[0]
        return answer_seen(self, picture, seen, question, grammar=grammar, title=title)


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
    return scenes_from_json([scene])


def scenes_from_json(scenes: Sequence[Mapping[str, Any]]) -> Scenes:
    """Pack scenes as official or parsed scene files have them; raises DataError if malformed."""
    try:
        return from_table(_native.read_scenes(json.dumps({"scenes": list(scenes)}).encode()))
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
    canvas: Canvas | None = None,
) -> Answer:
    """Parse a question, execute its program step by step and tell what each step found.

    `scene` is a scene as in an official file, or a read scene file of which `row` is meant.
    The score is the parser's probability of the program. `canvas`: a picture whose regions are the
    scene's objects; by default a plan is drawn.
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
    steps = explain(
        prefix_outcomes(executed_tokens(programs[0], model.functions), trace, 0),
        scenes,
        row,
        canvas,
    )
    unknown = unknown_words(typed, model.vocabulary)
    return Answer(
        text=executor.run(programs, at).texts[0],
        question=question,
        score=_probability(model, typed, programs),
        category=(question_type(tokens[0]) or "") if tokens else "",
        canvas=canvas or plan(scenes, row),
        steps=steps,
        warnings=tuple(f"the word {word!r} is not in the vocabulary" for word in unknown),
    )


def executed_tokens(program: torch.Tensor, names: Sequence[str]) -> list[str]:
    """Spell a row [S] with every token before `<END>`, so that positions match the trace's."""
    length = int(token_lengths(program[None])[0])
    tokens = [names[t] for t in program[:length].tolist()]
    return tokens[:-1] if tokens and tokens[-1] == "<END>" else tokens


def unknown_words(question: str, vocabulary: ClevrVocabulary) -> list[str]:
    """List a question's words that the parser does not know."""
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
