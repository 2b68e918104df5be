"""The attribute network's stage (ns-vqa scene_parse/attr_net/tools/run_train.py).

An update takes whole pictures with all their objects, about six and a half each, where the original
draws objects one by one and reads a picture again for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.nn.box_rules import MODERN
from pyvqa.nn.roi_targets import boxes_of_masks
from pyvqa.ops import paste_masks, roi_align
from pyvqa.systems.ns_vqa.build import build_attributes
from pyvqa.systems.ns_vqa.config import AttributesTrainConfig
from pyvqa.systems.ns_vqa.folder import AttributesPart, begin_with, write_model
from pyvqa.systems.ns_vqa.model.attributes import (
    BLOCKS,
    AttributeNetwork,
    attribute_loss,
    attribute_targets,
)
from pyvqa.systems.ns_vqa.pictures import (
    FolderPictures,
    PictureBatch,
    WorldPictures,
    picture_source,
    validation_pictures,
)
from pyvqa.train.loader import to_device
from pyvqa.train.optim import build_optimiser, build_schedule
from pyvqa.train.order import mix
from pyvqa.train.stage import Source, Stage, State

NETWORK = "attributes"
_GRID = 28  # side of a detector's masks
_SHIFT = 1.0  # pixels by which a detector's boxes are off, standard deviation
_CUT = (0.35, 0.65)  # where a detector may see an outline: share of a cell that is covered


@dataclass(kw_only=True)
class AttributesState(State):
    """The attribute network in training, and pictures to validate on."""

    network: AttributeNetwork
    coarse: float
    validation: list[PictureBatch]


def source(config: AttributesTrainConfig) -> WorldPictures | FolderPictures:
    """Open the pictures."""
    return picture_source(config.data, config.train.batch_size, config.train.seed)


def build(config: AttributesTrainConfig, source: Source) -> AttributesState:
    """Make the network and its optimiser; read what to begin with and what to validate on."""
    network = build_attributes(config.attributes)
    begin_with(network, network, NETWORK, init=config.init, start=config.start)
    return AttributesState(
        networks={NETWORK: network},
        optimisers={NETWORK: build_optimiser(network.parameters(), config.optim)},
        schedules={NETWORK: build_schedule(config.schedule, config.train, len(source))},
        network=network,
        coarse=config.data.coarse,
        validation=validation_pictures(config.data, config.train.seed)
        if config.train.validate_every
        else [],
    )


def step(state: AttributesState, batch: PictureBatch) -> dict[str, Tensor]:
    """Give the loss of all objects of some pictures."""
    numbers, targets = _look(state, batch)
    wrong = {
        f"{name}_wrong": 1 - right.float().mean()
        for name, right in named_right(numbers.detach(), targets).items()
    }
    return {
        "loss": attribute_loss(numbers.float(), targets),
        "position_error": _distance(numbers.detach(), targets).mean(),
        "weight": torch.tensor(float(len(targets))),
        **wrong,
    }


def _look(state: AttributesState, batch: PictureBatch) -> tuple[Tensor, Tensor]:
    """Give the network's numbers and the true ones: [N, 18], [N, 18]."""
    inputs = []
    for picture, masks, seed in zip(batch.pictures, batch.masks, batch.seeds.tolist(), strict=True):
        drawing = torch.Generator().manual_seed(mix(seed))
        inputs.append(state.network.inputs(picture, coarse_masks(masks, state.coarse, drawing)))
    targets = attribute_targets([known for objects in batch.objects for known in objects])
    return state.network(torch.cat(inputs)), targets.to(inputs[0].device)


def coarse_masks(masks: Tensor, share: float, drawing: torch.Generator) -> Tensor:
    """Show a share of masks [N, H, W] as a detector draws them."""
    chosen = torch.rand(len(masks), generator=drawing) < share
    shifts = _SHIFT * torch.randn(len(masks), 4, generator=drawing)
    cuts = torch.rand(len(masks), 1, 1, generator=drawing)
    device = masks.device
    rows = (chosen.to(device) & masks.flatten(1).any(1)).nonzero().squeeze(1)
    if not len(rows):
        return masks
    boxes = boxes_of_masks(masks[rows], MODERN) + shifts.to(device)[rows]
    boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 1)
    number = torch.arange(len(rows), device=device, dtype=boxes.dtype).unsqueeze(1)
    regions = torch.cat((number, boxes), 1)
    cells = roi_align(masks[rows, None].float(), regions, _GRID, aligned=True)[:, 0]
    low, high = _CUT
    cut = low + (high - low) * cuts.to(device)[rows]
    result = masks.clone()
    result[rows] = paste_masks(cells + (0.5 - cut), boxes, (masks.shape[1], masks.shape[2]))
    return result


def named_right(numbers: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Tell for each block of numbers which objects it names rightly: bool [N] each."""
    right, start = {}, 0
    for name, words in BLOCKS.items():
        block = slice(start, start + len(words))
        right[name] = numbers[:, block].argmax(1) == targets[:, block].argmax(1)
        start += len(words)
    return right


def _distance(numbers: Tensor, targets: Tensor) -> Tensor:
    difference = numbers[:, -3:].float() - targets[:, -3:]
    return difference.square().sum(1).sqrt()


@torch.no_grad()
def validate(state: AttributesState, config: AttributesTrainConfig) -> dict[str, float]:
    """Describe the objects of held-out pictures."""
    device = next(state.network.parameters()).device
    seen = [_look(state, to_device(batch, device)) for batch in state.validation]
    numbers, targets = (torch.cat(parts).float() for parts in zip(*seen, strict=True))
    right = named_right(numbers, targets)
    distance = _distance(numbers, targets)
    return {
        "loss": float(F.mse_loss(numbers, targets)),
        **{name: float(each.float().mean()) for name, each in right.items()},
        "all_right": float(torch.stack(list(right.values())).all(0).float().mean()),
        "position_error": float(distance.mean()),
        "position_error_largest": float(distance.max()),
    }


def export(state: AttributesState, config: AttributesTrainConfig, folder: Path) -> None:
    """Write the model folder."""
    data = "the built-in world" if config.data.root is None else "a CLEVR-mini folder"
    card = (
        f"# NS-VQA attribute network\n\n- stage: {config.stage}\n"
        f"- began with: {config.start or config.init or 'fresh weights'}\n"
        f"- data: objects of {data}\n"
        f"- pictures of an update: {config.train.batch_size}\n- seed: {config.train.seed}\n"
    )
    write_model(folder, card, attributes=AttributesPart(state.network, config.attributes))


ATTRIBUTES = Stage(
    name="ns-vqa/attributes",
    config_type=AttributesTrainConfig,
    source=source,
    build=build,
    step=step,
    validate=validate,
    export=export,
)
