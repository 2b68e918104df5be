"""The detector as a whole, small: learning, looking, and what it tells other systems."""

from __future__ import annotations

import pytest
import torch

from pyvqa.nn.box_rules import DETECTRON, MODERN
from pyvqa.nn.images import ImageBatch, prepare_images
from pyvqa.nn.mask_rcnn import BOX_POOL, Limits, MaskRcnn, box_losses, select_detections
from pyvqa.nn.norm import FrozenAffine
from pyvqa.nn.resnet import ResNet
from pyvqa.nn.roi_targets import Truth, boxes_of_masks

RULES = pytest.mark.parametrize("rules", [DETECTRON, MODERN], ids=["detectron", "modern"])
LIMITS = Limits(
    test_per_level=100,
    test_proposals=60,
    train_per_level=100,
    train_proposals=100,
    anchors=64,
    rois=32,
    score=0.3,
)


def make(rules=MODERN, **options) -> MaskRcnn:
    torch.manual_seed(0)
    backbone = ResNet(10, widths=(8, 16, 16, 16))
    return MaskRcnn(
        backbone,
        3,
        rules=rules,
        limits=LIMITS,
        **({"width": 16, "head_width": 32, "mask_width": 16, "anchor_size": 16} | options),
    )


def scene(seed: int, rules=MODERN) -> tuple[torch.Tensor, Truth]:
    """A dark picture with one or two plain rectangles: red is class 1, blue class 2."""
    generator = torch.Generator().manual_seed(seed)
    picture = torch.randint(0, 40, (64, 96, 3), dtype=torch.uint8, generator=generator)
    masks, labels = [], []
    for place in range(1 + seed % 2):
        height, width = torch.randint(12, 28, (2,), generator=generator).tolist()
        y = int(torch.randint(0, 64 - height, (), generator=generator))
        x = place * 48 + int(torch.randint(0, 48 - width, (), generator=generator))
        mask = torch.zeros(64, 96, dtype=torch.bool)
        mask[y : y + height, x : x + width] = True
        label = 1 + (seed + place) % 2
        picture[mask] = torch.tensor([220, 30, 30] if label == 1 else [30, 30, 220]).byte()
        masks.append(mask)
        labels.append(label)
    stacked = torch.stack(masks)
    return picture, Truth(boxes_of_masks(stacked, rules), torch.tensor(labels), stacked)


def batch_of(seeds, rules=MODERN):
    pairs = [scene(seed, rules) for seed in seeds]
    return prepare_images([p for p, _ in pairs], short=64, multiple=64), [t for _, t in pairs]


@RULES
def test_it_learns_to_find_rectangles(rules):
    network = make(rules).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(60):
        batch, truths = batch_of(range(4 * step, 4 * step + 4), rules)
        loss = network(batch, truths, generator=generator).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    batch, truths = batch_of(range(1000, 1008), rules)
    found = network.eval().detect(batch)
    right = total = 0
    for seen, truth in zip(found, truths, strict=True):
        total += len(truth.labels)
        overlap = rules.iou(truth.boxes, seen.boxes)
        same = truth.labels[:, None] == seen.labels
        right += int(((overlap > 0.5) & same).any(1).sum())
    assert right >= 0.8 * total


@RULES
def test_every_trained_weight_has_a_gradient(rules):
    network = make(rules).train()
    batch, truths = batch_of([1, 3], rules)
    network(batch, truths, generator=torch.Generator().manual_seed(0)).total.backward()
    missing = [name for name, p in network.named_parameters() if p.grad is None]
    assert missing == []


def test_pictures_without_objects_can_be_trained_on():
    network = make().train()
    batch, _ = batch_of([0, 1])
    nothing = Truth(
        torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 64, 96).bool()
    )
    losses = network(batch, [nothing, nothing])
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert losses.mask == losses.box == losses.proposal_box.sum() == 0
    assert all(p.grad is not None for p in network.mask_head.parameters())


