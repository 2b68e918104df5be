"""One of two ranks that normalise a batch together; started by test_norm.py."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist

from pyvqa.nn.norm import SharedBatchNorm2d

SPLIT = 3  # images of rank 0; the other has the rest


def main(store: str, momentum: str, rank: int, out: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    norm = SharedBatchNorm2d(4, momentum=None if momentum == "none" else float(momentum))
    torch.manual_seed(0)
    norm.weight.data.uniform_(0.5, 2)
    norm.bias.data.normal_()
    x, weights = torch.randn(2, 4, 4, 5, 6) * 3 + 20, torch.randn(4, 4, 5, 6)
    mine = slice(None, SPLIT) if rank == 0 else slice(SPLIT, None)
    outputs, gradients = [], []
    for step in range(2):
        leaf = x[step, mine].clone().requires_grad_()
        y = norm(leaf)
        norm.zero_grad()
        (y * weights[mine]).sum().backward()
        outputs.append(y.detach())
        gradients.append(leaf.grad)
    content = {"x": x, "weights": weights, "y": outputs, "grad": gradients}
    content |= {"state": norm.state_dict(), "weight_grad": norm.weight.grad}
    torch.save(content, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
