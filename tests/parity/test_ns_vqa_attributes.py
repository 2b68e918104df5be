"""NS-VQA's attribute network against numbers recorded from the original code."""

from __future__ import annotations

import gzip
import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kit_pictures import attribute_checkpoint, decoded, genuine_picture
from safetensors.torch import load_file
from torch import Tensor

from pyvqa.systems.ns_vqa.build import build_attributes
from pyvqa.systems.ns_vqa.model.attributes import (
    AttributeNetwork,
    attribute_inputs,
    attribute_loss,
    attribute_targets,
    decode_attributes,
)
from pyvqa.systems.ns_vqa.upstream import attribute_names, attributes_from_upstream

INPUTS = pytest.mark.kit("ns_vqa", "scene_parse/attr_inputs*.npz")
NETWORK = pytest.mark.kit("ns_vqa", "scene_parse/attr_net*.safetensors")
VECTORS = pytest.mark.kit("ns_vqa", "scene_parse/vector_to_object*.json")


def make_network(folder: Path, channels: int) -> AttributeNetwork:
    config, weights, unplaced = attributes_from_upstream(attribute_checkpoint(folder, channels))
    assert unplaced == []
    network = build_attributes(config).eval()
    network.load_state_dict(weights)  # strict: every weight of ours has been given
    return network


def proposals(folder: Path, name: str) -> dict[str, Any]:
    file = folder / f"{name}.json.gz"
    if not file.is_file():
        pytest.skip(f"the kit holds no {file.name}")
    return json.loads(gzip.decompress(file.read_bytes()))


@lru_cache(maxsize=2)
def inputs_of(folder: Path, name: str) -> Tensor:
    """The network's inputs for all objects of a proposals file, picture by picture."""
    pictures = json.loads((folder / "images.json").read_text())["image_filenames"]
    found = proposals(folder, name)
    masks, of_image = decoded(found["object_masks"]), torch.tensor(found["image_idxs"])
    parts = []
    for index in of_image.unique().tolist():
        picture = genuine_picture(pictures[index])
        parts.append(attribute_inputs(picture, masks[of_image == index], reverse_channels=True))
    return torch.cat(parts)


@INPUTS
def test_inputs(case: Path) -> None:
    kit = np.load(case)
    inputs = inputs_of(case.parent, "proposals_gt")
    assert proposals(case.parent, "proposals_gt")["image_idxs"] == kit["image_idx"].tolist()
    close = {"rtol": 0, "atol": 1e-6}
    for row in kit["rows"].tolist():
        torch.testing.assert_close(inputs[row], torch.from_numpy(kit[f"input6.{row}"]), **close)
        if f"input3.{row}" in kit:
            expected = torch.from_numpy(kit[f"input3.{row}"])
            torch.testing.assert_close(inputs[row, :3], expected, **close)
    flat = inputs.flatten(1)
    samples = flat[:, torch.from_numpy(kit["sample_positions"])]
    torch.testing.assert_close(samples, torch.from_numpy(kit["samples"]), **close)
    flat = flat.double()
    sums = torch.stack((flat.sum(1), flat.abs().sum(1), flat.square().sum(1)), 1)
    torch.testing.assert_close(sums, torch.from_numpy(kit["checksums"]), rtol=1e-7, atol=1e-3)


@INPUTS
def test_object_alone_as_input(case: Path) -> None:
    kit = np.load(case)
    pictures = json.loads((case.parent / "images.json").read_text())["image_filenames"]
    found = proposals(case.parent, "proposals_gt")
    row = int(kit["rows"][0])
    mask = decoded(found["object_masks"][row : row + 1])
    picture = genuine_picture(pictures[found["image_idxs"][row]])
    ours = attribute_inputs(picture, mask, with_picture=False, reverse_channels=True)
    expected = torch.from_numpy(kit[f"input3.{row}"])
    torch.testing.assert_close(ours[0], expected, rtol=0, atol=1e-6)


@INPUTS
def test_targets(case: Path) -> None:
    """Targets made from named attributes are the stored ones."""
    labels = torch.from_numpy(np.load(case)["labels"])
    assert torch.equal(attribute_targets(decode_attributes(labels)), labels)


@NETWORK
def test_names(case: Path) -> None:
    shapes = json.loads((case.parent / "attr_net_meta.json").read_text())["state_dict_shapes"]
    names, unplaced = attribute_names(list(shapes))
    own = make_network(case.parent, 6).state_dict()
    assert unplaced == []
    assert {ours: shapes[theirs] for theirs, ours in names.items()} == {
        name: list(value.shape) for name, value in own.items()
    }


@NETWORK
@pytest.mark.parametrize("channels", [6, 3])
def test_predictions_and_training(case: Path, channels: int) -> None:
    kit, name = load_file(case), f"{channels}ch"
    if f"eval_pred_{name}" not in kit:
        pytest.skip(f"the kit holds no network of {channels} channels")
    stored = np.load(case.parent / "attr_inputs.npz")
    rows = stored["rows"].tolist()
    inputs = inputs_of(case.parent, "proposals_gt")[rows, :channels]
    targets = torch.from_numpy(stored["labels"])[rows]
    network = make_network(case.parent, channels)
    network.batch_statistics = False

    def check(key: str, ours: Tensor, bound: float) -> None:
        torch.testing.assert_close(ours.detach(), kit[f"{key}_{name}"], rtol=bound, atol=bound)

    with torch.no_grad():
        numbers = network(inputs)
    check("eval_pred", numbers, 1e-4)
    check("eval_loss", attribute_loss(numbers, targets)[None], 1e-4)

    optimiser = torch.optim.Adam(network.train().parameters(), lr=0.002)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = attribute_loss(network(inputs), targets)
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
    torch.testing.assert_close(
        losses[0], kit[f"train_losses_3_adam_steps_{name}"][0], rtol=0, atol=1e-4
    )
    check("train_losses_3_adam_steps", torch.stack(losses), 2e-2)
    with torch.no_grad():
        check("eval_pred_after_3_steps", network.eval()(inputs), 2e-2)


@NETWORK
def test_batch_statistics_leave_no_trace(case: Path) -> None:
    """A network that normalises by the batch gives the same twice, and learns nothing from it."""
    network = make_network(case.parent, 6)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inputs = inputs_of(case.parent, "proposals_gt")[:6]
    with torch.no_grad():
        first, second = network(inputs), network(inputs)
        alone = network(inputs[:2])
    assert torch.equal(first, second)
    assert not torch.allclose(alone, first[:2], atol=1e-3)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@VECTORS
def test_decoding(case: Path) -> None:
    kit = json.loads(case.read_text())
    assert decode_attributes(torch.tensor(kit["vectors"])) == kit["objects"]
