"""A question of one's own about a picture, given who finds its regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyvqa.data.pictures import as_picture, picture_address
from pyvqa.data.region_origin import FindRegions, PictureRegions, RegionOrigin
from pyvqa.data.region_store import Regions
from pyvqa.data.vqa_batch import VqaBatch
from pyvqa.data.vqa_text import TOKENISERS
from pyvqa.errors import CheckpointError, DataError
from pyvqa.evidence import Answer, Canvas, Region
from pyvqa.systems.murel.evidence import explain_batch
from pyvqa.systems.murel.folder import Model
from pyvqa.systems.murel.scoring import run_network
from pyvqa.train.loader import to_device

MOST_CHARACTERS = 512  # of a question
UNKNOWN = "unknown"  # the text of an answer that would be a guess
NAMED = 0.5  # score from which on a region is called what the detector takes it for


class Look(NamedTuple):
    """A picture as a model sees it."""

    regions: Regions  # of this one picture
    canvas: Canvas  # the picture with them
    best: float  # score of the region that is likeliest an object


@dataclass(frozen=True)
class Murel:
    """A model folder that answers (`pyvqa.load("murel-world")`)."""

    folder: Path
    model: Model = field(repr=False)
    find_regions: Callable[[RegionOrigin], FindRegions] = field(repr=False)

    @cached_property
    def regions_of(self) -> FindRegions:
        """What finds the regions of a picture.

        Raises:
            CheckpointError: the model was trained on features of no detector of this package, or
                that detector cannot be found.
        """
        origin = self.model.origin
        if origin is None:
            raise CheckpointError(
                f"{self.folder}: was not trained on features of `pyvqa prepare features`, so no "
                "detector here can look at pictures for it; ask about stored features with "
                "`pyvqa eval --features STORE --explain N`"
            )
        return self.find_regions(origin)

    def answer(self, image: Any, question: str) -> Answer:
        """Answer a question about a picture, with the reasons.

        `image`: a path, a Pillow image, or an array or tensor of uint8 [H, W, 3].

        Raises:
            DataError: the picture is damaged, or the question far too long.
            CheckpointError: see `regions_of`.
        """
        regions_of = self.regions_of
        picture = as_picture(image)
        title = Path(image).name if isinstance(image, str | Path) else ""
        return answer_look(self.model, look(self.model, picture, regions_of, title), question)


def look(
    model: Model,
    picture: Tensor,
    regions_of: FindRegions,
    title: str = "",
    *,
    shown: bool = True,
) -> Look:
    """Find the regions of a picture, uint8 [H, W, 3]; the canvas holds it where it is `shown`.

    Raises:
        DataError: their features are of another width than the model's.
    """
    found = regions_of(picture)
    count, width = len(found.boxes), model.config.region_dim
    if found.features.shape != (count, width) or found.boxes.shape != (count, 4):
        raise DataError(
            f"{title or 'the picture'}: the features of its {count} regions are "
            f"{list(found.features.shape)}, {width} numbers each are needed; use the detector that "
            "the model was trained with"
        )
    height, across = picture.shape[:2]
    shares = found.boxes.float() / torch.tensor([across, height, across, height])
    regions = Regions(
        found.features.float()[None],
        found.boxes.float()[None],
        shares[None],
        torch.tensor([count]),
    )
    canvas = Canvas(
        kind="picture",
        width=across,
        height=height,
        title=title,
        image=picture_address(picture) if shown else None,
        regions=_regions(found),
    )
    return Look(regions, canvas, float(found.scores.max()) if count else 0.0)


def _regions(found: PictureRegions) -> tuple[Region, ...]:
    parts = zip(found.boxes.tolist(), found.scores.tolist(), found.names, strict=True)
    listed = []
    for k, ((x0, y0, x1, y1), score, name) in enumerate(parts, 1):
        listed.append(
            Region(
                box=(round(x0, 1), round(y0, 1), round(x1, 1), round(y1, 1)),
                weight=round(score, 4),
                label=name if score >= NAMED else f"region {k}",
            )
        )
    return tuple(listed)


def answer_look(model: Model, seen: Look, question: str) -> Answer:
    """Answer a question about a picture that was looked at.

    The answer is `UNKNOWN`, with the reason as a warning, where the picture has no regions or the
    question no word that the model knows; words that it does not know, and a picture without
    anything like the objects that the detector knows, are warnings beside an answer.

    Raises:
        DataError: the question is far too long.
    """
    words, strange = _words(model, question)
    doubts = []
    if len(strange) == len(words):
        doubts.append(
            "the question holds no word that is known; ask e.g. 'What color is the ball?'"
            if words
            else "the question is empty; ask e.g. 'What color is the ball?'"
        )
    if not len(seen.canvas.regions):
        doubts.append("no regions were found in the picture")
    warnings = [f"the word {word!r:.60} is not in the vocabulary" for word in strange]
    if doubts:
        return Answer(
            text=UNKNOWN, question=question, canvas=seen.canvas, warnings=(*doubts, *warnings)
        )
    if seen.best < NAMED:
        warnings.append(
            "nothing in the picture looks like what the detector knows: its best region has a "
            f"score of {100 * seen.best:.0f} %"
        )
    return explain_batch(
        model,
        _batch(model, seen.regions, [words]),
        question=question,
        canvas=seen.canvas,
        warnings=tuple(warnings),
    )


@torch.no_grad()
def answer_texts(model: Model, regions: Regions, questions: Sequence[str]) -> list[str]:
    """Answer questions about one picture without reasons; an empty one reads as one unknown word.

    Raises:
        DataError: a question is far too long.
    """
    if not questions:
        return []
    batch = _batch(model, regions, [_words(model, question)[0] for question in questions])
    batch = to_device(batch, next(model.network.parameters()).device)
    best = run_network(model.network, batch).logits.float().argmax(1)
    return [model.vocabulary.answers[k] for k in best.tolist()]


def _words(model: Model, question: str) -> tuple[list[str], list[str]]:
    """Cut a question into words: all of them, and those that the model does not know."""
    if len(question) > MOST_CHARACTERS:
        raise DataError(
            f"the question has {len(question):,} characters; at most {MOST_CHARACTERS} are read, "
            "ask a shorter one"
        )
    words = TOKENISERS[model.tokeniser](question)
    return words, [word for word in words if word not in model.vocabulary.word_numbers]


def _batch(model: Model, regions: Regions, questions: Sequence[Sequence[str]]) -> VqaBatch:
    """Ask Q questions, each a list of words, about one picture."""
    numbers, unknown = model.vocabulary.word_numbers, model.vocabulary.unknown
    rows = [[numbers.get(word, unknown) for word in words] or [unknown] for words in questions]
    count, longest = len(rows), max(map(len, rows))
    tokens = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    return VqaBatch(
        rows=torch.zeros(count, dtype=torch.int64),
        ids=torch.zeros(count, dtype=torch.int64),
        questions=tokens,
        lengths=torch.tensor([len(row) for row in rows]),
        regions=Regions(*(part.expand(count, *part.shape[1:]) for part in regions)),
        answers=torch.full((count,), -1),
    )
