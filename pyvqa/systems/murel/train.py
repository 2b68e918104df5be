"""MuRel's one stage: learn to answer questions from pairs of question and answer.

murel and block `options/*.yaml`, bootstrap.pytorch engines/engine.py; the recipes differ in their
settings alone (configs/).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.data.region_origin import RegionOrigin
from pyvqa.data.vqa_batch import VqaBatch, VqaItems, answer_scores
from pyvqa.data.vqa_questions import QuestionTable, VqaData, VqaVocabulary
from pyvqa.errors import DataError
from pyvqa.metrics.topk import top_k_right
from pyvqa.systems.murel.build import Network, build_network
from pyvqa.systems.murel.config import AnswersConfig
from pyvqa.systems.murel.data import Shuffled, load_items, open_store
from pyvqa.systems.murel.folder import Model, write_model
from pyvqa.systems.murel.scoring import predict, run_network, scores
from pyvqa.train.optim import build_optimiser, build_schedule
from pyvqa.train.stage import Source, Stage, State

NETWORK = "network"


@dataclass(kw_only=True)
class AnswersState(State):
    """The network in training, and what its steps and validations need besides."""

    network: Network
    vocabulary: VqaVocabulary
    tokeniser: str
    origin: RegionOrigin | None  # of the features
    table: QuestionTable  # trained on
    by_scores: bool
    validation: VqaItems | None


def source(config: AnswersConfig) -> Shuffled:
    """Open the training split and the features of its pictures."""
    data = VqaData(config.data.root)
    store = open_store(config.data.features, config.network.region_dim)
    items = load_items(data, config.data.train_split, store)
    if int(items.table.answers.min()) < 0:
        raise DataError(
            f"{data.folder}: {config.data.train_split} has questions whose answer is not known or "
            "not in the vocabulary; train on a split that `pyvqa prepare` made for training"
        )
    train = config.train
    return Shuffled(items, train.batch_size, train.seed, sample_answers=config.data.sample_answers)


def build(config: AnswersConfig, source: Source) -> AnswersState:
    """Make the network, its optimiser and, if there is validation, its questions."""
    if not isinstance(source, Shuffled):
        raise TypeError(f"the source is a {type(source).__name__}")
    items = source.items
    vocabulary = items.vocabulary
    network = build_network(config.network, vocabulary.words, len(vocabulary.answers))
    trained = [p for p in network.parameters() if p.requires_grad]
    data = VqaData(config.data.root)
    validation = None
    if config.train.validate_every:
        validation = load_items(data, config.data.val_split, items.store)
        if not validation.table.labelled:
            raise DataError(
                f"{data.folder}: {config.data.val_split} has no answers to validate on; name "
                "another data.val_split or set train.validate_every=0"
            )
    return AnswersState(
        networks={NETWORK: network},
        optimisers={NETWORK: build_optimiser(trained, config.optim)},
        schedules={NETWORK: build_schedule(config.schedule, config.train, len(source))},
        network=network,
        vocabulary=vocabulary,
        tokeniser=data.tokeniser,
        origin=items.store.origin,
        table=items.table,
        by_scores=config.loss == "scores",
        validation=validation,
    )


def step(state: AnswersState, batch: VqaBatch) -> dict[str, Tensor]:
    """Give the loss of one batch, and how often the most likely answer is the target (percent)."""
    count = len(batch.ids)
    if not count:  # a rank's share of a last batch may be empty
        nothing = torch.full((), torch.nan)
        return {"loss": nothing, "accuracy_top1": nothing, "weight": torch.zeros(())}
    logits = run_network(state.network, batch).logits.float()
    if state.by_scores:
        rows = batch.rows.cpu().numpy()
        targets = answer_scores(state.table, rows, logits.shape[1]).to(logits.device)
        loss = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / count
    else:
        loss = F.cross_entropy(logits, batch.answers)
    right = top_k_right(logits.detach(), batch.answers, 1)
    return {
        "loss": loss,
        "accuracy_top1": 100 * right.float().mean(),
        "weight": torch.tensor(float(count)),
    }


def validate(state: AnswersState, config: AnswersConfig) -> dict[str, float]:
    """Give cross entropy and accuracies (percent) on held-out questions.

    `vqa_accuracy` is the official one, `acc_mpt_*` are means over question types (see
    `pyvqa.metrics.tdiuc`).
    """
    items = state.validation
    if items is None:
        return {}
    found = predict(state.network, items, config.train.batch_size, limit=config.data.val_limit)
    result = scores(items.table, state.vocabulary, found)
    values = {name: result[name] for name in ("loss", "accuracy_top1", "accuracy_top5")}
    if result["vqa"] is not None:
        values["vqa_accuracy"] = result["vqa"]["overall"]
    means = ("acc_mpt_a", "acc_mpt_h", "acc_mpt_a_norm", "acc_mpt_h_norm")
    values |= {name: result["by_type"][name] for name in means}
    return {name: float("nan") if value is None else value for name, value in values.items()}


def export(state: AnswersState, config: AnswersConfig, folder: Path) -> None:
    """Write the model folder."""
    data, train = config.data, config.train
    kind = "MuRel" if config.network.relation is not None else "Attention baseline"
    features = ", ".join(data.features) or "none, all zero"
    card = (
        f"# {kind}\n\n"
        f"- data: {data.root}, {data.train_split}\n- features: {features}\n"
        f"- training: {train.steps or train.epochs} {'steps' if train.steps else 'epochs'} of "
        f"{train.batch_size} questions a step, loss {config.loss}\n- seed: {train.seed}\n"
    )
    model = Model(state.network, config.network, state.vocabulary, state.tokeniser, state.origin)
    write_model(folder, model, card)


ANSWERS = Stage(
    name="murel/answers",
    config_type=AnswersConfig,
    source=source,
    build=build,
    step=step,
    validate=validate,
    export=export,
)
