"""The picture networks against the same networks in plain torch.

The rival detector has the same weights and goes the same way, in torch's default layout, with
its norms behind the convolutions and `F.linear` for the dense layers; proposals, pooling and
suppression are ours on both sides (benchmarks/ops has their rivals). Equality first, then time.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timing
import torch
from torch import Tensor
from torch.nn import functional as F

from pyvqa.nn import mask_rcnn, resnet
from pyvqa.nn.images import ImageBatch
from pyvqa.nn.mask_rcnn import MaskRcnn
from pyvqa.nn.norm import FrozenAffine
from pyvqa.systems.ns_vqa.build import build_detector, prepare_pictures
from pyvqa.systems.ns_vqa.config import DetectorConfig
from pyvqa.systems.ns_vqa.model.attributes import attribute_inputs

UPSTREAM_OBJECTS_PER_SECOND = 110  # of the original, one thread of a server CPU
AFTER_CONVOLUTIONS = 0.05  # most of the whole that proposals, pooling and suppression may take


def picture() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 10, 15, generator=generator)
    fine = F.interpolate(coarse, size=(320, 480), mode="bicubic").clamp(0, 1)
    return (255 * fine[0]).permute(1, 2, 0).byte().contiguous()


@pytest.fixture(scope="module")
def pair() -> tuple[MaskRcnn, MaskRcnn, ImageBatch]:
    """The published detector with random weights that keep its maps alive, and its rival."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = DetectorConfig()
    ours, plain = build_detector(config).eval(), build_detector(config).eval()
    for module in ours.modules():
        if isinstance(module, FrozenAffine):
            module.weight.fill_(0.3)
            module.bias.normal_(0, 0.05)
    torch.nn.init.normal_(ours.box_head.score.weight, std=0.1)
    torch.nn.init.normal_(ours.box_head.delta.weight, std=0.05)
    plain.load_state_dict(ours.state_dict())
    plain.to(memory_format=torch.contiguous_format)
    return ours, plain, prepare_pictures(config, [picture()])


def plainly(run: Callable[[], object], patch: pytest.MonkeyPatch) -> Callable[[], object]:
    """Let a run do without folding and without the faster product."""

    def patched() -> object:
        with patch.context() as context:
            context.setattr(resnet, "conv_norm", lambda conv, norm, x: norm(conv(x)))
            context.setattr(mask_rcnn, "linear", F.linear)
            return run()

    return patched


def in_bfloat16(run: Callable[[], object]) -> Callable[[], object]:
    def under_autocast() -> object:
        with torch.autocast("cpu", torch.bfloat16):
            return run()

    return under_autocast


@torch.no_grad()
def test_both_see_the_same(pair, monkeypatch):
    ours, plain, batch = pair
    maps = ours.features(batch.pixels)
    rivals = plainly(lambda: plain.features(batch.pixels), monkeypatch)()
    for a, b in zip(maps, rivals, strict=True):
        torch.testing.assert_close(a.contiguous(), b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))
    boxes = [torch.tensor([[10.0, 20, 90, 80], [200, 100, 420, 300]])]
    a = ours.region_features(batch, boxes, maps)[0].features
    b = plainly(lambda: plain.region_features(batch, boxes, rivals), monkeypatch)()[0].features
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


def test_whole_forward(pair, monkeypatch, benchmark):
    ours, plain, batch = pair
    assert len(ours.detect(batch)[0].labels) == 100
    timing.compare(
        "detector",
        "800 x 1216, float32",
        ours=lambda: ours.detect(batch),
        rival=plainly(lambda: plain.detect(batch), monkeypatch),
        rival_name="plain torch",
        target=1.1,
    )
    benchmark.pedantic(lambda: ours.detect(batch), rounds=1)


@pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX512"), reason="no bfloat16 here"
)
def test_whole_forward_in_bfloat16(pair, monkeypatch, benchmark):
    ours, plain, batch = pair
    run = in_bfloat16(lambda: ours.detect(batch))
    timing.compare(
        "detector",
        "800 x 1216, bfloat16",
        ours=run,
        rival=plainly(lambda: plain.detect(batch), monkeypatch),
        rival_name="plain torch, float32",
        target=3.0,
    )
    benchmark.pedantic(run, rounds=1)


