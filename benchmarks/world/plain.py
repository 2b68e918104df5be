"""The rival: CLEVR's question generation in plain Python, state after state.

The same rules as csrc/world, stepped through as the original does: options from dictionaries, sets
of object ids, every partial program extended by one template node at a time
(clevr-dataset-gen question_generation/generate_questions.py), text filled in by replacing strings.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

from pyvqa.programs.clevr import RELATIONS, VALUES

ORDER = ("size", "color", "material", "shape")
LETTERS = {"size": "Size", "color": "Color", "material": "Material", "shape": "Shape"}
Json = dict[str, Any]
Filter = tuple[str | None, ...]


def filters_of(scene: Json, members: list[int]) -> dict[Filter, list[int]]:
    """All attribute combinations found among `members`, with the objects they match."""
    found: dict[Filter, list[int]] = {}
    for mask in itertools.product((True, False), repeat=4):
        for o in members:
            item = scene["objects"][o]
            key = tuple(item[a] if keep else None for a, keep in zip(ORDER, mask, strict=True))
            found.setdefault(key, [])
            if o not in found[key]:
                found[key].append(o)
    return found


def step(name: str, operands: list[Any], value: str | None, scene: Json) -> Any:
    """Execute one function; None when it is invalid."""
    objects = scene["objects"]
    head, _, attribute = name.partition("_")
    if name == "scene":
        return list(range(len(objects)))
    if name == "unique":
        return operands[0][0] if len(operands[0]) == 1 else None
    if name == "relate":
        return sorted(scene["relationships"][value][operands[0]])
    if name in ("count", "exist"):
        return len(operands[0]) if name == "count" else len(operands[0]) > 0
    if name in ("union", "intersect"):
        a, b = map(set, operands)
        return sorted(a | b if name == "union" else a & b)
    if head == "filter":
        return [o for o in operands[0] if objects[o][attribute] == value]
    if head == "same":
        wanted = objects[operands[0]][attribute]
        return [i for i, o in enumerate(objects) if o[attribute] == wanted and i != operands[0]]
    if head == "query":
        return objects[operands[0]][attribute]
    a, b = operands
    return a == b if head == "equal" else a < b if name == "less_than" else a > b


def execute(program: list[Json], scene: Json) -> list[Any]:
    """Execute a node list whose nodes are {function, inputs, value}; stops at an invalid node."""
    results: list[Any] = []
    for node in program:
        operands = [results[i] for i in node["inputs"]]
        if any(operand is None for operand in operands):
            results.append(None)
        else:
            results.append(step(node["function"], operands, node["value"], scene))
    return results


class Generator:
    """Instantiates parsed official templates on scenes."""

    def __init__(self, templates: list[Json], synonyms: dict[str, list[str]], seed: int) -> None:
        self.templates, self.synonyms = templates, synonyms
        self.draw = random.Random(seed)
        self.uses = [0] * len(templates)
        self.answers: list[dict[Any, int]] = [{} for _ in templates]

    def ask(self, scene: Json, count: int) -> list[Json]:
        """Ask `count` questions of a scene, least used templates first."""
        asked: list[Json] = []
        for family in sorted(range(len(self.templates)), key=self.uses.__getitem__):
            if len(asked) == count:
                break
            found = self.search(scene, family)
            if found is not None:
                self.uses[family] += 1
                asked.append(found)
        return asked

    def search(self, scene: Json, family: int, limit: int = 2000) -> Json | None:
        template = self.templates[family]
        empty = {c["params"][0] for c in template["constraints"] if c["type"] == "NULL"}
        states: list[tuple[list[Json], dict[str, str], list[int]]] = [([], {}, [])]
        while states and limit:
            limit -= 1
            program, values, at = states.pop()
            results = execute(program, scene)
            if (results and results[-1] is None) or self.violated(template, at, results):
                continue
            if len(at) == len(template["nodes"]):
                if self.accepts(family, program, results, scene):
                    return self.question(family, program, values, results[-1])
                continue
            node = template["nodes"][len(at)]
            options = self.extend(template, node, program, values, at, results, empty, scene)
            self.draw.shuffle(options)
            states.extend(options)
        return None

    def violated(self, template: Json, at: list[int], results: list[Any]) -> bool:
        for constraint in template["constraints"]:
            if constraint["type"] == "OUT_NEQ":
                i, j = constraint["params"]
                if max(i, j) < len(at) and results[at[i]] == results[at[j]]:
                    return True
        return False

    def extend(
        self,
        template: Json,
        node: Json,
        program: list[Json],
        values: dict[str, str],
        at: list[int],
        results: list[Any],
        empty: set[str],
        scene: Json,
    ) -> list[tuple[list[Json], dict[str, str], list[int]]]:
        """All ways to place one template node."""
        kind, inputs = node["type"], [at[i] for i in node["inputs"]]
        names = node.get("side_inputs", [])
        if not kind.startswith(("filter", "relate_filter")) or kind in map(
            "filter_{}".format, ORDER
        ):
            types = {p["name"]: p["type"].lower() for p in template["params"]}
            choices = [None] if not names else self.domain(types[names[0]])
            made = []
            for value in choices:
                grown = [*program, {"function": kind, "inputs": inputs, "value": value}]
                given = values | ({names[0]: value} if value else {})
                made.append((grown, given, [*at, len(grown) - 1]))
            return made
        options = self.options(kind, results[inputs[0]], scene)
        names_of = dict(
            zip((*(("relation",) if "relate" in kind else ()), *ORDER), names, strict=True)
        )
        made = []
        for relation, key in options:
            given, grown, last = dict(values), list(program), inputs[0]
            chosen = {"relation": relation} | dict(zip(ORDER, key, strict=True))
            if any(chosen[a] and names_of[a] in empty for a in names_of):
                continue
            functions = [("relate", relation)] + [(f"filter_{a}", chosen[a]) for a in ORDER]
            functions.append(
                (kind.rpartition("filter")[2].strip("_"), "" if kind[-6:] != "filter" else None)
            )
            for function, value in functions:
                if value is None or not function:
                    continue
                grown.append({"function": function, "inputs": [last], "value": value or None})
                last = len(grown) - 1
            given |= {names_of[a]: chosen[a] or "" for a in names_of}
            made.append((grown, given, [*at, last]))
        return made

    @staticmethod
    def domain(kind: str) -> list[str | None]:
        return list(RELATIONS if kind == "relation" else VALUES[kind])

    def options(self, kind: str, given: Any, scene: Json) -> list[tuple[str | None, Filter]]:
        """Relation and filter of every option of a composite node."""
        if kind.startswith("relate"):
            everything = filters_of(scene, list(range(len(scene["objects"]))))
            good, trivial = [], []
            for relation in RELATIONS:
                related = set(scene["relationships"][relation][given])
                for key, members in everything.items():
                    left = len(related.intersection(members))
                    if (
                        left != 1
                        if kind.endswith("unique")
                        else not left and kind.endswith("filter")
                    ):
                        continue
                    (trivial if left == len(members) else good).append((relation, key))
            self.draw.shuffle(trivial)
            return good + trivial[: round(len(good) / 9)]
        found = filters_of(scene, given)
        if kind == "filter_unique":
            return [(None, key) for key, members in found.items() if len(members) == 1]
        if kind == "filter":
            found.pop((None,) * 4, None)
        singles = sum(len(members) == 1 for members in found.values())
        keys = list(found)
        for _ in range(len(found) if kind == "filter_exist" else singles):
            key = tuple(self.draw.choice([None, *VALUES[a]]) for a in ORDER)
            matched = any(
                all(
                    k is None or scene["objects"][o][a] == k
                    for a, k in zip(ORDER, key, strict=True)
                )
                for o in given
            )
            if not matched:
                keys.append(key)
        return [(None, key) for key in keys]

    def accepts(self, family: int, program: list[Json], results: list[Any], scene: Json) -> bool:
        """Answer balance, and no superfluous relation."""
        answer, counts = results[-1], self.answers[family]
        last = program[-1]["function"]
        size = 11 if last == "count" else len(VALUES[last[6:]]) if last.startswith("query_") else 2
        ordered = sorted([*counts.values(), *[0] * (size - len(counts))])
        count = counts.get(answer, 0)
        if count > 1.1 * ordered[-2] or count > 5 * max(ordered[len(ordered) // 2], 5):
            return False
        if any(node["type"] == "relate" for node in self.templates[family]["nodes"]):
            for i, node in enumerate(program):
                if node["function"] == "relate":
                    changed = list(program)
                    changed[i] = {"function": "scene", "inputs": [], "value": None}
                    if execute(changed, scene)[-1] == answer:
                        return False
        counts[answer] = count + 1
        return True

    def question(
        self, family: int, program: list[Json], values: dict[str, str], answer: Any
    ) -> Json:
        template = self.templates[family]
        text = self.draw.choice(template["text"])
        for param in template["params"]:
            value = values.get(param["name"]) or ("thing" if param["type"] == "Shape" else "")
            text = text.replace(param["name"], self.draw.choice(self.synonyms.get(value, [value])))
        while "[" in text:
            before, _, rest = text.partition("[")
            inside, _, after = rest.partition("]")
            text = before + (inside if self.draw.random() < 0.5 else "") + after
        return {
            "family": family,
            "program": program,
            "question": " ".join(text.split()),
            "answer": answer,
        }
