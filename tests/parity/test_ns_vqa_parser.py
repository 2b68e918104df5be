"""NS-VQA's question parser against numbers recorded from the original code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pyvqa.data.clevr_questions import ClevrQuestions, ClevrVocabulary
from pyvqa.data.vocabulary import inverse
from pyvqa.metrics.clevr import Gold, clevr_scores, guess
from pyvqa.programs.scenes import read_scenes
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.model.decode import greedy
from pyvqa.systems.ns_vqa.model.loss import imitation_loss, reinforce_loss
from pyvqa.systems.ns_vqa.model.parser import START, QuestionParser
from pyvqa.systems.ns_vqa.reasoning import Executor, write_programs
from pyvqa.systems.ns_vqa.upstream import parser_from_upstream, parser_names


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_parser(params: dict[str, Any], state: dict[str, Tensor]) -> QuestionParser:
    config, words, functions, weights, unplaced = parser_from_upstream(
        {"net_params": params, "net_state": state}
    )
    assert unplaced == []
    parser = build_parser(config, words, functions)
    parser.load_state_dict(weights)  # strict: every weight of ours has been given
    return parser


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def by_direction(state: Tensor, directions: int) -> Tensor:
    """Our [layers, B, directions * H] in torch's order [layers * directions, B, H]."""
    return state.unflatten(2, (directions, -1)).transpose(1, 2).flatten(0, 1)


def shifted(programs: Tensor) -> Tensor:
    return torch.cat((torch.full_like(programs[:, :1], START), programs[:, :-1]), 1)


def formula_weights(meta: dict[str, Any]) -> dict[str, Tensor]:
    pattern = r"w = ([\d.]+)\*sin\(([\d.]+)\*j \+ k \+ ([\d.]+)\)"
    scale, rate, offset = map(float, re.search(pattern, meta["formula"]).groups())
    weights = {}
    for k, (name, shape) in enumerate(meta["state_dict_shapes"].items()):
        j = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        weights[name] = (scale * torch.sin(rate * j + k + offset)).float().view(shape)
    return weights


def load_case(case: Path) -> tuple[dict[str, Any], dict[str, Tensor], QuestionParser]:
    meta = json.loads((case.parent / "meta.json").read_text()).get(case.stem)
    if meta is None:
        pytest.skip(f"{case.name} is no network: meta.json does not name it")
    tensors = load_file(case)
    state = formula_weights(meta) if "formula" in meta else under(tensors, "w.")
    return meta, tensors, make_parser(meta["net_params"], state)


def tolerance(meta: dict[str, Any]) -> float:
    return 2e-4 if "formula" in meta else 1e-5


def in_order(tensors: dict[str, Tensor], name: str) -> Tensor:
    order = tensors.get("idx_sorted")
    return tensors[name] if order is None else tensors[name][order]


@pytest.mark.kit("ns_vqa", "parser/*.safetensors")
def test_encoder(case: Path):
    meta, tensors, parser = load_case(case)
    close = {"rtol": 0, "atol": tolerance(meta)}
    with torch.no_grad():
        memory = parser.encode(in_order(tensors, "x"))
    directions = 2 if parser.encoder.bidirectional else 1
    hidden, cell = (by_direction(x, directions) for x in memory.state)
    compared = 0
    for name, ours in [("outputs", memory.outputs), ("h", hidden), ("c", cell)]:
        if f"encoder_{name}" in tensors:
            torch.testing.assert_close(ours, tensors[f"encoder_{name}"], **close)
            compared += 1
        if f"encoder_{name}_first16" in tensors:
            expected = tensors[f"encoder_{name}_first16"]
            torch.testing.assert_close(ours[..., : expected.shape[-1]], expected, **close)
            compared += 1
    if "encoder_outputs_abs_sum" in tensors:
        total = tensors["encoder_outputs_abs_sum"]
        torch.testing.assert_close(
            memory.outputs.abs().sum().view_as(total), total, rtol=1e-5, atol=0
        )
    assert compared


@pytest.mark.kit("ns_vqa", "parser/*.safetensors")
def test_teacher_forcing(case: Path):
    meta, tensors, parser = load_case(case)
    x, y = in_order(tensors, "x"), in_order(tensors, "y")
    scores = parser.score(parser.encode(x), y)
    close = {"rtol": 0, "atol": tolerance(meta)}
    torch.testing.assert_close(scores.padded(), tensors["teacher_logprobs"], **close)
    loss = imitation_loss(parser, parser.encode(tensors["x"]), tensors["y"])
    torch.testing.assert_close(loss.item(), meta["loss"], **close)
    if "loss" in tensors:
        torch.testing.assert_close(loss, tensors["loss"], **close)


