"""Evaluation on an official folder, from the command line; answers with their steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyvqa.cli.main import main
from pyvqa.errors import DataError
from pyvqa.evidence import read_answers
from pyvqa.metrics.clevr import answer_texts
from pyvqa.ops.execute import Kind
from pyvqa.programs.questions import read_questions
from pyvqa.systems import load
from pyvqa.systems.ns_vqa.answer import NsVqa
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.data import load_questions
from pyvqa.systems.ns_vqa.evaluate import evaluate
from pyvqa.systems.ns_vqa.folder import write_parser
from pyvqa.systems.ns_vqa.model.loss import imitation_loss


@pytest.fixture(scope="module")
def model_folder(small, tmp_path_factory) -> Path:
    """A parser that has learnt its 160 questions, though not perfectly."""
    torch.manual_seed(0)
    config = ParserConfig(word_dim=16, hidden=24, max_steps=12)
    words, functions = len(small.vocabulary.words), len(small.vocabulary.functions)
    parser = build_parser(config, words, functions)
    adam = torch.optim.Adam(parser.parameters(), lr=0.01)
    batch = load_questions([small.questions("train")], [], small.vocabulary).batch(
        torch.arange(160)
    )
    for _ in range(50):
        adam.zero_grad()
        imitation_loss(parser, parser.encode(batch.questions), batch.programs).backward()
        adam.step()
    folder = tmp_path_factory.mktemp("model")
    write_parser(folder, parser, config, small.vocabulary, "# test\n", torch.float32)
    return folder


@pytest.fixture(scope="module")
def model(model_folder) -> NsVqa:
    return load(model_folder)


def test_the_command_writes_result_and_answers(small, model_folder, tmp_path, capsys):
    out = tmp_path / "results"
    arguments = [str(model_folder), "--root", str(small.root), "--split", "train"]
    arguments += ["--scenes", "ground-truth"]
    assert main(["eval", *arguments, "--out", str(out), "--explain", "3"]) == 0
    printed = capsys.readouterr().out
    for name in ("count", "exist", "compare_num", "query", "all", "programs"):
        assert name in printed
    result = json.loads((out / "result.json").read_text())
    answers = json.loads((out / "answers.json").read_text())["answers"]
    gold = json.loads(small.question_file("train").read_text())["questions"]
    right = [a["answer"] == q["answer"] for a, q in zip(answers, gold, strict=True)]
    assert [a["question_index"] for a in answers] == [q["question_index"] for q in gold]
    assert result["accuracy"] == pytest.approx(sum(right) / len(right))
    assert 0.5 < result["accuracy"] < 1
    assert result["compare_attr_acc"] is None  # no such question: null, not a division by zero
    assert result["counts"]["total"] == result["questions"] == 160
    assert sum(result["errors"].values()) == sum(a["answer"] == "error" for a in answers)
    by_family = result["by_family"]
    assert sum(f["questions"] for f in by_family.values()) == 160
    explained = read_answers(out / "evidence.json")
    assert [a.text for a in explained] == [a["answer"] for a in answers[:3]]
    assert all(a.steps and a.canvas is not None for a in explained)


def test_guessing_is_seeded_and_both_numbers_are_reported(small, model):
    once, again, other = (
        evaluate(model, small.root, "train", guess_seed=seed) for seed in (1, 1, 2)
    )
    plain = evaluate(model, small.root, "train")
    assert once.answers == again.answers
    assert once.answers != other.answers
    assert once.result["accuracy_without_guessing"] == plain.result["accuracy"]
    assert "error" in [a["answer"] for a in plain.answers]
    failed = [a["answer"] == "error" for a in plain.answers]
    for guessed, answer, was_failed in zip(once.answers, plain.answers, failed, strict=True):
        assert was_failed or guessed == answer
    expected = plain.result["expected_accuracy_with_guessing"]
    assert plain.result["accuracy"] < expected
    assert abs(once.result["accuracy"] - expected) < 4 * 0.5 / 160**0.5


def test_grammar_leaves_no_type_errors(small, model):
    held = evaluate(model, small.root, "val", grammar=True)
    assert set(held.result["errors"]) <= {"empty_set"}
    assert held.result["grammar"] is True


def test_parsed_scenes_and_gzip_are_read(small, model, tmp_path):
    scenes = json.loads(small.scenes("val").read_text())["scenes"]
    parsed = [
        {
            "image_index": s["image_index"],
            "image_filename": s["image_filename"],
            "objects": [
                {k: o[k] for k in ("color", "shape", "material", "size")}
                | {"position": o["3d_coords"]}
                for o in s["objects"]
            ],
        }
        for s in scenes
    ]
    (tmp_path / "parsed.json").write_text(json.dumps({"info": "parsed", "scenes": parsed}))
    truth = evaluate(model, small.root, "val")
    other = evaluate(model, small.root, "val", scenes=str(tmp_path / "parsed.json"))
    assert other.answers == truth.answers


def test_questions_without_gold_answers_are_answered(small, model, tmp_path):
    content = json.loads(small.question_file("val").read_text())
    for question in content["questions"]:
        del question["answer"], question["program"]
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions/CLEVR_test_questions.json").write_text(json.dumps(content))
    evaluation = evaluate(model, tmp_path, "test", scenes=str(small.scenes("val")))
    assert evaluation.result["accuracy"] is None
    assert len(evaluation.answers) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--split", "nowhere", "--scenes", "ground-truth"],
            "CLEVR_nowhere_questions.json: no such file",
        ),
        (["--split", "val", "--scenes", "absent.json"], "absent.json: no such file"),
        (["--split", "val", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["--split", "val", "--explain", "2"], "name a folder with --out"),
    ],
)
def test_mistakes_give_one_line_and_exit_code_1(small, model_folder, capsys, arguments, message):
    assert main(["eval", str(model_folder), "--root", str(small.root), *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_scenes_of_another_split_are_refused(small, model):
    with pytest.raises(DataError, match="asks about image_index"):
        evaluate(model, small.root, "train", scenes=str(small.scenes("val")))


def test_an_unknown_model_is_named(small, capsys):
    assert main(["eval", "no-such-model", "--root", str(small.root), "--split", "val"]) == 1
    assert "no-such-model: neither a shipped model" in capsys.readouterr().err


def test_one_answer_agrees_with_the_batch_and_tells_its_steps(small, model):
    scenes = json.loads(small.scenes("val").read_text())["scenes"]
    by_index = {scene["image_index"]: scene for scene in scenes}
    table = json.loads(small.question_file("val").read_text())["questions"]
    evaluation = evaluate(model, small.root, "val")
    for question, entry in zip(table[:12], evaluation.answers, strict=False):
        answer = model.answer(by_index[question["image_index"]], question["question"])
        assert answer.text == entry["answer"]
        assert answer.question == question["question"]
        assert 0 < answer.score <= 1
        assert len(answer.steps) >= 1
        if answer.text != "error":
            assert answer.steps[-1].value == answer.text


def test_unknown_words_are_warned_of(small, model):
    scene = json.loads(small.scenes("val").read_text())["scenes"][0]
    answer = model.answer(scene, "How many mauve things are there?")
    assert answer.warnings == ("the word 'mauve' is not in the vocabulary",)


def test_a_malformed_scene_is_explained(model):
    with pytest.raises(DataError, match="the scene cannot be read"):
        model.answer({"objects": [{"color": "red"}]}, "How many things are there?")


def test_texts_of_every_kind():
    kinds = torch.tensor([k for k in Kind if k is not Kind.NOT_REACHED], dtype=torch.uint8)
    texts = answer_texts(kinds, torch.ones(len(kinds), dtype=torch.int32), ["no", "yes", "red"])
    expected = {
        Kind.ERROR: "error", Kind.NONE: "None", Kind.INTEGER: "1", Kind.STRING: "yes",
        Kind.OBJECT: "<object>", Kind.SET: "<set>", Kind.BOOLEAN: "yes",
    }  # fmt: skip
    assert dict(zip(kinds.tolist(), texts, strict=True)) == expected


def test_the_order_of_the_file_is_kept(small, model):
    table = read_questions(small.question_file("val"))
    forward = model.write_programs(table.questions)
    backward = model.write_programs(table.questions[::-1], batch_size=7)
    assert torch.equal(forward, backward.flip(0))
