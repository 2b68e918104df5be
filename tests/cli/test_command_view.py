"""`pyvqa view`: pages from answers files; what is neither is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyvqa.cli import main as cli
from pyvqa.evidence import Answer, write_answers


def test_answers_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [Answer(text="3", question="How many?", expected="3"), Answer(text="no")]
    write_answers(tmp_path / "answers.json", answers)
    assert cli.main(["view", str(tmp_path / "answers.json")]) == 0
    page = (tmp_path / "view.html").read_text()
    assert '"question":"How many?"' in page
    assert '["answered right","100.0 %"]' in page
    assert str(tmp_path / "view.html") in capsys.readouterr().out


@pytest.mark.parametrize("content", ["[]", '{"answers": []}', "not json"])
def test_other_files(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.json").write_text(content)
    assert cli.main(["view", str(tmp_path / "x.json")]) == 1
    assert "x.json" in capsys.readouterr().err
    assert not (tmp_path / "view.html").exists()


def test_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_answers(tmp_path / "a.json", [])
    assert cli.main(["view", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    assert "several paths must all be run folders" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["view", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
