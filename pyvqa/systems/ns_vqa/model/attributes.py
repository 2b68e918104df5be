"""The attribute network: one object of a picture in, what and where it is out.

A ResNet looks at the object cut out on black and, beside it, at the whole picture, so that it
knows where the object stands (Yi et al. 2018, section 3; ns-vqa scene_parse/attr_net). Its 18
numbers are scores of shapes, sizes, materials and colours, and three coordinates; all are fitted
by least squares.

In that square a small object is a few pixels wide. The other input, ours, is a window around each
object in which all objects are of like size: what is in it, where in it the object is, and which
place of the picture each of its pixels is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvqa.nn.box_rules import MODERN
from pyvqa.nn.resize import resize_bytes, resize_patch
from pyvqa.nn.resnet import ResNet
from pyvqa.nn.roi_targets import boxes_of_masks
from pyvqa.ops import roi_align

# The 18 numbers, in order; then right, front and up.
BLOCKS: dict[str, tuple[str, ...]] = {
    "shape": ("sphere", "cube", "cylinder"),
    "size": ("large", "small"),
    "material": ("metal", "rubber"),
    "color": ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow"),
}
NUMBERS = sum(map(len, BLOCKS.values())) + 3

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class AttributeNetwork(ResNet):
    """A ResNet from object pictures [N, 3 or 6, S, S] to attribute numbers [N, 18].

    `window`: 0 for the published input, else that of `window_inputs`. `with_picture`: what is
    around the object is seen too. `reverse_channels`: blue, green, red, as the published weights
    want it (normalised as if they were red, green, blue). `batch_statistics`: normalise by the
    batch at hand also in evaluation, as the published tables were made; results then depend on
    what else is in the batch.
    """

    def __init__(
        self,
        depth: int = 34,
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        size: int = 224,
        window: float = 0.0,
        with_picture: bool = True,
        reverse_channels: bool = False,
        batch_statistics: bool = False,
        norm: Any = nn.BatchNorm2d,
    ) -> None:
        channels = 6 if window or with_picture else 3
        super().__init__(depth, classes=NUMBERS, channels=channels, widths=widths, norm=norm)
        self.size, self.window, self.with_picture = size, window, with_picture
        self.reverse_channels, self.batch_statistics = reverse_channels, batch_statistics
        if not batch_statistics:
            # The faster layout; but torch takes a batch's statistics more exactly in the other.
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training or not self.batch_statistics:
            return super().forward(inputs)
        with _by_batch(self):
            return super().forward(inputs)

    def inputs(self, picture: Tensor, masks: Tensor) -> Tensor:
        """Prepare objects of a picture, uint8 [H, W, 3] and bool [N, H, W], for the network."""
        if self.window:
            seen = picture.flip(2) if self.reverse_channels else picture
            return window_inputs(
                seen, masks, size=self.size, window=self.window, with_picture=self.with_picture
            )
        return attribute_inputs(
            picture,
            masks,
            size=self.size,
            with_picture=self.with_picture,
            reverse_channels=self.reverse_channels,
        )


@contextmanager
def _by_batch(network: nn.Module) -> Iterator[None]:
    """Let batch norms use the batch's own statistics, without learning from it."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, (training, tracking) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracking


def attribute_inputs(
    picture: Tensor,
    masks: Tensor,
    *,
    size: int = 224,
    with_picture: bool = True,
    reverse_channels: bool = False,
) -> Tensor:
    """Prepare the objects of one picture: RGB uint8 [H, W, 3], bool [N, H, W] -> [N, C, S, S].

    The picture's long side becomes S; it lies in the middle of its square, which is zero, not
    black, above and below. The picture is resized once, each object only where it is.
    """
    picture = picture.flip(2) if reverse_channels else picture
    full = (picture.shape[0], picture.shape[1])
    height, width = (max(1, int(size * side / max(full))) for side in full)
    top, left = (size - height + 1) // 2, (size - width + 1) // 2
    table = _levels(picture.device)
    result = table.new_zeros(masks.shape[0], 6 if with_picture else 3, size, size)
    inner = result[:, :, top : top + height, left : left + width]
    inner[:, :3] = table[:, :1, None]
    if with_picture:
        inner[:, 3:] = _normalised(resize_bytes(picture, (height, width)), table)
    for row, box in enumerate(_bounds(masks)):
        y, x, y_end, x_end = box
        if y_end > y:
            seen = picture[y:y_end, x:x_end] * masks[row, y:y_end, x:x_end, None]
            small, (v, u) = resize_patch(seen, (y, x), full, (height, width))
            place = inner[row, :3, v : v + small.shape[0], u : u + small.shape[1]]
            place.copy_(_normalised(small, table))
    return result


