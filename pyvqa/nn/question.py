"""A question as one vector: embedded words, a GRU, and attention over the words.

The skip-thought encoder (Kiros et al. 2015, "Skip-Thought Vectors", section 2.1) as block's
vqa_net.py uses it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyvqa.nn.fusions.base import apply_layer
from pyvqa.nn.gru import GruMasks, PackedGru
from pyvqa.nn.recurrent import pack_lengths


class Attention(nn.Module):
    """Scores of G glimpses by two layers: W1 relu(W0 x + b0) + b1, [..., D] -> [..., G]."""

    def __init__(self, width: int, hidden: int, glimpses: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, hidden)
        self.scores = nn.Linear(hidden, glimpses)

    def forward(self, x: Tensor) -> Tensor:
        return apply_layer(self.scores, F.relu(apply_layer(self.hidden, x)))


class EncodedQuestion(NamedTuple):
    """Questions as vectors, with what they attend to."""

    vector: Tensor  # [B, Q]
    words: Tensor | None  # [B, G, T] weight of each word, 0 on padding; none without attention


class QuestionEncoder(nn.Module):
    """Token ids to vectors.

    Args:
        words: number of words, padding (number 0) among them.
        gru: reads the embedded words, [P, D] -> [P, H].
        attention: scores each word for G glimpses, whose weighted sums of outputs are put one
            behind the other; None: the output at the last word stands for the question.
    """

    def __init__(self, words: int, gru: PackedGru, attention: Attention | None) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, gru.width, padding_idx=0)
        self.gru = gru
        self.attention = attention

    @property
    def output_dim(self) -> int:
        """Width Q of a question's vector."""
        glimpses = 1 if self.attention is None else self.attention.scores.out_features
        return self.gru.output_dim * glimpses

    def forward(
        self, tokens: Tensor, lengths: Tensor, masks: GruMasks | None = None
    ) -> EncodedQuestion:
        """Encode questions [B, T] with their lengths [B].

        Padding is not read, so it changes nothing. A question of no words reads as one padding.

        Raises:
            ValueError: a length is beyond T.
        """
        known = lengths.cpu().clamp(min=1)
        if int(known.max()) > tokens.shape[1]:
            raise ValueError(f"a question of {int(known.max())} words in {tokens.shape[1]} columns")
        packing = pack_lengths(known, tokens.shape[1]).to(tokens.device)
        outputs = self.gru(self.embedding(packing.pack(tokens)), packing, masks)
        if self.attention is None:
            return EncodedQuestion(outputs[packing.last][packing.restore], None)
        scores = packing.pad(self.attention(outputs), -torch.inf)
        weights = torch.softmax(scores, 1).transpose(1, 2)  # [B, G, T]
        vector = torch.bmm(weights, packing.pad(outputs)).flatten(1)
        return EncodedQuestion(vector.to(outputs.dtype), weights)  # autocast leaves it in bfloat16