def check_gradients(parser: QuestionParser, loss: Tensor, expected: dict[str, Tensor]) -> None:
    parser.zero_grad()
    loss.backward()
    names, unplaced = parser_names(list(expected))
    assert unplaced == []
    ours = dict(parser.named_parameters())
    assert set(names.values()) == set(ours)
    for theirs, name in names.items():
        torch.testing.assert_close(
            ours[name].grad,
            expected[theirs],
            rtol=1e-4,
            atol=1e-6,
            msg=lambda m, n=name: f"{n}: {m}",
        )


@pytest.mark.kit("ns_vqa", "parser/*.safetensors")
def test_supervised_gradients(case: Path):
    _, tensors, parser = load_case(case)
    expected = under(tensors, "grad_supervised.")
    if not expected:
        pytest.skip(f"{case.name} records no supervised gradients")
    check_gradients(
        parser, imitation_loss(parser, parser.encode(tensors["x"]), tensors["y"]), expected
    )


@pytest.mark.kit("ns_vqa", "parser/*.safetensors")
def test_greedy(case: Path):
    meta, tensors, parser = load_case(case)
    programs = greedy(parser, parser.encode(tensors["x"]), stop=False)
    assert torch.equal(programs, tensors["greedy"])
    if "greedy_logprobs_sorted" in tensors:
        memory = parser.encode(in_order(tensors, "x"))
        scores = parser.score(memory, shifted(in_order(tensors, "greedy")))
        expected = tensors["greedy_logprobs_sorted"]
        torch.testing.assert_close(scores.padded(), expected, rtol=0, atol=tolerance(meta))


@pytest.mark.kit("ns_vqa", "parser/*.safetensors")
def test_reinforce(case: Path):
    meta, tensors, parser = load_case(case)
    if "rl" not in meta:
        pytest.skip(f"{case.name} records no REINFORCE step")
    for run, settings in meta["rl"].items():
        symbols = tensors[f"rl_{run}_symbols_sorted"]
        assert torch.equal(in_order(tensors, f"rl_{run}_seq"), symbols)
        scores = parser.score(parser.encode(in_order(tensors, "x")), shifted(symbols))
        expected = tensors[f"rl_{run}_logprobs_sorted"]
        torch.testing.assert_close(scores.padded(), expected, rtol=0, atol=tolerance(meta))
        programs = tensors[f"rl_{run}_seq"]
        loss, _ = reinforce_loss(
            parser,
            parser.encode(tensors["x"]),
            programs,
            torch.full((programs.shape[0],), settings["reward"]),
            entropy_weight=settings["entropy_factor"],
        )
        check_gradients(parser, loss, under(tensors, f"grad_rl_{run}."))


def kit_questions(case: Path, split: str) -> ClevrQuestions:
    return ClevrQuestions.read(case.parent.parent / f"clevr_h5/clevr_{split}_questions.h5")


def kit_executor(case: Path, split: str) -> Executor:
    folder = case.parent.parent
    scenes = read_scenes(folder / f"clevr/scenes/CLEVR_{split}_scenes.json")
    return Executor.of(scenes, ClevrVocabulary.read(folder / "clevr_h5/clevr_vocab.json"))


