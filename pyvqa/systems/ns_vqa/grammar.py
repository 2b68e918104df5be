"""A grammar of well-typed CLEVR programs, as a finite automaton over prefix tokens.

NS-VQA's executor has two registers, hence a runnable program has at most two `scene` and at most
one function of two inputs (ns-vqa reason/executors/clevr_executor.py). Then what may follow a
prefix depends on little: the type awaited now, the type awaited by a second input, and whether
the function of two inputs has been used. That is a small automaton, and holding a decoder to it
costs one table look-up a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyvqa.errors import ConfigError

ATTRIBUTES = ("color", "material", "shape", "size")
END = "<END>"
_FOREVER = 1 << 20


class Place(NamedTuple):
    """What a prefix of a program still owes."""

    awaited: str  # type of the next subprogram: answer set object int color .. size, or done
    second: str  # type that a function's second input must have, or nothing
    joined: bool  # whether a function of two inputs has been used


def _outputs(name: str) -> str:
    """Name the type that a function gives."""
    base = name.split("[")[0]
    if base == "count":
        return "int"
    if base == "unique":
        return "object"
    if base.startswith("query_"):
        return base.removeprefix("query_")
    if base == "exist" or base.startswith("equal_") or base in ("less_than", "greater_than"):
        return "bool"
    return "set"


def _inputs(name: str) -> tuple[str, ...]:
    """Name the types that a function takes."""
    base = name.split("[")[0]
    if base == "scene":
        return ()
    if base in ("intersect", "union"):
        return ("set", "set")
    if base in ("equal_integer", "less_than", "greater_than"):
        return ("int", "int")
    if base.startswith("equal_"):
        return (base.removeprefix("equal_"),) * 2
    if base.startswith(("query_", "relate", "same_")):
        return ("object",)
    return ("set",)


def _follow(place: Place, token: str) -> Place | None:
    """Say where a token leads, or None where it must not stand."""
    if token == END:
        return Place("end", "", False) if place.awaited == "done" else None
    if token.startswith("<") or place.awaited in ("done", "end"):
        return None
    gives, takes = _outputs(token), _inputs(token)
    fits = gives not in ("set", "object") if place.awaited == "answer" else gives == place.awaited
    if not fits or (len(takes) == 2 and place.joined):
        return None
    if len(takes) == 2:
        return Place(takes[0], takes[1], True)
    if len(takes) == 1:
        return Place(takes[0], place.second, place.joined)
    return Place(place.second or "done", "", place.joined)


class Grammar:
    """The automaton for one function vocabulary.

    `allowed(place, budget)` says which tokens may stand next so that a program can still be
    completed within `budget` tokens, `<END>` included.
    """

    def __init__(self, functions: Sequence[str]) -> None:
        places = [Place("answer", "", False)]
        number = {places[0]: 0}
        rows: list[list[int]] = []
        while len(rows) < len(places):
            row = []
            for token in functions:
                target = _follow(places[len(rows)], token)
                if target is not None and target not in number:
                    number[target] = len(places)
                    places.append(target)
                row.append(-1 if target is None else number[target])
            rows.append(row)
        self.next = torch.tensor(rows)  # [places, V], -1 where a token must not stand
        self.need = self._shortest([place.awaited == "end" for place in places])
        if int(self.need[0]) >= _FOREVER:
            raise ConfigError(
                "the function vocabulary cannot write any complete program "
                "(needs <END>, scene and a function that answers); use the vocabulary of the data"
            )

    def _shortest(self, final: list[bool]) -> Tensor:
        """Count the tokens that must still follow from each place, [places]."""
        need = torch.full((len(final),), _FOREVER)
        need[torch.tensor(final)] = 0
        for _ in final:
            onward = torch.where(self.next >= 0, need[self.next], _FOREVER).min(1).values + 1
            need = torch.minimum(need, onward)
        return need

    def to(self, device: torch.device) -> Grammar:
        """Move the tables to `device`, in place."""
        self.next, self.need = self.next.to(device), self.need.to(device)
        return self

    def start(self, rows: int, device: torch.device) -> Tensor:
        """Give the place before the first token, [rows]."""
        return torch.zeros(rows, dtype=torch.int64, device=device)

    def allowed(self, place: Tensor, budget: int | Tensor) -> Tensor:
        """Tell which tokens may stand next: [R] -> bool [R, V]; `budget` a number or [R, 1].

        After `<END>` every token may.
        """
        onward = self.next[place]
        fits = (onward >= 0) & (self.need[onward] < budget)
        return fits | (place == -1).unsqueeze(1) | (self.need[place] == 0).unsqueeze(1)

    def constrain(self, log_probs: Tensor, place: Tensor, budget: int | Tensor) -> Tensor:
        """Take forbidden tokens out of a distribution and renormalise, [R, V] -> [R, V]."""
        masked = log_probs.masked_fill(~self.allowed(place, budget), -torch.inf)
        return torch.log_softmax(masked, 1)

    def advance(self, place: Tensor, tokens: Tensor) -> Tensor:
        """Move on by one token a row; rows that have ended stay where they are."""
        onward = self.next[place, tokens]
        return torch.where(self.need[place] == 0, place, onward)

    def places(self, programs: Tensor) -> Tensor:
        """Give the place before each token of complete programs, [B, S] -> [B, S]."""
        place = self.start(programs.shape[0], programs.device)
        found = []
        for tokens in programs.unbind(1):
            found.append(place)
            place = self.advance(place, tokens)
        return torch.stack(found, 1) if found else programs.new_zeros(programs.shape)
