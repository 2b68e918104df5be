"""Residual networks (He et al. 2016) with torchvision's parameter names.

torchvision's weight files load as they are. Two things vary: where a bottleneck has its stride
(`stride_first`: in the first 1x1 convolution, as in the original Caffe models, else in the 3x3),
and the norm (`FrozenAffine` for models whose batch norm was folded, `nn.BatchNorm2d` else).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvqa.nn.norm import FrozenAffine, conv_norm

Norm = Callable[[int], nn.Module]


class Plan(NamedTuple):
    """The residual blocks of a depth."""

    counts: tuple[int, int, int, int]
    bottleneck: bool


DEPTHS = {
    10: Plan((1, 1, 1, 1), False),
    18: Plan((2, 2, 2, 2), False),
    34: Plan((3, 4, 6, 3), False),
    50: Plan((3, 4, 6, 3), True),
    101: Plan((3, 4, 23, 3), True),
}
WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut: [B, C, H, W] -> [B, C', H / stride, W / stride]."""

    expansion = 1

    def __init__(
        self, inputs: int, width: int, stride: int, norm: Norm, *, stride_first: bool
    ) -> None:
        super().__init__()
        del stride_first  # there is no 1x1 convolution that could have it
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = norm(width)
        self.downsample = _shortcut(inputs, width, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(conv_norm(self.conv1, self.bn1, x))
        y = conv_norm(self.conv2, self.bn2, y)
        return _join(y, x, self.downsample)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; four times as wide outside as inside."""

    expansion = 4

    def __init__(
        self, inputs: int, width: int, stride: int, norm: Norm, *, stride_first: bool
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_first else (1, stride)
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, first, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
        self.bn2 = norm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = norm(outputs)
        self.downsample = _shortcut(inputs, outputs, stride, norm)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu_(conv_norm(self.conv1, self.bn1, x))
        y = F.relu_(conv_norm(self.conv2, self.bn2, y))
        y = conv_norm(self.conv3, self.bn3, y)
        return _join(y, x, self.downsample)


def _shortcut(inputs: int, outputs: int, stride: int, norm: Norm) -> nn.Sequential | None:
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))


def _join(y: Tensor, x: Tensor, downsample: nn.Sequential | None) -> Tensor:
    if downsample is not None:
        conv, norm = downsample
        x = conv_norm(conv, norm, x)  # type: ignore[arg-type]
    return F.relu_(y.add_(x))


class ResNet(nn.Module):
    """A residual network; `classes=0` leaves the classifier away.

    features(images [B, C, H, W]) -> maps of strides 4, 8, 16, 32
    forward(images) -> logits [B, classes], or pooled features [B, widths[3] * expansion]
    """

    def __init__(
        self,
        depth: int,
        *,
        classes: int = 0,
        channels: int = 3,
        widths: Sequence[int] = WIDTHS,
        norm: Norm = nn.BatchNorm2d,
        stride_first: bool = False,
    ) -> None:
        super().__init__()
        if depth not in DEPTHS or len(widths) != 4:
            raise ValueError(
                f"ResNet: depth {depth} with widths {tuple(widths)}; depth is one of "
                f"{', '.join(map(str, DEPTHS))}, and there are four widths"
            )
        counts, bottleneck = DEPTHS[depth]
        block = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(channels, widths[0], 7, 2, 3, bias=False)
        self.bn1 = norm(widths[0])
        stages, self.map_widths, inputs = [], [], widths[0]
        for level, (count, width) in enumerate(zip(counts, widths, strict=True)):
            blocks = []
            for index in range(count):
                stride = 2 if level and not index else 1
                blocks.append(block(inputs, width, stride, norm, stride_first=stride_first))
                inputs = width * block.expansion
            stages.append(nn.Sequential(*blocks))
            self.map_widths.append(inputs)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.fc = nn.Linear(inputs, classes) if classes else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def features(self, images: Tensor) -> list[Tensor]:
        """Give the maps behind each of the four stages, fine to coarse."""
        x = F.relu_(conv_norm(self.conv1, self.bn1, images))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        pooled = self.features(images)[-1].mean((2, 3))
        return pooled if self.fc is None else self.fc(pooled)

    def freeze(self, stages: int) -> None:
        """Train nothing in the first `stages` of: stem, layer1, layer2, layer3, layer4."""
        parts: list[nn.Module] = [self.layer1, self.layer2, self.layer3, self.layer4]
        stem: list[nn.Module] = [self.conv1, self.bn1]
        for module in (stem + parts[: stages - 1]) if stages else []:
            for parameter in module.parameters():
                parameter.requires_grad_(False)

    def start_from(self, weights: Mapping[str, Tensor]) -> list[str]:
        """Take over the weights of a classifier of the same depth, by torchvision's names.

        Batch norms are folded where this network's are frozen. What the weights cannot fill keeps
        its fresh values and is returned: another classifier, a first convolution of other inputs.

        Raises:
            ValueError: the weights are of another depth or width.
        """
        weights = dict(weights)
        for name, module in self.named_modules():
            if isinstance(module, FrozenAffine) and f"{name}.running_var" in weights:
                mean, variance = (weights[f"{name}.running_{x}"] for x in ("mean", "var"))
                scale = weights[f"{name}.weight"] / torch.sqrt(variance + 1e-5)
                weights[f"{name}.weight"] = scale
                weights[f"{name}.bias"] = weights[f"{name}.bias"] - mean * scale
        own = self.state_dict()
        free = {"conv1.weight", "fc.weight", "fc.bias"}
        free |= {name for name in own if name.endswith("num_batches_tracked")}
        taken = {}
        for name, value in own.items():
            if name in weights and weights[name].shape == value.shape:
                taken[name] = weights[name]
            elif name not in free:
                found = list(weights[name].shape) if name in weights else "missing"
                raise ValueError(f"{name} is {found}, {list(value.shape)} is needed")
        extra = [name for name in weights if name.startswith("layer") and name not in own]
        extra = [name for name in extra if "running_" not in name and "num_batches" not in name]
        if extra:
            raise ValueError(f"no place for {extra[0]}: these are the weights of another depth")
        self.load_state_dict(taken, strict=False)
        return [name for name in own if name not in taken and "num_batches" not in name]
