"""Names of the original releases, and ours, both ways.

MuRel and BLOCK write `{"network": state_dict, "criterions", "metrics"}` (bootstrap.pytorch). Their
names live in this file alone; inside a fusion they are ours as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyvqa.errors import CheckpointError

# theirs -> ours, the first that matches
_PREFIXES = (
    ("txt_enc.embedding.", "question.embedding."),
    ("q_att_linear0.", "question.attention.hidden."),
    ("q_att_linear1.", "question.attention.scores."),
    ("attention.fusion.", "attention.fusion."),
    ("attention.linear0.", "attention.glimpses.hidden."),
    ("attention.linear1.", "attention.glimpses.scores."),
    ("classif_module.", "classify."),
    ("fusion.", "classify."),
)
_CELL = re.compile(r"(?:cell|cells\.(?P<number>\d+))\.(?P<rest>.+)")
_IN_CELL = (
    ("fusion_module.", "fusion."),
    ("pairwise_module.f_coord_module.", "pairwise.coordinates."),
    ("pairwise_module.f_feat_module.", "pairwise.features."),
)
# A layer for each gate (reset, update, candidate) -> one weight, the gates one below another.
_GATES = ("r", "i", "n")
_GATED = {
    "weight_input": "txt_enc.rnn.gru_cell.weight_i{}.weight",
    "bias_input": "txt_enc.rnn.gru_cell.weight_i{}.bias",
    "weight_hidden": "txt_enc.rnn.gru_cell.weight_h{}.weight",
}
_WHOLE = {
    "weight_input": "weight_ih",
    "bias_input": "bias_ih",
    "weight_hidden": "weight_hh",
    "bias_hidden": "bias_hh",
}
_DIRECTION = "question.gru.directions."


def network_from_upstream(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], list[str]]:
    """Turn the original's state dict into ours; also give the names that have no place.

    Raises:
        CheckpointError: something in it is no tensor.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{name} is a {type(value).__name__}, not a tensor")
    weights, used = _recurrent_from(state)
    unplaced = []
    for name, value in state.items():
        if name in used:
            continue
        ours = _renamed(name)
        if ours is None:
            unplaced.append(name)
        else:
            weights[ours] = value
    return weights, unplaced


def network_to_upstream(
    state: Mapping[str, Tensor], encoder: str, shared: bool
) -> dict[str, Tensor]:
    """Turn our state dict into the original's, in its order.

    `encoder` is the question encoder's type; `shared` says whether all steps have one cell.
    """
    result: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith(_DIRECTION):
            direction, part = name.removeprefix(_DIRECTION).split(".")
            result.update(_recurrent_to(encoder, int(direction), part, value))
        elif name.startswith("cells."):
            _, number, rest = name.split(".", 2)
            cell = "cell." if shared else f"cells.{number}."
            result[cell + _replaced(rest, [(b, a) for a, b in _IN_CELL])] = value
        else:
            result[_to_theirs(name, state)] = value
    if encoder == "bayesian":
        result = dict(sorted(result.items(), key=lambda item: _place(item[0])))
    return result


def _renamed(name: str) -> str | None:
    match = _CELL.fullmatch(name)
    if match is None:
        found = _replaced(name, _PREFIXES)
        return found or None
    rest = _replaced(match["rest"], _IN_CELL)
    return f"cells.{match['number'] or 0}.{rest}" if rest else None


def _replaced(name: str, prefixes: Any) -> str:
    for before, after in prefixes:
        if name.startswith(before):
            return f"{after}{name.removeprefix(before)}"
    return ""


def _to_theirs(name: str, state: Mapping[str, Tensor]) -> str:
    has_cells = any(key.startswith("cells.") for key in state)
    back = [(ours, theirs) for theirs, ours in _PREFIXES]
    back.append(("classify.", "classif_module." if has_cells else "fusion."))
    return _replaced(name, reversed(back))


def _recurrent_from(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], set[str]]:
    """Gather the GRU's weights: ours by name, and the names that they were made of."""
    weights, used = {}, set()
    for part, pattern in _GATED.items():
        names = [pattern.format(gate) for gate in _GATES]
        if all(name in state for name in names):
            weights[f"{_DIRECTION}0.{part}"] = torch.cat([state[name] for name in names])
            used |= set(names)
    for part, theirs in _WHOLE.items():
        for direction, suffixes in enumerate((("", "_l0"), ("_l0_reverse",))):
            for suffix in suffixes:
                name = f"txt_enc.rnn.{theirs}{suffix}"
                if name in state:
                    weights[f"{_DIRECTION}{direction}.{part}"] = state[name]
                    used.add(name)
    return weights, used


def _recurrent_to(encoder: str, direction: int, part: str, value: Tensor) -> dict[str, Tensor]:
    if encoder == "bayesian":
        names = [_GATED[part].format(gate) for gate in _GATES]
        return dict(zip(names, value.chunk(3), strict=True))
    suffix = "" if encoder == "drop" else "_l0_reverse" if direction else "_l0"
    return {f"txt_enc.rnn.{_WHOLE[part]}{suffix}": value}


# The original lists each gate's weight and bias together, ours all weights and then all biases.
_GRU_ORDER = {
    pattern.format(gate): k
    for k, (pattern, gate) in enumerate(
        [(_GATED[part], gate) for gate in _GATES for part in ("weight_input", "bias_input")]
        + [(_GATED["weight_hidden"], gate) for gate in _GATES]
    )
}


def _place(name: str) -> tuple[int, int]:
    """Sort the words first, then the GRU in its order, then the rest as it is (a stable sort)."""
    if name.startswith("txt_enc.embedding."):
        return 0, 0
    if name in _GRU_ORDER:
        return 1, _GRU_ORDER[name]
    return 2, 0