def test_picks_are_the_whole_randomness():
    """Drawn and then given picks lead to the same losses; other draws to others."""
    network = make().train()
    batch, truths = batch_of([1, 2])

    def seeded(seed: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    with torch.no_grad():
        maps = network.proposer(network.features(batch.pixels))
        picks = network.draw_picks(maps, batch, truths, seeded(5))
        drawn = network(batch, truths, generator=seeded(5)).total
        given = network(batch, truths, picks=picks, generator=seeded(9)).total
        other = network(batch, truths, generator=seeded(6)).total
    assert drawn == given
    assert drawn != other


def test_counts_are_averaged_over_ranks():
    """Twice the counts, as of a rank with many more regions, halve what they divide."""
    network = make().eval()
    batch, truths = batch_of([1, 2])
    with torch.no_grad():
        maps = network.proposer(network.features(batch.pixels))
        picks = network.draw_picks(maps, batch, truths, torch.Generator().manual_seed(0))
        own = network(batch, truths, picks=picks)
        more = torch.tensor([2.0, 2.0, 1.0])  # regions, those with an object, images
        halved = network(batch, truths, picks=picks, average=lambda counts: counts * more)
    torch.testing.assert_close(halved.score * 2, own.score)
    torch.testing.assert_close(halved.box * 2, own.box)
    torch.testing.assert_close(halved.mask * 2, own.mask)
    torch.testing.assert_close(halved.proposal_score, own.proposal_score)


def test_box_losses_against_plain_loops():
    torch.manual_seed(0)
    logits, deltas = torch.randn(5, 3), torch.randn(5, 12)
    labels, targets = torch.tensor([2, 0, 1, 0, 2]), torch.randn(3, 4)
    score = sum(-torch.log_softmax(logits[k], 0)[labels[k]] for k in range(5))
    box = 0.0
    for row, target in zip((0, 2, 4), targets, strict=True):
        gap = (deltas[row, 4 * labels[row] : 4 * labels[row] + 4] - target).abs()
        box += torch.where(gap < 1, 0.5 * gap**2, gap - 0.5).sum()
    ours = box_losses(logits, deltas, labels, targets)
    torch.testing.assert_close(ours[0], score)
    torch.testing.assert_close(ours[1], box)


def test_selected_detections():
    """Two boxes of a class that overlap: one stays; of another class: both; order by class."""
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [30, 30, 40, 40]]).repeat(1, 3)
    scores = torch.tensor([[0.1, 0.5, 0.4], [0.1, 0.6, 0.3], [0.5, 0.02, 0.48]])
    found = select_detections(scores, boxes, MODERN, Limits())
    assert found.labels.tolist() == [1, 2, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.4, 0.48]))
    assert found.boxes[:, 3].tolist() == [9, 10, 40]
    few = select_detections(scores, boxes, MODERN, Limits(detections=2))
    torch.testing.assert_close(few.scores, torch.tensor([0.6, 0.48]))
    tied = torch.tensor([[0.0, 0.5, 0.5], [0.9, 0.05, 0.05], [0.0, 0.5, 0.5]])
    assert len(select_detections(tied, boxes, MODERN, Limits(detections=1)).labels) == 4
    none = select_detections(torch.full((3, 3), 0.01), boxes, MODERN, Limits())
    assert none.boxes.shape == (0, 4)


def test_kinds_of_a_thing_share_their_score():
    """Four classes, two kinds each of two things: what kind it is may be open."""
    corners = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 9, 10]])
    boxes = torch.cat([corners + offset for offset in (0.0, 100, 101, 300, 301)], 1)
    scores = torch.tensor(
        [
            [0.10, 0.40, 0.44, 0.03, 0.03],  # thing 1, rather its second kind
            [0.20, 0.60, 0.10, 0.05, 0.05],  # thing 1 again, scored lower in all
            [0.08, 0.01, 0.01, 0.30, 0.60],  # thing 2, its second kind
        ]
    )
    found = select_detections(scores, boxes, MODERN, Limits(kinds=2, score=0.1))
    assert found.labels.tolist() == [2, 4]
    torch.testing.assert_close(found.scores, torch.tensor([0.84, 0.9]))
    torch.testing.assert_close(found.boxes, torch.stack((boxes[0, 8:12], boxes[2, 16:20])))
    apart = select_detections(scores, boxes, MODERN, Limits(score=0.1))
    assert apart.labels.tolist() == [1, 2, 3, 4]


