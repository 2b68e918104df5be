"""The stage `ns-vqa/parser-world`: it learns, validates, exports, and goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pyvqa.errors import ConfigError, DataError
from pyvqa.systems import load
from pyvqa.systems.ns_vqa.config import WorldConfig
from pyvqa.systems.ns_vqa.train_world import WORLD
from pyvqa.train.checkpoint import read_tensors
from pyvqa.train.config import load_config
from pyvqa.train.distributed import join
from pyvqa.train.loop import fit
from pyvqa.train.run import Run

SMALL = ["data.templates=[own]", "data.blocks=1", "data.unknown=0.02", "parser.hidden=8",
         "parser.word_dim=8", "train.steps=6", "train.batch_size=32", "train.validate_every=0",
         "train.log_every=2", "train.checkpoint_every=3", "train.device=cpu"]  # fmt: skip


class Stopped(Exception):
    """Stands for whatever may end a process."""


def train(out: Path, *overrides: str, stop: bool = False) -> Path:
    config = load_config("ns-vqa/parser-world", [*SMALL, *overrides], WorldConfig)

    def interrupt(run: Run) -> None:
        if stop:
            raise Stopped

    with join(config.train) as ranks:
        run = Run.open(out, config)
        try:
            fit(run, WORLD, config, ranks, after_checkpoint=interrupt)
        finally:
            run.close()
    return out


def weights(run: Path) -> dict[str, torch.Tensor]:
    return read_tensors(run / "model" / "parser.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    same_log = (a / "log.jsonl").read_bytes() == (b / "log.jsonl").read_bytes()
    return same_log and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("straight") / "run")


def test_an_interrupted_run_ends_with_the_same_bits(straight: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(tmp_path / "run", stop=True)
    assert not (tmp_path / "run" / "model").exists()
    assert same(train(tmp_path / "run"), straight)


def test_worker_processes_change_nothing(straight: Path, tmp_path: Path) -> None:
    assert same(train(tmp_path / "run", "train.workers=2"), straight)


def test_another_seed_does(straight: Path, tmp_path: Path) -> None:
    assert not same(train(tmp_path / "run", "train.seed=2"), straight)


def test_the_model_folder_can_be_loaded_and_asked(straight: Path) -> None:
    model = load(straight)
    assert len(model.parse("How many red cubes are there?")) <= model.config.max_steps
    card = (straight / "model" / "card.md").read_text()
    assert "6 of 32 questions" in card
    assert "seed: 1" in card


def test_validation_counts_answers_and_programs(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "train.steps=2", "train.validate_every=2", "train.best=accuracy")
    assert '"accuracy_own"' in (run / "log.jsonl").read_text()
    assert '"program_accuracy"' in (run / "log.jsonl").read_text()
    assert (run / "best_accuracy" / "parser.safetensors").is_file()


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("data.templates=[]", ConfigError, "official CLEVR templates"),
        ("data.templates=[/no/such]", DataError, "/no/such"),
        ("data.blocks=0", ConfigError, "at least 1"),
    ],
)
def test_the_recipe_stops_with_one_line(
    tmp_path: Path, override: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        train(tmp_path / "run", override)
    assert "\n" not in str(caught.value)
