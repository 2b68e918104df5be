"""The built-in world: random scenes, and questions and expressions about them.

scenes = sample_scenes(seed=1, first=0, count=250)
questions = QuestionGenerator(read_templates()).generate(scenes.pack(), seed=1)
"""

from pyvqa.world.questions import (
    GeneratorSettings,
    QuestionGenerator,
    Questions,
    generate_expressions,
    generate_questions,
)
from pyvqa.world.scenes import SceneSettings, WorldScenes, sample_scenes
from pyvqa.world.stream import QuestionStream
from pyvqa.world.template_files import Templates, read_templates

__all__ = [
    "GeneratorSettings",
    "QuestionGenerator",
    "QuestionStream",
    "Questions",
    "SceneSettings",
    "Templates",
    "WorldScenes",
    "generate_expressions",
    "generate_questions",
    "read_templates",
    "sample_scenes",
]
