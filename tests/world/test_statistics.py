"""Statistics of random scenes with visibility, against genuine ones and the placement rules."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyvqa.world import camera
from pyvqa.world.masks import least_area, visible_areas
from pyvqa.world.questions import QuestionGenerator
from pyvqa.world.scenes import WorldScenes, sample_scenes
from pyvqa.world.staging import stage
from pyvqa.world.template_files import Templates, read_templates
from pyvqa.world.visible import visible_attempts

from .engine import real_folder

Array = np.ndarray[Any, Any]
COUNTS = [400, pytest.param(5000, marks=pytest.mark.slow)]
SIGMAS = 4.0  # what a figure may be off by; about fifty are compared


@pytest.fixture(scope="module", params=COUNTS)
def world(request: pytest.FixtureRequest) -> WorldScenes:
    count = int(request.param)
    return sample_scenes(77, 0, count, attempts=visible_attempts(77, 0, count))


@pytest.fixture(scope="module")
def genuine() -> list[dict[str, Any]]:
    files = sorted((real_folder() / "clevr_original" / "scenes").glob("CLEVR_*.json"))
    return [scene for file in files for scene in json.loads(file.read_text())["scenes"]]


def agree(ours: float, of_ours: int, theirs: float, of_theirs: int) -> bool:
    """Say whether two shares differ by no more than sampling explains."""
    pooled = (ours * of_ours + theirs * of_theirs) / (of_ours + of_theirs)
    error = math.sqrt(pooled * (1 - pooled) * (1 / of_ours + 1 / of_theirs))
    return abs(ours - theirs) <= SIGMAS * error


def test_counts_and_values_are_as_frequent_as_in_genuine_scenes(
    world: WorldScenes, genuine: list[dict[str, Any]]
) -> None:
    ours = np.bincount(world.counts, minlength=11)
    theirs = np.bincount([len(s["objects"]) for s in genuine], minlength=11)
    assert ours[:3].sum() == 0
    for count in range(3, 11):
        assert agree(
            ours[count] / len(world), len(world), theirs[count] / len(genuine), len(genuine)
        )
    records = world.records("val")
    for name in ("size", "color", "material", "shape"):
        made = Counter(o[name] for s in records for o in s["objects"])
        found = Counter(o[name] for s in genuine for o in s["objects"])
        assert set(made) == set(found)
        for value in made:
            assert agree(
                made[value] / made.total(),
                made.total(),
                found[value] / found.total(),
                found.total(),
            ), (name, value)


def gaps_and_offsets(records: list[dict[str, Any]]) -> tuple[Array, Array]:
    """Of every pair: the gap between rims, and how far apart they are along the directions."""
    gaps, offsets = [], []
    for scene in records:
        for a, b in itertools.combinations(scene["objects"], 2):
            between = np.subtract(a["3d_coords"], b["3d_coords"])
            radii = sum({"large": 0.7, "small": 0.35}[o["size"]] for o in (a, b))
            gaps.append(math.hypot(between[0], between[1]) - radii)
            offsets += [abs(float(camera.along(between, name))) for name in ("right", "behind")]
    return np.array(gaps), np.array(offsets)


def test_gaps_and_margins_are_those_of_genuine_scenes(
    world: WorldScenes, genuine: list[dict[str, Any]]
) -> None:
    ours, theirs = gaps_and_offsets(world.records("val")), gaps_and_offsets(genuine)
    for made, found, least in zip(ours, theirs, (0.25, 0.4), strict=True):
        assert made.min() >= least - 1e-6
        assert found.min() >= least - 1e-6
        assert made.min() < least + 0.01
        # whole distributions: the largest distance between them (Kolmogorov, Smirnov)
        places = np.sort(np.concatenate([made, found]))
        a = np.searchsorted(np.sort(made), places, side="right") / len(made)
        b = np.searchsorted(np.sort(found), places, side="right") / len(found)
        # pairs of one scene are not independent: as many as there are objects at most
        few = [len(world.coordinates), sum(len(s["objects"]) for s in genuine)]
        assert np.abs(a - b).max() < 2.3 * math.sqrt(1 / few[0] + 1 / few[1])


def test_relations_follow_the_margin_and_the_directions_never_change(world: WorldScenes) -> None:
    for scene in world.records("val")[:500]:
        assert {k: tuple(v) for k, v in scene["directions"].items()} == camera.DIRECTIONS
        points = np.array([o["3d_coords"] for o in scene["objects"]])
        for name, related in scene["relationships"].items():
            along = camera.along(points[None] - points[:, None], name)
            assert related == [np.flatnonzero(row > 0.2).tolist() for row in along]


def test_visible_areas_are_those_of_genuine_pictures(world: WorldScenes) -> None:
    files = sorted(real_folder().glob("clevr_*/instances_*.json"))
    annotations = [a for f in files for a in json.loads(f.read_text())["annotations"]]
    staged = stage(world)
    areas = np.concatenate(
        [
            visible_areas(
                staged.part(first, first + 50).ids((320, 480)).numpy(),
                world.counts[first : first + 50],
            )
            for first in range(0, len(world), 50)
        ]
    )
    assert areas.min() >= least_area((320, 480)) == 200
    for code, size in ((15, "large"), (16, "small")):
        made = areas[world.codes[:, 3] == code]
        found = np.array([a["area"] for a in annotations if a["attributes"]["size"] == size])
        error = math.sqrt(made.var() / len(made) + found.var() / len(found))
        assert abs(made.mean() - found.mean()) < SIGMAS * error
        for share in (0.1, 0.5, 0.9):
            below = float((found < np.quantile(made, share)).mean())
            assert agree(share, len(made), below, len(found)), (size, share)


def test_cameras_and_lamps_fill_their_ranges(world: WorldScenes) -> None:
    for shift, half in (
        (world.camera - np.asarray(camera.BASE_POSITION), 0.5),
        ((world.lamps - np.asarray(camera.LAMPS)).reshape(len(world), 9), 1.0),
    ):
        assert np.abs(shift).max() <= half
        error = half / math.sqrt(3 * len(world))
        assert np.abs(shift.mean(0)).max() < SIGMAS * error
        assert np.abs(shift.std(0) / half - 1 / math.sqrt(3)).max() < SIGMAS * error


def official_questions(folder: Path, templates: Templates) -> list[tuple[tuple[str, int], str]]:
    """Family and answer of every question that the original's generator made."""
    kit = Path(os.environ.get("PYVQA_PARITY", "") or folder) / "ns_vqa" / "clevr" / "questions"
    files = [*folder.glob("clevr_*/questions/CLEVR_*_questions.json"), *kit.glob("*.json")]
    found = []
    for question in (q for f in sorted(files) for q in json.loads(f.read_text())["questions"]):
        family = question["question_family_index"]
        if "template_filename" in question:  # numbered within its template file
            key = (question["template_filename"], family)
        else:  # as the release has it: through all of them
            key = (templates.families[family].filename, templates.families[family].index)
        found.append((key, question["answer"]))
    return found


def shares(
    questions: list[tuple[tuple[str, int], str]],
) -> dict[tuple[str, int], tuple[float, int]]:
    """Return of every family the share of its commonest answer, and its questions."""
    counts: dict[tuple[str, int], Counter[str]] = {}
    for family, answer in questions:
        counts.setdefault(family, Counter())[answer] += 1
    return {k: (max(c.values()) / c.total(), c.total()) for k, c in counts.items()}


def test_answers_are_as_balanced_as_the_original_generator_makes_them(world: WorldScenes) -> None:
    folder = real_folder()
    templates = read_templates(folder / "templates" / "clevr", "clevr")
    theirs = shares(official_questions(folder, templates))
    asked = QuestionGenerator(templates).generate(world.pack(), seed=77)
    families = [(templates.families[f].filename, templates.families[f].index) for f in asked.family]
    ours = shares(list(zip(families, asked.answers(), strict=True)))
    assert set(theirs) <= set(ours)
    for family, (share, total) in theirs.items():
        made, of_made = ours[family]
        error = math.sqrt(max(share * (1 - share), 0.25 / total) * (1 / total + 1 / of_made))
        assert made <= share + 2 * error, family
