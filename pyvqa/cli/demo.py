"""Ask questions about freshly made pictures, answer them with the shipped model, show how."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from pyvqa.evidence import Answer, Canvas
    from pyvqa.programs.scenes import Scenes
    from pyvqa.systems.ns_vqa.answer import NsVqa
    from pyvqa.systems.ns_vqa.trial import Trial
    from pyvqa.view.trace import Summary
    from pyvqa.world.questions import Questions
    from pyvqa.world.scenes import WorldScenes

EXAMPLES = """examples:
  pyvqa demo
  pyvqa demo --out somewhere --scenes 100 --questions 1000 --seed 7
  pyvqa demo --murel runs/murel-world

It needs neither data nor network. A model with eyes gets the pictures alone; one without is told
what the scenes hold. index.html in the output folder shows fifty questions step by
step on the pictures they are about, which lie in images/; answers.json holds the same as data.
murel.html shows what MuRel, by relating regions, answers to everyday questions about the pictures,
where the package brings murel-world or --murel names a model."""

_SHOWN = 50  # questions on the page
_WRONG = 10  # of them at most that were answered wrong
_TOLD = 3  # of them in the terminal


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder; default: demo")
    parser.add_argument("--scenes", type=int, default=100, metavar="N", help="default: 100")
    parser.add_argument("--questions", type=int, default=1000, metavar="N", help="default: 1000")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes")
    parser.add_argument(
        "--model", default="ns-vqa-clevr", help="shipped name, model or run folder of NS-VQA"
    )
    parser.add_argument(
        "--murel",
        metavar="MODEL",
        help="the same of MuRel, to be asked as well; default: murel-world where it is shipped",
    )


@dataclass(frozen=True)
class _Run:
    """Q questions about fresh scenes and what became of them."""

    model: NsVqa
    world: WorldScenes
    trial: Trial | None  # what the model's eyes saw, None where it has none
    scenes: Scenes  # as seen, or as they are
    questions: Questions
    categories: list[str]  # [Q]
    programs: torch.Tensor  # int64 [Q, L] token ids
    names: list[str]  # by token id
    table: torch.Tensor  # int64 [V] instruction words
    answers: list[str | None]  # [Q]
    gold: list[str]  # [Q]
    parse_seconds: float
    execute_seconds: float

    @property
    def is_right(self) -> list[bool]:
        return [found == wanted for found, wanted in zip(self.answers, self.gold, strict=True)]


def main(args: Namespace) -> int:
    """Make scenes and questions, answer, print and write the page."""
    from pyvqa.cli.common import per_second, percent, print_table
    from pyvqa.errors import ConfigError
    from pyvqa.evidence import write_answers
    from pyvqa.files import write_text
    from pyvqa.view.trace import trace_page

    if args.scenes < 1 or args.questions < 1:
        raise ConfigError("--scenes and --questions must be at least 1")
    run = _run(args.model, args.scenes, args.questions, args.seed)
    total = len(run.answers)
    means = "pictures" if run.trial else "scenes"
    print(f"{len(run.scenes):,} {means}, {total:,} questions, answered with {args.model}\n")
    rates = _rates(run)
    rows = [(name.replace("_", " "), f"{n:,}", percent(share)) for name, share, n in rates]
    share = sum(run.is_right) / total
    print_table([*rows, ("all", f"{total:,}", percent(share))], ("type", "questions", "right"))
    if run.trial:
        seen = [(name, f"{n:,}", percent(share)) for name, share, n in run.trial.shares()]
        print()
        print_table(seen, ("seen", "number", "share"))
    print(f"\nquestions parsed   {per_second(total, run.parse_seconds)}")
    print(f"programs executed  {per_second(total, run.execute_seconds)} (one thread)")
    chosen = choose(run.is_right, run.categories)
    pictures, canvases, seconds = _draw(run, chosen)
    print(f"pictures rendered  {per_second(len(pictures), seconds)}")
    if run.trial:
        print(f"pictures seen      {_rate(len(run.scenes), run.trial.see_seconds)}")
    _write_pictures(pictures, canvases, args.out / "images")
    shown = _explain(run, chosen, canvases)
    for answer in _examples(shown):
        print()
        _tell(answer)
    write_answers(args.out / "answers.json", [_without_picture(answer) for answer in shown])
    write_text(args.out / "index.html", trace_page(shown, _summary(run, rates, len(shown))))
    print(f"\npage: {args.out / 'index.html'}")
    _relate(args, run)
    return 0


def _relate(args: Namespace, run: _Run) -> None:
    """Let MuRel answer about the same pictures, if there is a model."""
    from pyvqa.cli.demo_murel import DEFAULT, ask_murel
    from pyvqa.systems import is_shipped
    from pyvqa.world.scenes import image_filename

    name = args.murel or (DEFAULT if is_shipped(DEFAULT) else None)
    if name is None:
        return
    ask_murel(
        name,
        run.world,
        run.trial.pictures if run.trial else None,
        titles=[image_filename("CLEVR", "demo", row) for row in range(len(run.world))],
        questions=args.questions,
        seed=args.seed,
        page=args.out / "murel.html",
    )


def _rate(count: int, seconds: float) -> str:
    return f"{count / max(seconds, 1e-9):.1f} a second"


def _run(model_name: str, scene_count: int, question_count: int, seed: int) -> _Run:
    import numpy as np
    import torch

    import pyvqa
    from pyvqa.cli.common import torch_threads
    from pyvqa.ops import execute
    from pyvqa.programs.clevr import instruction_table, question_type
    from pyvqa.programs.run import answer_texts
    from pyvqa.world.questions import QuestionGenerator
    from pyvqa.world.scenes import sample_scenes
    from pyvqa.world.template_files import read_templates
    from pyvqa.world.visible import visible_attempts

    model = pyvqa.load(model_name)
    attempts = visible_attempts(seed, 0, scene_count)
    world = sample_scenes(seed, 0, scene_count, attempts=attempts)
    generator = QuestionGenerator(read_templates(None, "clevr"))
    questions = generator.generate(world.pack(), seed=seed, first=0)
    count = min(question_count, len(questions))
    trial = _look(model, world) if model.has_eyes else None
    scenes = trial.scenes if trial else world.pack()
    rows = torch.from_numpy(questions.scene[:count])
    table = instruction_table(model.functions)
    seconds = []
    # For a network this small several threads gain nothing, and lose much on a busy machine.
    with torch_threads(1):
        started = time.perf_counter()
        programs = model.write_programs(questions.text[:count])
        parsed = time.perf_counter()
        for _ in range(20):
            begin = time.perf_counter()
            found = execute(programs, table, rows, scenes.packed)
            seconds.append(time.perf_counter() - begin)
    roots = questions.function[np.asarray(questions.offsets[1 : count + 1]) - 1].tolist()
    return _Run(
        model,
        world,
        trial,
        scenes,
        questions,
        [question_type(questions.functions[root]) or "other" for root in roots],
        programs,
        model.functions,
        table,
        answer_texts(found, scenes.strings),
        questions.answers()[:count],
        parsed - started,
        min(seconds),
    )


def _look(model: NsVqa, world: WorldScenes) -> Trial:
    from pyvqa.systems.ns_vqa.trial import try_eyes
    from pyvqa.train.logging import Progress

    batch = 4
    with Progress(0, -(-len(world) // batch)) as progress:
        return try_eyes(model.eyes, world, batch_size=batch, advance=progress.advance)


def _rates(run: _Run) -> list[tuple[str, float, int]]:
    """Return (type, share of right answers, questions) in the order of the paper's tables."""
    from pyvqa.programs.clevr import QUESTION_TYPES

    rates = []
    for name in QUESTION_TYPES:
        judged = [r for r, c in zip(run.is_right, run.categories, strict=True) if c == name]
        if judged:
            rates.append((name, sum(judged) / len(judged), len(judged)))
    return rates


