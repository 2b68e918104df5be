"""Ten people who answer a question, as VQA v2 asked ten, and how they disagree.

The model: each question is clear, or unclear to some degree. To a clear one everybody gives the
true answer; to an unclear one each person, independently, gives it, says the same in another word,
or takes something similar for it (the number next to it, a neighbouring colour, the other of yes
and no). No other answer is given as often as the true one. How often people agree, and how sure
they say they are, follows what was counted in VQA v2: on average 8.9 of ten agree with the majority
on yes and no, 7.4 on numbers, 6.3 on everything else, and "maybe" comes nearly three times as often
from those who differ.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

PEOPLE = 10

_CLEAR = {"yes/no": 0.45, "number": 0.22, "other": 0.09}  # share of questions all agree on
_MEAN_DOUBT = {"yes/no": 0.22, "number": 0.58, "other": 0.72}  # of unclear ones: share who differ
_SURE = {True: (0.87, 0.12), False: (0.62, 0.31)}  # yes, maybe; the rest is no
_REWORDED = 0.5  # share of differing answers that mean the same, where there are words for that

# What people also say: the same in another word, and what is easily taken for it.
_SAME: dict[str, tuple[str, ...]] = {
    "gray": ("grey", "silver"),
    "cyan": ("light blue", "turquoise", "teal"),
    "purple": ("violet",),
    "yellow": ("gold",),
    "brown": ("tan",),
    "green": ("dark green",),
    "blue": ("dark blue",),
    "red": ("dark red",),
    "large": ("big",),
    "small": ("tiny", "little"),
    "metal": ("metallic", "steel", "shiny metal"),
    "rubber": ("plastic", "matte"),
    "cube": ("block", "square", "box"),
    "sphere": ("ball", "circle", "round"),
    "cylinder": ("tube", "can"),
}
_SIMILAR: dict[str, tuple[str, ...]] = {
    "yes": ("no",),
    "no": ("yes",),
    "gray": ("brown",),
    "cyan": ("blue", "green"),
    "purple": ("blue", "red"),
    "yellow": ("brown",),
    "brown": ("red", "gray"),
    "green": ("cyan",),
    "blue": ("purple", "cyan"),
    "red": ("brown",),
    "large": ("small", "medium"),
    "small": ("large", "medium"),
    "metal": ("rubber",),
    "rubber": ("metal",),
    "cube": ("cylinder",),
    "sphere": ("cylinder",),
    "cylinder": ("cube", "sphere"),
}


def answer_type(answer: str) -> str:
    """Say of which of VQA's three types an answer is: yes/no, number, other."""
    if answer in ("yes", "no"):
        return "yes/no"
    return "number" if answer.isdecimal() else "other"


def human_answers(answer: str, chance: Random) -> list[dict[str, Any]]:
    """Let ten people answer a question whose true answer is `answer`, one of the world's."""
    kind = answer_type(answer)
    doubt = 0.0
    if chance.random() >= _CLEAR[kind]:
        doubt = chance.random() * 2 * _MEAN_DOUBT[kind]
    given = _given(answer, doubt, chance)
    while not _leads(answer, given):
        doubt *= 0.9
        given = _given(answer, doubt, chance)
    return [
        {"answer": one, "answer_confidence": _confidence(one == answer, chance), "answer_id": k}
        for k, one in enumerate(given, 1)
    ]


def _given(answer: str, doubt: float, chance: Random) -> list[str]:
    return [_other(answer, chance) if chance.random() < doubt else answer for _ in range(PEOPLE)]


def _other(answer: str, chance: Random) -> str:
    if answer.isdecimal():
        step = 1 if answer == "0" or chance.random() < 0.5 else -1
        return str(int(answer) + step)
    same, similar = _SAME.get(answer, ()), _SIMILAR.get(answer, ())
    words = same if same and chance.random() < _REWORDED else similar
    return words[int(chance.random() * len(words))] if words else answer


def _leads(answer: str, given: list[str]) -> bool:
    """Say whether more people gave the true answer than any other."""
    counts = Counter(given)
    mine = counts.pop(answer, 0)
    return mine > max(counts.values(), default=0)


def _confidence(agrees: bool, chance: Random) -> str:
    yes, maybe = _SURE[agrees]
    drawn = chance.random()
    return "yes" if drawn < yes else "maybe" if drawn < yes + maybe else "no"
