"""What several commands print."""

from __future__ import annotations

from collections.abc import Sequence


def print_table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[c]) for row in [header, *rows]) for c in range(len(header))]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        print("  ".join(cells).rstrip())


def percent(share: float | None) -> str:
    """Return a share as "99.95 %", rounded down so that only 1 reads as 100."""
    return "-" if share is None else f"{int(share * 10000 + 1e-9) / 100:.2f} %"


def per_second(count: int, seconds: float) -> str:
    """Return a rate as "21.3 million a second" or "8,400 a second"."""
    rate = count / seconds if seconds > 0 else 0.0
    return f"{rate / 1e6:.1f} million a second" if rate >= 1e6 else f"{rate:,.0f} a second"
