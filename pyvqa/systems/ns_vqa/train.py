"""The parser's two stages: imitation of few programs, then REINFORCE on answers alone.

ns-vqa reason/tools/run_train.py and reason/trainer.py; Yi et al. 2018 section 3.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.data.vocabulary import inverse
from pyvqa.errors import ConfigError, DataError
from pyvqa.metrics.clevr import program_is_right
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import PretrainConfig, ReinforceConfig, RewardConfig
from pyvqa.systems.ns_vqa.data import Batch, Growing, Paired, QuestionSet, Shuffled, load_questions
from pyvqa.systems.ns_vqa.folder import NETWORK, start_from, write_parser
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.loss import imitation_loss
from pyvqa.systems.ns_vqa.model.parser import END, QuestionParser
from pyvqa.systems.ns_vqa.reasoning import Executor, write_programs
from pyvqa.systems.ns_vqa.reinforce import (
    UNSET,
    batch_mean_loss,
    moved_baseline,
    per_sample_loss,
)
from pyvqa.train.optim import build_optimiser, build_schedule
from pyvqa.train.stage import Source, Stage, State


@dataclass(kw_only=True)
class ParserState(State):
    """The parser in training, and what its steps need besides."""

    parser: QuestionParser
    vocabulary: ClevrVocabulary
    validation: QuestionSet | None


# Imitation -------------------------------------------------------------------------------------


def pretrain_source(config: PretrainConfig) -> Shuffled:
    """Read the questions that have programs."""
    vocabulary = ClevrVocabulary.read(config.data.vocabulary)
    return _programs(config.data.questions, vocabulary, config, config.train.batch_size)


def _programs(
    files: list[str], vocabulary: ClevrVocabulary, config: PretrainConfig, batch_size: int
) -> Shuffled:
    data = load_questions(files, [], vocabulary, config.data.limit)
    rows = data.has_program.nonzero().squeeze(1)
    if not len(rows):
        raise DataError(f"{files[0]}: none of its questions has a program; imitation needs some")
    return Shuffled(data, rows, batch_size, config.train.seed)


def build(config: PretrainConfig, source: Source) -> ParserState:
    """Make the parser, its optimiser and what validation needs."""
    vocabulary = ClevrVocabulary.read(config.data.vocabulary)
    parser = build_parser(config.parser, len(vocabulary.words), len(vocabulary.functions))
    if config.start is not None:
        start_from(config.start, parser, vocabulary)
    trained = [p for p in parser.parameters() if p.requires_grad]
    return ParserState(
        networks={NETWORK: parser},
        optimisers={NETWORK: build_optimiser(trained, config.optim)},
        schedules={NETWORK: build_schedule(config.schedule, config.train, len(source))},
        parser=parser,
        vocabulary=vocabulary,
        validation=_validation(config, vocabulary),
    )


def _validation(config: PretrainConfig, vocabulary: ClevrVocabulary) -> QuestionSet | None:
    data = config.data
    if not data.val_questions:
        if config.train.validate_every:
            raise ConfigError("train.validate_every is set but data.val_questions names no file")
        return None
    return load_questions(data.val_questions, data.val_scenes, vocabulary, data.val_limit)


def imitate(state: ParserState, batch: Batch) -> dict[str, Tensor]:
    """Give the loss of one batch of known programs."""
    parser = state.parser
    memory = parser.encode(batch.questions, torch.tensor(batch.lengths))
    loss = imitation_loss(parser, memory, batch.programs)
    positions = (batch.programs[:, 1:] > 0).sum() if parser.mask_padding else batch.programs.numel()
    return {"loss": loss, "weight": torch.as_tensor(positions, dtype=torch.float32)}


@torch.no_grad()
def validate(state: ParserState, config: PretrainConfig) -> dict[str, float]:
    """Give the accuracy of answers (no guessing) and programs, and the loss, on held-out data."""
    data, parser = state.validation, state.parser
    if data is None:
        return {}
    programs = write_programs(parser, data.questions.long())
    values = {}
    known = data.has_program
    if known.any():
        gold = data.programs.long()
        values["program_accuracy"] = float(
            program_is_right(programs, gold, END)[known].float().mean()
        )
        values["loss"] = _mean_loss(state, data, known.nonzero().squeeze(1))
    if data.executor is not None:
        values["accuracy"] = float(
            data.executor.rewards(programs, data.scenes, data.answers).mean()
        )
    return values


def _mean_loss(state: ParserState, data: QuestionSet, rows: Tensor) -> float:
    total, count = 0.0, 0.0
    device = state.parser.classify.weight.device
    for part in torch.split(rows, 256):
        batch = data.batch(part)
        batch = batch._replace(
            questions=batch.questions.to(device), programs=batch.programs.to(device)
        )
        metrics = imitate(state, batch)
        weight = float(metrics["weight"])
        total, count = total + float(metrics["loss"]) * weight, count + weight
    return total / count


def export(state: ParserState, config: PretrainConfig, folder: Path) -> None:
    """Write the model folder."""
    card = (
        f"# NS-VQA question parser\n\n"
        f"- stage: {config.stage}\n- started from: {config.start or 'fresh weights'}\n"
        f"- questions: {', '.join(config.data.questions)}\n- seed: {config.train.seed}\n"
    )
    write_parser(folder, state.parser, config.parser, state.vocabulary, card)


# REINFORCE -------------------------------------------------------------------------------------


def reinforce_source(config: ReinforceConfig) -> Shuffled | Paired:
    """Read question-answer pairs with their scenes, and programs to imitate beside them."""
    vocabulary = ClevrVocabulary.read(config.data.vocabulary)
    data = load_questions(config.data.questions, config.data.scenes, vocabulary, config.data.limit)
    if data.executor is None:
        raise ConfigError(
            "data.scenes names no file; REINFORCE executes programs, so give one per question file"
        )
    size, seed, path = config.train.batch_size, config.train.seed, config.curriculum
    if path.longest:
        pairs: Shuffled = Growing(data, size, seed, path.longest, path.growth)
    else:
        pairs = Shuffled(data, torch.arange(len(data)), size, seed)
    if not config.imitation.questions or not config.imitation.weight:
        return pairs
    known = _programs(config.imitation.questions, vocabulary, config, config.imitation.batch_size)
    return Paired(pairs, known)


@dataclass(kw_only=True)
class ReinforceState(ParserState):
    """A parser that learns from rewards."""

    executor: Executor
    settings: RewardConfig
    grammar: Grammar | None
    imitation_weight: float

    def to(self, device: torch.device) -> None:
        """Move everything that a step touches to a device."""
        super().to(device)
        self.executor = self.executor.to(device)
        if self.grammar is not None:
            self.grammar = self.grammar.to(device)


def build_reinforce(config: ReinforceConfig, source: Source) -> ReinforceState:
    """Make what `build` makes, the executor of the training scenes and the reward's baseline."""
    batch_mean = config.reward.mode == "batch_mean"
    if batch_mean and config.reward.samples != 1:
        raise ConfigError(
            f"reward.samples is {config.reward.samples}; reward.mode=batch_mean draws one program "
            "a question: set reward.samples=1"
        )
    pairs = source.first if isinstance(source, Paired) else source
    if not isinstance(pairs, Shuffled) or pairs.data.executor is None:
        raise ConfigError("data.scenes names no file; REINFORCE executes programs on scenes")
    base = build(config, source)
    functions = inverse(base.vocabulary.functions)
    return ReinforceState(
        networks=base.networks,
        optimisers=base.optimisers,
        schedules=base.schedules,
        # The original's baseline starts from nothing, ours from the first batch.
        counters={"baseline": torch.tensor(0.0 if batch_mean else UNSET)},
        parser=base.parser,
        vocabulary=base.vocabulary,
        validation=base.validation,
        executor=pairs.data.executor,
        settings=config.reward,
        grammar=Grammar(functions) if config.reward.grammar else None,
        imitation_weight=config.imitation.weight,
    )


