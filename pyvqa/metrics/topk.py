"""How often the right class is among the k most likely ones."""

from __future__ import annotations

from torch import Tensor


def top_k_right(logits: Tensor, targets: Tensor, k: int) -> Tensor:
    """Say of each row whether its target is among the k largest: [B, C], [B] -> bool [B].

    A negative target (the answer is no class) is never right. Sum over a whole split and divide
    once: the original's epoch value is the mean of batch means, in which a short last batch weighs
    as much as a full one (bootstrap.pytorch models/metrics/accuracy.py).
    """
    best = logits.topk(min(k, logits.shape[1]), dim=1).indices
    return (best == targets[:, None]).any(1)
