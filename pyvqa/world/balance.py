"""How evenly families and answers are spread over a data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyvqa.world.questions import ANSWERS, Questions
from pyvqa.world.template_files import Templates


@dataclass
class Balance:
    """Counts of answers by family; of expressions, of the number of objects referred to."""

    templates: Templates
    counts: np.ndarray[Any, np.dtype[np.int64]] = field(init=False)  # [families, answer codes]

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.templates.families), len(ANSWERS)), dtype=np.int64)

    def add(self, questions: Questions) -> None:
        """Count a batch of questions."""
        np.add.at(self.counts, (questions.family, questions.answer), 1)

    def report(self) -> dict[str, Any]:
        """Return the counts for a JSON file: in all, by template file and by family."""
        families = [
            {
                "family": number,
                "template_filename": family.filename,
                "template_index": family.index,
                **_summary(self.counts[number]),
            }
            for number, family in enumerate(self.templates.families)
        ]
        return {"all": _summary(self.counts.sum(0)), "families": families}


def table(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return a report's families by template file, as rows of `ROW_TITLES`.

    The last column is the share of a family's most frequent answer, averaged over the file.
    """
    by_file: dict[str, list[dict[str, Any]]] = {}
    for family in report["families"]:
        by_file.setdefault(family["template_filename"], []).append(family)
    rows = []
    for name, families in by_file.items():
        totals = [family["questions"] for family in families]
        shares = [family["largest_share"] for family in families if family["questions"]]
        share = f"{100 * sum(shares) / len(shares):.1f} %" if shares else "-"
        cells = (len(totals), sum(totals), min(totals), max(totals))
        rows.append((name, *(f"{cell:,}" for cell in cells), share))
    return rows


ROW_TITLES = ("template file", "families", "questions", "fewest", "most", "top answer")


def _summary(counts: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
    total = int(counts.sum())
    answers = {ANSWERS[code]: int(counts[code]) for code in np.nonzero(counts)[0].tolist()}
    return {
        "questions": total,
        "answers": answers,
        "largest_share": round(int(counts.max()) / total, 4) if total else 0.0,
    }