def choose(
    is_right: Sequence[bool], categories: Sequence[str], *, wrong: int = _WRONG, shown: int = _SHOWN
) -> list[int]:
    """Choose the questions to show: some wrong ones if there are, then the types in turn."""
    import numpy as np

    shuffled = np.random.default_rng(0).permutation(len(is_right)).tolist()
    chosen = [i for i in shuffled if not is_right[i]][:wrong]
    queues: dict[str, list[int]] = {}
    for index in shuffled:
        queues.setdefault(categories[index], []).append(index)
    for turn in zip_longest(*queues.values()):
        chosen += [i for i in turn if i is not None and i not in chosen]
    return sorted(chosen[:shown])


def _draw(
    run: _Run, chosen: Sequence[int]
) -> tuple[dict[int, torch.Tensor], dict[int, Canvas], float]:
    """Give the pictures of the chosen questions' scenes, their canvases and the seconds to make."""
    import numpy as np

    from pyvqa.systems.ns_vqa.evidence import picture_canvas as seen_canvas
    from pyvqa.world.camera import HEIGHT, WIDTH
    from pyvqa.world.canvas import picture_canvas
    from pyvqa.world.scenes import image_filename
    from pyvqa.world.staging import Quality, stage

    rows = sorted({int(row) for row in run.questions.scene[list(chosen)]})
    names = {row: image_filename("CLEVR", "demo", row) for row in rows}
    if run.trial:
        pictures, seen = run.trial.pictures, run.trial.seen
        canvases = {row: seen_canvas(pictures[row], seen[row], names[row]) for row in rows}
        seconds = run.trial.render_seconds * len(rows) / len(pictures)
        return {row: pictures[row] for row in rows}, canvases, seconds
    staged, starts = stage(run.world), np.concatenate([[0], np.cumsum(run.world.counts)])
    drawn: dict[int, torch.Tensor] = {}
    canvases, seconds = {}, 0.0
    for row in rows:
        started = time.perf_counter()
        made = staged.part(row, row + 1).render(Quality(WIDTH, HEIGHT))
        seconds += time.perf_counter() - started
        drawn[row], codes = made.picture[0], run.world.codes[starts[row] : starts[row + 1]]
        canvases[row] = picture_canvas(drawn[row].numpy(), made.ids[0].numpy(), codes, names[row])
    return drawn, canvases, seconds


