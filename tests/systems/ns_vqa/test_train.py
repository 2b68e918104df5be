"""The parser's stages through the training loop: they learn, validate, continue and explain."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pyvqa.data.clevr_questions import ClevrQuestions, ClevrVocabulary, expand_words
from pyvqa.errors import CheckpointError, ConfigError, DataError
from pyvqa.systems import STAGES, load
from pyvqa.systems.ns_vqa.config import ReinforceConfig
from pyvqa.systems.ns_vqa.data import Growing, Paired, Shuffled, load_questions
from pyvqa.systems.ns_vqa.train import reinforce_source
from pyvqa.train.checkpoint import latest
from pyvqa.train.config import load_config
from pyvqa.train.distributed import join
from pyvqa.train.loop import fit
from pyvqa.train.run import Run
from pyvqa.train.stage import resolve_stage

SIZE = ["parser.hidden=16", "parser.word_dim=12", "parser.layers=1", "parser.max_steps=10"]


def overrides(small, out: Path, *more: str) -> list[str]:
    return [
        *SIZE,
        f"data.vocabulary={small.vocabulary_file}",
        f"data.questions=[{small.questions('train')}]",
        f"data.val_questions=[{small.questions('val')}]",
        f"data.val_scenes=[{small.scenes('val')}]",
        "train.device=cpu",
        *more,
    ]


def train(name: str, out: Path, values: list[str]) -> list[dict]:
    """Run a stage to its end; give its log."""
    stage = resolve_stage(name, STAGES)
    config = load_config(name, values, stage.config_type)
    with join(config.train) as ranks:
        run = Run.open(out, config)
        fit(run, stage, config, ranks)
        run.close()
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def last(log: list[dict], kind: str) -> dict:
    return [line for line in log if line["kind"] == kind][-1]


def newest(run: Path) -> Path:
    """The run's last checkpoint."""
    found = latest(run / "checkpoints")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def pretrained(small, tmp_path_factory) -> tuple[Path, list[dict]]:
    """A run that has imitated 40 programs for a while."""
    out = tmp_path_factory.mktemp("pretrain") / "run"
    values = overrides(small, out, "data.limit=40", "train.steps=150", "train.batch_size=20")
    log = train(
        "ns-vqa/parser-pretrain", out, [*values, "optim.lr=0.02", "train.validate_every=75"]
    )
    return out, log


def test_pretraining_learns_and_validates(pretrained):
    _, log = pretrained
    training = [line["loss"] for line in log if line["kind"] == "train"]
    assert training[-1] < 0.2 * training[0]
    found = last(log, "validate")
    assert found["program_accuracy"] > 0.3
    assert found["accuracy"] >= found["program_accuracy"] - 0.05
    assert found["loss"] > 0


def test_the_exported_model_answers(small, pretrained):
    out, log = pretrained
    model = load(out)
    assert model.vocabulary == small.vocabulary
    data = load_questions([small.questions("val")], [small.scenes("val")], small.vocabulary)
    table = [q["question"] for q in json.loads(small.question_file("val").read_text())["questions"]]
    programs = model.write_programs(table)
    accuracy = data.executor.rewards(programs, data.scenes, data.answers).mean().item()
    # float16 weights may flip a close call
    assert accuracy == pytest.approx(last(log, "validate")["accuracy"], abs=0.051)


@pytest.mark.parametrize(
    "settings",
    [
        ["reward.samples=4", "reward.grammar=true"],
        ["reward.samples=1", "reward.entropy=0.01"],
        ["reward.mode=batch_mean", "reward.samples=1", "parser.mask_padding=false"],
    ],
)
def test_reinforce_runs_from_a_pretrained_parser(small, pretrained, tmp_path, settings):
    values = overrides(
        small, tmp_path, f"start={pretrained[0]}", f"data.scenes=[{small.scenes('train')}]"
    )
    values += ["train.steps=6", "train.batch_size=16", "train.log_every=1", *settings]
    log = train("ns-vqa/parser-reinforce", tmp_path / "run", values)
    assert len(log) == 6
    rewards = [line["reward"] for line in log]
    assert all(0 <= reward <= 1 for reward in rewards)
    assert sum(rewards) / 6 > 0.2  # an untrained parser earns next to nothing
    counters = load_file(newest(tmp_path / "run") / "counters.safetensors")
    assert 0 < counters["baseline"] <= 1


