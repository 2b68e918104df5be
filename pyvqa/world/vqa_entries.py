"""What is asked of the world's pictures, as VQA v2, VQA-CP v2 and TDIUC write it down.

Questions come from the templates of `templates/vqa`; here they get their types, people's answers
(`vqa_people.py`), and what is special to a data set: VQA-CP's answers that are frequent in training
and rare in its test, TDIUC's questions about things that are not there. A picture's entries depend
on (seed, image) and on its block alone.
Sources: Goyal et al. 2017 (VQA v2), Agrawal et al. 2018 (VQA-CP), Kafle and Kanan 2017 (TDIUC).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from pyvqa.programs.clevr import VALUES
from pyvqa.world.questions import Questions
from pyvqa.world.vqa_people import answer_type, human_answers

Record = dict[str, Any]

VERSION = 1  # of types, people and choices; a change makes other files
MOST_QUESTIONS = 1000  # of a picture; there are as many question ids
ABSURD = "doesnotapply"  # TDIUC's answer to a question about what is not there
_ABSURD_SHARE = 0.2  # of a picture's questions; in TDIUC 22 %
_DISFAVOURED = 0.1  # how likely an answer is kept in that part of VQA-CP where it is rare

# The openings by which VQA v2 sorts questions, as far as they occur here; the longest one counts.
QUESTION_TYPES = tuple(
    "are|are the|are there|are there any|do|do you|does the|does this|how|how many|is|is it|is the|"
    "is there|is there a|is this|what|what are|what are the|what color|what color is|"
    "what color is the|what is|what is the|what is the color of the|what kind of|what number is|"
    "what type of|which".split("|")
)
NO_TYPE = "none of the above"

_TDIUC_TYPES = {
    "exist": "object_presence",
    "count": "counting",
    "query_color": "color",
    "query_shape": "object_recognition",
    "query_size": "attribute",
    "query_material": "attribute",
    "equal_color": "color",
    "equal_shape": "attribute",
    "equal_size": "attribute",
    "equal_material": "attribute",
    "equal_integer": "counting",
    "greater_than": "counting",
    "less_than": "counting",
}
# TDIUC asks where things stand, relative to others, in a type of its own.
_POSITIONAL = ("exist", "query_shape")
_ORDERS = (("yes", "no"), *VALUES.values())  # of answers; which are frequent alternates in each


class Asked(NamedTuple):
    """A question about one picture."""

    text: str
    answer: str
    kind: str  # of TDIUC


def question_type(text: str) -> str:
    """Sort a question by its first words, as VQA v2 does."""
    words = text.lower().rstrip("?.").split()
    openings = (" ".join(words[:count]) for count in range(len(words), 0, -1))
    return next((opening for opening in openings if opening in QUESTION_TYPES), NO_TYPE)


def tdiuc_type(program: Sequence[Record]) -> str:
    """Sort a question by its program into one of TDIUC's types."""
    last = program[-1]["function"]
    if last in _POSITIONAL and any(node["function"] == "relate" for node in program):
        return "positional_reasoning"
    return _TDIUC_TYPES[last]


def is_absurd(program: Sequence[Record], objects: Sequence[Record]) -> bool:
    """Say whether a question names a thing that no object of a scene is.

    Only things that are told by what they are like count, not those found by where they stand.
    """
    left: list[list[Record] | None] = []  # after each node, where that follows from filters alone
    for node in program:
        name, first = node["function"], left[node["inputs"][0]] if node["inputs"] else None
        if name == "scene":
            left.append(list(objects))
        elif name.startswith("filter_") and first is not None:
            wanted = node["value_inputs"][0]
            left.append([o for o in first if o[name.removeprefix("filter_")] == wanted])
        elif name == "unique" and first is not None and not first:
            return True
        else:
            left.append(None)
    return False


def is_frequent(text: str, answer: str, split: str) -> bool:
    """Say whether VQA-CP has an answer to questions of this type often in a part, train or test.

    In each order of answers (colours, numbers, ...) every other one is frequent in training and the
    rest in the test; which begins is drawn for each question type.
    """
    key = question_type(text)
    begins = hashlib.sha256(key.encode()).digest()[0]
    order = next((order for order in _ORDERS if answer in order), None)
    place = int(answer) if order is None else order.index(answer)
    return ((begins + place) % 2 == 0) == (split == "train")


