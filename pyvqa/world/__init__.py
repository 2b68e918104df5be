"""The built-in world: random scenes, their pictures, and questions and expressions about them.

scenes = sample_scenes(seed=1, first=0, count=250)
questions = QuestionGenerator(read_templates()).generate(scenes.pack(), seed=1)

for scene, picture, masks, boxes, questions in stream(seed=1, workers=2):
    ...
"""

from pyvqa.world.questions import (
    GeneratorSettings,
    QuestionGenerator,
    Questions,
    generate_expressions,
    generate_questions,
)
from pyvqa.world.scenes import SceneSettings, WorldScenes, sample_scenes
from pyvqa.world.staging import Quality, Staging, stage
from pyvqa.world.streams import QuestionStream, Sample, stream
from pyvqa.world.template_files import Templates, read_templates
from pyvqa.world.visible import sample_visible_scenes

__all__ = [
    "GeneratorSettings",
    "Quality",
    "QuestionGenerator",
    "QuestionStream",
    "Questions",
    "Sample",
    "SceneSettings",
    "Staging",
    "Templates",
    "WorldScenes",
    "generate_expressions",
    "generate_questions",
    "read_templates",
    "sample_scenes",
    "sample_visible_scenes",
    "stage",
    "stream",
]
