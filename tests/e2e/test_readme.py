"""What the README shows is true: its Python runs, its commands exist, its output is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pyvqa.cli import main as cli

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.M | re.S)


def commands() -> list[list[str]]:
    """Every `pyvqa ...` line of the README's shell blocks, split as a shell does."""
    lines = [
        line
        for language, block in BLOCKS
        if language == ""
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("pyvqa ")]


@pytest.mark.e2e
def test_python_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    code = "\n".join(block for language, block in BLOCKS if language == "python")
    assert code.count("import") >= 3
    script = tmp_path / "readme.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2500 questions, for example:" in done.stdout
    assert "Start with all objects" in done.stdout


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_commands_are_understood(command: list[str]) -> None:
    name = command[1]
    assert name in cli.available()
    if "--help" not in command:
        cli.command_parser(name, f"pyvqa {name}").parse_args(command[2:])


SMALL = {  # what makes the way of the README short enough for a test
    "synth": ["--scenes", "12"],
    "train": ["train.steps=3", "train.batch_size=8", "parser.hidden=8", "parser.word_dim=8"],
    "eval": ["--max-questions", "20"],
}


@pytest.mark.e2e
def test_the_way_of_the_training_section_can_be_walked(tmp_path: Path) -> None:
    begin, end = README.index("## Train"), README.index("## Work on it")
    blocks = re.findall(r"^```\n(.*?)^```", README[begin:end], re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    walked = [shlex.split(line)[1:] for line in lines]
    assert [words[0] for words in walked] == ["synth", "prepare", "train", "train", "eval"]
    for words in walked:
        arguments = [*words, *SMALL.get(words[0], [])]
        command = [sys.executable, "-m", "pyvqa.cli.main", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}{done.stderr}"
    result = json.loads((tmp_path / "results" / "result.json").read_text())
    assert 0 <= result["accuracy"] <= 1
    assert len(json.loads((tmp_path / "results" / "answers.json").read_text())["answers"]) == 20


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"`?make (\w+)", README))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), f"make {target}"


def test_what_the_demo_printed_is_shown() -> None:
    shown = [block for language, block in BLOCKS if language == "text"]
    assert any("questions, answered with ns-vqa-clevr" in block for block in shown)
