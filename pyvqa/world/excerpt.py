"""The first pictures of a finished data set, with all that its files say about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyvqa import _native
from pyvqa.files import read_bytes
from pyvqa.world.assemble import first_records
from pyvqa.world.vqa_balance import true_answer
from pyvqa.world.write import Dataset

_MOST_OBJECTS = 10  # in a scene


@dataclass(frozen=True)
class Excerpt:
    """One picture."""

    scene: dict[str, Any]
    png: bytes
    size: tuple[int, int]  # height, width
    masks: list[str]  # of the objects, as COCO's compressed counts
    entries: list[dict[str, Any]]  # questions or expressions


def excerpt(dataset: Dataset, count: int) -> list[Excerpt]:
    """Read the first `count` pictures; the data set has pictures and is finished."""
    scenes = first_records(dataset.scenes_path, "scenes", count)
    entries: list[dict[str, Any]] = []
    if dataset.layout.dataset:
        entries = _vqa_entries(dataset, count)
    elif dataset.entries_path is not None and dataset.layout.entries is not None:
        settings = dataset.settings.questions
        most = (settings.per_scene + settings.false_premise) * count
        key = dataset.layout.entries.parts[0].key
        entries = first_records(dataset.entries_path, key, most)
    masks = _masks(dataset, scenes)
    return [
        Excerpt(
            scene,
            read_bytes(dataset.pictures_path / scene["image_filename"]),
            (dataset.settings.scene.height, dataset.settings.scene.width),
            masks[scene["image_index"]],
            [e for e in entries if e["image_index"] == scene["image_index"]],
        )
        for scene in scenes
    ]


def _vqa_entries(dataset: Dataset, count: int) -> list[dict[str, Any]]:
    """Join the first questions with their answers, where these are there."""
    most = count * dataset.settings.questions.per_scene
    found: dict[int, dict[str, Any]] = {}
    for path, file in dataset.files.items():
        part = file.parts[0]
        if part.source not in ("asked", "answered"):
            continue
        for record in first_records(path, "" if file.is_list else part.key, most):
            entry = found.setdefault(record["question_id"], {"answer": ""})
            if part.source == "asked":
                entry |= {"image_index": record["image_id"], "question": record["question"]}
            else:
                entry["answer"] = true_answer(record)
    return list(found.values())


def _masks(dataset: Dataset, scenes: list[dict[str, Any]]) -> dict[int, list[str]]:
    """Find the masks by image index, wherever the format keeps them."""
    if dataset.layout.has_ref_masks:
        return {s["image_index"]: _from_rows(s["obj_mask"], dataset) for s in scenes}
    if "mask" in dataset.layout.object_fields:
        return {s["image_index"]: [o["mask"]["counts"] for o in s["objects"]] for s in scenes}
    (path,) = (p for p in dataset.paths if p.name.startswith("instances_"))
    masks: dict[int, list[str]] = {s["image_index"]: [] for s in scenes}
    for annotation in first_records(path, "annotations", _MOST_OBJECTS * len(scenes)):
        masks.setdefault(annotation["image_id"], []).append(annotation["segmentation"]["counts"])
    return masks


def _from_rows(obj_mask: dict[str, str], dataset: Dataset) -> list[str]:
    height, width = dataset.settings.scene.height, dataset.settings.scene.width
    return [
        _native.coco_rle_encode(_native.rle_decode_rows(text, height, width)).decode()
        for text in obj_mask.values()
    ]


def find_page(dataset: Dataset) -> Path:
    """Return where the page of a data set lies."""
    settings = dataset.settings
    return dataset.report_path.with_name(f"{settings.format}_{settings.split}.html")
