"""`pyvqa eval` of MuRel models: scores, result files, evidence, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pyvqa.cli.main import main
from pyvqa.data.vqa_questions import VqaData, VqaVocabulary
from pyvqa.data.vqa_results import read_results
from pyvqa.evidence import read_answers
from pyvqa.metrics.vqa import vqa_accuracy
from pyvqa.systems.murel.build import build_network
from pyvqa.systems.murel.data import human_answers
from pyvqa.systems.murel.evidence import contributions
from pyvqa.systems.murel.folder import Model, write_model
from pyvqa.systems.murel.model.network import Reasoning
from pyvqa.systems.murel.model.pairwise import Related

from .conftest import attention, murel
from .training import WIDTH, make_data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data, a store and two untrained models."""
    folder = make_data(tmp_path_factory.mktemp("murel"))
    vocabulary = VqaData(folder / "data").vocabulary
    for name, make in (("murel", murel), ("attention", attention)):
        torch.manual_seed(5)
        config = make(region_dim=WIDTH)
        network = build_network(config, vocabulary.words, len(vocabulary.answers))
        (folder / name).mkdir()
        write_model(folder / name, Model(network, config, vocabulary), "# Untrained\n")
    return folder


def evaluate(folder: Path, model: str, split: str, out: Path, *more: str) -> int:
    features = ["--features", f"{folder}/store.safetensors"]
    if "--without-pictures" in more:
        features = []
    return main(["eval", f"{folder}/{model}", "--root", f"{folder}/data", "--split", split,
                 "--out", str(out), "--device", "cpu", *features, *more])  # fmt: skip


@pytest.mark.parametrize("model", ["murel", "attention"])
def test_scores_and_result_files(model, folder, tmp_path, capsys):
    more = ("--save-logits", "--explain", "2", "--errors-first", "--batch-size", "5")
    assert evaluate(folder, model, "val", tmp_path, *more) == 0
    printed = capsys.readouterr().out
    table = VqaData(folder / "data").split("val")
    answers = VqaData(folder / "data").vocabulary.answers
    results = read_results(tmp_path / "OpenEnded_mscoco_val2014_model_results.json")
    assert list(results) == table.question_ids.tolist()
    result = json.loads((tmp_path / "result.json").read_text())
    said = list(results.values())
    expected = vqa_accuracy(human_answers(table), said)
    assert result["vqa"]["overall"] == expected["overall"]
    assert f"{expected['overall']:.2f}" in printed
    assert set(result["vqa"]["answer_types"]) <= {"yes/no", "number", "other"}
    right = [str(table.strings[k]) for k in table.answer_texts]
    share = np.mean([a == b for a, b in zip(said, right, strict=True)])
    assert result["accuracy_top1"] == pytest.approx(100 * share)
    with h5py.File(tmp_path / "logits.h5") as file:
        best = file["logits"][:].argmax(1)
        assert [answers[k] for k in best] == said
        assert file["question_id"][:].tolist() == list(results)
    told = read_answers(tmp_path / "evidence.json")
    assert [answer.is_right for answer in told] == sorted(answer.is_right for answer in told)
    assert all(answer.canvas.regions and len(answer.steps) >= 3 for answer in told)
    assert main(["view", str(tmp_path / "evidence.json")]) == 0


@pytest.mark.parametrize("flavour", ["official", "legacy"])
def test_a_result_file_scores_as_its_model_did(flavour, folder, tmp_path, capsys):
    assert evaluate(folder, "murel", "val", tmp_path / "model", "--vqa-eval", flavour) == 0
    file = tmp_path / "model/OpenEnded_mscoco_val2014_model_results.json"
    command = ["eval", str(file), "--root", f"{folder}/data", "--split", "val"]
    assert main([*command, "--vqa-eval", flavour, "--out", str(tmp_path / "file")]) == 0
    printed = capsys.readouterr().out
    first, second = (
        json.loads((tmp_path / k / "result.json").read_text()) for k in ("model", "file")
    )
    for key in ("questions", "outside_vocabulary", "accuracy_top1", "interval", "by_type", "vqa"):
        assert first[key] == second[key], key
    assert f"{second['vqa']['overall']:.2f}" in printed
    for more, message in (
        (["--without-pictures"], "--without-pictures is for models"),
        (["--split", "test"], "test has no answers to score"),
        (["--split", "train"], "answers are for questions that this split does not have"),
    ):
        assert main([*command, *more]) == 1
        assert message in capsys.readouterr().err


def test_a_test_split_gives_the_files_of_the_servers(folder, tmp_path, capsys):
    assert evaluate(folder, "murel", "test", tmp_path, "--max-questions", "4") == 0
    assert "without answers" in capsys.readouterr().out
    full = read_results(tmp_path / "OpenEnded_mscoco_test2015_model_results.json")
    dev = read_results(tmp_path / "OpenEnded_mscoco_test-dev2015_model_results.json")
    assert len(full) == 4
    assert len(dev) == 2
    assert dev.items() <= full.items()


def test_flavour_and_zeroed_features(folder, tmp_path):
    assert evaluate(folder, "murel", "val", tmp_path / "a", "--without-pictures") == 0
    assert evaluate(folder, "murel", "val", tmp_path / "b", "--vqa-eval", "legacy") == 0
    first, second = (json.loads((tmp_path / k / "result.json").read_text()) for k in "ab")
    assert first["features"] == []
    assert [r["vqa"]["flavour"] for r in (first, second)] == ["official", "legacy"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scenes", "ground-truth"], "--scenes is for ns-vqa models"),
        (["--without-pictures", "--features", "x.h5"], "either --features STORE, or"),
        (["--split", "none"], "has no split 'none'"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
    ],
)
def test_options_that_cannot_be(more, message, folder, tmp_path, capsys):
    command = ["eval", f"{folder}/murel", "--root", f"{folder}/data", "--split", "val"]
    if "--without-pictures" not in more:
        command += ["--features", f"{folder}/store.safetensors"]
    assert main([*command, *more]) == 1
    assert message in capsys.readouterr().err


def test_another_vocabulary_is_refused(folder, tmp_path, capsys):
    vocabulary = VqaVocabulary(("", "UNK", "cat"), ("yes", "no"))
    config = murel(region_dim=WIDTH)
    (folder / "other").mkdir()
    network = build_network(config, vocabulary.words, 2)
    write_model(folder / "other", Model(network, config, vocabulary), "# Other\n")
    assert evaluate(folder, "other", "val", tmp_path) == 1
    assert "use the data that the model was trained on" in capsys.readouterr().err


def test_contributions_follow_the_maxima():
    """Two regions, four channels: what every step took from where, by hand."""
    chosen = torch.tensor([[0, 0, 0, 1]])
    winner = torch.tensor([[[1, 1, 0, 0], [1, 1, 1, 1]]], dtype=torch.int32)
    steps = [Related(torch.zeros(1, 2, 4), winner)] * 2
    found = contributions(Reasoning(None, steps, chosen, None), torch.tensor([2]), residual=0.5)
    assert found.links[0][0].tolist() == [[0.5, 0.5], [0, 1]]
    assert found.regions[1][0].tolist() == [0.75, 0.25]
    assert found.regions[0][0].tolist() == [0.5625, 0.4375]
