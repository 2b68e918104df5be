"""Run every program of a file on its scene and compare with the file's own answers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pyvqa.errors import DataError
from pyvqa.ops.execute import Execution, Kind, Reason, execute, execute_trace
from pyvqa.programs import clevr
from pyvqa.programs.explain import Outcome, node_outcomes, prefix_outcomes, set_members
from pyvqa.programs.linear import Node, function_string, split_function, to_prefix
from pyvqa.programs.questions import Compiled, compile_programs
from pyvqa.programs.scenes import Scenes

_CHUNK = 16384  # programs traced at a time, which bounds the memory of long files
_TIMING = 0.05  # seconds spent on measuring the speed


@dataclass(frozen=True)
class FileResult:
    """What the Q programs of a file gave."""

    entries: list[dict[str, Any]]  # in file order, as `pyvqa execute` writes them
    is_right: NDArray[np.bool_]  # [Q]
    has_gold: NDArray[np.bool_]  # [Q] the file states an answer
    groups: list[str]  # question type, or template file of an expression
    seconds: float  # to execute all programs once

    @property
    def accuracy(self) -> float | None:
        """Share of right answers among those with a gold answer, None without any."""
        return float(self.is_right[self.has_gold].mean()) if self.has_gold.any() else None

    def by_group(self) -> list[tuple[str, int, float | None]]:
        """Return (group, programs, accuracy), groups in alphabetical order."""
        names = np.array(self.groups, dtype=object)
        rows = []
        for name in sorted(set(self.groups)):
            member = names == name
            judged = self.is_right[member & self.has_gold]
            accuracy = float(judged.mean()) if len(judged) else None
            rows.append((name, int(member.sum()), accuracy))
        return rows


def run_file(scenes: Scenes, questions: Any, language: str, *, trace: bool = False) -> FileResult:
    """Execute the programs of a question table (`read_questions`) on their scenes.

    Raises DataError when the file is of the other kind, has no programs, asks about a scene that is
    not there, names an unknown function, or needs masks or pixel positions that the scenes lack.
    """
    _check_kind(questions, language)
    compiled = compile_programs(questions, language)
    rows = scenes.rows(questions.image_index)
    found, seconds = _timed(compiled, rows, scenes, with_sets=language != "clevr")
    if language == "clevr":
        answers = answer_texts(found, scenes.strings)
        gold = questions.answers
        indices = np.asarray(questions.question_index).tolist()
        entries = [
            {"question_index": i, "answer": a} for i, a in zip(indices, answers, strict=True)
        ]
        is_right = np.array([a == g for a, g in zip(answers, gold, strict=True)], dtype=bool)
        has_gold = np.array([g is not None for g in gold], dtype=bool)
        groups = [clevr.question_type(name) or "other" for name in _roots(questions)]
    else:
        _refuse_missing_data(found, questions)
        entries = _expression_entries(found, questions, scenes.strings)
        is_right, has_gold = _judge_sets(entries, questions)
        groups = [name or "(no template)" for name in questions.template_filename]
    if trace:
        for entry, outcomes in zip(
            entries, traces(scenes, questions, compiled, rows, language), strict=True
        ):
            entry["trace"] = [_trace_entry(outcome, scenes.strings) for outcome in outcomes]
    return FileResult(entries, is_right & has_gold, has_gold, groups, seconds)


def answer_texts(found: Execution, strings: Sequence[str]) -> list[str | None]:
    """Return each result as the original prints it: "3", "yes", "error", "None"; None for objects.

    Source: ns-vqa reason/executors/clevr_executor.py (`run` returns `str(ans)`).
    """
    fixed: dict[int, str | None] = {Kind.ERROR: "error", Kind.NONE: "None"}
    texts: list[str | None] = []
    for kind, value in zip(found.kind.tolist(), found.value.tolist(), strict=True):
        if kind == Kind.STRING:
            texts.append(strings[value])
        elif kind == Kind.INTEGER:
            texts.append(str(value))
        elif kind == Kind.BOOLEAN:
            texts.append("yes" if value else "no")
        else:
            texts.append(fixed.get(kind))
    return texts


def program_nodes(questions: Any, index: int) -> list[Node]:
    """Return the program of question `index` as a node list."""
    first, last = (int(i) for i in questions.program_offsets[index : index + 2])
    nodes = []
    for k in range(first, last):
        name, values = split_function(questions.functions[questions.node_functions[k]])
        inputs = questions.inputs[questions.input_offsets[k] : questions.input_offsets[k + 1]]
        nodes.append(Node(name, values, tuple(int(i) for i in inputs)))
    return nodes


def traces(
    scenes: Scenes, questions: Any, compiled: Compiled, rows: torch.Tensor, language: str
) -> Iterator[list[Outcome]]:
    """Give every program's outcomes, step by step in the order of execution."""
    for start in range(0, len(rows), _CHUNK):
        stop = min(start + _CHUNK, len(rows))
        trace = execute_trace(
            compiled.rows[start:stop], compiled.table, rows[start:stop], scenes.packed
        )
        for row in range(stop - start):
            nodes = program_nodes(questions, start + row)
            if language == "clevr":
                yield prefix_outcomes(to_prefix(nodes), trace, row)
            else:
                names = [function_string(node) for node in nodes]
                yield node_outcomes(names, [node.inputs for node in nodes], trace, row)


