"""`pyvqa view`: pages from answers files; what is neither is refused."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from pyvqa.cli import main as cli
from pyvqa.evidence import Answer, Canvas, write_answers


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


def test_results_folder_with_pictures_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/one.png").write_bytes(b"\x89PNG and so on")
    (tmp_path / "images/text.png").write_text("no picture")
    (tmp_path / "secret.png").write_bytes(b"\x89PNG secret")
    names = ["one.png", "one.png", "text.png", "../secret.png", "missing.png"]
    canvases = [Canvas(kind="picture", width=6, height=4, title=name) for name in names]
    answers = [Answer(text=str(i), canvas=canvas) for i, canvas in enumerate(canvases)]
    write_answers(tmp_path / "evidence.json", answers)
    assert cli.main(["view", str(tmp_path)]) == 0
    page = (tmp_path / "view.html").read_text()
    address = base64.b64encode(b"\x89PNG and so on").decode()
    assert page.count("data:image/png;base64,") == page.count(address) == 1
    assert f"<title>{tmp_path.name}</title>" in page
    assert str(tmp_path / "view.html") in capsys.readouterr().out


def test_several_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_answers(tmp_path / "a.json", [])
    assert cli.main(["view", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    assert "several paths must all be run folders" in capsys.readouterr().err


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["view", str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err
