"""Questions and expressions about scenes, made from templates (csrc/world).

Scenes come in blocks of 250 consecutive images. Counts of uses and answers, which keep the answers
balanced, start again with every block, and every image has random streams of its own: what is asked
of an image depends on (seed, its block, templates, settings) alone.
Sources: clevr-dataset-gen question_generation, clevr-refplus-dataset-gen refexp_generation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyvqa import _native
from pyvqa.errors import ConfigError, DataError
from pyvqa.ops.execute import PackedScenes
from pyvqa.programs import clevr, clevr_ref
from pyvqa.programs.linear import split_function
from pyvqa.programs.scenes import Scenes
from pyvqa.world.scenes import image_filename
from pyvqa.world.template_files import Templates, read_templates

BLOCK = 250  # images
ANSWERS: tuple[str, ...] = (
    *_native.KNOWN_STRINGS,
    *(str(n) for n in range(clevr.MAX_COUNT + 1)),
)  # by answer code

_split = lru_cache(maxsize=None)(split_function)
_FUNCTIONS = {
    "clevr": clevr.FUNCTIONS,
    "clevr-ref": clevr_ref.FUNCTIONS + clevr_ref.QUESTION_FUNCTIONS,
    "vqa": clevr.FUNCTIONS,
}


@dataclass(frozen=True)
class GeneratorSettings:
    """How templates are filled in."""

    per_scene: int = 10  # questions asked of a scene, fewer where its templates give no more
    block: int = BLOCK
    trivial: float = 0.1  # share of relations that exclude nothing; expressions have none
    max_visits: int = 20_000  # partial programs looked at before a template is given up on a scene
    false_premise: int = 0  # expressions added to those of a scene that refer to no object


@dataclass(frozen=True)
class Questions:
    """Q questions (or expressions), their programs one after the other."""

    templates: Templates
    functions: tuple[str, ...]  # by function id
    scene: NDArray[np.int32]  # [Q] position among the scenes given
    family: NDArray[np.int16]  # [Q] position of the template
    answer: NDArray[np.int16]  # [Q] code in ANSWERS; of expressions: the number of objects
    text: list[str]  # [Q]
    offsets: NDArray[np.int64]  # [Q + 1] first node of each program
    function: NDArray[np.int16]  # [nodes]
    inputs: NDArray[np.int8]  # [nodes, 2] positions within the program, -1 where there is none
    objects: NDArray[np.uint64]  # [nodes] bits of the objects after a node, 0 for what is no set
    prefix_offsets: NDArray[np.int64]  # [Q + 1]
    prefix: NDArray[np.int16]  # function ids in prefix order

    def __len__(self) -> int:
        return len(self.text)

    def answers(self) -> list[str]:
        """Return the answers as strings: yes, no, values, numbers."""
        return [ANSWERS[code] for code in self.answer.tolist()]

    def token_rows(
        self, token_ids: Mapping[str, int], *, framed: bool = False
    ) -> NDArray[np.int64]:
        """Return the prefix programs as vocabulary ids: [Q, L], each up to `<END>`, then `<NULL>`.

        `framed` puts `<START>` first, as in the h5 files.

        Raises ConfigError when the vocabulary lacks a function.
        """
        missing = [f for f in (*self._used(), "<NULL>", "<START>", "<END>") if f not in token_ids]
        if missing:
            raise ConfigError(
                f"the program vocabulary lacks {missing[0]!r}; make it from all functions"
            )
        ids = np.array([token_ids.get(f, -1) for f in self.functions], dtype=np.int64)
        lengths = np.diff(self.prefix_offsets)
        start = int(framed)
        rows = np.full((len(self), int(lengths.max(initial=0)) + 1 + start), token_ids["<NULL>"])
        column = np.arange(rows.shape[1]) - start
        rows[(column >= 0) & (column < lengths[:, None])] = ids[self.prefix]
        rows[np.arange(len(self)), lengths + start] = token_ids["<END>"]
        rows[:, :start] = token_ids["<START>"]
        return rows

    def program(
        self, q: int, *, key: str = "function", outputs: bool = False
    ) -> list[dict[str, Any]]:
        """Return one program as official files have it; `outputs` adds each node's `_output`."""
        begin, end = self.offsets[q : q + 2].tolist()
        functions, inputs = self.function[begin:end].tolist(), self.inputs[begin:end].tolist()
        names = [_split(self.functions[f]) for f in functions]
        nodes: list[dict[str, Any]] = [
            {"inputs": [i for i in pair if i >= 0], key: name, "value_inputs": list(values)}
            for (name, values), pair in zip(names, inputs, strict=True)
        ]
        if outputs:
            for node, bits in zip(nodes, self.objects[begin:end].tolist(), strict=True):
                ids = [o for o in range(bits.bit_length()) if bits >> o & 1]
                node["_output"] = ids[0] if node[key] == "unique" else ids
        return nodes

    def _used(self) -> list[str]:
        return [self.functions[f] for f in np.unique(self.function).tolist()]


