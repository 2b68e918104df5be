"""The page of curves: self-contained, complete, and safe against what names may hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyvqa.errors import DataError
from pyvqa.view.curves import Series, curves_page, read_log, run_names


def _run(folder: Path, lines: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def _lines(steps: int = 5, **more: object) -> list[dict[str, object]]:
    train = [
        {"kind": "train", "step": s, "epoch": 0, "loss": 1 / s, **more} for s in range(1, steps)
    ]
    return [*train, {"kind": "validate", "step": steps, "epoch": 0, "accuracy": 0.875}]


def _body(page: str) -> str:
    """The page without plotly's own library."""
    return re.sub(r"(?s)/\*\*\s*\* plotly\.js.*?</script>", "", page)


def test_page_needs_no_network(tmp_path: Path) -> None:
    page = curves_page([_run(tmp_path / "run", _lines())])
    tags = re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[^>]*>", page)
    assert tags == []
    assert "Plotly.newPlot" in page


def test_every_metric_is_drawn_and_listed(tmp_path: Path) -> None:
    body = _body(curves_page([_run(tmp_path / "run", _lines())]))
    assert body.count("train\\u002floss") + body.count("train/loss") >= 2
    assert "<td>validate/accuracy</td><td>0.875 (0.875 to 0.875)</td>" in body
    assert "<td>train/loss</td><td>0.25</td>" in body


def test_runs_stand_side_by_side(tmp_path: Path) -> None:
    one = _run(tmp_path / "a" / "run", _lines())
    two = _run(tmp_path / "b" / "run", _lines(reward=0.5))
    body = _body(curves_page([one, two]))
    assert "<th>a/run</th><th>b/run</th>" in body
    assert "<td>train/reward</td><td></td><td>0.5</td>" in body


def test_names_are_text_not_markup(tmp_path: Path) -> None:
    bad = "<img src=x onerror=alert(1)>"
    lines: list[dict[str, object]] = [{"kind": "train", "step": 1, "epoch": 0, bad: 0.5}]
    page = _body(curves_page([_run(tmp_path / "<b>run", lines)]))
    assert "<img" not in page
    assert "<b>run" not in page
    assert "&lt;img" in page


def test_empty_run_gives_a_page(tmp_path: Path) -> None:
    assert "<table>" in curves_page([_run(tmp_path / "run", [])])


def test_log_is_read_into_series(tmp_path: Path) -> None:
    run = _run(
        tmp_path / "run", [*_lines(3), {"kind": "train", "step": 9, "epoch": 1, "loss": None}]
    )
    assert read_log(run) == {
        "train/loss": Series([1, 2], [1.0, 0.5], [0, 0]),
        "validate/accuracy": Series([3], [0.875], [0]),
    }


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", _lines(3))
    with (run / "log.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    assert read_log(run)["train/loss"].steps == [1, 2]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"kind": "train"}', '{"step": 1}'])
def test_damaged_log_is_named_by_line(tmp_path: Path, line: str) -> None:
    run = _run(tmp_path / "run", _lines(3))
    with (run / "log.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"log\.jsonl: line 4 is no log entry"):
        curves_page([run])


def test_folder_that_is_no_run_is_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is this a run folder"):
        curves_page([tmp_path])


def test_long_runs_stay_light(tmp_path: Path) -> None:
    short = len(curves_page([_run(tmp_path / "short", _lines(10))]))
    long = len(curves_page([_run(tmp_path / "long", _lines(60000))]))
    assert long - short < 400_000


def test_names_are_as_short_as_can_be(tmp_path: Path) -> None:
    folders = [tmp_path / "x" / "run", tmp_path / "y" / "run"]
    assert run_names(folders) == ["x/run", "y/run"]
    assert run_names(folders[:1]) == ["run"]
    assert run_names([folders[0], folders[0]]) == ["run (1)", "run (2)"]
