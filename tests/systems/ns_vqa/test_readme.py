"""Each command that the README sets beside one of the original's, run on small data."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import torch

from pyvqa.cli.main import main
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.upstream import parser_to_upstream

README = Path(__file__).parents[3] / "pyvqa/systems/ns_vqa/README.md"
NUMBERS = {"N": "2", "M": "5", "K": "1", "S": "0"}
QUICK = ["parser.hidden=6", "parser.word_dim=6", "train.steps=2", "train.batch_size=8"]


def commands() -> list[list[str]]:
    """Our side of the table; one that begins with dots or an option continues the last."""
    section = README.read_text(encoding="utf-8").split("## The original's commands")[1]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section.split("\n## ")[0], re.M)
    found: list[list[str]] = []
    full: list[str] = []
    for _, ours in rows:
        for code in re.findall(r"`([^`]+)`", ours):
            words = [
                NUMBERS.get(w, w) for w in shlex.split(re.sub(r"[\[\]](?= |$)|\[(?=--)", "", code))
            ]
            if words[0] == "pyvqa":
                full = words[1:]
                found.append(full)
            elif code != "--back":
                found.append([*full, *(w for w in words if w != "...")])
    return found


def closed(word: str) -> str:
    """Give `key=[value` its bracket back, which the option brackets of the table cost it."""
    return f"{word}]" if "=[" in word and not word.endswith("]") else word


@pytest.fixture(scope="module")
def workplace(small, tmp_path_factory) -> Path:
    """A folder in which the table's names are files."""
    folder = tmp_path_factory.mktemp("readme")
    for split, name in (("train", "TRAIN"), ("val", "VAL")):
        shutil.copy(small.question_file(split), folder / f"{name}.json")
        shutil.copy(small.questions(split), folder / f"{name}.h5")
    shutil.copy(small.questions("train"), folder / "FEW.h5")
    shutil.copy(small.scenes("train"), folder / "SCENES.json")
    shutil.copy(small.scenes("val"), folder / "PARSED.json")
    shutil.copytree(small.root, folder / "CLEVR")
    for name in ("VOCAB.json", "A"):
        shutil.copy(small.vocabulary_file, folder / name)
    words, functions = len(small.vocabulary.words), len(small.vocabulary.functions)
    config = ParserConfig(word_dim=6, hidden=6, mask_padding=False)
    parser = build_parser(config, words, functions)
    content = parser_to_upstream(config, words, functions, parser.state_dict())
    torch.save(content, folder / "question_parser.pt")
    for name in ("MODEL", "PRETRAINED"):
        convert = ["convert", "ns-vqa", str(folder / "question_parser.pt")]
        vocabulary = ["--vocab", str(folder / "VOCAB.json"), "--out", str(folder / name)]
        assert main([*convert, *vocabulary]) == 0
    return folder


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_command(command, workplace, tmp_path, monkeypatch, capsys):
    run = tmp_path / "work"
    shutil.copytree(workplace, run)
    monkeypatch.chdir(run)
    words = [closed(word) for word in command]
    if words[0] == "train":
        shutil.rmtree(run / "MODEL")
        words += QUICK
    if words[:2] == ["convert", "ns-vqa"]:
        shutil.rmtree(run / "MODEL")
    code = main(words)
    if words[-2:] == ["--mode", "chain"]:
        assert code == 1
        assert "is no chain" in capsys.readouterr().err
        return
    assert code == 0, capsys.readouterr().err
    out = Path(words[words.index("--out") + 1])
    assert out.exists()
    if words[0] == "eval":
        assert "accuracy" in json.loads((out / "result.json").read_text())


def test_the_table_names_every_step():
    steps = {tuple(command[:2]) for command in commands()}
    assert {("prepare", "clevr-questions"), ("prepare", "clevr-sample")} <= steps
    assert {("train", "ns-vqa/parser-pretrain"), ("train", "ns-vqa/parser-reinforce")} <= steps
    assert ("convert", "ns-vqa") in steps
    assert any(command[0] == "eval" for command in commands())
    assert len(commands()) >= 12