def file_order(questions: ClevrQuestions, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Endless batches in file order; the last one of each pass is smaller."""
    x, y = torch.from_numpy(questions.questions), torch.from_numpy(questions.programs)
    while True:
        for rows in torch.arange(len(questions)).split(size):
            yield x[rows], y[rows], rows


def load_trace(case: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    return json.loads(case.read_text()), load_file(case.with_suffix(".safetensors"))


def assert_weights(parser: QuestionParser, expected: dict[str, Tensor], atol: float) -> None:
    names, unplaced = parser_names(list(expected))
    assert unplaced == []
    for theirs, name in names.items():
        torch.testing.assert_close(
            parser.get_parameter(name).detach(), expected[theirs], rtol=0, atol=atol
        )


@pytest.mark.kit("ns_vqa", "parser/training_trace.json")
def test_supervised_training(case: Path):
    trace, tensors = load_trace(case)
    run = trace["supervised"]
    losses = next(v for k, v in run.items() if k.startswith("losses_first"))
    key = next(k for k in tensors if re.match(r"after\d+\.", k)).split(".")[0]
    parser = make_parser(trace["net_params"], under(tensors, "init."))
    adam = torch.optim.Adam(parser.parameters(), lr=run["lr"])
    steps = int(key.removeprefix("after"))
    batches = file_order(kit_questions(case, "train"), run["batch_size"])
    for step, (x, y, _) in zip(range(steps), batches, strict=False):
        adam.zero_grad()
        loss = imitation_loss(parser, parser.encode(x), y)
        loss.backward()
        adam.step()
        torch.testing.assert_close(loss.item(), losses[step], rtol=0, atol=1e-4)
    assert_weights(parser, under(tensors, f"{key}."), atol=1e-4)


@pytest.mark.kit("ns_vqa", "parser/training_trace.json")
def test_reinforce_training(case: Path):
    trace, tensors = load_trace(case)
    run = trace["reinforce"]
    parser = make_parser(trace["net_params"], under(tensors, f"{run['start']}."))
    adam = torch.optim.Adam(parser.parameters(), lr=float(run["optimizer"].split()[-1]))
    questions, executor = kit_questions(case, "train"), kit_executor(case, "train")
    scene_rows = executor.scenes.rows(questions.image_index)
    gold = torch.from_numpy(questions.answers)
    size = tensors["rl_sequences"].shape[1]
    baseline = 0.0
    batches = file_order(questions, size)
    for drawn, recorded, (x, _, rows) in zip(
        tensors["rl_sequences"], run["steps"], batches, strict=False
    ):
        programs = drawn[: len(rows)].long()
        reward = executor.rewards(programs, scene_rows[rows], gold[rows]).mean().item()
        assert reward == pytest.approx(recorded["reward"], abs=1e-7)
        baseline = (1 - run["reward_decay"]) * reward + run["reward_decay"] * baseline
        assert baseline == pytest.approx(recorded["baseline_after"], abs=1e-7)
        advantage = torch.full((len(rows),), reward - baseline)
        adam.zero_grad()
        loss, _ = reinforce_loss(
            parser, parser.encode(x), programs, advantage, entropy_weight=run["entropy_factor"]
        )
        loss.backward()
        adam.step()
    assert_weights(parser, under(tensors, "after_rl."), atol=2e-3)


@pytest.mark.kit("ns_vqa", "parser/training_trace.json")
@pytest.mark.parametrize("moment", ["before", "after"])
def test_validation_of_the_trace(case: Path, moment: str):
    trace, tensors = load_trace(case)
    key = next(k for k in trace if k.startswith("val_first"))
    expected, count = trace[key], int(key.removeprefix("val_first"))
    weights = "pretrained." if moment == "before" else "after_rl."
    parser = make_parser(trace["net_params"], under(tensors, weights))
    questions, executor = kit_questions(case, "val").take(range(count)), kit_executor(case, "val")
    x, y = torch.from_numpy(questions.questions), torch.from_numpy(questions.programs)
    parts = torch.arange(count).split(expected["batch_size"])
    with torch.no_grad():
        losses = [imitation_loss(parser, parser.encode(x[p]), y[p]).item() for p in parts]
    assert sum(losses) / len(losses) == pytest.approx(expected[f"loss_{moment}_rl"], abs=1e-4)
    programs = write_programs(parser, x, batch_size=expected["batch_size"])
    scene_rows = executor.scenes.rows(questions.image_index)
    accuracy = executor.rewards(programs, scene_rows, torch.from_numpy(questions.answers)).mean()
    assert accuracy.item() == pytest.approx(expected[f"acc_{moment}_rl"], abs=1e-6)


@pytest.mark.kit("ns_vqa", "parser/eval_predictions.npz")
def test_evaluation(case: Path):
    stats = json.loads((case.parent / "eval_stats.json").read_text())
    recorded = torch.from_numpy(np.load(case)["programs"]).long()
    questions, executor = kit_questions(case, "val"), kit_executor(case, "val")
    trace, tensors = load_trace(case.parent / "training_trace.json")
    parser = make_parser(trace["net_params"], under(tensors, "pretrained."))
    x = torch.from_numpy(questions.questions)
    programs = write_programs(parser, x, batch_size=stats["batch_size"])
    assert (programs == recorded).all(1).float().mean() >= 0.995

    predictions = executor.run(recorded, executor.scenes.rows(questions.image_index))
    assert predictions.texts == stats["answers_no_guess"]
    vocabulary = ClevrVocabulary.read(case.parent.parent / "clevr_h5/clevr_vocab.json")
    names = inverse(vocabulary.answers)
    gold = Gold(
        [names[a] for a in questions.answers],
        torch.from_numpy(questions.programs),
        torch.from_numpy(questions.families),
    )
    scores = clevr_scores(predictions, gold, executor.functions)
    assert scores["counts"] == stats["counts_no_guess"]
    assert scores["expected_with_guessing"] == pytest.approx(stats["expected_correct_with_guess"])

    # One random run of the original with guessing: the program accuracy is not random, the rest is
    # a binomial draw around what is expected.
    upstream = stats["upstream_result_json_one_random_run_with_guess"]
    assert scores["program_acc"] == pytest.approx(upstream["program_acc"])
    guessed = clevr_scores(
        predictions, gold, executor.functions, guess(predictions, executor.functions, 0)
    )
    assert set(upstream) <= set(guessed)
    for result in (upstream, guessed):
        expected = scores["expected_accuracy_with_guessing"]
        assert abs(result["overall_acc"] - expected) < 4 * 0.5 / len(gold.answers) ** 0.5
