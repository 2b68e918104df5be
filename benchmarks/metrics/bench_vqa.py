"""Official VQA accuracy of a whole validation split against the same rules in plain Python.

214,354 predictions: the genuine questions of PYVQA_REAL's `vqa2_subset`, repeated under new ids
until there are as many as VQA v2 validates on. Both start from the loaded annotations and results;
the numbers must be equal before the times count. It prints a table:

    PYVQA_REAL=... pytest benchmarks/metrics/bench_vqa.py -s
"""

from __future__ import annotations

import os
import sys
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import timing

from pyvqa.files import read_json
from pyvqa.metrics.vqa import HumanAnswers, in_order, vqa_accuracy

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "metrics"))
import plain_vqa

QUESTIONS = 214_354
SECONDS = 5.0  # what the whole evaluation may take

REAL = os.environ.get("PYVQA_REAL")
ROOT = Path(REAL or "") / "vqa2_subset"


def problem() -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Annotations under new ids, and the third person's answer in several spellings."""
    entries = [
        entry
        for part in ("val", "test", "train")
        for entry in read_json(ROOT / f"annotations_{part}.json.gz")["annotations"]
    ]
    repeated = [
        {**entry, "question_id": number}
        for number, entry in enumerate(islice(cycle(entries), QUESTIONS))
    ]
    results = {}
    for entry in repeated:
        number, text = entry["question_id"], entry["answers"][2]["answer"]
        results[number] = ("The " + text, text.upper() + ".", text)[number % 3]
    return repeated, results


@pytest.mark.skipif(not (REAL and ROOT.is_dir()), reason="no vqa2_subset")
@pytest.mark.parametrize("flavour", ["official", "legacy"])
def test_a_whole_validation_split(benchmark: Any, flavour: str) -> None:
    annotations, results = problem()
    found: dict[str, Any] = {}

    def ours() -> None:
        humans, predictions = in_order(HumanAnswers.of(annotations), results, "results")
        found.update(vqa_accuracy(humans, predictions, flavour))

    seconds = min(timing.seconds(ours) for _ in range(2))
    plain: dict[str, Any] = {}
    theirs = timing.seconds(lambda: plain.update(plain_vqa.accuracy(annotations, results, flavour)))
    for key, value in plain.items():
        assert found[key] == value, key
    assert seconds < SECONDS
    benchmark.pedantic(ours, rounds=1)
    case = f"{QUESTIONS:,} questions, {flavour}"
    timing.ROWS.append(
        timing.Row("VQA accuracy", case, "plain Python", 1e3 * theirs, 1e3 * seconds, 0.0)
    )
