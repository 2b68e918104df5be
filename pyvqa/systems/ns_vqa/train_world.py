"""The parser's third stage: imitation on an endless stream of the world's questions.

It makes the shipped parser. Nothing but templates is needed, and no scene comes twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from pyvqa.metrics.clevr import program_is_right
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import WorldConfig
from pyvqa.systems.ns_vqa.data import QuestionSet
from pyvqa.systems.ns_vqa.folder import NETWORK, write_parser
from pyvqa.systems.ns_vqa.model.parser import END
from pyvqa.systems.ns_vqa.reasoning import write_programs
from pyvqa.systems.ns_vqa.stream import (
    OWN,
    WorldQuestions,
    fresh_questions,
    stream_vocabulary,
    template_folders,
)
from pyvqa.systems.ns_vqa.train import ParserState, imitate
from pyvqa.train.optim import build_optimiser, build_schedule
from pyvqa.train.order import mix
from pyvqa.train.stage import Source, Stage

_VALIDATION = 7  # keeps the validation's scenes and questions apart from the stream's


@dataclass(kw_only=True)
class WorldState(ParserState):
    """The parser in training and, by name of the templates, questions to validate on."""

    fresh: dict[str, QuestionSet]


def world_source(config: WorldConfig) -> WorldQuestions:
    """Read the templates and make the stream of their questions."""
    folders = template_folders(config.data.templates)
    vocabulary = stream_vocabulary(folders)
    train = config.train
    return WorldQuestions(folders, vocabulary, config.data, train.batch_size, train.seed)


def build_world(config: WorldConfig, source: Source) -> WorldState:
    """Make the parser, its optimiser and, if there is validation, its questions."""
    folders = template_folders(config.data.templates)
    vocabulary = stream_vocabulary(folders)
    parser = build_parser(config.parser, len(vocabulary.words), len(vocabulary.functions))
    trained = [p for p in parser.parameters() if p.requires_grad]
    seed, blocks = mix(config.train.seed, _VALIDATION), config.data.val_blocks
    names = [_name(name, k) for k, name in enumerate(config.data.templates)]
    fresh = {}
    if config.train.validate_every:
        for name, folder in zip(names, folders, strict=True):
            fresh[name] = fresh_questions(folder, vocabulary, seed=seed, blocks=blocks)
    return WorldState(
        networks={NETWORK: parser},
        optimisers={NETWORK: build_optimiser(trained, config.optim)},
        schedules={NETWORK: build_schedule(config.schedule, config.train, len(source))},
        parser=parser,
        vocabulary=vocabulary,
        validation=None,
        fresh=fresh,
    )


def _name(folder: str, position: int) -> str:
    """Name a template folder in metrics; the path itself is nobody's business."""
    return OWN if folder == OWN else f"folder_{position}"


@torch.no_grad()
def validate_world(state: WorldState, config: WorldConfig) -> dict[str, float]:
    """Give the accuracy of answers and programs: over all, and by template folder."""
    values, answers, programs = {}, [], []
    for name, data in state.fresh.items():
        written = write_programs(state.parser, data.questions.long())
        programs.append(program_is_right(written, data.programs.long(), END).float())
        if data.executor is not None:
            answers.append(data.executor.rewards(written, data.scenes, data.answers))
            values[f"accuracy_{name}"] = float(answers[-1].mean())
    if programs:
        values["program_accuracy"] = float(torch.cat(programs).mean())
    if answers:
        values["accuracy"] = float(torch.cat(answers).mean())
    return values


def export_world(state: WorldState, config: WorldConfig, folder: Path) -> None:
    """Write the model folder."""
    train, data = config.train, config.data
    card = (
        "# NS-VQA question parser\n\n"
        f"- stage: {config.stage}\n"
        f"- data: fresh questions of the built-in world, {len(data.templates)} template folders\n"
        f"- steps: {train.steps or train.epochs * len(world_source(config))} "
        f"of {train.batch_size} questions\n"
        f"- seed: {train.seed}\n"
    )
    write_parser(folder, state.parser, config.parser, state.vocabulary, card)


WORLD = Stage(
    name="ns-vqa/parser-world",
    config_type=WorldConfig,
    source=world_source,
    build=build_world,
    step=imitate,
    validate=validate_world,
    export=export_world,
)
