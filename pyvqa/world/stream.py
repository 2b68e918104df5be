"""Endless fresh scenes with questions, for training.

Block k is a pure function of (seed, k): 250 scenes of their own and the questions about them. With
several template sets, block k takes set k modulo their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pyvqa.errors import ConfigError
from pyvqa.programs.scenes import Scenes
from pyvqa.world.questions import GeneratorSettings, QuestionGenerator, Questions
from pyvqa.world.scenes import SceneSettings, sample_scenes
from pyvqa.world.template_files import Templates


class Block(NamedTuple):
    """Scenes and what is asked of them; `questions.scene` gives the rows of the scenes."""

    scenes: Scenes
    questions: Questions


class QuestionStream:
    """Gives block after block; `block(k)` can be called in any order and from any thread."""

    def __init__(
        self,
        templates: Sequence[Templates],
        seed: int,
        *,
        scenes: SceneSettings | None = None,
        settings: GeneratorSettings | None = None,
    ) -> None:
        """Check the templates; raises DataError or ConfigError as `QuestionGenerator` does."""
        if not templates:
            raise ConfigError("a question stream needs at least one set of templates")
        self.seed = seed
        self._scenes = scenes or SceneSettings()
        self._generators = [QuestionGenerator(one, settings) for one in templates]

    def block(self, number: int) -> Block:
        """Make block `number`."""
        generator = self._generators[number % len(self._generators)]
        size = generator.settings.block
        first = number * size
        scenes = sample_scenes(self.seed, first, size, self._scenes).pack()
        return Block(scenes, generator.generate(scenes, seed=self.seed, first=first))

    def __iter__(self) -> Iterator[Block]:
        number = 0
        while True:
            yield self.block(number)
            number += 1
