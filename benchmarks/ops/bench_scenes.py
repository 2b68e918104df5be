"""Reading and packing a scene file of 15,000 scenes against `json.load` of the same file.

The file is the size of CLEVR's validation split, in the official layout and made by the world's own
scenes. The rival only parses the text: what it gives would still have to be packed. Equality first;
then both run in turn, and the fastest run of each counts (processor time). It prints:

    pytest benchmarks/ops/bench_scenes.py -s
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pyvqa.programs.clevr import ATTRIBUTES
from pyvqa.programs.scenes import read_scenes
from pyvqa.world.scenes import sample_scenes

SCENES = 15_000


@pytest.fixture(scope="module")
def scene_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes") / "CLEVR_val_scenes.json"
    scenes = sample_scenes(0, 0, SCENES).records("val")
    path.write_text(json.dumps({"info": {"split": "val"}, "scenes": scenes}))
    return path


def seconds(run: Callable[[], object]) -> float:
    """Processor time of the whole process: waiting for the disk is not in it."""
    start = time.process_time()
    run()
    return time.process_time() - start


def parse(path: Path) -> Any:
    with path.open() as file:
        return json.load(file)


def test_read_and_pack(scene_file: Path, benchmark: Any) -> None:
    torch.set_num_threads(1)
    ours, plain = read_scenes(scene_file), parse(scene_file)["scenes"]
    assert ours.image_index.tolist() == [scene["image_index"] for scene in plain]
    assert ours.table.counts.tolist() == [len(scene["objects"]) for scene in plain]
    objects = [o for scene in plain for o in scene["objects"]]
    for column, attribute in enumerate(ATTRIBUTES):
        values = [ours.strings[code] for code in ours.table.codes[:, column]]
        assert values == [o[attribute] for o in objects]
    mine, theirs = [], []
    for _ in range(5):
        mine.append(seconds(lambda: read_scenes(scene_file)))
        theirs.append(seconds(lambda: parse(scene_file)))
    size = scene_file.stat().st_size / 1e6
    print(
        f"\n{SCENES} scenes, {size:.0f} MB: read and packed in {min(mine):.3f} s, "
        f"json.load alone {min(theirs):.3f} s ({min(theirs) / min(mine):.1f} x)"
    )
    benchmark.extra_info.update(seconds=min(mine), ratio=min(theirs) / min(mine))
    benchmark.pedantic(lambda: read_scenes(scene_file), rounds=5, warmup_rounds=1)
