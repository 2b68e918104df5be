"""Answer a question about a picture, and show what was seen and how the answer came about."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.evidence import Answer, Region, Step

EXAMPLES = """examples:
  pyvqa ask ns-vqa-clevr picture.png "How many red things are left of the big cube?"
  pyvqa ask ns-vqa-clevr picture.jpg "Is there a metal ball?" --html answer.html
  pyvqa ask runs/mine picture.webp "What size is the green cylinder?" --json answer.json
  pyvqa ask runs/murel picture.png "What color is the ball?" --detector models/detector

The picture: JPEG, PNG or WebP, of any size. Where the answer would be a guess, because the picture
is no such scene or the question cannot be read, it is "unknown", with the reasons as warnings.
A MuRel model looks with the detector that made the features it was trained on (`pyvqa prepare
features`), which its config.yaml names."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a shipped model's name, a model folder or a run folder")
    parser.add_argument("image", type=Path, help="a picture file")
    parser.add_argument("question", help="in quotation marks")
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page with picture and steps, offline"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the answer as data (pyvqa view reads it)"
    )
    parser.add_argument(
        "--grammar",
        action="store_true",
        help="ns-vqa: let the parser write well-typed programs only",
    )
    parser.add_argument(
        "--detector",
        metavar="MODEL",
        help="murel: where the detector of its features is now (default: where it was)",
    )


def main(args: Namespace) -> int:
    """Answer, print, write what was asked for."""
    from pyvqa.evidence import write_answers
    from pyvqa.files import write_text

    answer = _answer(args)
    print("\n".join(_told(answer)))
    if args.html is not None:
        from pyvqa.view.trace import Summary, trace_page

        summary = Summary(title=f"Answered by {args.model}")
        write_text(args.html, trace_page([answer], summary))
        print(f"\npage: {args.html}")
    if args.json is not None:
        write_answers(args.json, [answer])
        print(f"\ndata: {args.json}")
    return 0


def _answer(args: Namespace) -> Answer:
    from pyvqa.errors import ConfigError
    from pyvqa.systems import load, system_of

    more: dict[str, bool] = {}
    if args.grammar:
        if system_of(args.model) != "ns-vqa":
            raise ConfigError("--grammar is for ns-vqa models, which write programs; leave it out")
        more["grammar"] = True
    model = load(args.model, detector=args.detector)
    answer: Answer = model.answer(args.image, args.question, **more)
    return answer


def _told(answer: Answer) -> list[str]:
    """Tell an answer in lines: what, why not, what was seen, how."""
    from pyvqa.cli.common import percent

    lines = [f"answer      {answer.text}"]
    if answer.score is not None:
        lines.append(f"confidence  {percent(answer.score)}")
    if answer.alternatives:
        others = ", ".join(f"{o.text} ({percent(o.score)})" for o in answer.alternatives)
        lines.append(f"{'or' if answer.score is not None else 'perhaps':<10}  {others}")
    lines += [f"warning     {' '.join(warning.split())}" for warning in answer.warnings]
    canvas = answer.canvas
    if canvas is not None:
        count = len(canvas.regions)
        kind = "region" if any(region.mask is None for region in canvas.regions) else "object"
        seen = f"1 {kind}" if count == 1 else f"{count or 'no'} {kind}s"
        lines.append(f"\nseen: {seen} in {canvas.title} ({canvas.width:g} x {canvas.height:g})")
        lines += _seen(canvas.regions)
    if answer.steps:
        lines += ["", "how:", *_steps(answer.steps)]
    return lines


def _seen(regions: Sequence[Region]) -> list[str]:
    """List the objects: number, what, how sure, where in the picture and on the ground."""
    from pyvqa.cli.common import percent

    if not regions:
        return []
    rows = [("", "what", "sure", "box", "position")]
    for number, region in enumerate(regions, 1):
        box = "" if region.box is None else " ".join(f"{value:.0f}" for value in region.box)
        place = region.attributes.get("position", "")
        rows.append((str(number), region.label, percent(region.weight), box, place))
    placed = any(row[-1] for row in rows[1:])
    return _table([row if placed else row[:-1] for row in rows], right=(0, 2))


def _steps(steps: Sequence[Step]) -> list[str]:
    """List the steps with the objects that were left after each."""
    rows = []
    for step in steps:
        items = [region.item + 1 for region in step.regions if region.item is not None]
        rows.append((step.words, step.value, " ".join(map(str, items))))
    return _table(rows)


def _table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return lines