def window_inputs(
    picture: Tensor,
    masks: Tensor,
    *,
    size: int = 96,
    window: float = 1.5,
    with_picture: bool = True,
) -> Tensor:
    """Look at each object through a window: RGB uint8 [H, W, 3], bool [N, H, W] -> [N, 6, S, S].

    The windows are squares around the objects' boxes, `window` times as wide as the longer side
    of each. The channels: three of the picture (zero, the mean colour, beyond its border; without
    `with_picture` also around the object), the object's mask, and right and down, each pixel's
    place in the picture from its middle in halves of its width. Without a pixel an object is seen
    as zeros.
    """
    height, width = picture.shape[:2]
    boxes = boxes_of_masks(masks, MODERN).nan_to_num(0.0)  # [N, 4]
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).amax(1, keepdim=True) * (window / 2)
    squares = torch.cat((middle - half, middle + half), 1)
    pixels = _normalised(picture, _levels(picture.device))[None]
    view = roi_align(pixels, [squares], size, aligned=True)  # [N, 3, S, S]
    numbers = torch.arange(len(masks), dtype=squares.dtype, device=squares.device)[:, None]
    own = torch.cat((numbers, squares), 1)
    mask = roi_align(masks[:, None].float(), own, size, aligned=True)
    steps = (torch.arange(size, device=squares.device) + 0.5) * (2 / size) - 1
    place = middle[:, :, None] + half[:, :, None] * steps  # [N, 2, S]: x of columns, y of rows
    origin = torch.tensor([width, height], device=place.device)[:, None] / 2
    x, y = ((place - origin) * (2 / width)).unbind(1)
    seen = torch.stack((x[:, None, :].expand(-1, size, -1), y[:, :, None].expand(-1, -1, size)), 1)
    there = (half > 0)[:, :, None, None]
    return torch.cat((view if with_picture else view * mask, mask, seen), 1) * there


def _levels(device: torch.device) -> Tensor:
    """Give what each byte becomes, by channel: [3, 256]."""
    table = (torch.arange(256) / 255 - torch.tensor(_MEAN)[:, None]) / torch.tensor(_STD)[:, None]
    return table.to(device)


def _normalised(pixels: Tensor, table: Tensor) -> Tensor:
    """Look bytes [h, w, 3] up by channel: -> [3, h, w]."""
    index = pixels.permute(2, 0, 1).flatten(1).long()
    return table.gather(1, index).view(3, pixels.shape[0], pixels.shape[1])


def _bounds(masks: Tensor) -> list[list[int]]:
    """Give the first row and column of each mask and those behind its last: y, x, y, x."""
    sides = []
    for axis in (2, 1):
        touched = masks.view(torch.uint8).amax(axis) > 0  # twice as fast as `any`
        places = torch.arange(touched.shape[1], device=masks.device)
        sides.append(
            (
                torch.where(touched, places, touched.shape[1]).amin(1),
                torch.where(touched, places + 1, 0).amax(1),
            )
        )
    (y, y_end), (x, x_end) = sides
    bounds: list[list[int]] = torch.stack((y, x, y_end, x_end), 1).tolist()
    return bounds


def attribute_loss(numbers: Tensor, targets: Tensor) -> Tensor:
    """Average the squared errors of all numbers: [N, 18], [N, 18] -> scalar."""
    return F.mse_loss(numbers, targets)


def attribute_targets(objects: Sequence[dict[str, Any]]) -> Tensor:
    """Give the numbers of known objects (shape, size, material, color, position): [N, 18]."""
    rows = []
    for known in objects:
        row = [float(known[name] == word) for name, words in BLOCKS.items() for word in words]
        rows.append([*row, *known["position"]])
    return torch.tensor(rows, dtype=torch.float32).view(-1, NUMBERS)


def decode_attributes(numbers: Tensor) -> list[dict[str, Any]]:
    """Name what numbers [N, 18] say; of equal scores the first wins."""
    words: dict[str, list[str]] = {}
    start = 0
    for name, choices in BLOCKS.items():
        best = numbers[:, start : start + len(choices)].argmax(1).tolist()
        words[name] = [choices[index] for index in best]
        start += len(choices)
    positions = numbers[:, start:].float().tolist()
    return [
        {**{name: words[name][row] for name in BLOCKS}, "position": position}
        for row, position in enumerate(positions)
    ]
