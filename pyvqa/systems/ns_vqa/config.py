"""What NS-VQA's parser and its two training stages need, as typed settings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True)
class ParserConfig:
    """The shape of a question parser (defaults: Yi et al. 2018, ns-vqa reason/options)."""

    word_dim: int = 300
    function_dim: int | None = None  # of function embeddings; None: as word_dim
    hidden: int = 256  # of one encoder direction; the decoder is twice as wide when bidirectional
    layers: int = 2
    bidirectional: bool = True
    attention: bool = True
    variable_lengths: bool = True  # false: the encoder also runs over the padding
    mask_padding: bool = True  # false: the original's attention over padding (see model/parser.py)
    max_steps: int = 27  # longest program written, <END> included
    word_vectors: str | None = None  # .npy [words, D]; sets word_dim to D
    freeze_words: bool = False