def _write_pictures(
    pictures: dict[int, torch.Tensor], canvases: dict[int, Canvas], folder: Path
) -> None:
    from pyvqa.files import atomic_write
    from pyvqa.world.png import encode_png

    for row, picture in pictures.items():
        with atomic_write(folder / canvases[row].title) as temporary:
            temporary.write_bytes(encode_png(picture.numpy()))


def _without_picture(answer: Answer) -> Answer:
    """Leave the picture to its file, which the canvas names."""
    canvas = answer.canvas and replace(answer.canvas, image=None)
    return replace(answer, canvas=canvas)


def _explain(run: _Run, chosen: Sequence[int], canvases: dict[int, Canvas]) -> list[Answer]:
    from pyvqa.systems.ns_vqa.answer import answer_question
    from pyvqa.systems.ns_vqa.evidence import answer_seen

    answers = []
    for index in chosen:
        row = int(run.questions.scene[index])
        text, canvas = run.questions.text[index], canvases[row]
        if run.trial:
            picture, seen = run.trial.pictures[row], run.trial.seen[row]
            answer = answer_seen(run.model, picture, seen, text, canvas=canvas)
        else:
            answer = answer_question(run.model, run.scenes, text, row=row, canvas=canvas)
        gold, category = run.gold[index], run.categories[index]
        answers.append(replace(answer, expected=gold, category=category))
    return answers


def _examples(answers: Sequence[Answer]) -> list[Answer]:
    """Pick worked examples of different types and of a length that can be followed."""
    found: dict[str, Answer] = {}
    for answer in answers:
        if answer.is_right and 6 <= len(answer.steps) <= 12:
            found.setdefault(answer.category, answer)
    return list(found.values())[:_TOLD]


def _tell(answer: Answer) -> None:
    print(f"Q: {answer.question}")
    width = max(len(step.words) for step in answer.steps)
    for step in answer.steps:
        print(f"   {step.words:<{width}}  {step.value}")
    print(f"A: {answer.text}")


def _summary(run: _Run, rates: Sequence[tuple[str, float, int]], shown: int) -> Summary:
    from pyvqa.cli.common import percent
    from pyvqa.view.trace import Summary

    total = len(run.answers)
    wrong = total - sum(run.is_right)
    among = f", {min(wrong, _WRONG)} of the {wrong} wrong ones among them" if wrong else ""
    figures = [("answered right", percent(sum(run.is_right) / total))]
    if run.trial:
        how = "Two networks look at the picture and say what is there; another turns each question"
        about = "pictures of invented scenes"
        found, there = (percent(share) for _, share, _ in run.trial.shares()[:2])
        figures += [("objects found", found), ("of those seen are there", there)]
    else:
        how, about = "A network turns each question", "invented scenes"
    return Summary(
        title="Questions answered step by step",
        lead=(
            f"{how} into a program; running it on the scene gives the answer. {total:,} questions "
            f"were asked about {len(run.scenes):,} {about}; {shown} are shown{among}. "
            "Step through a program to see what it looks at."
        ),
        figures=(
            *figures,
            ("questions parsed a second", f"{total / run.parse_seconds:,.0f}"),
        ),
        rates=tuple(rates),
    )
