"""Residual networks: torchvision's names and sizes, where the stride is, and folded norms."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pyvqa.nn.norm import FrozenAffine
from pyvqa.nn.resnet import DEPTHS, ResNet

# Parameters of torchvision's networks with 1000 classes.
SIZES = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160}
SMALL = (8, 12, 16, 20)


def settled(network: ResNet) -> ResNet:
    """Give the norms something to do, and switch to evaluation."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, nn.BatchNorm2d | FrozenAffine):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return network.eval()


@pytest.mark.parametrize("depth", SIZES)
def test_sizes_and_names_are_torchvisions(depth):
    with torch.device("meta"):
        network = ResNet(depth, classes=1000)
    names = list(network.state_dict())
    assert sum(p.numel() for p in network.parameters()) == SIZES[depth]
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    assert names[-2:] == ["fc.weight", "fc.bias"]
    assert "layer2.0.downsample.0.weight" in names
    assert "layer2.0.downsample.1.running_var" in names
    assert ("layer1.0.downsample.0.weight" in names) == (depth >= 50)
    assert f"layer3.{DEPTHS[depth].counts[2] - 1}.conv2.weight" in names


@pytest.mark.parametrize("depth", DEPTHS)
def test_maps_have_strides_4_to_32(depth):
    network = ResNet(depth, widths=SMALL).eval()
    with torch.no_grad():
        maps = network.features(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape[2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert [m.shape[1] for m in maps] == network.map_widths
    assert network.map_widths == [w * (4 if depth >= 50 else 1) for w in SMALL]


@pytest.mark.parametrize(("stride_first", "expected"), [(False, (1, 2)), (True, (2, 1))])
def test_place_of_the_stride(stride_first, expected):
    network = ResNet(50, widths=SMALL, stride_first=stride_first)
    block = network.layer3[0]
    assert (block.conv1.stride[0], block.conv2.stride[0]) == expected
    assert network.layer1[0].conv1.stride == (1, 1)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenAffine])
def test_folding_changes_nothing(norm, monkeypatch):
    network = settled(ResNet(50, widths=SMALL, classes=5, norm=norm).double())
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        folded = network(images)
        monkeypatch.setattr("pyvqa.nn.resnet.conv_norm", lambda conv, bn, x: bn(conv(x)))
        plain = network(images)
    torch.testing.assert_close(folded, plain, rtol=1e-10, atol=1e-10)


def test_folding_keeps_gradients(monkeypatch):
    network = settled(ResNet(18, widths=SMALL, norm=FrozenAffine).double())
    images = torch.randn(2, 3, 32, 32, dtype=torch.float64)

    def gradients() -> list[torch.Tensor]:
        return list(torch.autograd.grad(network(images).sum(), list(network.parameters())))

    ours = gradients()
    monkeypatch.setattr("pyvqa.nn.resnet.conv_norm", lambda conv, bn, x: bn(conv(x)))
    for a, b in zip(ours, gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_training_uses_the_batch():
    network = ResNet(10, widths=SMALL)
    before = network.bn1.running_mean.clone()
    network(torch.randn(4, 3, 32, 32) + 3)
    assert not torch.equal(network.bn1.running_mean, before)


def test_frozen_norms_are_no_parameters():
    network = ResNet(18, widths=SMALL, norm=FrozenAffine)
    assert not [name for name, _ in network.named_parameters() if "bn" in name]
    assert "bn1.weight" in network.state_dict()


@pytest.mark.parametrize("stages", range(6))
def test_freezing(stages):
    network = ResNet(18, widths=SMALL, classes=3)
    network.freeze(stages)
    parts = ["conv1", "layer1", "layer2", "layer3", "layer4"]
    for place, part in enumerate(parts):
        wanted = place >= stages
        trained = [p.requires_grad for p in getattr(network, part).parameters()]
        assert trained == [wanted] * len(trained), part
    assert network.bn1.weight.requires_grad == (stages == 0)
    assert network.fc.weight.requires_grad


@pytest.mark.parametrize("arguments", [{"depth": 19}, {"depth": 18, "widths": (1, 2, 3)}])
def test_unknown_shapes_are_refused(arguments):
    with pytest.raises(ValueError, match="depth is one of 10, 18, 34, 50, 101"):
        ResNet(**arguments)


def test_other_channels_and_no_classifier():
    network = ResNet(10, channels=6, widths=SMALL).eval()
    assert network(torch.randn(2, 6, 32, 32)).shape == (2, 20)
    assert network.fc is None


def test_starting_from_a_classifier_folds_its_norms():
    classifier = settled(ResNet(50, widths=SMALL, classes=10).double())
    frozen = ResNet(50, widths=SMALL, norm=FrozenAffine).double()
    assert frozen.start_from(classifier.state_dict()) == []
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        pairs = zip(frozen.features(images), classifier.features(images), strict=True)
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_starting_keeps_what_cannot_be_filled():
    classifier = settled(ResNet(18, widths=SMALL, classes=10))
    network = ResNet(18, widths=SMALL, classes=4, channels=6)
    fresh = network.conv1.weight.clone()
    assert network.start_from(classifier.state_dict()) == ["conv1.weight", "fc.weight", "fc.bias"]
    assert torch.equal(network.conv1.weight, fresh)
    for name in ("bn1.running_var", "layer3.1.conv2.weight"):
        assert torch.equal(network.state_dict()[name], classifier.state_dict()[name])


@pytest.mark.parametrize(
    ("depth", "match"), [(34, "no place for layer1.2"), (50, "conv1.weight is")]
)
def test_weights_of_another_depth_are_refused(depth, match):
    with pytest.raises(ValueError, match=match):
        ResNet(18, widths=SMALL).start_from(ResNet(depth, widths=SMALL).state_dict())
