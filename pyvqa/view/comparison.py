"""Tables that rank runs by their metrics: as text, Markdown, CSV and a page."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyvqa.errors import ConfigError
from pyvqa.train.config import nearest
from pyvqa.view.curves import Series

# Endings of names of what is better when small; everything else is better when large.
_SMALL_IS_GOOD = ("loss", "error", "error_largest", "skipped")

_STYLE = """
body { font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #222; }
table { border-collapse: collapse; margin-bottom: 1.5rem; }
td, th { padding: 0.25rem 0.9rem; border-bottom: 1px solid #ddd; text-align: right; }
td:nth-child(2), th:nth-child(2) { text-align: left; }
"""


@dataclass(frozen=True)
class Entry:
    """One run in the ranking by a metric."""

    place: int
    run: str
    score: float
    epoch: int | None  # from 0; none where a score is of no epoch


@dataclass(frozen=True)
class Ranking:
    """Runs in the order of a metric, and those that do not have it."""

    metric: str
    order: str  # max or min
    entries: tuple[Entry, ...]
    missing: tuple[str, ...]


def default_order(metric: str) -> str:
    """Say whether a metric is better when large (`max`) or small (`min`)."""
    return "min" if metric.endswith(_SMALL_IS_GOOD) else "max"


def rank(
    runs: Mapping[str, Mapping[str, Series]],
    metrics: Mapping[str, str],
    *,
    best: str = "",
    epochs: int = 0,
) -> list[Ranking]:
    """Rank runs by each metric (name -> max or min).

    Each metric is read where it is best; with `best` (a metric), where that one is. `epochs`: only
    the first so many count; 0: all.

    Raises:
        ConfigError: no run has `best` or any of the metrics.
    """
    seen = {run: _first(metrics_of, epochs) for run, metrics_of in runs.items()}
    known = sorted({name for found in seen.values() for name in found})
    for name in [*metrics, *([best] if best else [])]:
        if name not in known:
            near = nearest(name, known) or f"; there are: {', '.join(known) or 'none'}"
            raise ConfigError(f"no run has the metric {name!r}{near}")
    return [_rank_one(seen, name, order, best, metrics) for name, order in metrics.items()]


def _first(found: Mapping[str, Series], epochs: int) -> dict[str, Series]:
    """Leave out later epochs, and metrics of which nothing is left."""
    kept = {}
    for name, one in found.items():
        places = [k for k, e in enumerate(one.epochs) if not epochs or e < epochs]
        if places:
            kept[name] = one.at(places)
    return kept


def _rank_one(
    runs: Mapping[str, Mapping[str, Series]],
    metric: str,
    order: str,
    best: str,
    metrics: Mapping[str, str],
) -> Ranking:
    scored: list[tuple[float, str, int]] = []
    missing = []
    for run, found in runs.items():
        if metric not in found or (best and best not in found):
            missing.append(run)
            continue
        guide = best or metric
        step = _best_step(found[guide], metrics.get(guide, default_order(guide)))
        one = found[metric]
        places = [k for k, s in enumerate(one.steps) if s <= step]
        place = places[-1] if places else 0
        scored.append((one.values[place], run, one.epochs[place]))
    scored.sort(key=lambda entry: -entry[0] if order == "max" else entry[0])
    entries = tuple(
        Entry(place, run, score, None if epoch < 0 else epoch)
        for place, (score, run, epoch) in enumerate(scored, 1)
    )
    return Ranking(metric, order, entries, tuple(missing))


def _best_step(series: Series, order: str) -> int:
    choose = max if order == "max" else min
    return series.steps[series.values.index(choose(series.values))]


def rows_of(ranking: Ranking) -> list[tuple[str, str, str, str]]:
    """Write a ranking as rows of place, run, score and epoch; runs without the metric last."""
    rows = [
        (str(e.place), e.run, f"{e.score:.6g}", "-" if e.epoch is None else str(e.epoch))
        for e in ranking.entries
    ]
    return rows + [("-", run, "-", "-") for run in ranking.missing]


def to_markdown(rankings: Sequence[Ranking]) -> str:
    """Write rankings as Markdown tables."""
    parts = []
    for ranking in rankings:
        lines = [f"## {ranking.metric} ({ranking.order})", ""]
        lines += ["| Place | Method | Score | Epoch |", "|---:|:---|---:|---:|"]
        for row in rows_of(ranking):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def to_csv(rankings: Sequence[Ranking]) -> str:
    """Write rankings as one CSV table: metric, order, place, method, score, epoch."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("metric", "order", "place", "method", "score", "epoch"))
    for ranking in rankings:
        for e in ranking.entries:
            epoch = "" if e.epoch is None else e.epoch
            writer.writerow((ranking.metric, ranking.order, e.place, e.run, repr(e.score), epoch))
    return text.getvalue()


def to_page(rankings: Sequence[Ranking]) -> str:
    """Write rankings as a page that needs nothing else."""
    parts = []
    for ranking in rankings:
        cells = [("Place", "Method", "Score", "Epoch"), *rows_of(ranking)]
        lines = []
        for number, row in enumerate(cells):
            tag = "td" if number else "th"
            line = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)
            lines.append(f"<tr>{line}</tr>")
        title = f"<h2>{html.escape(ranking.metric)} ({ranking.order})</h2>"
        parts.append(f"{title}<table>{''.join(lines)}</table>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Comparison</title>'
        f"<style>{_STYLE}</style></head><body>\n<h1>Comparison</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
