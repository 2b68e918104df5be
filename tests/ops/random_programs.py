"""Random scenes and programs of both languages, and the op's results in the reference's words."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyvqa import _native, ops
from pyvqa.ops import Kind, Reason
from pyvqa.programs import clevr, clevr_ref
from pyvqa.programs.linear import Node, num_inputs
from pyvqa.programs.scenes import Scenes, from_table

TOKENS = ["<NULL>", "<START>", "<END>", "<UNK>", *clevr.FUNCTIONS]
ID = {token: i for i, token in enumerate(TOKENS)}
TABLE = clevr.instruction_table(TOKENS)
KIND_NAMES = {
    Kind.ERROR: "error",
    Kind.NONE: "none",
    Kind.INTEGER: "int",
    Kind.STRING: "str",
    Kind.OBJECT: "obj",
    Kind.SET: "set",
    Kind.BOOLEAN: "bool",
}


def make_scene(rng: random.Random, size: int, *, unknown: float = 0.05) -> dict[str, Any]:
    """A parsed scene: few distinct coordinates, so that ties are common, and some odd words."""
    coordinates = [rng.choice((-1.5, 0.0, -0.0, 0.25, 1.0, 1.0 + 2**-52)) for _ in range(2 * size)]
    objects = []
    for i in range(size):
        words = {a: rng.choice(clevr.VALUES[a]) for a in clevr.ATTRIBUTES}
        if rng.random() < unknown:
            words[rng.choice(clevr.ATTRIBUTES)] = rng.choice(("pink", "torus", "yes", "red"))
        objects.append({**words, "position": [coordinates[2 * i], coordinates[2 * i + 1], 0.5]})
    return {"objects": objects}


def pack(scenes: Sequence[dict[str, Any]], language: str = "clevr") -> Scenes:
    text = json.dumps({"scenes": list(scenes)}).encode()
    return from_table(_native.read_scenes(text, language == "clevr-ref"), language)


def grow(rng: random.Random, wanted: str, depth: int = 0) -> list[str]:
    """A prefix program whose root gives `wanted`, every operand of the right type."""
    fitting = [f for f in clevr.FUNCTIONS if GIVES[f] == wanted]
    if wanted == "set" and depth > rng.randint(1, 6):
        return ["scene"]
    function = rng.choice(fitting)
    operands = [grow(rng, TAKES[function], depth + 1) for _ in range(num_inputs(function))]
    return [function, *itertools.chain.from_iterable(operands)]


def _types(function: str) -> tuple[str, str]:
    name = function.partition("[")[0]
    kind, _, attribute = name.partition("_")
    if name in ("equal_integer", "less_than", "greater_than"):
        return "int", "truth"
    by_kind = {
        "filter": ("set", "set"),
        "same": ("obj", "set"),
        "query": ("obj", attribute),
        "equal": (attribute, "truth"),
        "scene": ("", "set"),
        "unique": ("set", "obj"),
        "relate": ("obj", "set"),
        "count": ("set", "int"),
        "exist": ("set", "truth"),
        "union": ("set", "set"),
        "intersect": ("set", "set"),
    }
    return by_kind[kind]


TAKES = {f: _types(f)[0] for f in clevr.FUNCTIONS}
GIVES = {f: _types(f)[1] for f in clevr.FUNCTIONS}
ROOT_TYPES = sorted(set(GIVES.values()))


def make_program(rng: random.Random) -> list[str]:
    """Typed, typed and then damaged, or any tokens at all."""
    how = rng.random()
    if how < 0.25:
        tokens = [rng.choice(TOKENS) for _ in range(rng.randint(0, 25))]
        return [*tokens, "<END>"] if rng.random() < 0.9 else tokens
    tokens = [*grow(rng, rng.choice(ROOT_TYPES))[:60], "<END>"]
    if how < 0.5:
        for _ in range(rng.randint(1, 3)):
            position = rng.randrange(len(tokens))
            change = rng.choice(("replace", "remove", "insert", "repeat"))
            if change == "replace":
                tokens[position] = rng.choice(TOKENS)
            elif change == "remove":
                del tokens[position]
            else:
                tokens.insert(
                    position, tokens[position] if change == "repeat" else rng.choice(TOKENS)
                )
            tokens = tokens or ["<END>"]
    return tokens


def rows(programs: Sequence[Sequence[str]], dtype: torch.dtype = torch.int16) -> Tensor:
    length = max((len(p) for p in programs), default=0)
    ids = [[ID[t] for t in p] + [ID["<NULL>"]] * (length - len(p)) for p in programs]
    return torch.tensor(ids, dtype=dtype).reshape(len(programs), length)


def ordered(sets: Tensor) -> list[int]:
    """The objects of head and tail words [2, width], in the order of the set."""
    found = []
    for part in sets.tolist():
        for word, bits in enumerate(part):
            unsigned = bits & (2**64 - 1)
            found += [64 * word + bit for bit in range(64) if unsigned >> bit & 1]
    return found


def described(kind: int, value: int, sets: Tensor, strings: Sequence[str]) -> tuple[str, Any]:
    """A result of the op in the words of the reference."""
    name = KIND_NAMES[Kind(kind)]
    values: dict[str, Any] = {
        "error": Reason(value).name.lower() if name == "error" else None,
        "none": None,
        "int": value,
        "str": strings[value] if name == "str" else None,
        "obj": value,
        "set": ordered(sets) if name == "set" else None,
        "bool": bool(value),
    }
    return name, values[name]


def op_results(
    programs: Tensor, table: Tensor, index: Tensor, scenes: Scenes
) -> list[tuple[str, Any]]:
    done = ops.execute(programs, table, index, scenes.packed, with_sets=True)
    return [
        described(int(k), int(v), s, scenes.strings)
        for k, v, s in zip(done.kind, done.value, done.sets, strict=True)
    ]


def op_traces(programs: Tensor, table: Tensor, index: Tensor, scenes: Scenes) -> list[list[Any]]:
    done = ops.execute_trace(programs, table, index, scenes.packed)
    traces = []
    for kinds, values, sets in zip(done.step_kind, done.step_value, done.step_sets, strict=True):
        reached = [i for i in reversed(range(len(kinds))) if kinds[i] != Kind.NOT_REACHED]
        traces.append(
            [described(int(kinds[i]), int(values[i]), sets[i], scenes.strings) for i in reached]
        )
    return traces


def make_ref_scene(rng: random.Random, size: int) -> dict[str, Any]:
    """A scene of CLEVR-Ref+: arbitrary relations, tied pixels, masks that are rectangles."""
    scene = make_scene(rng, size, unknown=0)
    boxes = {}
    masks = {}
    for i, item in enumerate(scene["objects"]):
        item["pixel_coords"] = [rng.randrange(0, 6) * 40, 100, rng.choice((8.0, 9.5, 11.0, 12.25))]
        x, y = rng.randrange(0, 400), rng.randrange(0, 280)
        boxes[str(i + 1)] = [x, y, rng.randint(1, 80), rng.randint(1, 40)]
        masks[str(i + 1)] = _rectangle(*boxes[str(i + 1)])
    everyone = range(size)
    scene["relationships"] = {
        name: [sorted(j for j in everyone if j != i and rng.random() < 0.5) for i in everyone]
        for name in clevr.RELATIONS
    }
    return {**scene, "obj_mask": masks, "obj_bbox": boxes}


def _rectangle(x: int, y: int, width: int, height: int) -> str:
    runs = [480 * y + x, width]
    for _ in range(height - 1):
        runs += [480 - width, width]
    return ",".join(map(str, [*runs, 480 * 320 - sum(runs)]))


REF_FUNCTIONS = [*clevr_ref.FUNCTIONS, *clevr_ref.QUESTION_FUNCTIONS]


def make_nodes(rng: random.Random) -> list[Node]:
    """Mostly well-typed node lists in which results are used more than once, or a wild mixture."""
    wild = rng.random() < 0.2
    nodes: list[Node] = [Node("scene", (), ())]
    types = ["set"]
    for _ in range(rng.randint(0, 9)):
        function = rng.choice(REF_FUNCTIONS)
        name, _, rest = function.partition("[")
        takes, gives = ("obj", "truth") if name == "equal_object" else _types(function)
        arity = num_inputs(name)
        usable = [i for i, t in enumerate(types) if wild or t == takes]
        if arity and not usable:
            continue
        values = tuple(rest.rstrip("]").split(",")) if rest else ()
        nodes.append(Node(name, values, tuple(rng.choice(usable) for _ in range(arity))))
        types.append(gives)
    return nodes


def compile_ref(programs: Sequence[Sequence[Node]]) -> tuple[Tensor, Tensor]:
    nodes = [n for p in programs for n in p]
    strings = [
        n.function + (f"[{','.join(n.value_inputs)}]" if n.value_inputs else "") for n in nodes
    ]
    functions = sorted(set(strings))
    offsets = [0, *itertools.accumulate(len(p) for p in programs)]
    input_offsets = [0, *itertools.accumulate(len(n.inputs) for n in nodes)]
    compiled, table = _native.compile_programs(
        "clevr-ref",
        functions,
        offsets,
        [functions.index(s) for s in strings],
        input_offsets,
        [i for n in nodes for i in n.inputs],
    )
    return torch.from_numpy(compiled), torch.from_numpy(table)


def sample(count: int = 300, dtype: torch.dtype = torch.int16) -> tuple[Any, ...]:
    rng = random.Random(count)
    scenes = pack([make_scene(rng, n) for n in (3, 7, 10)]).packed
    programs = rows([make_program(rng) for _ in range(count)], dtype)
    index = torch.tensor([rng.randrange(3) for _ in range(count)])
    return programs, TABLE, index, scenes.words, scenes.offsets, scenes.width


def execute_arguments(count: int = 300) -> tuple[Any, ...]:
    strings, integers = torch.arange(20, dtype=torch.int32), torch.arange(11, dtype=torch.int32)
    return (*sample(count), strings, integers, True)
