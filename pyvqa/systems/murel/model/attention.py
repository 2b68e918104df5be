"""The attention baseline: a question looks at the regions once, through a few glimpses.

Ben-younes et al. 2019, "BLOCK", section 4.1 (block/models/networks/vqa_net.py).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyvqa.nn.fusions import Fusion
from pyvqa.nn.question import Attention, QuestionEncoder
from pyvqa.systems.murel.model.network import Answered, Reasoning, scaled


class RegionAttention(nn.Module):
    """Weights over regions: fusion of question and region, then a layer per glimpse or none.

    Args:
        fusion: question and region -> W.
        glimpses: W -> G scores; without it the W outputs of the fusion are the scores.
    """

    def __init__(self, fusion: Fusion, glimpses: Attention | None) -> None:
        super().__init__()
        self.fusion = fusion
        self.glimpses = glimpses

    def forward(self, question: Tensor, regions: Tensor, valid: Tensor | None) -> Tensor:
        """Weigh regions [B, N, D] for questions [B, Q] -> [B, G, N], each row a distribution.

        Where no region is valid the weights are 0.
        """
        scores = self.fusion(question.unsqueeze(1), regions)
        if self.glimpses is not None:
            scores = self.glimpses(scores)
        if valid is None:
            return torch.softmax(scores, 1).transpose(1, 2)
        absent = ~valid.unsqueeze(-1)
        # The least number and not -inf, so that a picture without regions gives no NaN.
        low = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
        return torch.softmax(low, 1).masked_fill(absent, 0.0).transpose(1, 2)


class AttentionNet(nn.Module):
    """The attention baseline, with the same interface as `MurelNet`."""

    def __init__(
        self,
        question: QuestionEncoder,
        attention: RegionAttention,
        classify: Fusion,
        *,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.question = question
        self.attention = attention
        self.classify = classify
        self.scale = scale

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        regions: Tensor,
        coordinates: Tensor,
        valid: Tensor | None = None,
    ) -> Answered:
        """Answer questions [B, T] about regions [B, N, D]; the coordinates are not looked at."""
        encoded = self.question(tokens, lengths)
        regions = scaled(regions, self.scale)
        weights = self.attention(encoded.vector, regions, valid)
        seen = torch.bmm(weights, regions).flatten(1).to(regions.dtype)
        logits = self.classify(encoded.vector, seen)
        return Answered(logits, Reasoning(encoded.words, [], None, weights))