class QuestionGenerator:
    """Makes questions, or with CLEVR-Ref+ templates expressions, about packed scenes."""

    def __init__(self, templates: Templates, settings: GeneratorSettings | None = None) -> None:
        """Check the templates.

        Raises DataError naming file and template of the first one that cannot be used, ConfigError
        for settings out of range.
        """
        self.templates = templates
        self.settings = settings or GeneratorSettings()
        self.functions = _FUNCTIONS[templates.language]
        if self.settings.per_scene < 1 or self.settings.block < 1:
            raise ConfigError("questions per scene and images per block must be at least 1")
        if self.settings.false_premise < 0:
            raise ConfigError(f"false_premise={self.settings.false_premise}: must not be negative")
        if self.settings.false_premise and templates.language != "clevr-ref":
            raise ConfigError("questions have no false-premise form; only expressions have")
        if not 0 <= self.settings.trivial < 1:
            raise ConfigError(f"trivial={self.settings.trivial}: must lie in [0, 1)")
        expressions = templates.language == "clevr-ref"
        try:
            self._native = _native.QuestionGenerator(
                list(self.functions),
                [family.source for family in templates.families],
                templates.synonyms,
                expressions=expressions,
                per_scene=self.settings.per_scene,
                block=self.settings.block,
                trivial=0.0 if expressions else self.settings.trivial,
                max_visits=self.settings.max_visits,
                nothing=self.settings.false_premise,
            )
        except ValueError as error:
            raise DataError(self._explain(str(error))) from error

    def _explain(self, message: str) -> str:
        number, colon, what = message.removeprefix("template ").partition(": ")
        if message.startswith("template ") and colon and number.isdecimal():
            return f"{self.templates.where(int(number))}: {what}"
        return f"templates: {message}"

    def generate(self, scenes: Scenes | PackedScenes, *, seed: int, first: int = 0) -> Questions:
        """Ask questions of scenes that begin a block: `first`, the position of the first one, is a
        multiple of the block size.

        Calls may run in several threads at once.

        Raises DataError for scenes of more than 64 objects, ConfigError for a `first` or seed out
        of range.
        """
        packed = scenes.packed if isinstance(scenes, Scenes) else scenes
        if packed.width != 1:
            raise DataError("questions can be asked of scenes with up to 64 objects; one has more")
        if first % self.settings.block or first < 0 or not 0 <= seed < 1 << 64:
            raise ConfigError(
                f"first={first} must begin a block of {self.settings.block}, "
                f"seed={seed} lie within 0..2^64-1"
            )
        found = self._native.generate(
            packed.words.cpu().numpy(), packed.offsets.cpu().numpy(), first, seed
        )
        return Questions(self.templates, self.functions, **found)


def generate_questions(
    scenes: Scenes,
    templates: Templates | None = None,
    *,
    seed: int = 0,
    block_start: int = 0,
    split: str = "val",
    settings: GeneratorSettings | None = None,
) -> list[dict[str, Any]]:
    """Ask questions of scenes and return them as CLEVR's question files have them.

    Families are numbered through all template files (0..89 with nine official ones).
    """
    templates = templates or read_templates(None, "clevr")
    generator = QuestionGenerator(templates, settings)
    questions = generator.generate(scenes, seed=seed, first=block_start)
    return question_records(questions, split, _names(scenes, split, "CLEVR"))


def generate_expressions(
    scenes: Scenes,
    templates: Templates | None = None,
    *,
    seed: int = 0,
    block_start: int = 0,
    split: str = "val",
    settings: GeneratorSettings | None = None,
) -> list[dict[str, Any]]:
    """Refer to objects of scenes and return the expressions as CLEVR-Ref+'s files have them."""
    templates = templates or read_templates(None, "clevr-ref")
    generator = QuestionGenerator(templates, settings)
    questions = generator.generate(scenes, seed=seed, first=block_start)
    return expression_records(questions, split, _names(scenes, split, "CLEVR"))


Names = Sequence[tuple[int, str]]  # image_index and image_filename of each scene


def _names(scenes: Scenes, split: str, prefix: str) -> Names:
    return [
        (index, name or image_filename(prefix, split, index))
        for index, name in zip(scenes.image_index.tolist(), scenes.image_filename, strict=True)
    ]


def question_records(questions: Questions, split: str, names: Names) -> list[dict[str, Any]]:
    """Return entries of a CLEVR question file; `question_index` counts from 0."""
    answers = questions.answers()
    return [
        _entry(questions, q, split, names)
        | {
            "question": questions.text[q],
            "program": questions.program(q),
            "answer": answers[q],
            "question_family_index": int(questions.family[q]),
            "question_index": q,
        }
        for q in range(len(questions))
    ]


def expression_records(questions: Questions, split: str, names: Names) -> list[dict[str, Any]]:
    """Return entries of a CLEVR-Ref+ file; the family index counts within its template file."""
    return [
        _entry(questions, q, split, names)
        | {
            "image": names[questions.scene[q]][1].rpartition(".")[0],
            "refexp": questions.text[q],
            "program": questions.program(q, key="type", outputs=True),
            "refexp_family_index": questions.templates.families[questions.family[q]].index,
            "refexp_index": q,
        }
        for q in range(len(questions))
    ]


def _entry(questions: Questions, q: int, split: str, names: Names) -> dict[str, Any]:
    index, filename = names[questions.scene[q]]
    return {
        "image_index": index,
        "image_filename": filename,
        "split": split,
        "template_filename": questions.templates.families[questions.family[q]].filename,
    }
