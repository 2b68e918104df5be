"""Curves of one run or of several side by side, as one HTML page that needs no network."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyvqa.errors import DataError

# One colour per run; runs beyond the last begin again with another dash.
_COLOURS = ("#3366cc", "#dc3912", "#109618", "#990099", "#ff9900", "#0099c6", "#666666", "#b82e2e")
# More points than a screen has pixels only make the page heavy.
_MOST_POINTS = 4000

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; color: #222; }}
table {{ border-collapse: collapse; margin-bottom: 1.5rem; }}
td, th {{ padding: 0.25rem 0.9rem; border-bottom: 1px solid #ddd; text-align: right; }}
td:first-child, th:first-child {{ text-align: left; }}
</style></head><body>
<h1>{title}</h1>
{table}
{figure}
</body></html>
"""


@dataclass
class Series:
    """One metric of one run: steps, values and epochs (from 0), of equal length."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def at(self, places: Sequence[int]) -> Series:
        """Take some of the points, by position."""
        return Series(
            [self.steps[k] for k in places],
            [self.values[k] for k in places],
            [self.epochs[k] for k in places],
        )


def curves_page(runs: Sequence[str | Path]) -> str:
    """Draw every metric of the given run folders over the step, runs in one panel per metric.

    Raises:
        DataError: a folder has no `log.jsonl`, or the log is damaged (with the line).
    """
    from plotly import io as plotly_io

    folders = [Path(run) for run in runs]
    names = run_names(folders)
    logs = {name: read_log(folder) for name, folder in zip(names, folders, strict=True)}
    figure = plotly_io.to_html(
        _figure(logs), include_plotlyjs=True, full_html=False, config={"displaylogo": False}
    )
    title = html.escape(names[0] if len(names) == 1 else f"{len(names)} runs")
    return _PAGE.format(title=title, table=_table(logs), figure=figure)


def read_log(run: Path) -> dict[str, Series]:
    """Read a run's `log.jsonl` as `<kind>/<metric>` -> series, in order of first appearance.

    Raises:
        DataError: the file is missing, or a line is not of the log's form.
    """
    path = run / "log.jsonl"
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); is this a run folder?") from error
    series: dict[str, Series] = {}
    # A run that is writing right now may have half a line at the end.
    lines = content.splitlines() if content.endswith("\n") else content.splitlines()[:-1]
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            kind, step = str(entry.pop("kind")), int(entry.pop("step"))
            epoch = int(entry.pop("epoch", 0))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{path}: line {number} is no log entry; restore the file") from error
        for name, value in entry.items():
            if isinstance(value, int | float):
                one = series.setdefault(f"{kind}/{name}", Series())
                one.steps.append(step)
                one.values.append(float(value))
                one.epochs.append(epoch)
    return series


def run_names(folders: Sequence[Path]) -> list[str]:
    """Give each folder the shortest ending of its path that tells it from the others."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, 1)]


def _figure(logs: dict[str, dict[str, Series]]) -> object:
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    metrics = list(dict.fromkeys(name for log in logs.values() for name in log))
    rows = max(1, -(-len(metrics) // 2))
    titles = [html.escape(name) for name in metrics]
    figure = make_subplots(
        rows=rows, cols=2, subplot_titles=titles, vertical_spacing=min(0.3, 0.3 / rows)
    )
    for index, (run, log) in enumerate(logs.items()):
        line = {
            "color": _COLOURS[index % len(_COLOURS)],
            "dash": ("solid", "dash", "dot")[index // len(_COLOURS) % 3],
        }
        shown = True
        for place, name in enumerate(metrics):
            if name not in log:
                continue
            one = _thinned(log[name])
            trace = graph_objects.Scatter(
                x=one.steps, y=one.values, name=html.escape(run), legendgroup=str(index),
                showlegend=shown and len(logs) > 1, line=line,
                mode="lines" if len(one.steps) > 1 else "markers",
            )  # fmt: skip
            figure.add_trace(trace, row=place // 2 + 1, col=place % 2 + 1)
            shown = False
    figure.update_layout(
        height=120 + 300 * rows,
        template="plotly_white",
        margin={"l": 50, "r": 20, "t": 60, "b": 40},
    )
    return figure


def _thinned(series: Series) -> Series:
    """Keep every n-th point and the last, so that a page stays light."""
    stride = -(-len(series.steps) // _MOST_POINTS)
    if stride <= 1:
        return series
    keep = [*range(0, len(series.steps) - 1, stride), len(series.steps) - 1]
    return series.at(keep)


def _table(logs: dict[str, dict[str, Series]]) -> str:
    """Write the last value of every metric, and the best of those of validation, per run."""
    metrics = list(dict.fromkeys(name for log in logs.values() for name in log))
    head = "".join(f"<th>{html.escape(run)}</th>" for run in logs)
    rows = [f"<tr><th>last value</th>{head}</tr>"]
    for name in metrics:
        cells = ""
        for log in logs.values():
            text = f"{log[name].values[-1]:.6g}" if name in log else ""
            if name in log and name.startswith("validate/"):
                low, high = min(log[name].values), max(log[name].values)
                text += f" ({low:.6g} to {high:.6g})"
            cells += f"<td>{text}</td>"
        rows.append(f"<tr><td>{html.escape(name)}</td>{cells}</tr>")
    return f"<table>{''.join(rows)}</table>"
