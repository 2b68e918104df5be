"""What several commands print."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.world.staging import Quality


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


def picture_quality(size: str, samples: int | None) -> Quality:
    """Read `--size` and `--samples`.

    Raises ConfigError for a size that is not WxH or out of range, and for less than one sample.
    """
    from pyvqa.errors import ConfigError
    from pyvqa.ops.render import TRAINING_QUALITY
    from pyvqa.world.staging import Quality
    from pyvqa.world.visible import check_size

    width, cross, height = size.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ConfigError(f"--size {size}: expected width x height in pixels, e.g. 480x320")
    check_size(int(width), int(height))
    if samples is not None and samples < 1:
        raise ConfigError(f"--samples {samples}: at least one is needed")
    return Quality(int(width), int(height), TRAINING_QUALITY if samples is None else samples)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch's ops use so many threads within; None leaves them as they are."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
