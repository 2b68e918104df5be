"""`pyvqa demo` from pictures, with small eyes that see nothing right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyvqa.cli import main as cli
from pyvqa.evidence import read_answers


def test_a_model_with_eyes_is_asked_about_pictures(
    tmp_path: Path, sighted_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "here"
    model = sighted_models["everything"]
    options = ["--scenes", "2", "--questions", "12", "--out", str(out)]
    assert cli.main(["demo", "--model", str(model), *options]) == 0
    told = capsys.readouterr().out
    assert told.startswith("2 pictures, 12 questions")
    for name in ("objects found", "objects seen that are there", "color right", "pictures seen"):
        assert name in told
    answers = read_answers(out / "answers.json")
    assert len(answers) == 12
    for answer in answers:
        assert answer.expected is not None
        assert answer.canvas is not None
        assert answer.canvas.image is None
        assert len(answer.canvas.regions) >= 50
        assert (out / "images" / answer.canvas.title).is_file()
    assert cli.main(["view", str(out / "answers.json")]) == 0
    assert "data:image/png;base64," in (out / "view.html").read_text()