def test_a_curriculum_begins_with_short_questions(small):
    data = load_questions([small.questions("train")], [], small.vocabulary)
    words = data.lengths - 2
    shortest, longest = int(words.min()), int(words.max())
    source = Growing(data, 8, seed=3, longest=shortest, growth=0.5)
    for number in range(4 * (longest - shortest)):
        epoch, index = divmod(number, len(source))
        batch = source.batch(epoch, index, 0, 1)
        assert len(batch.ids) == 8
        assert max(batch.lengths) - 2 <= shortest + 0.5 * number
        assert torch.equal(batch.ids, source.batch(epoch, index, 0, 1).ids)
        parts = [source.batch(epoch, index, rank, 3).ids for rank in range(3)]
        assert torch.equal(torch.cat(parts), batch.ids)
    seen = torch.cat([source.batch(9, k, 0, 1).ids for k in range(len(source))])
    assert int(words[seen].max()) == longest
    with pytest.raises(DataError, match=r"curriculum\.longest is 1, but no training question"):
        Growing(data, 8, seed=3, longest=1, growth=0.5)


def test_a_curriculum_is_a_setting_of_reinforce(small, tmp_path):
    values = overrides(small, tmp_path, f"data.scenes=[{small.scenes('train')}]")
    values += ["curriculum.longest=9", "curriculum.growth=0.25"]
    source = reinforce_source(load_config("ns-vqa/parser-reinforce", values, ReinforceConfig))
    assert isinstance(source, Growing)
    assert (source.longest, source.growth) == (9, 0.25)


def test_dropout_is_for_imitation_alone(small, pretrained, tmp_path):
    """REINFORCE must score programs by the distribution they were drawn from."""
    values = overrides(
        small, tmp_path, f"start={pretrained[0]}", f"data.scenes=[{small.scenes('train')}]"
    )
    values += ["train.steps=2", "train.batch_size=16"]
    known = f"imitation.questions=[{small.questions('train')}]"
    weights = {}
    for name, more in {
        "plain": [],
        "dropped": ["parser.dropout=0.5"],
        "known": [known],
        "known_dropped": [known, "parser.dropout=0.5"],
    }.items():
        train("ns-vqa/parser-reinforce", tmp_path / name, [*values, *more])
        weights[name] = load_file(newest(tmp_path / name) / "parser.safetensors")
    for key, value in weights["plain"].items():
        assert torch.equal(value, weights["dropped"][key])
    key = "classify.weight"
    assert not torch.equal(weights["known"][key], weights["known_dropped"][key])


def test_reinforce_improves_answers_without_programs(small, pretrained, tmp_path):
    """Question-answer pairs alone: the training file has its programs taken out."""
    full = ClevrQuestions.read(small.questions("train"))
    bare = ClevrQuestions(
        full.questions, full.image_index, full.original_index, None, full.answers, full.families
    )
    bare.write(tmp_path / "bare.h5")
    values = overrides(small, tmp_path, f"start={pretrained[0]}", "train.steps=60")
    values = [v for v in values if not v.startswith("data.questions")]
    values += [
        f"data.questions=[{tmp_path / 'bare.h5'}]",
        f"data.scenes=[{small.scenes('train')}]",
        "optim.lr=0.003",
        "train.batch_size=32",
        "train.validate_every=60",
        f"imitation.questions=[{small.questions('train')}]",
    ]
    log = train("ns-vqa/parser-reinforce", tmp_path / "run", values)
    before, after = last(pretrained[1], "validate"), last(log, "validate")
    assert after["accuracy"] > before["accuracy"]
    assert "imitation_loss" in last(log, "train")


