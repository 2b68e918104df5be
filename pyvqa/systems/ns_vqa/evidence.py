"""Answers about pictures: what was seen, how the answer came about, what speaks against it.

Confidence. A question has several possible programs; `likeliest` finds those that the parser gives
most probability. Malformed ones are left out and the others' probabilities scaled up to make up for
it. Programs with the same answer count together. The confidence of an answer is

    sum of its programs' probabilities
    x product of the detection scores of the objects that mattered
    x 1 / n for every "the only one" that had n > 1 objects to choose from

The objects that mattered are those that a step of the answer's likeliest program kept, or all,
where none was. A detection score is the probability of the object's class, which with the published
classes is colour, material and shape together.

Doubt. When the picture is unlike the scenes that were learned, or the question cannot be read, the
text is `UNKNOWN` and the score None; what would have been said is among the alternatives, and
warnings tell the reasons. Lesser doubts are warnings beside an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyvqa.data.clevr_questions import encode_words
from pyvqa.data.pictures import picture_address, shrink_picture
from pyvqa.errors import DataError
from pyvqa.evidence import Alternative, Answer, Canvas, Mask, Region, Step
from pyvqa.ops import encode_masks
from pyvqa.ops.execute import Kind, execute_trace, verify
from pyvqa.programs.clevr import ATTRIBUTES, instruction_table, question_type
from pyvqa.programs.explain import explain, prefix_outcomes
from pyvqa.systems.ns_vqa.answer import (
    NsVqa,
    as_known,
    executed_tokens,
    scene_from_json,
    unknown_words,
)
from pyvqa.systems.ns_vqa.grammar import Grammar
from pyvqa.systems.ns_vqa.model.decode import likeliest
from pyvqa.systems.ns_vqa.perception import Seen
from pyvqa.systems.ns_vqa.reasoning import Executor, token_names

UNKNOWN = "unknown"  # the text of an answer that would be a guess
MOST_CHARACTERS = 512  # of a question; the longest of CLEVR has 250
READINGS = 5  # programs that are weighed against each other
SURE = 0.5  # probability below which a reading is a guess

# The ground of CLEVR and of the built-in world is a lit grey. Over 120 CLEVR pictures the share of
# grey pixels (values within 24 of each other, of medium brightness) is 0.74 to 1, the median
# brightness 108 to 130.
GREY, DARK, LIGHT = 24, 60, 190
LEAST_GROUND = 0.5
BRIGHTNESS = (85, 160)
ASPECT = (1.3, 1.75)  # width / height; learned on 1.5
LEAST_SIDE = 120  # pixels; learned on 320


class _Reading(NamedTuple):
    """An answer with the likeliest program that leads to it."""

    text: str
    score: float
    share: float  # probability of its programs
    sound: float  # probability of all well-formed programs
    program: Tensor  # int64 [S]
    steps: tuple[Step, ...]


def picture_canvas(picture: Tensor, seen: Seen, title: str = "") -> Canvas:
    """Make the canvas of a picture, uint8 [H, W, 3], whose regions are the objects seen in it.

    Positions are the picture's own pixels; the image itself is scaled down where it is large.
    """
    size = (picture.shape[0], picture.shape[1])
    masks = encode_masks(seen.found.masks)
    parts = zip(
        seen.found.boxes.tolist(), seen.found.scores.tolist(), masks, seen.objects, strict=True
    )
    regions = tuple(_region(box, score, size, mask["counts"], o) for box, score, mask, o in parts)
    return Canvas(
        kind="picture",
        width=size[1],
        height=size[0],
        title=title,
        image=picture_address(picture),
        regions=regions,
    )


def _region(
    box: Sequence[float], score: float, size: tuple[int, int], counts: Any, known: dict[str, Any]
) -> Region:
    x0, y0, x1, y1 = (round(value, 1) for value in box)
    attributes = {name: str(known[name]) for name in ATTRIBUTES}
    attributes["position"] = ", ".join(f"{value:.1f}" for value in known["position"])
    return Region(
        box=(x0, y0, x1, y1),
        mask=Mask(size=size, counts=counts.decode() if isinstance(counts, bytes) else counts),
        weight=round(score, 4),
        label="{size} {color} {material} {shape}".format(**attributes),
        attributes=attributes,
    )


@torch.no_grad()
def answer_seen(
    model: NsVqa,
    picture: Tensor,
    seen: Seen,
    question: str,
    *,
    grammar: bool = False,
    title: str = "",
    canvas: Canvas | None = None,
) -> Answer:
    """Answer a question about a picture, uint8 [H, W, 3], that was understood as `seen`.

    Confidence and doubt are described at the top of this file. `canvas`: that of an earlier
    question about the same picture.

    Raises:
        DataError: the question is empty or longer than `MOST_CHARACTERS`.
    """
    check_question(question)
    typed = as_known(question, model.vocabulary.words)
    canvas = canvas or picture_canvas(picture, seen, title)
    readings = _readings(model, seen, typed, canvas, grammar=grammar)
    best = readings[0]
    tokens = token_names(best.program[None], model.functions)[0]
    doubts = [*picture_doubts(picture, seen), *_question_doubts(model, typed, best)]
    is_known = not doubts and best.text != UNKNOWN
    others = [Alternative(text=r.text, score=r.score) for r in readings[is_known:]]
    return Answer(
        text=best.text if is_known else UNKNOWN,
        question=question,
        score=best.score if is_known else None,
        category=(question_type(tokens[0]) or "") if tokens else "",
        alternatives=tuple(
            sorted((o for o in others if o.text != UNKNOWN), key=lambda o: -o.score)
        ),
        canvas=canvas,
        steps=best.steps,
        warnings=(*doubts, *_choices(best.steps), *picture_remarks(picture, seen)),
    )


def check_question(question: str) -> None:
    """Refuse what is no question.

    Raises:
        DataError: it is empty or longer than `MOST_CHARACTERS`.
    """
    if not question.strip():
        raise DataError("the question is empty; ask something like 'How many cubes are there?'")
    if len(question) > MOST_CHARACTERS:
        raise DataError(
            f"the question has {len(question):,} characters; at most {MOST_CHARACTERS} are read, "
            "ask a shorter one"
        )


def _readings(
    model: NsVqa, seen: Seen, typed: str, canvas: Canvas, *, grammar: bool
) -> list[_Reading]:
    """Give the possible answers, the most probable first; programs that fail count as one."""
    rows = encode_words([typed], model.vocabulary.words, encode_unknown=True)
    memory = model.parser.encode(torch.from_numpy(rows).long())
    held_to = Grammar(model.functions) if grammar else None
    programs, shares = likeliest(model.parser, memory, READINGS, grammar=held_to)
    programs, shares, sound = _well_formed(programs, shares, model.functions)
    scenes = scene_from_json({"image_index": 0, "image_filename": "", "objects": seen.objects})
    executor = Executor.of(scenes, model.vocabulary)
    at = torch.zeros(len(programs), dtype=torch.int64)
    found = executor.run(programs, at)
    trace = execute_trace(programs, executor.table, at, scenes.packed)
    answers = {int(Kind.INTEGER), int(Kind.STRING), int(Kind.BOOLEAN)}
    kinds = zip(found.texts, found.kind.tolist(), strict=True)
    texts = [text if kind in answers else UNKNOWN for text, kind in kinds]
    readings = []
    for text in dict.fromkeys(texts):
        same = [i for i, t in enumerate(texts) if t == text]
        share = min(1.0, float(shares[same].sum()))
        outcomes = prefix_outcomes(
            executed_tokens(programs[same[0]], model.functions), trace, same[0]
        )
        steps = explain(outcomes, scenes, 0, canvas)
        score = share * _perceived(steps, canvas) / math.prod(n for _, n in _chosen_among(steps))
        readings.append(_Reading(text, round(score, 6), share, sound, programs[same[0]], steps))
    return sorted(readings, key=lambda reading: -reading.share)


def _well_formed(
    programs: Tensor, shares: Tensor, functions: Sequence[str]
) -> tuple[Tensor, Tensor, float]:
    """Leave malformed programs out, unless there are no others; also give the others' share."""
    sound = verify(programs, instruction_table(functions)) == 0
    total = float(shares[sound].sum())
    if total == 0:
        return programs, shares, 0.0
    lost = float(shares[~sound].sum())
    return programs[sound], shares[sound] / max(1 - lost, total), total


