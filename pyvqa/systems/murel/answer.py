"""A question of one's own about a picture, given who finds its regions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyvqa.data.region_store import Regions
from pyvqa.data.vqa_batch import VqaBatch
from pyvqa.data.vqa_text import TOKENISERS
from pyvqa.errors import DataError
from pyvqa.evidence import Answer
from pyvqa.systems.murel.evidence import explain_batch, region_canvas
from pyvqa.systems.murel.folder import Model

MOST_CHARACTERS = 512  # of a question

# Picture, uint8 [H, W, 3] -> boxes [N, 4] (x1, y1, x2, y2 in pixels) and features [N, D].
RegionsOf = Callable[[Tensor], tuple[Tensor, Tensor]]


def answer_picture(
    model: Model,
    picture: Tensor,
    question: str,
    regions_of: RegionsOf,
    *,
    title: str = "",
    image: str | None = None,
) -> Answer:
    """Answer a question about a picture, uint8 [H, W, 3], with the reasons.

    `image`: the picture as a `data:` address, for pages.

    Raises:
        DataError: the question is empty or far too long; there are no regions, or their features
            are of another width than the model's.
    """
    boxes, features = regions_of(picture)
    width = model.config.region_dim
    if features.dim() != 2 or not len(features) or features.shape[1] != width:
        raise DataError(
            f"{title or 'the picture'}: regions are {list(features.shape)}, at least one of "
            f"{width} numbers is needed; use the detector that the model was trained with"
        )
    if boxes.shape != (len(features), 4):
        raise DataError(f"{title or 'the picture'}: {len(features)} regions have other boxes")
    height, across = picture.shape[:2]
    shares = boxes.float() / torch.tensor([across, height, across, height])
    regions = Regions(
        features.float()[None], boxes.float()[None], shares[None], torch.tensor([len(features)])
    )
    numbers = read_question(model, question)
    batch = VqaBatch(
        rows=torch.zeros(1, dtype=torch.int64),
        ids=torch.zeros(1, dtype=torch.int64),
        questions=torch.tensor([numbers]),
        lengths=torch.tensor([len(numbers)]),
        regions=regions,
        answers=torch.tensor([-1]),
    )
    known = model.vocabulary.word_numbers
    strange = [word for word in TOKENISERS[model.tokeniser](question) if word not in known]
    return explain_batch(
        model,
        batch,
        question=question,
        canvas=region_canvas(regions, title, image),
        warnings=tuple(f"the word {word!r} is not in the vocabulary" for word in strange),
    )


def read_question(model: Model, question: str) -> list[int]:
    """Number a question's words; unknown ones are `UNK`.

    Raises:
        DataError: it holds no word, or is far too long.
    """
    if len(question) > MOST_CHARACTERS:
        raise DataError(f"the question has {len(question):,} characters; {MOST_CHARACTERS} at most")
    vocabulary = model.vocabulary
    words = TOKENISERS[model.tokeniser](question)
    if not words:
        raise DataError("the question holds no word; ask e.g. 'What color is the ball?'")
    return [vocabulary.word_numbers.get(word, vocabulary.unknown) for word in words]
