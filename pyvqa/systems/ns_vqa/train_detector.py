"""The detector's stage (ns-vqa scene_parse/mask_rcnn/tools/train_net_step.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pyvqa.errors import ConfigError
from pyvqa.nn.mask_rcnn import MaskRcnn
from pyvqa.nn.roi_targets import Truth, boxes_of_masks
from pyvqa.ops import mask_iou, match_masks, pack_masks
from pyvqa.systems.ns_vqa.build import build_detector, prepare_pictures
from pyvqa.systems.ns_vqa.config import DetectorTrainConfig, PerceptionConfig
from pyvqa.systems.ns_vqa.folder import DetectorPart, begin_with, write_model
from pyvqa.systems.ns_vqa.model.detector import class_of
from pyvqa.systems.ns_vqa.perception import detect, keep_objects
from pyvqa.systems.ns_vqa.pictures import (
    FolderPictures,
    PictureBatch,
    WorldPictures,
    picture_source,
    validation_pictures,
)
from pyvqa.train.distributed import mean_over_ranks
from pyvqa.train.optim import build_optimiser, build_schedule
from pyvqa.train.order import mix
from pyvqa.train.stage import Source, Stage, State

NETWORK = "detector"
_OVERLAP = 0.5  # IoU of masks from which on an object counts as found
_JUMP = 1.1  # of the learning rate, from which on momenta are scaled


@dataclass(kw_only=True)
class DetectorState(State):
    """The detector in training, and pictures to validate on."""

    detector: MaskRcnn
    config: DetectorTrainConfig
    validation: list[PictureBatch]


def source(config: DetectorTrainConfig) -> WorldPictures | FolderPictures:
    """Open the pictures."""
    return picture_source(config.data, config.train.batch_size, config.train.seed)


def build(config: DetectorTrainConfig, source: Source) -> DetectorState:
    """Make the detector and its optimiser; read what to begin with and what to validate on."""
    if config.detector.frozen_stages and config.init is None and config.start is None:
        raise ConfigError(
            f"detector.frozen_stages is {config.detector.frozen_stages}, but stages without "
            "trained weights must not be frozen: give init=FILE (a ResNet's weights), or set "
            "detector.frozen_stages=0"
        )
    detector = build_detector(config.detector)
    begin_with(detector, detector.backbone, NETWORK, init=config.init, start=config.start)
    return DetectorState(
        networks={NETWORK: detector},
        optimisers={NETWORK: build_optimiser(_groups(detector, config), config.optim)},
        schedules={NETWORK: build_schedule(config.schedule, config.train, len(source))},
        counters={"updates": 0},
        detector=detector,
        config=config,
        validation=validation_pictures(config.data, config.train.seed)
        if config.train.validate_every
        else [],
    )


def _groups(detector: nn.Module, config: DetectorTrainConfig) -> list[dict[str, object]]:
    """Part the trained parameters into weights and biases."""
    trained = {name: p for name, p in detector.named_parameters() if p.requires_grad}
    biases = {name for name in trained if name.endswith("bias")}
    group: dict[str, object] = {
        "params": [trained[name] for name in sorted(biases)],
        "lr": config.optim.lr * config.bias_rate,
    }
    if not config.bias_decay:
        group["weight_decay"] = 0.0
    return [{"params": [p for name, p in trained.items() if name not in biases]}, group]


def step(state: DetectorState, batch: PictureBatch) -> dict[str, Tensor]:
    """Give the losses of some pictures."""
    detector, config = state.detector, state.config.detector
    truths = []
    for masks, objects in zip(batch.masks, batch.objects, strict=True):
        boxes = boxes_of_masks(masks, detector.rules)
        labels = [class_of(known, config.categories) for known in objects]
        truth = Truth(boxes, torch.tensor(labels, dtype=torch.int64, device=masks.device), masks)
        seen = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])  # no for an empty mask
        truths.append(Truth(*(part[seen] for part in truth)))
    prepared = prepare_pictures(config, batch.pictures)
    drawing = [torch.Generator().manual_seed(mix(seed)) for seed in batch.seeds.tolist()]
    losses = detector(prepared, truths, generator=drawing, average=mean_over_ranks)
    return {
        "loss": losses.total,
        "proposal_score": losses.proposal_score.sum(),
        "proposal_box": losses.proposal_box.sum(),
        "score": losses.score,
        "box": losses.box,
        "mask": losses.mask,
        "accuracy": losses.accuracy,
        "weight": torch.tensor(float(len(truths))),
    }


def after_step(state: DetectorState, metrics: Mapping[str, Tensor]) -> None:
    """Count updates; scale momenta before the rate jumps, where that is asked for."""
    done = int(state.counters["updates"]) + 1
    state.counters["updates"] = done
    if state.config.scale_momentum:
        schedule = state.schedules[NETWORK]
        scale_momenta(state.optimisers[NETWORK], schedule(done) / schedule(done - 1))


@torch.no_grad()
def scale_momenta(optimiser: Optimizer, change: float) -> None:
    """Scale momenta by a change of the learning rate of more than a tenth."""
    if max(change, 1 / change) <= _JUMP:
        return
    for state in optimiser.state.values():
        if state.get("momentum_buffer") is not None:
            state["momentum_buffer"] *= change


@torch.no_grad()
def validate(state: DetectorState, config: DetectorTrainConfig) -> dict[str, float]:
    """Find the objects of held-out pictures as when questions are answered."""
    part = DetectorPart(state.detector, config.detector)
    true = found = 0
    overlaps: list[Tensor] = []
    right: list[bool] = []
    for batch in state.validation:
        pairs = zip(detect(part, batch.pictures), batch.masks, batch.objects, strict=True)
        for raw, masks, objects in pairs:
            seen = keep_objects(raw, PerceptionConfig())
            table = mask_iou(seen.masks, pack_masks(masks.cpu()))
            partner = match_masks(table, _OVERLAP, rule="greedy")
            rows = (partner >= 0).nonzero().squeeze(1)
            overlaps.append(table[rows, partner[rows]])
            labels = [class_of(known, config.detector.categories) for known in objects]
            right += [int(seen.labels[k]) == labels[partner[k]] for k in rows.tolist()]
            true, found = true + len(objects), found + len(seen.masks)
    matched = torch.cat(overlaps)
    return {
        "recall": len(matched) / max(1, true),
        "precision": len(matched) / max(1, found),
        "mask_iou": float(matched.mean()) if len(matched) else 0.0,
        "class_accuracy": sum(right) / max(1, len(right)),
    }


def export(state: DetectorState, config: DetectorTrainConfig, folder: Path) -> None:
    """Write the model folder."""
    data = "the built-in world" if config.data.root is None else "a CLEVR-mini folder"
    card = (
        f"# NS-VQA detector\n\n- stage: {config.stage}\n"
        f"- began with: {config.start or config.init or 'fresh weights'}\n"
        f"- data: pictures of {data}\n"
        f"- updates: {int(state.counters['updates'])} of {config.train.batch_size} pictures\n"
        f"- seed: {config.train.seed}\n"
    )
    write_model(folder, card, detector=DetectorPart(state.detector, config.detector))


DETECTOR = Stage(
    name="ns-vqa/detector",
    config_type=DetectorTrainConfig,
    source=source,
    build=build,
    step=step,
    after_step=after_step,
    validate=validate,
    export=export,
)