class Writer:
    """Writes the questions of a block as a data set has them; `split` is of VQA-CP: train, test."""

    def __init__(self, dataset: str, split: str, subset: str, seed: int, per_scene: int) -> None:
        self.dataset, self.split, self.subset = dataset, split, subset
        self.seed, self.per_scene = seed, per_scene

    def block(
        self, questions: Questions, scenes: Sequence[Record]
    ) -> tuple[list[Record], list[Record]]:
        """Give the questions and the annotations of a block's pictures, in the same order.

        `questions` are about `scenes`, records of the scene file.
        """
        programs: list[list[list[Record]]] = [[] for _ in scenes]
        found: list[list[Asked]] = [[] for _ in scenes]
        answers = questions.answers()
        for q, row in enumerate(questions.scene.tolist()):
            program = questions.program(q)
            programs[row].append(program)
            found[row].append(Asked(questions.text[q], answers[q], tdiuc_type(program)))
        asked_of, answered = [], []
        for row, scene in enumerate(scenes):
            chance = Random(f"{self.seed}/{scene['image_index']}")
            chosen = self._choose(found, programs, row, scene, chance)
            for number, asked in enumerate(chosen):
                question, annotation = self._records(asked, scene["image_index"], number, chance)
                asked_of.append(question)
                answered.append(annotation)
        return asked_of, answered

    def _choose(
        self,
        found: Sequence[Sequence[Asked]],
        programs: Sequence[Sequence[Sequence[Record]]],
        row: int,
        scene: Record,
        chance: Random,
    ) -> list[Asked]:
        own = list(found[row])
        if self.dataset == "vqacp2":
            return self._shifted(own, chance)
        if self.dataset == "vqa2":
            return own
        others = [k for k in range(len(found)) if k != row]
        start = int(chance.random() * len(others)) if others else 0
        wanted = round(self.per_scene * _ABSURD_SHARE)
        absurd: list[Asked] = []
        for other in others[start:] + others[:start]:
            if len(absurd) == wanted:
                break
            fitting = [
                asked
                for asked, program in zip(found[other], programs[other], strict=True)
                if is_absurd(program, scene["objects"])
            ]
            if fitting:
                text = fitting[int(chance.random() * len(fitting))].text
                absurd.append(Asked(text, ABSURD, "absurd"))
        return _mixed(own, absurd, self.per_scene, chance)

    def _shifted(self, own: list[Asked], chance: Random) -> list[Asked]:
        """Keep of the questions those whose answers are frequent in this part, most of the time."""
        keys = [
            chance.random()
            ** (1 if is_frequent(asked.text, asked.answer, self.split) else 1 / _DISFAVOURED)
            for asked in own
        ]
        best = sorted(range(len(own)), key=lambda k: -keys[k])[: self.per_scene]
        return [own[k] for k in sorted(best)]

    def _records(
        self, asked: Asked, image: int, number: int, chance: Random
    ) -> tuple[Record, Record]:
        place = {"image_id": image, "question_id": image * 1000 + number}
        part = {"coco_split": self.subset} if self.dataset == "vqacp2" else {}
        question = {"image_id": image, "question": asked.text, **place, **part}
        if self.dataset == "tdiuc":
            one = {"answer": asked.answer, "answer_confidence": "yes", "answer_id": 1}
            how = {"question_type": asked.kind, "answers": [one]}
            return question, {**how, "answer_type": "tdiuc", "ans_source": "generated", **place}
        annotation = {
            "question_type": question_type(asked.text),
            "multiple_choice_answer": asked.answer,
            "answers": human_answers(asked.answer, chance),
            "answer_type": answer_type(asked.answer),
        }
        return question, annotation | place | part


def _mixed(own: list[Asked], absurd: list[Asked], count: int, chance: Random) -> list[Asked]:
    """Replace some questions by absurd ones, at any place."""
    kept = own[:]
    while kept and len(kept) + len(absurd) > count:
        kept.pop(int(chance.random() * len(kept)))
    for one in absurd:
        kept.insert(int(chance.random() * (len(kept) + 1)), one)
    return kept
