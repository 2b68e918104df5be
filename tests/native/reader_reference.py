"""The readers' meaning in plain Python on top of json: what the compiled ones are held to."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

ATTRIBUTES = ("color", "material", "shape", "size")
RELATIONS = ("left", "right", "behind", "front")
KNOWN = ["no", "yes", "blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow"]
KNOWN += ["metal", "rubber", "cube", "cylinder", "sphere", "large", "small"]
VISIBILITY = {"unknown": 0, "fully": 1, "partially": 2}


def _along(coords: list[float], direction: list[float]) -> float:
    return coords[0] * direction[0] + coords[1] * direction[1] + coords[2] * direction[2]


def _position(scene: dict[str, Any], thing: dict[str, Any]) -> list[float]:
    if "3d_coords" not in thing:
        return [float(value) for value in thing["position"]]
    coords, directions = thing["3d_coords"], scene["directions"]
    return [_along(coords, directions["right"]), _along(coords, directions["front"]), coords[2]]


def scenes_by_json(data: bytes) -> list[dict[str, Any]]:
    """Read a scene file object by object, attributes as strings."""
    content = json.loads(data)
    scenes = content if isinstance(content, list) else content["scenes"]
    out = []
    for index, scene in enumerate(scenes):
        things = scene["objects"]
        relations = scene.get("relationships")
        out.append(
            {
                "image_index": scene.get("image_index", index),
                "image_filename": scene.get("image_filename", ""),
                "attributes": [[thing[name] for name in ATTRIBUTES] for thing in things],
                "position": [_position(scene, thing) for thing in things],
                "pixel": [thing["pixel_coords"] for thing in things if "pixel_coords" in thing],
                "relations": relations
                and [[relations[name][o] for name in RELATIONS] for o in range(len(things))],
            }
        )
    return out


def scenes_of_table(table: Any) -> list[dict[str, Any]]:
    """Bring a SceneTable into the form of `scenes_by_json`."""
    names = KNOWN + table.strings
    out, start = [], 0
    for index, count in enumerate(table.counts.tolist()):
        own = slice(start, start + count)
        has_pixel, has_relations = table.fields[index] & 1, table.fields[index] & 2
        relations = None
        if has_relations:
            bounds = table.relation_offsets[4 * start : 4 * (start + count) + 1].tolist()
            lists = [table.relation_items[a:b].tolist() for a, b in pairwise(bounds)]
            relations = [lists[4 * o : 4 * o + 4] for o in range(count)]
        out.append(
            {
                "image_index": int(table.image_index[index]),
                "image_filename": table.image_filename[index],
                "attributes": [[names[code] for code in row] for row in table.codes[own].tolist()],
                "position": table.position[own].tolist(),
                "pixel": table.pixel[own].tolist() if has_pixel else [],
                "relations": relations,
            }
        )
        start += count
    return out


def _answer(value: Any) -> str | None:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return None if value is None else str(value)


def _function(node: dict[str, Any]) -> str:
    name = node["function"] if "function" in node else node["type"]
    values = node.get("value_inputs", node.get("side_inputs")) or []
    return f"{name}[{','.join(values)}]" if values else name


def _outputs(entry: dict[str, Any]) -> list[int] | None:
    if not entry.get("program") or "_output" not in entry["program"][-1]:
        return None
    output = entry["program"][-1]["_output"]
    output = output if isinstance(output, list) else [output]
    return output if all(type(value) is int for value in output) else None


def questions_by_json(data: bytes) -> list[dict[str, Any]]:
    """Read a question or expression file entry by entry."""
    content = json.loads(data)
    kind = "refexps" if "refexps" in content else "questions"
    word = kind[:-1]
    return [
        {
            "kind": kind,
            "image_index": entry["image_index"],
            "index": position if entry.get(f"{word}_index") is None else entry[f"{word}_index"],
            "family": -1
            if entry.get(f"{word}_family_index") is None
            else entry[f"{word}_family_index"],
            "image_filename": entry.get("image_filename"),
            "template_filename": entry.get("template_filename"),
            "text": entry[word],
            "answer": _answer(entry.get("answer")),
            "program": [
                (_function(node), node.get("inputs", [])) for node in entry.get("program") or []
            ],
            "outputs": _outputs(entry) if kind == "refexps" else None,
        }
        for position, entry in enumerate(content[kind])
    ]


def questions_of_table(table: Any) -> list[dict[str, Any]]:
    """Bring a QuestionTable into the form of `questions_by_json`."""
    functions, texts, answers = table.functions, table.questions, table.answers
    files, templates = table.image_filename, table.template_filename
    nodes = table.node_functions.tolist()
    bounds, inputs = table.input_offsets.tolist(), table.inputs.tolist()
    out = []
    for q in range(len(table)):
        own = range(int(table.program_offsets[q]), int(table.program_offsets[q + 1]))
        span = slice(int(table.output_offsets[q]), int(table.output_offsets[q + 1]))
        out.append(
            {
                "kind": table.kind,
                "image_index": int(table.image_index[q]),
                "index": int(table.question_index[q]),
                "family": int(table.family_index[q]),
                "image_filename": files[q],
                "template_filename": templates[q],
                "text": texts[q],
                "answer": answers[q],
                "program": [(functions[nodes[k]], inputs[bounds[k] : bounds[k + 1]]) for k in own],
                "outputs": table.outputs[span].tolist() if table.has_outputs[q] else None,
            }
        )
    return out
