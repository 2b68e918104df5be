"""The `execute` op against the plain-Python executor of the same rules, on one thread.

Both get what a network or a file gives, rows of token ids and scene indices, and return answer ids.
The rival is pyvqa/programs/reference.py. Equality first; then both run in turn, and the fastest run
of each counts (processor time), because other work on the machine only ever adds. It prints:

    pytest benchmarks/ops/bench_execute.py -s
    PYVQA_PARITY and PYVQA_REAL name the folders with the reference kits and the genuine scenes.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from pyvqa import ops
from pyvqa.ops import AnswerTable, PackedScenes
from pyvqa.programs import clevr, reference
from pyvqa.programs.linear import parse_nodes, to_prefix
from pyvqa.programs.scenes import read_scenes
from pyvqa.world.scenes import sample_scenes

TOKENS = ["<NULL>", "<START>", "<END>", "<UNK>", *clevr.FUNCTIONS]
ANSWERS = [
    "no",
    "yes",
    *map(str, range(11)),
    *(v for a in clevr.ATTRIBUTES for v in clevr.VALUES[a]),
]
ANSWER_IDS = {answer: i for i, answer in enumerate(ANSWERS)}
BATCH = 20_000  # programs of one timed run of the op: about a millisecond
RIVAL_BATCH = 1_000  # and of the rival: a few milliseconds


class Work(NamedTuple):
    """Programs and the scenes they are about, as both sides take them."""

    rows: Tensor  # int16 [B, L]
    table: Tensor
    tokens: list[str]
    scene: Tensor  # int64 [B]
    packed: PackedScenes
    answers: AnswerTable
    plain: list[list[reference.ClevrObject]]

    def op(self) -> Tensor:
        return ops.execute(self.rows, self.table, self.scene, self.packed, self.answers).answer_id

    def rival(self, count: int) -> list[int]:
        results = []
        for row, scene in zip(self.rows[:count].tolist(), self.scene[:count].tolist(), strict=True):
            program = [self.tokens[i] for i in row]
            outcome = reference.run_clevr(program, self.plain[scene])
            results.append(ANSWER_IDS.get(reference.clevr_answer(outcome), -1))
        return results


def _folder(variable: str, path: str) -> Path:
    root = os.environ.get(variable)
    if not root or not (Path(root) / path).exists():
        pytest.skip(f"{variable} is not set or holds no {path}")
    return Path(root) / path


def _load(path: Path) -> Any:
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as file:
        return json.load(file)


def make_work(
    programs: list[list[str]], scenes: list[int], scene_file: Path, tokens: list[str], order: str
) -> Work:
    """Repeat programs up to `BATCH`: in their order, or drawn, which no predictor can learn."""
    rng = random.Random(1)
    repeat = [i % len(programs) for i in range(BATCH)]
    if order == "drawn":
        repeat = [rng.randrange(len(programs)) for _ in range(BATCH)]
    length = max(map(len, programs))
    ids = {token: i for i, token in enumerate(tokens)}
    rows = torch.tensor(
        [[ids[t] for t in p] + [0] * (length - len(p)) for p in programs], dtype=torch.int16
    )
    loaded = read_scenes(scene_file)
    extra = loaded.strings[len(clevr.answer_strings()) :]
    return Work(
        rows[repeat],
        clevr.instruction_table(tokens),
        tokens,
        torch.tensor(scenes)[repeat],
        loaded.packed,
        clevr.answer_table(ANSWER_IDS, extra),
        [reference.clevr_objects(s) for s in _load(scene_file)["scenes"]],
    )


def valid_programs(name: str, order: str) -> Work:
    """The gold programs of the kit's or of the genuine questions."""
    if name == "kit":
        root, split = _folder("PYVQA_PARITY", "ns_vqa/clevr"), "train"
    else:
        root, split = _folder("PYVQA_REAL", "clevr_original"), "train"
    scene_file = root / "scenes" / f"CLEVR_{split}_scenes.json"
    questions = _load(root / "questions" / f"CLEVR_{split}_questions.json")["questions"]
    places = {s["image_index"]: i for i, s in enumerate(_load(scene_file)["scenes"])}
    programs = [[*to_prefix(parse_nodes(q["program"])), "<END>"] for q in questions]
    scenes = [places[q["image_index"]] for q in questions]
    return make_work(programs, scenes, scene_file, TOKENS, order)


def kit_mixture(error_free: bool, order: str) -> Work:
    """The kit's hand-made, typed, mutated and random programs, or those without an error."""
    folder = _folder("PYVQA_PARITY", "ns_vqa")
    kit = _load(folder / "executor_adversarial.json.gz")
    cases = [c for c in kit["cases"] if not error_free or c["result"][0] != "error"]
    tokens = kit["idx_to_token"]
    programs = [[tokens[i] for i in c["program"]] for c in cases]
    scene_file = folder / "executor_adversarial_scenes.json.gz"
    return make_work(programs, [c["scene"] for c in cases], scene_file, tokens, order)


def seconds(run: Callable[[], object]) -> float:
    """Processor time of this thread: waiting for other programs on a busy machine is not in it."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def compare(work: Work, label: str, benchmark: Any) -> None:
    """Check equality, time both in turn, print the op's rate and the ratio to the rival."""
    torch.set_num_threads(1)
    assert work.op()[:RIVAL_BATCH].tolist() == work.rival(RIVAL_BATCH)
    ours, theirs = [], []
    for _ in range(60):
        ours += [seconds(work.op) / BATCH for _ in range(4)]
        theirs.append(seconds(lambda: work.rival(RIVAL_BATCH)) / RIVAL_BATCH)
    rate, ratio = 1 / min(ours), min(theirs) / min(ours)
    typical = sorted(theirs)[30] / sorted(ours)[120]
    print(
        f"\n{label}: {rate / 1e6:.1f} M programs/s (rival {1e-6 / min(theirs):.3f}), "
        f"{ratio:.0f} x the plain-Python executor ({typical:.0f} x by medians)"
    )
    benchmark.extra_info.update(programs_per_second=rate, ratio=ratio)
    benchmark.pedantic(work.op, rounds=20, warmup_rounds=2)


@pytest.mark.parametrize("order", ["in order", "drawn"])
@pytest.mark.parametrize("name", ["kit", "genuine"])
def test_valid_programs(name: str, order: str, benchmark: Any) -> None:
    compare(valid_programs(name, order), f"valid programs, {name}, {order}", benchmark)


@pytest.mark.parametrize("order", ["in order", "drawn"])
@pytest.mark.parametrize("error_free", [False, True], ids=["mixed", "error-free"])
def test_mixture(error_free: bool, order: str, benchmark: Any) -> None:
    name = "error-free" if error_free else "mixed"
    compare(kit_mixture(error_free, order), f"{name} programs, {order}", benchmark)


def test_whole_split(benchmark: Any) -> None:
    """150,000 programs over 15,000 scenes, ten a scene, as in CLEVR's validation split."""
    torch.set_num_threads(1)
    valid = valid_programs("kit", "drawn")
    scenes = sample_scenes(0, 0, 15_000).pack()
    rows = valid.rows.repeat(8, 1)[:150_000]
    index = torch.arange(150_000) // 10

    def run() -> Tensor:
        return ops.execute(rows, valid.table, index, scenes.packed, valid.answers).answer_id

    fastest = min(seconds(run) for _ in range(30))
    print(f"\n150,000 programs over 15,000 scenes: {fastest:.4f} s")
    benchmark.extra_info["seconds"] = fastest
    benchmark.pedantic(run, rounds=10, warmup_rounds=1)
