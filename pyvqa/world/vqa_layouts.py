"""How VQA v2, VQA-CP v2 and TDIUC name their files, and what stands in them.

The numbers of pictures run on from split to split, so that no picture of one split, and no id, is
in another; of equal seeds, pictures are the same in all three data sets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pyvqa.errors import ConfigError
from pyvqa.world.layouts import INSTANCES, FileLayout, Layout, Part


class _Split(NamedTuple):
    subset: str  # of COCO
    first: int  # number of the first picture
    part: str = ""  # VQA-CP's name for it


_TRAIN, _VAL, _TEST = 0, 10_000_000, 20_000_000
MOST_PICTURES = 10_000_000  # of a split

_SPLITS: dict[str, dict[str, _Split]] = {
    "vqa2": {
        "train": _Split("train2014", _TRAIN),
        "val": _Split("val2014", _VAL),
        "test": _Split("test2015", _TEST),
    },
    "vqacp2": {
        "train": _Split("train2014", _TRAIN, "train"),
        "test": _Split("val2014", _VAL, "test"),
    },
    "tdiuc": {"train": _Split("train2014", _TRAIN), "val": _Split("val2014", _VAL)},
}
VQA_FORMATS = tuple(_SPLITS)
_TITLES = {"vqa2": "VQA v2", "vqacp2": "VQA-CP v2", "tdiuc": "TDIUC"}
_ASKED, _ANSWERED = Part("questions", "asked"), Part("annotations", "answered")


def vqa_layout(dataset: str, split: str) -> Layout:
    """Return the layout of one split.

    Raises ConfigError for a split that the data set does not have.
    """
    splits = _SPLITS[dataset]
    if split not in splits:
        names = ", ".join(splits)
        raise ConfigError(f"{dataset} has no split {split!r}; choose one of {names}")
    subset, first, part = splits[split]
    questions, annotations = _files(dataset, subset, part)
    labelled = subset != "test2015"  # the answers to that one are not published
    instances = INSTANCES.at(f"annotations/instances_{subset}.json")
    return Layout(
        FileLayout(f"scenes/COCO_{subset}_scenes.json", (Part("scenes", "scenes"),)),
        questions,
        (*([annotations] if labelled else []), instances),
        language="vqa",
        pictures=f"images/{subset}",
        picture=f"COCO_{subset}_{{index:012d}}.png",
        first=first,
        dataset=dataset,
        subset=subset,
    )


def _files(dataset: str, subset: str, part: str) -> tuple[FileLayout, FileLayout]:
    if part:
        names = (f"vqacp_v2_{part}_{kind}.json" for kind in ("questions", "annotations"))
        pair = zip(names, (_ASKED, _ANSWERED), strict=True)
        first, second = (FileLayout(name, (records,), is_list=True) for name, records in pair)
        return first, second
    prefix = "v2_" if dataset == "vqa2" else ""
    head: dict[str, Any] = {
        "license": {"name": "CC0"},
        "data_type": "mscoco",
        "data_subtype": subset,
    }
    info = {
        "description": f"questions about the built-in world in the layout of {_TITLES[dataset]}",
        "version": "1.0",
    }
    asked = FileLayout(
        f"{prefix}OpenEnded_mscoco_{subset}_questions.json",
        (_ASKED,),
        {**head, "task_type": "Open-Ended"},
        info=info,
    )
    answered = FileLayout(
        f"{prefix}mscoco_{subset}_annotations.json", (_ANSWERED,), head, info=info
    )
    return asked, answered
