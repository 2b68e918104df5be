"""What is truly in the pictures of a split: the scenes, and masks where the folder has them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyvqa.data.clevr_folder import official_file
from pyvqa.errors import DataError
from pyvqa.files import read_json
from pyvqa.metrics.coco import KINDS, coco_scores
from pyvqa.metrics.scenes import Integers, Pairs, SceneObjects, pair_by_masks, pair_by_position
from pyvqa.ops.masks import Rle, rle_area, rle_boxes
from pyvqa.programs.clevr import ATTRIBUTES, VALUES, answer_strings
from pyvqa.programs.scenes import Scenes, read_scenes
from pyvqa.systems.ns_vqa.model.detector import attributes_of
from pyvqa.systems.ns_vqa.seeing import SeenPicture

MINI_FILE = "CLEVR_mini_coco_anns.json"


@dataclass(frozen=True)
class Instances:
    """The masks of pictures as a COCO instances file holds them."""

    path: Path  # the file that they are from
    content: dict[str, Any]  # images, annotations, categories: those of the pictures alone
    image_ids: list[int]  # by picture


@dataclass(frozen=True)
class Truth:
    """What is truly in some pictures."""

    scenes: Scenes  # of the whole split
    rows: Integers  # of `scenes`, by picture
    instances: Instances | None


def read_truth(root: Path, split: str, pictures: Sequence[SeenPicture]) -> Truth | None:
    """Read what is truly in pictures; None where the split has no scenes.

    Raises:
        DataError: a file is damaged, or not of these pictures.
    """
    path = find_scenes(root, split)
    if path is None:
        return None
    scenes = read_scenes(path)
    try:
        rows = scenes.rows([picture.image_index for picture in pictures]).numpy()
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Truth(scenes, rows, find_instances(root, split, pictures))


def find_scenes(root: Path, split: str) -> Path | None:
    """Find the scene file of a split, None where it has none (as the official test split)."""
    try:
        return official_file(root, "scenes", split)
    except DataError:
        return None


def find_instances(root: Path, split: str, pictures: Sequence[SeenPicture]) -> Instances | None:
    """Find the masks of pictures: those of `instances_<split>.json`, or of CLEVR-mini's file.

    The latter may be of other pictures, in which case there are none. Pictures are found by name.

    Raises:
        DataError: a file is damaged, or `instances_<split>.json` lacks a picture.
    """
    names = [picture.path.name for picture in pictures]
    path = root / f"instances_{split}.json"
    if path.is_file():
        content = read_json(path, keys=("images", "annotations", "categories"))
        return _chosen(path, content, names)
    path = root / MINI_FILE
    if not path.is_file():
        return None
    scenes = read_json(path, keys=("scenes",))["scenes"]
    known = {scene.get("image_filename") for scene in scenes if isinstance(scene, dict)}
    if not known.issuperset(names):
        return None
    return _chosen(path, _from_mini(path, scenes), names)


def _chosen(path: Path, content: Mapping[str, Any], names: Sequence[str]) -> Instances:
    """Keep what is about the named pictures."""
    try:
        by_name = {image["file_name"]: image for image in content["images"]}
        images = [by_name[name] for name in names]
        ids = [image["id"] for image in images]
        wanted = set(ids)
        annotations = [a for a in content["annotations"] if a["image_id"] in wanted]
    except KeyError as error:
        raise DataError(
            f"{path}: has no {error.args[0]!r}; it must be of the same pictures as the split, "
            "move it away if it is not"
        ) from error
    except TypeError as error:
        raise DataError(f"{path}: is no COCO instances file ({error})") from error
    kept = {
        "images": images,
        "annotations": annotations,
        "categories": content["categories"],
    }
    return Instances(path, kept, ids)


def _from_mini(path: Path, scenes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Write the masks of CLEVR-mini's scene file as COCO instances, by shape."""
    shapes = VALUES["shape"]
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, scene in enumerate(scenes):
        try:
            objects = scene["objects"]
            rles = [known["mask"] for known in objects]
            labels = [shapes.index(known["shape"]) + 1 for known in objects]
            areas, boxes = rle_area(rles).tolist(), rle_boxes(rles).tolist()
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: scene {number}: its masks cannot be read ({error})"
            ) from error
        images.append({"id": number, "file_name": scene.get("image_filename")})
        for k, known in enumerate(objects):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": labels[k],
                    "segmentation": rles[k],
                    "area": areas[k],
                    "bbox": boxes[k],
                    "iscrowd": 0,
                    "attributes": {name: known.get(name) for name in ATTRIBUTES},
                }
            )
    categories = [{"id": k + 1, "name": shape} for k, shape in enumerate(shapes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def pair_objects(
    pictures: Sequence[SeenPicture], seen: SceneObjects, truth: Truth, true: SceneObjects
) -> Pairs:
    """Pair what was seen with what is there: by masks where they are known, else by position.

    Raises:
        DataError: the masks are not those of the scenes' objects, or of another size.
    """
    if truth.instances is None:
        return pair_by_position(seen, true)
    masks = _masks_of_scenes(truth.scenes, truth.rows, truth.instances, pictures)
    try:
        return pair_by_masks([picture.rles for picture in pictures], masks)
    except ValueError as error:
        number, _, reason = str(error).removeprefix("scene ").partition(": ")
        name = pictures[int(number)].path.name
        raise DataError(
            f"{truth.instances.path}: the masks of {name} do not fit the picture: {reason}"
        ) from error


def _masks_of_scenes(
    scenes: Scenes, rows: Integers, instances: Instances, pictures: Sequence[SeenPicture]
) -> list[list[Rle]]:
    """Give each object's mask; annotations must stand in the order of their scene's objects."""
    by_image: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for annotation in instances.content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    counts = np.asarray(scenes.table.counts)[rows].tolist()
    codes = iter(np.asarray(scenes.table.codes)[_objects_in(scenes, rows)].tolist())
    masks = []
    for picture, image, count in zip(pictures, instances.image_ids, counts, strict=True):
        known = [[scenes.strings[code] for code in next(codes)] for _ in range(count)]
        found = by_image[image]
        if len(found) != count or not all(map(_is_about, found, known)):
            raise DataError(
                f"{instances.path}: the annotations of {picture.path.name} are not the objects of "
                "its scene in their order; make the file again, or move it away"
            )
        masks.append([_mask(annotation, instances.path, picture) for annotation in found])
    return masks


def _is_about(annotation: Mapping[str, Any], known: Sequence[str]) -> bool:
    """Say whether an annotation may be of an object with these attributes."""
    stated = annotation.get("attributes")
    return not isinstance(stated, dict) or [stated.get(name) for name in ATTRIBUTES] == known


def _mask(annotation: Mapping[str, Any], path: Path, picture: SeenPicture) -> Rle:
    mask = annotation.get("segmentation")
    if not isinstance(mask, dict) or not {"size", "counts"} <= mask.keys():
        raise DataError(f"{path}: a mask of {picture.path.name} is not given as run lengths")
    return Rle(size=mask["size"], counts=mask["counts"])


def objects_of(scenes: Scenes, rows: Integers, words: Sequence[str]) -> SceneObjects:
    """Give the objects of the scenes in some rows, their attributes numbered by `words`."""
    number = {word: k for k, word in enumerate(words)}
    codes = np.array([number[word] for word in scenes.strings], dtype=np.int64)
    table = scenes.table
    index = _objects_in(scenes, rows)
    return SceneObjects(
        np.asarray(table.counts, dtype=np.int64)[rows],
        codes[np.asarray(table.codes, dtype=np.int64).reshape(-1, len(ATTRIBUTES))[index]],
        np.asarray(table.position, dtype=np.float64).reshape(-1, 3)[index],
    )


def _objects_in(scenes: Scenes, rows: Integers) -> Integers:
    """List the objects of the scenes in some rows, scene after scene."""
    counts = np.asarray(scenes.table.counts, dtype=np.int64)
    starts = np.cumsum(counts) - counts
    chosen = counts[rows]
    nth = np.arange(chosen.sum()) - np.repeat(np.cumsum(chosen) - chosen, chosen)
    index: Integers = np.repeat(starts[rows], chosen) + nth
    return index


def shared_words(*scenes: Scenes) -> list[str]:
    """List the strings that any of some scene files uses, CLEVR's own first."""
    own = answer_strings()
    others = {word for some in scenes for word in some.strings}.difference(own)
    return [*own, *sorted(others)]


def detection_scores(
    pictures: Sequence[SeenPicture], instances: Instances, *, categories: str, inclusive: bool
) -> dict[str, dict[str, float]]:
    """Give COCO's twelve numbers of the objects that were seen, for boxes and for masks.

    Categories are matched by name: the shape, as the detector has it if its classes tell shapes
    apart, else as it was described. `categories` says what its classes tell apart; `inclusive`: its
    boxes end with the last pixel instead of behind it.

    Raises:
        DataError: the instances are malformed, or know other categories than shapes.
    """
    ids = {c.get("name"): c.get("id") for c in instances.content["categories"]}
    missing = [shape for shape in VALUES["shape"] if shape not in ids]
    if missing:
        raise DataError(
            f"{instances.path}: its categories lack {missing[0]!r}; cube, cylinder and sphere are "
            "needed, move the file away if it is of another kind"
        )
    results = []
    for picture, image in zip(pictures, instances.image_ids, strict=True):
        for found, mask in zip(picture.objects, picture.rles, strict=True):
            x, y, right, bottom = found.box
            said = found.known | attributes_of(found.label, categories)
            results.append(
                {
                    "image_id": image,
                    "category_id": ids[said["shape"]],
                    "bbox": [x, y, right - x + inclusive, bottom - y + inclusive],
                    "segmentation": mask,
                    "score": found.score,
                }
            )
    return {kind: coco_scores(instances.content, results, kind).numbers for kind in KINDS}
