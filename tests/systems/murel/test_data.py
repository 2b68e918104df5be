"""Where MuRel's batches come from: any number of workers and ranks gives the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from data.vqa_cases import sparse_store, write_store, write_vqa2

from pyvqa.cli import main as cli
from pyvqa.data.vqa_batch import VqaBatch
from pyvqa.data.vqa_files import Questions
from pyvqa.data.vqa_process import Choices, process
from pyvqa.data.vqa_questions import VqaData
from pyvqa.metrics.vqa import vqa_accuracy
from pyvqa.systems.murel.data import Shuffled, human_answers, in_order, load_items, open_store
from pyvqa.train.loader import shares
from pyvqa.train.settings import TrainConfig


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("murel")
    write_vqa2(folder / "raw")
    assert cli.main(["prepare", "vqa2", "--root", f"{folder}/raw", "--out", f"{folder}/data"]) == 0
    for kind in ("h5", "safetensors"):
        write_store(folder / f"s.{kind}", list(VqaData(folder / "data").split("train").image_names))
    return folder


def source(folder: Path, kind: str, batch_size: int = 8) -> Shuffled:
    store = open_store([folder / f"s.{kind}"], 6)
    items = load_items(VqaData(folder / "data"), "train", store)
    return Shuffled(items, batch_size, seed=4, sample_answers=True)


def columns(batch: VqaBatch) -> list[list[object]]:
    regions = [
        r[:c].tolist() for r, c in zip(batch.regions.features, batch.regions.counts, strict=True)
    ]
    words = [q[:n].tolist() for q, n in zip(batch.questions, batch.lengths.tolist(), strict=True)]
    return [batch.ids.tolist(), batch.answers.tolist(), words, regions]


@pytest.mark.parametrize("kind", ["h5", "safetensors"])
def test_workers_change_nothing(folder: Path, kind: str) -> None:
    made = source(folder, kind)
    made.batch(0, 0, 0, 1)  # the parent has the store open when it forks
    found = []
    for workers in (0, 2):
        config = TrainConfig(seed=4, workers=workers, batch_size=8)
        run = shares(made, config, range(len(made) + 2), torch.device("cpu"), 0, 1)
        found.append([columns(batch) for batch in run])
    assert found[0] == found[1]
    assert len(found[0]) == len(made) + 2


def test_ranks_share_the_batch(folder: Path) -> None:
    made = source(folder, "safetensors")
    whole = columns(made.batch(1, 0, 0, 1))
    parts = [columns(made.batch(1, 0, rank, 3)) for rank in range(3)]
    assert [[x for part in parts for x in part[k]] for k in range(4)] == whole


def test_every_epoch_has_every_question_once(folder: Path) -> None:
    made = source(folder, "h5")
    epochs = [[made.batch(e, k, 0, 1) for k in range(len(made))] for e in range(2)]
    ids = [torch.cat([batch.ids for batch in epoch]) for epoch in epochs]
    assert sorted(ids[0].tolist()) == sorted(ids[1].tolist())
    assert ids[0].tolist() != ids[1].tolist()


def test_in_order_without_pictures(folder: Path) -> None:
    data = VqaData(folder / "data")
    items = load_items(data, "val", open_store([], 6))
    batches = list(in_order(items, 7))
    assert [len(batch.ids) for batch in batches] == [7, 7, 6]
    assert torch.cat([batch.ids for batch in batches]).tolist() == items.table.question_ids.tolist()
    assert not batches[0].regions.features.any()


def test_human_answers(folder: Path) -> None:
    table = VqaData(folder / "data").split("val")
    said = [table.strings[k] for k in table.answer_texts]  # of ten people most gave this one
    found = vqa_accuracy(human_answers(table), said)
    assert found["questions"] == 20
    assert found["overall"] > 80


EPOCH = """
import resource, sys
from pyvqa.data.vqa_questions import VqaData
from pyvqa.systems.murel.data import Shuffled, load_items, open_store

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

data, store = sys.argv[1:]
items = load_items(VqaData(data), "train", open_store([store], 2048))
source = Shuffled(items, 84, 1, sample_answers=True)
questions = 0
for index in range(len(source)):
    questions += len(source.batch(0, index, 0, 1).ids)
    if index == len(source) // 10:
        early = peak()
print(questions, early, peak())
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "h5"])
def test_an_epoch_over_120_000_pictures_leaves_memory_flat(kind: str, tmp_path: Path) -> None:
    """Of 17.7 GB of features, 36 x 2048 float16 a picture, a few batches are in memory."""
    count = 120_000
    questions = Questions(
        ids=list(range(count)),
        images=[f"COCO_train2014_{k:012d}.jpg" for k in range(count)],
        texts=["what is on the table", "is it red"] * (count // 2),
        answers=["cat", "yes"] * (count // 2),
        humans=[["cat", "dog"], ["yes", "no"]] * (count // 2),
        types=["what is", "is it"] * (count // 2),
        answer_types=["other", "yes/no"] * (count // 2),
        labelled=True,
        subset="train2014",
    )
    done = process({"train": questions}, Choices())
    splits = {"train": (done.splits["train"], "train2014")}
    VqaData.write(tmp_path / "data", {}, done.vocabulary, splits)
    store = tmp_path / f"s.{kind}"
    sparse_store(store, questions.images, 36, 2048)
    assert store.stat().st_blocks * 512 < 1e9  # it is one with holes
    command = [sys.executable, "-c", EPOCH, str(tmp_path / "data"), str(store)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen, early, late = map(int, told.split())
    assert seen == count
    assert late < 6e9
    assert late - early < 0.01 * late