def _perceived(steps: Sequence[Step], canvas: Canvas) -> float:
    """Multiply the detection scores of the objects that mattered."""
    kept = {r.item for s in steps if s.name != "scene" for r in s.regions if r.item is not None}
    items = kept or range(len(canvas.regions))
    return math.prod(canvas.regions[item].weight for item in items)


def _chosen_among(steps: Sequence[Step]) -> list[tuple[Step, int]]:
    """List the steps that took the only one of several, with the number of those."""
    found = []
    for step in steps:
        if step.name == "unique" and step.kind == "object" and step.inputs:
            offered = len(steps[step.inputs[0]].regions)
            if offered > 1:
                found.append((step, offered))
    return found


def _choices(steps: Sequence[Step]) -> list[str]:
    return [
        f"{offered} objects fit where the question means one; the {step.value} was taken"
        for step, offered in _chosen_among(steps)
    ]


def _question_doubts(model: NsVqa, typed: str, best: _Reading) -> list[str]:
    """Say what makes an answer a guess about the question."""
    doubts = [
        f"the word {word!r:.60} is not known; the question was read without it"
        for word in dict.fromkeys(unknown_words(typed, model.vocabulary))
    ]
    if best.share < SURE or best.sound < SURE / 2:
        doubts.append(
            "the question could not be read with certainty: the best reading has a probability of "
            f"{100 * min(best.share, best.sound):.0f} %"
        )
    if best.text == UNKNOWN:
        last = best.steps[-1] if best.steps else None
        if last is not None and last.kind == "error":
            doubts.append(f"the question cannot be answered here: {last.words}: {last.value}")
        else:
            doubts.append("the question did not become a program that gives an answer")
    return doubts