def test_expanded_words_start_from_the_old_ones(small, pretrained, tmp_path):
    more = ClevrVocabulary(
        {**small.vocabulary.words, "thingy": len(small.vocabulary.words)}, {}, {}
    )
    bigger = expand_words(small.vocabulary, more)
    bigger.write(tmp_path / "vocab.json")
    values = overrides(small, tmp_path, f"start={pretrained[0]}", "train.steps=1")
    values = [v for v in values if not v.startswith("data.vocabulary")]
    train("ns-vqa/parser-pretrain", tmp_path / "run", [
        *values, f"data.vocabulary={tmp_path / 'vocab.json'}", "optim.lr=0.0"
    ])  # fmt: skip
    old = load_file(pretrained[0] / "model/parser.safetensors")
    new = load_file(tmp_path / "run/model/parser.safetensors")
    known = len(small.vocabulary.words)
    assert new["word_embedding.weight"].shape[0] == known + 1
    assert torch.equal(new["word_embedding.weight"][:known], old["word_embedding.weight"])


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (["data.questions=[nowhere.h5]"], DataError, "nowhere.h5: no such file"),
        (["data.vocabulary=nowhere.json"], DataError, "nowhere.json: no such file"),
        (["data.scenes=[]"], ConfigError, "data.scenes names no file"),
        (["data.scenes=[a.json,b.json]"], DataError, "1 question files but 2 scene files"),
        (["start=nowhere"], DataError, "nowhere: neither a shipped model"),
        (["parser.hidden=8"], CheckpointError, "this parser needs"),
        (["reward.mode=batch_mean"], ConfigError, "reward.samples=1"),
        (["rewards.samples=2"], ConfigError, "did you mean reward"),
        (["reward.mode=per_batch"], ConfigError, "per_sample, batch_mean"),
        (["data.val_questions=[]", "train.validate_every=1"], ConfigError, "data.val_questions"),
    ],
)
def test_mistakes_are_explained_in_one_line(small, pretrained, tmp_path, values, error, message):
    good = overrides(
        small, tmp_path, f"start={pretrained[0]}", f"data.scenes=[{small.scenes('train')}]"
    )
    keys = {value.split("=")[0] for value in values}
    chosen = [value for value in good if value.split("=")[0] not in keys]
    with pytest.raises(error, match="(?s)" + message.replace("[", r"\[")) as caught:
        train("ns-vqa/parser-reinforce", tmp_path / "run", [*chosen, "train.steps=1", *values])
    assert "\n" not in str(caught.value)


def test_scenes_of_another_split_are_named(small, tmp_path):
    with pytest.raises(DataError, match=r"train\.h5: entry \d+ asks about image_index \d+"):
        load_questions(
            [str(small.questions("train"))], [str(small.scenes("val"))], small.vocabulary
        )


def test_batches_are_a_pure_function_and_shares_make_the_whole(small):
    data = load_questions([small.questions("train")], [small.scenes("train")], small.vocabulary)
    source = Shuffled(data, torch.arange(len(data)), 24, seed=3)
    assert len(source) == 7
    whole = source.batch(1, 2, 0, 1)
    parts = [source.batch(1, 2, rank, 3) for rank in range(3)]
    assert torch.equal(torch.cat([p.ids for p in parts]), whole.ids)
    assert torch.equal(source.batch(1, 2, 0, 1).ids, whole.ids)
    assert not torch.equal(source.batch(2, 2, 0, 1).ids, whole.ids)
    every = torch.cat([source.batch(5, k, 0, 1).ids for k in range(7)])
    assert torch.equal(every.sort().values, torch.arange(160))


