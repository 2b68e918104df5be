"""The feature pyramid against its formulas."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from pyvqa.nn.fpn import FeaturePyramid, scaled_uniform_


def test_pyramid_is_what_the_paper_says():
    torch.manual_seed(0)
    fpn = FeaturePyramid([3, 5, 7], 4).double()
    maps = [
        torch.randn(2, c, 16 >> i, 24 >> i, dtype=torch.float64) for i, c in enumerate((3, 5, 7))
    ]
    lateral = [conv(x) for conv, x in zip(fpn.laterals, maps, strict=True)]
    middle = lateral[1] + lateral[2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    fine = lateral[0] + middle.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = [conv(x) for conv, x in zip(fpn.outputs, (fine, middle, lateral[2]), strict=True)]
    expected.append(F.max_pool2d(expected[-1], 1, 2))
    for ours, theirs in zip(fpn(maps), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradients_reach_every_weight():
    fpn = FeaturePyramid([3, 5], 4)
    maps = [torch.randn(1, 3, 8, 8), torch.randn(1, 5, 4, 4)]
    sum(x.square().sum() for x in fpn(maps)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fpn.parameters())


def test_start_keeps_the_variance():
    weight = torch.empty(400, 300)
    scaled_uniform_(weight)
    assert weight.abs().max() <= (3 / 300) ** 0.5
    outputs = torch.randn(200, 300) @ weight.t()
    assert 0.9 < outputs.std() < 1.1