def picture_doubts(picture: Tensor, seen: Seen) -> list[str]:
    """Say what makes an answer a guess, because the picture is no scene that can be understood."""
    doubts = []
    small = shrink_picture(picture, 128).int()
    brightness = small.float().mean(2)
    grey = (small.amax(2) - small.amin(2) < GREY) & (brightness > DARK) & (brightness < LIGHT)
    share, middle = float(grey.float().mean()), float(brightness.median())
    if share < LEAST_GROUND or not BRIGHTNESS[0] <= middle <= BRIGHTNESS[1]:
        doubts.append(
            "the picture does not look like a CLEVR scene: "
            f"{100 * share:.0f} % of it is lit grey ground, at least {100 * LEAST_GROUND:.0f} % "
            f"is usual; its median brightness is {middle:.0f}, {BRIGHTNESS[0]} to {BRIGHTNESS[1]} "
            "is usual"
        )
    if not seen.objects:
        doubts.append("no objects were found in the picture")
    elif seen.unsure > len(seen.objects):
        doubts.append(
            f"most of what was found is uncertain: {len(seen.objects)} objects are sure, "
            f"{seen.unsure} things more may be objects"
        )
    return doubts


def picture_remarks(picture: Tensor, seen: Seen) -> list[str]:
    """Say what makes an answer less certain."""
    height, width = picture.shape[:2]
    remarks = []
    if seen.objects and 0 < seen.unsure <= len(seen.objects):
        things = "thing" if seen.unsure == 1 else "things"
        remarks.append(f"{seen.unsure} more {things} may be objects and were left out")
    if not ASPECT[0] <= width / height <= ASPECT[1]:
        remarks.append(
            f"the picture is {width} x {height}; sizes and places were learned on pictures of 3:2"
        )
    elif min(height, width) < LEAST_SIDE:
        remarks.append(f"the picture is only {width} x {height} pixels")
    return remarks