@pytest.mark.parametrize("name", ["ns-vqa/parser-pretrain", "ns-vqa/parser-reinforce"])
def test_workers_change_nothing(small, tmp_path, name):
    values = overrides(small, tmp_path, "train.steps=5", "train.batch_size=16", "train.log_every=1")
    if name.endswith("reinforce"):
        values += [f"data.scenes=[{small.scenes('train')}]", "reward.samples=3"]
    logs = [
        train(name, tmp_path / str(workers), [*values, f"train.workers={workers}"])
        for workers in (0, 2)
    ]
    assert logs[0] == logs[1]
    weights = [load_file(tmp_path / w / "model/parser.safetensors") for w in ("0", "2")]
    for key, value in weights[0].items():
        assert torch.equal(value, weights[1][key]), key


def test_two_files_are_joined_with_their_own_scenes(small):
    files = [small.questions("train"), small.questions("val")]
    scenes = [small.scenes("train"), small.scenes("val")]
    data = load_questions(files, scenes, small.vocabulary)
    assert len(data) == 200
    gold = data.programs.long()[:, 1:]
    assert data.executor.rewards(gold, data.scenes, data.answers).all()


def test_imitation_beside_reinforce_starts_over(small):
    config = load_config(
        "ns-vqa/parser-reinforce",
        [
            f"data.vocabulary={small.vocabulary_file}",
            f"data.questions=[{small.questions('train')}]",
            f"data.scenes=[{small.scenes('train')}]",
            f"imitation.questions=[{small.questions('val')}]",
            "imitation.batch_size=15",
            "train.batch_size=40",
        ],
        ReinforceConfig,
    )
    source = reinforce_source(config)
    assert isinstance(source, Paired)
    assert len(source) == 4
    sizes = [len(source.batch(0, k, 0, 1)[1].ids) for k in range(4)]
    assert sizes == [15, 15, 10, 15]


RUN = """
import sys, torch
torch.set_num_threads(1)
from pyvqa.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def start(name: str, values: list[str], out: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", RUN, "train", name, *values, "--out", str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def kill_test(small, start_model: Path, tmp_path: Path, name: str, kills: int) -> None:
    values = overrides(small, tmp_path, "train.steps=40", "train.batch_size=16")
    values += ["train.validate_every=15", "train.checkpoint_every=3", "train.log_every=2"]
    if name.endswith("reinforce"):
        values += [f"start={start_model}", f"data.scenes=[{small.scenes('train')}]"]
        values += [f"imitation.questions=[{small.questions('val')}]", "reward.samples=4"]
    whole = start(name, values, tmp_path / "whole")
    began = time.monotonic()
    assert whole.wait(120) == 0, whole.stderr.read()
    length = time.monotonic() - began
    chance = random.Random(name)
    for _ in range(kills):
        process = start(name, values, tmp_path / "killed")
        try:
            process.wait(chance.uniform(0.5, 1.0) * length)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
    final = start(name, values, tmp_path / "killed")
    assert final.wait(120) == 0, final.stderr.read()
    whole_run, killed_run = tmp_path / "whole", tmp_path / "killed"
    checkpoint = newest(whole_run).relative_to(whole_run)
    files = [checkpoint / path.name for path in sorted((whole_run / checkpoint).iterdir())]
    assert len(files) >= 2
    for file in (Path("log.jsonl"), Path("model/parser.safetensors"), *files):
        assert (whole_run / file).read_bytes() == (killed_run / file).read_bytes(), file


@pytest.mark.parametrize("name", ["ns-vqa/parser-pretrain", "ns-vqa/parser-reinforce"])
def test_a_killed_run_ends_with_the_same_bits(small, pretrained, tmp_path, name):
    kill_test(small, pretrained[0], tmp_path, name, kills=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ns-vqa/parser-pretrain", "ns-vqa/parser-reinforce"])
def test_twenty_kills(small, pretrained, tmp_path, name):
    kill_test(small, pretrained[0], tmp_path, name, kills=20)