def reinforce(state: ReinforceState, batch: Batch | tuple[Batch, Batch]) -> dict[str, Tensor]:
    """Give the loss of one batch of question-answer pairs, and of known programs beside them."""
    pairs, known = (batch, None) if isinstance(batch, Batch) else batch
    learn = batch_mean_loss if state.settings.mode == "batch_mean" else per_sample_loss
    baseline = torch.as_tensor(state.counters["baseline"])
    with state.parser.without_dropout():  # programs are judged as the parser draws them
        metrics = learn(
            state.parser, pairs, state.executor, state.settings, baseline, state.grammar
        )
    if known is not None:
        metrics["imitation_loss"] = imitate(state, known)["loss"]
        metrics["loss"] = metrics["loss"] + state.imitation_weight * metrics["imitation_loss"]
    metrics["weight"] = torch.tensor(float(len(pairs.lengths)), device=metrics["loss"].device)
    return metrics


def move_baseline(state: ReinforceState, metrics: Mapping[str, Tensor]) -> None:
    """Take the batch's mean reward into the running baseline."""
    baseline = torch.as_tensor(state.counters["baseline"])
    state.counters["baseline"] = moved_baseline(baseline, metrics["reward"], state.settings)


PRETRAIN = Stage(
    name="ns-vqa/parser-pretrain",
    config_type=PretrainConfig,
    source=pretrain_source,
    build=build,
    step=imitate,
    validate=validate,
    export=export,
)
REINFORCE = Stage(
    name="ns-vqa/parser-reinforce",
    config_type=ReinforceConfig,
    source=reinforce_source,
    build=build_reinforce,
    step=reinforce,
    after_step=move_baseline,
    validate=validate,
    export=export,
)
