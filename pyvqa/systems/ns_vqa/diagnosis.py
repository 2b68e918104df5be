"""Which stage a wrong answer comes from: detector, attributes, relations or parser.

A question's program is executed again on scenes that are true but for one kind of mistake. Let P be
the written program, G the question's own, and the answer of P on what was seen be wrong.

1. P is wrong on the true scene as well: the parser's mistake. If G is right on what was seen it is
   the only one (`program`), else the scene has another (`program and scene`); without a G that is
   not known. If G is wrong on the true scene, the question file contradicts its scenes (`gold`).
2. P is right on the true scene: the scene was read wrongly. These are tried in the order of the
   stages, and the first that makes P wrong is named:
   detector - `missing`: the true scene without the objects that were not found;
              `extra`: the true scene and the objects that are not there;
   attributes - `color`, `material`, `shape`, `size`: the true scene with that attribute as seen;
   relations - `position`: the true scene with the objects where they were seen.
   If none does so alone, it is several at once (`several`).

What pairs objects that were seen with true ones is in `pyvqa.metrics.scenes`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyvqa import _native
from pyvqa.data.clevr_questions import ClevrVocabulary
from pyvqa.metrics.clevr import END, Gold, Predictions
from pyvqa.metrics.scenes import Integers, Pairs, SceneObjects
from pyvqa.programs.clevr import ATTRIBUTES, answer_strings
from pyvqa.programs.scenes import Scenes, from_table
from pyvqa.systems.ns_vqa.reasoning import Executor

# stage -> kinds of mistakes
KINDS: dict[str, tuple[str, ...]] = {
    "detector": ("missing", "extra"),
    "attributes": ATTRIBUTES,
    "relations": ("position",),
    "parser": ("program", "program and scene"),
    "several": ("several",),
    "gold": ("gold",),
}


class Cause(NamedTuple):
    """Why a question was answered wrong."""

    question: int
    stage: str
    kind: str


class ReadScenes(NamedTuple):
    """The scenes of S pictures as they were seen and as they are."""

    seen: SceneObjects
    true: SceneObjects
    pairs: Pairs
    words: Sequence[str]  # of the attribute codes


def diagnose(
    predictions: Predictions,
    gold: Gold,
    pictures: Tensor,
    scenes: ReadScenes,
    vocabulary: ClevrVocabulary,
) -> list[Cause]:
    """Name the cause of each wrong answer; `pictures` [Q] is each question's picture.

    Answers are those of the programs, without guessing.
    """
    pairs = zip(predictions.texts, gold.answers, strict=True)
    wrong = [k for k, (text, answer) in enumerate(pairs) if text != answer]
    if not wrong:
        return []
    rows = torch.tensor(wrong)
    answers = [gold.answers[k] for k in wrong]
    at = pictures[rows]

    def right(programs: Tensor, objects: SceneObjects) -> list[bool]:
        executor = Executor.of(_pack(objects, scenes.words), vocabulary)
        texts = executor.run(programs, at).texts
        return [text == answer for text, answer in zip(texts, answers, strict=True)]

    written = predictions.programs[rows]
    on_truth = right(written, scenes.true)
    tried = [
        (stage, kind, right(written, objects)) for stage, kind, objects in flawed_scenes(scenes)
    ]
    no_program = [None] * len(wrong)
    own_on_truth: Sequence[bool | None] = no_program
    own_on_seen: Sequence[bool | None] = no_program
    if gold.programs is not None:
        own = gold.programs[rows]
        given = (own == vocabulary.functions[END]).any(1).tolist()
        own_on_truth, own_on_seen = (
            [is_right if has else None for is_right, has in zip(right(own, o), given, strict=True)]
            for o in (scenes.true, scenes.seen)
        )
    causes = []
    for n, question in enumerate(wrong):
        if on_truth[n]:
            stage, kind = next(
                ((s, k) for s, k, is_right in tried if not is_right[n]), ("several", "several")
            )
        elif own_on_truth[n] is False:
            stage, kind = "gold", "gold"
        else:
            stage = "parser"
            kind = "program and scene" if own_on_seen[n] is False else "program"
        causes.append(Cause(question, stage, kind))
    return causes


def tally(causes: Sequence[Cause]) -> dict[str, dict[str, int]]:
    """Count causes: stage -> kind -> wrong answers, all of them named."""
    return {
        stage: {kind: sum(c.stage == stage and c.kind == kind for c in causes) for kind in kinds}
        for stage, kinds in KINDS.items()
    }


def flawed_scenes(scenes: ReadScenes) -> Iterator[tuple[str, str, SceneObjects]]:
    """Give the true scenes with one kind of mistake at a time: stage, kind, objects."""
    seen, true, pairs, _ = scenes
    found = np.zeros(len(true.codes), dtype=bool)
    found[pairs.true] = True
    yield "detector", "missing", _chosen(true, found)
    yield "detector", "extra", _with_extra(seen, true, pairs)
    for column, name in enumerate(ATTRIBUTES):
        codes = true.codes.copy()
        codes[pairs.true, column] = seen.codes[pairs.seen, column]
        yield "attributes", name, SceneObjects(true.counts, codes, true.position)
    position = true.position.copy()
    position[pairs.true] = seen.position[pairs.seen]
    yield "relations", "position", SceneObjects(true.counts, true.codes, position)


def _chosen(objects: SceneObjects, kept: NDArray[np.bool_]) -> SceneObjects:
    counts = np.bincount(objects.scene[kept], minlength=len(objects.counts))
    return SceneObjects(counts, objects.codes[kept], objects.position[kept])


def _with_extra(seen: SceneObjects, true: SceneObjects, pairs: Pairs) -> SceneObjects:
    """Put what was seen without being there behind each scene's own objects."""
    is_extra = np.ones(len(seen.codes), dtype=bool)
    is_extra[pairs.seen] = False
    extra = _chosen(seen, is_extra)
    order: Integers = np.argsort(np.concatenate((true.scene, extra.scene)), kind="stable")
    return SceneObjects(
        true.counts + extra.counts,
        np.concatenate((true.codes, extra.codes))[order],
        np.concatenate((true.position, extra.position))[order],
    )


def _pack(objects: SceneObjects, words: Sequence[str]) -> Scenes:
    """Pack scenes for the executor."""
    own = list(words)[len(answer_strings()) :]
    table = _native.scene_table(objects.counts, objects.codes, objects.position, strings=own)
    return from_table(table)
