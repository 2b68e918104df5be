"""Numbers as they are printed."""

from __future__ import annotations

import pytest

from pyvqa.cli.common import per_second, percent, print_table


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "-"), (0.0, "0.00 %"), (1.0, "100.00 %"), (0.99999, "99.99 %"), (0.57, "57.00 %")],
)
def test_only_one_reads_as_a_hundred_percent(share: float | None, text: str) -> None:
    assert percent(share) == text


@pytest.mark.parametrize(
    ("count", "seconds", "text"),
    [
        (2_000_000, 0.5, "4.0 million a second"),
        (999, 1.0, "999 a second"),
        (84_000, 10.0, "8,400 a second"),
        (5, 0.0, "0 a second"),
    ],
)
def test_rates(count: int, seconds: float, text: str) -> None:
    assert per_second(count, seconds) == text


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([("count", "12", "100 %"), ("a long name", "3", "-")], ("type", "n", "right"))
    assert capsys.readouterr().out.splitlines() == [
        "type          n  right",
        "count        12  100 %",
        "a long name   3      -",
    ]