@torch.no_grad()
def test_share_of_what_is_no_convolution(pair, benchmark):
    """Proposals, pooling of regions, selection, within the whole."""
    ours, _, batch = pair
    torch.set_num_threads(1)
    maps = ours.features(batch.pixels)
    scores = ours.proposer(maps)
    proposals = ours.propose(scores, batch)
    pooled = ours.pool(maps, proposals, mask_rcnn.BOX_POOL)
    logits, deltas = ours.box_head.judge(ours.box_head.features(pooled))

    def select() -> object:
        moved = ours.rules.decode(deltas, proposals[0] / 2.5, mask_rcnn.BOX_WEIGHTS)
        moved = ours.rules.clip(moved, (320, 480))
        probabilities = torch.softmax(logits, 1)
        return mask_rcnn.select_detections(probabilities, moved, ours.rules, ours.limits)

    found = select()
    parts = {
        "propose": lambda: ours.propose(scores, batch),
        "pool for boxes": lambda: ours.pool(maps, proposals, mask_rcnn.BOX_POOL),
        "select": select,
        "pool for masks": lambda: ours.pool(maps, [found.boxes * 2.5], mask_rcnn.MASK_POOL),
    }
    took = {name: min(timing.seconds(run) for _ in range(5)) for name, run in parts.items()}
    whole = min(timing.seconds(lambda: ours.detect(batch)) for _ in range(2))
    told = ", ".join(f"{name} {1e3 * value:.1f}" for name, value in took.items())
    print(f"\n{told} ms of {1e3 * whole:.0f} ms: {100 * sum(took.values()) / whole:.2f} %")
    assert sum(took.values()) <= AFTER_CONVOLUTIONS * whole
    benchmark.pedantic(select, rounds=3)


@torch.no_grad()
def test_difference_of_bfloat16(pair):
    """How far boxes and masks of the same regions move in bfloat16."""
    ours, _, batch = pair
    maps = ours.features(batch.pixels)
    boxes = ours.propose(ours.proposer(maps), batch)
    labels = torch.ones(50, dtype=torch.int64)

    def seen() -> tuple[Tensor, Tensor]:
        pyramid = ours.features(batch.pixels)
        features = ours.box_head.features(ours.pool(pyramid, boxes, mask_rcnn.BOX_POOL))
        deltas = ours.box_head.judge(features)[1].float()
        moved = ours.rules.decode(deltas, boxes[0] / 2.5, mask_rcnn.BOX_WEIGHTS)
        masks = torch.sigmoid(ours.mask_logits(pyramid, [boxes[0][:50]], labels).float())
        return moved, masks

    exact_boxes, exact_masks = seen()
    with torch.autocast("cpu", torch.bfloat16):
        rough_boxes, rough_masks = seen()
    gap = (rough_boxes - exact_boxes).abs()
    flipped = ((rough_masks > 0.5) != (exact_masks > 0.5)).float().mean()
    print(
        f"\nbfloat16: corners move by {gap.mean():.3f} pixels ({gap.max():.2f} at most), "
        f"{100 * flipped:.2f} % of mask pixels change sides"
    )
    assert gap.mean() < 0.5


def test_attribute_inputs(benchmark):
    """Seven objects of a picture: the average of a CLEVR scene."""
    y, x = torch.meshgrid(torch.arange(320), torch.arange(480), indexing="ij")
    masks = torch.stack([(y - 100 - 20 * k) ** 2 + (x - 60 - 55 * k) ** 2 < 1500 for k in range(7)])
    image = picture()
    torch.set_num_threads(1)
    took = min(timing.seconds(lambda: attribute_inputs(image, masks)) for _ in range(20))
    print(f"\nattribute inputs: {len(masks) / took:.0f} objects a second")
    assert len(masks) / took >= 10 * UPSTREAM_OBJECTS_PER_SECOND
    benchmark.pedantic(lambda: attribute_inputs(image, masks), rounds=5)