@RULES
def test_a_batch_finds_what_single_pictures_show(rules):
    network = make(rules).eval()
    batch, _ = batch_of([1, 2], rules)
    together = network.detect(batch)
    for row, seed in enumerate((1, 2)):
        alone = network.detect(batch_of([seed], rules)[0])[0]
        assert torch.equal(alone.labels, together[row].labels)
        torch.testing.assert_close(alone.boxes, together[row].boxes, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(alone.masks, together[row].masks, rtol=1e-3, atol=1e-3)


def test_nothing_found_is_no_error():
    network = make().eval()
    network.limits = Limits(score=0.999999)
    found = network.detect(batch_of([1])[0])[0]
    assert found.boxes.shape == (0, 4)
    assert found.masks.shape == (0, 28, 28)


def test_region_features_in_one_call():
    network = make().eval()
    batch, truths = batch_of([1, 2])
    given = network.region_features(batch, [t.boxes for t in truths])
    assert [r.features.shape for r in given] == [(len(t.labels), 32) for t in truths]
    for regions, truth in zip(given, truths, strict=True):
        torch.testing.assert_close(regions.boxes, truth.boxes)
        torch.testing.assert_close(regions.probabilities.sum(1), torch.ones(len(truth.labels)))
    proposed = network.region_features(batch)
    assert [len(r.boxes) <= LIMITS.test_proposals for r in proposed] == [True, True]
    pyramid = network.features(batch.pixels)
    known = network.region_features(batch, [t.boxes for t in truths], pyramid)
    assert torch.equal(known[0].features, given[0].features)


def test_boxes_are_given_in_pixels_of_the_original():
    network = make().eval()
    picture, truth = scene(1)
    single = prepare_images([picture], short=64, multiple=64)
    double = prepare_images([picture], short=128, multiple=64)
    assert double.scales == [2.0]
    ours = network.region_features(double, [truth.boxes])[0]
    torch.testing.assert_close(ours.boxes, truth.boxes)
    pyramid = network.features(double.pixels)
    pooled = network.pool(pyramid, [truth.boxes * 2], BOX_POOL)
    torch.testing.assert_close(ours.features, network.box_head.features(pooled))
    found = network.detect(single)[0].boxes
    limit = torch.tensor([96.0, 64, 96, 64])
    assert ((found >= 0) & (found <= limit)).all()


def test_bfloat16_is_close_and_boxes_stay_float32():
    network = make().eval()
    batch, truths = batch_of([1, 2])
    boxes = [t.boxes for t in truths]
    exact = network.region_features(batch, boxes)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network.region_features(batch, boxes)
        found = network.detect(batch)
    for a, b in zip(exact, rough, strict=True):
        torch.testing.assert_close(b.probabilities, a.probabilities, rtol=0, atol=2e-2)
    assert found[0].boxes.dtype == found[0].scores.dtype == found[0].masks.dtype == torch.float32


def test_training_in_bfloat16_moves_every_weight():
    network = make().train()
    batch, truths = batch_of([1, 2])
    with torch.autocast("cpu", torch.bfloat16):
        losses = network(batch, truths)
    losses.total.backward()
    assert losses.total.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


def test_threads_change_nothing():
    network = make().eval()
    batch, _ = batch_of([1, 2])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = network.detect(batch)
        torch.set_num_threads(2)
        two = network.detect(batch)
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a.boxes, b.boxes, rtol=1e-4, atol=1e-3)


def test_state_dict_round_trip():
    network, other = make(), make()
    for parameter in network.parameters():
        parameter.data.normal_()
    other.load_state_dict(network.state_dict())
    for name, value in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_detector_of_published_kind_has_no_batch_norm():
    backbone = ResNet(50, norm=FrozenAffine, stride_first=True, widths=(8, 8, 8, 8))
    network = MaskRcnn(backbone, 49, rules=DETECTRON, width=8, head_width=8, mask_width=8)
    assert not [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(network.state_dict()) == 201


def test_overlaps_that_reach_the_threshold():
    """Exactly half, with inclusive corners: the published rules drop the weaker, today's do not."""
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 4]]).repeat(1, 2)
    scores = torch.tensor([[0.1, 0.9], [0.2, 0.8]])
    assert len(select_detections(scores, boxes, DETECTRON, Limits()).labels) == 1
    halves = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]]).repeat(1, 2)
    assert len(select_detections(scores, halves, MODERN, Limits()).labels) == 2


@RULES
def test_ranks_with_averaged_counts_add_up_to_the_whole_batch(rules):
    network = make(rules).eval()
    batch, truths = batch_of([1, 4], rules)
    with torch.no_grad():
        maps = network.proposer(network.features(batch.pixels))
        picks = network.draw_picks(maps, batch, truths, torch.Generator().manual_seed(0))
        whole = network(batch, truths, picks=picks).total
    regions = [torch.tensor([len(p.rois.labels), len(p.rois.masks), 1]).float() for p in picks]
    mean = (regions[0] + regions[1]) / 2
    assert not torch.equal(regions[0], regions[1])
    parts = []
    for rank in range(2):
        own = ImageBatch(batch.pixels[rank : rank + 1], *([x[rank]] for x in batch[1:]))
        with torch.no_grad():
            losses = network(
                own, truths[rank : rank + 1], picks=picks[rank : rank + 1], average=lambda _: mean
            )
        parts.append(losses.total)
    torch.testing.assert_close((parts[0] + parts[1]) / 2, whole, rtol=1e-5, atol=1e-6)


@pytest.mark.cuda
@RULES
def test_cuda_does_what_the_cpu_does(rules):
    network = make(rules).eval()
    batch, truths = batch_of([1, 4], rules)
    with torch.no_grad():
        maps = network.proposer(network.features(batch.pixels))
        picks = network.draw_picks(maps, batch, truths, torch.Generator().manual_seed(0))
        losses = network(batch, truths, picks=picks)
        found = network.detect(batch)
        network.cuda()
        on_cuda = batch.to("cuda")
        maps = network.proposer(network.features(on_cuda.pixels))
        moved = [truth.to("cuda") for truth in truths]
        generator = torch.Generator().manual_seed(0)
        picks = network.draw_picks(maps, on_cuda, moved, generator)
        again = network(on_cuda, moved, picks=picks)
        seen = network.detect(on_cuda)
    torch.testing.assert_close(again.total.cpu(), losses.total, rtol=1e-2, atol=1e-3)
    for a, b in zip(found, seen, strict=True):
        torch.testing.assert_close(b.boxes.cpu(), a.boxes, rtol=1e-2, atol=0.5)
