"""The part of `pyvqa demo` about regions: MuRel answers everyday questions about its pictures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pyvqa.evidence import Answer
    from pyvqa.systems.murel.answer import Look, Murel
    from pyvqa.view.trace import Summary
    from pyvqa.world.questions import Questions
    from pyvqa.world.scenes import WorldScenes

DEFAULT = "murel-world"  # asked where it is shipped

# What the template files ask about, simple things first.
_KINDS = {
    "plain": "one kind of things",
    "numbers": "numbers of things",
    "alike": "things alike",
    "beside": "beside something",
    "beyond": "beside that again",
}
_RELATIONAL = ("alike", "beside", "beyond")
_SHOWN = 40  # questions on the page
_WRONG = 10  # of them at most that were answered wrong


@dataclass(frozen=True)
class _Asked:
    """Q questions about S pictures and what MuRel said."""

    pictures: Sequence[torch.Tensor]  # S
    looks: list[Look]  # S
    questions: Questions
    count: int  # Q
    kinds: list[str]  # [Q] template file
    said: list[str]  # [Q]
    gold: list[str]  # [Q]
    look_seconds: float
    answer_seconds: float

    @property
    def is_right(self) -> list[bool]:
        return [said == gold for said, gold in zip(self.said, self.gold, strict=True)]


def ask_murel(
    name: str,
    world: WorldScenes,
    pictures: Sequence[torch.Tensor] | None,
    *,
    titles: Sequence[str],
    questions: int,
    seed: int,
    page: Path,
) -> None:
    """Ask a MuRel model about pictures of scenes, print its scores and write a page.

    `pictures`: uint8 [H, W, 3] of all scenes, rendered here if not given.

    Raises:
        ConfigError, DataError, CheckpointError: it is no MuRel model, or has no detector here.
    """
    from pyvqa.cli.common import per_second, percent, print_table
    from pyvqa.files import write_text
    from pyvqa.view.trace import trace_page

    model = _load(name)
    shown = _render(world) if pictures is None else pictures
    asked = _ask(model, world, shown, titles, questions, seed)
    rates = _rates(asked)
    rows = [(kind, f"{n:,}", percent(share)) for kind, share, n in rates]
    total = sum(asked.is_right) / max(1, asked.count)
    print(f"\n{asked.count:,} everyday questions about the same pictures, answered with {name}\n")
    print_table([*rows, ("all", f"{asked.count:,}", percent(total))], ("about", "asked", "right"))
    print(f"\nregions found      {_rate(len(shown), asked.look_seconds)}")
    print(f"questions answered {per_second(asked.count, asked.answer_seconds)}")
    answers = _explain(model, asked)
    write_text(page, trace_page(answers, _summary(asked, rates, total, len(answers))))
    print(f"\npage: {page}")


def _load(name: str) -> Murel:
    from pyvqa.errors import ConfigError
    from pyvqa.systems import load, system_of

    if system_of(name) != "murel":
        raise ConfigError(f"--murel {name}: is no MuRel model; name one, or leave the option out")
    model: Murel = load(name)
    _ = model.regions_of  # before any work
    return model


def _render(world: WorldScenes) -> list[torch.Tensor]:
    from pyvqa.world.camera import HEIGHT, WIDTH
    from pyvqa.world.staging import Quality, stage

    staged = stage(world)
    return [
        staged.part(row, row + 1).render(Quality(WIDTH, HEIGHT)).picture[0]
        for row in range(len(world))
    ]


def _ask(
    model: Murel,
    world: WorldScenes,
    pictures: Sequence[torch.Tensor],
    titles: Sequence[str],
    most: int,
    seed: int,
) -> _Asked:
    from pyvqa.systems.murel.answer import UNKNOWN, answer_texts, look
    from pyvqa.train.logging import Progress
    from pyvqa.world.questions import GeneratorSettings, QuestionGenerator
    from pyvqa.world.template_files import read_templates

    per_scene = -(-most // len(world))
    generator = QuestionGenerator(
        read_templates(None, "vqa"), GeneratorSettings(per_scene=per_scene)
    )
    questions = generator.generate(world.pack(), seed=seed, first=0)
    count = min(most, len(questions))
    rows: list[list[int]] = [[] for _ in pictures]
    for index, row in enumerate(questions.scene[:count].tolist()):
        rows[row].append(index)
    looks, said, seconds = [], [UNKNOWN] * count, [0.0, 0.0]
    with Progress(0, len(pictures)) as progress:
        for picture, title, own in zip(pictures, titles, rows, strict=True):
            started = time.perf_counter()
            looks.append(look(model.model, picture, model.regions_of, title, shown=False))
            seen = time.perf_counter()
            if len(looks[-1].canvas.regions):
                texts = [questions.text[index] for index in own]
                found = answer_texts(model.model, looks[-1].regions, texts)
                for index, text in zip(own, found, strict=True):
                    said[index] = text
            seconds[0] += seen - started
            seconds[1] += time.perf_counter() - seen
            progress.advance()
    files = [family.filename for family in questions.templates.families]
    return _Asked(
        pictures,
        looks,
        questions,
        count,
        [Path(files[family]).stem for family in questions.family[:count].tolist()],
        said,
        questions.answers()[:count],
        seconds[0],
        seconds[1],
    )


def _rates(asked: _Asked) -> list[tuple[str, float, int]]:
    """Return (kind, share of right answers, questions), and the relational ones together."""
    pairs = list(zip(asked.is_right, asked.kinds, strict=True))
    groups = [(words, (kind,)) for kind, words in _KINDS.items()]
    rates = []
    for words, kinds in [*groups, ("relations together", _RELATIONAL)]:
        judged = [right for right, kind in pairs if kind in kinds]
        if judged:
            rates.append((words, sum(judged) / len(judged), len(judged)))
    return rates


def _explain(model: Murel, asked: _Asked) -> list[Answer]:
    from pyvqa.cli.demo import choose
    from pyvqa.data.pictures import picture_address
    from pyvqa.systems.murel.answer import answer_look

    shown: dict[int, Look] = {}
    answers = []
    for index in choose(asked.is_right, asked.kinds, wrong=_WRONG, shown=_SHOWN):
        row = int(asked.questions.scene[index])
        if row not in shown:
            canvas = replace(asked.looks[row].canvas, image=picture_address(asked.pictures[row]))
            shown[row] = asked.looks[row]._replace(canvas=canvas)
        answer = answer_look(model.model, shown[row], asked.questions.text[index])
        category = _KINDS.get(asked.kinds[index], asked.kinds[index])
        answers.append(replace(answer, expected=asked.gold[index], category=category))
    return answers


def _summary(
    asked: _Asked, rates: Sequence[tuple[str, float, int]], total: float, shown: int
) -> Summary:
    from pyvqa.cli.common import percent
    from pyvqa.view.trace import Summary

    return Summary(
        title="Questions answered by relating regions",
        lead=(
            "A detector describes the regions of a picture; in each step every region meets the "
            "question and then all other regions. Rings mark the regions that supply most of the "
            "answer, arrows the ones they take it from. "
            f"{asked.count:,} questions were asked about {len(asked.looks):,} pictures of invented "
            f"scenes; {shown} are shown."
        ),
        figures=(("answered right", percent(total)),),
        rates=tuple(rates),
    )


def _rate(count: int, seconds: float) -> str:
    return f"{count / max(seconds, 1e-9):.1f} pictures a second"