def _check_kind(questions: Any, language: str) -> None:
    expressions = questions.kind == "refexps"
    if expressions and language == "clevr":
        raise DataError("the file holds referring expressions; use --language clevr-ref")
    if not expressions and language == "clevr-ref" and len(questions):
        raise DataError("the file holds questions; use --language clevr")
    if len(questions) and len(questions.node_functions) == 0:
        raise DataError("no question has a program (a test split?); parse them with `pyvqa eval`")


def _timed(
    compiled: Compiled, rows: torch.Tensor, scenes: Scenes, *, with_sets: bool
) -> tuple[Execution, float]:
    """Execute everything, again and again for a moment, and return the shortest time."""
    best, started = float("inf"), time.perf_counter()
    while True:
        begin = time.perf_counter()
        found = execute(compiled.rows, compiled.table, rows, scenes.packed, with_sets=with_sets)
        now = time.perf_counter()
        best = min(best, now - begin)
        if now - started > _TIMING:
            return found, best


def _roots(questions: Any) -> list[str]:
    """Return the name of every program's last function, "" for an empty program."""
    offsets = np.asarray(questions.program_offsets)
    last = np.asarray(questions.node_functions)[np.maximum(offsets[1:] - 1, 0)]
    names = [split_function(f)[0] for f in questions.functions]
    empty = (offsets[1:] == offsets[:-1]).tolist()
    return ["" if e else names[k] for k, e in zip(last.tolist(), empty, strict=True)]


def _refuse_missing_data(found: Execution, questions: Any) -> None:
    missing = (found.kind == Kind.ERROR) & (found.value == Reason.MISSING_DATA)
    if bool(missing.any()):
        where = int(torch.argmax(missing.int()))
        raise DataError(
            f"expression {int(questions.question_index[where])} needs masks or pixel positions "
            "(filter_visible, filter_ordinal) that its scene lacks; use the CLEVR-Ref+ scene file"
        )


def _expression_entries(
    found: Execution, questions: Any, strings: Sequence[str]
) -> list[dict[str, Any]]:
    entries = []
    kinds, values, sets = found.kind.tolist(), found.value.tolist(), found.sets.numpy()
    texts = answer_texts(found, strings)
    for row, index in enumerate(np.asarray(questions.question_index).tolist()):
        kind = kinds[row]
        objects: list[int] = []
        if kind == Kind.SET:
            objects = sorted(set_members(sets[row]))
        elif kind == Kind.OBJECT:
            objects = [values[row]]
        invalid = kind in (Kind.ERROR, Kind.NONE)
        entry = {
            "refexp_index": index,
            "objects": objects,
            "status": "invalid" if invalid else "ok",
        }
        if not invalid and kind not in (Kind.SET, Kind.OBJECT):
            entry["value"] = texts[row]  # a program that ends in a count or a truth value
        entries.append(entry)
    return entries


def _judge_sets(
    entries: Sequence[dict[str, Any]], questions: Any
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    has_gold = np.asarray(questions.has_outputs).astype(bool)
    offsets, outputs = questions.output_offsets, questions.outputs
    is_right = np.zeros(len(entries), dtype=bool)
    for row, entry in enumerate(entries):
        gold = sorted({int(o) for o in outputs[offsets[row] : offsets[row + 1]]})
        is_right[row] = entry["status"] == "ok" and entry["objects"] == gold
    return is_right, has_gold


def _trace_entry(outcome: Outcome, strings: Sequence[str]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "function": outcome.function,
        "inputs": list(outcome.inputs),
        "kind": outcome.kind.name.lower(),
    }
    if outcome.kind is Kind.SET:
        entry["value"] = list(outcome.objects)
    elif outcome.kind is Kind.STRING:
        entry["value"] = strings[outcome.value]
    elif outcome.kind is Kind.BOOLEAN:
        entry["value"] = bool(outcome.value)
    elif outcome.kind is Kind.ERROR:
        entry["value"] = Reason(outcome.value).name.lower()
    elif outcome.kind is not Kind.NONE:
        entry["value"] = outcome.value
    return entry
