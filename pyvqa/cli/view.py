"""Write a page of training curves (run folders) or of reasoning traces (an answers file)."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa view runs/parser                         curves, written to runs/parser/view.html
  pyvqa view runs/a runs/b --out both.html       curves of several runs side by side
  pyvqa view runs/a runs/b --tensorboard tb      the same for `tensorboard --logdir tb`
  pyvqa view results/val                         the answers in results/val/evidence.json
  pyvqa view demo/answers.json --out page.html   answers with their steps

Pictures that an answers file only names are looked for in images/ beside it."""

_EVIDENCE = "evidence.json"  # of a results folder (pyvqa eval --explain)


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help=f"run folders, or one answers file or results folder with {_EVIDENCE}",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: view.html beside the input"
    )
    parser.add_argument(
        "--tensorboard",
        type=Path,
        metavar="DIR",
        help="also write the curves of run folders as TensorBoard's event files",
    )


def main(args: Namespace) -> int:
    """Write the page and say where it is."""
    from pyvqa.errors import ConfigError
    from pyvqa.files import write_text
    from pyvqa.view.curves import curves_page

    first: Path = args.paths[0]
    results = first / _EVIDENCE if first.is_dir() else first
    if len(args.paths) == 1 and results.is_file():
        if args.tensorboard is not None:
            raise ConfigError(f"{first}: has no curves; leave out --tensorboard")
        out = args.out or results.with_name("view.html")
        text = _answers_page(results)
    elif first.is_dir():
        out = args.out or first / "view.html"
        text = curves_page(args.paths)
    elif len(args.paths) == 1:
        raise ConfigError(f"{first}: there is neither a file nor a folder; check the path")
    else:
        raise ConfigError(f"{first}: not a run folder; several paths must all be run folders")
    write_text(out, text)
    print(f"page: {out}")
    if args.tensorboard is not None:
        from pyvqa.view.tensorboard import write_events

        for file in write_events(args.paths, args.tensorboard):
            print(f"events: {file}")
    return 0


def _answers_page(path: Path) -> str:
    from pyvqa.evidence import read_answers
    from pyvqa.view.trace import Summary, trace_page, with_pictures

    answers = with_pictures(read_answers(path), path.parent / "images")
    judged = [a.is_right for a in answers if a.is_right is not None]
    figures = [("questions", str(len(answers)))] if len(answers) > 1 else []
    if judged:
        figures.append(("answered right", f"{100 * sum(judged) / len(judged):.1f} %"))
    title = path.parent.name if path.name == _EVIDENCE and path.parent.name else path.name
    return trace_page(answers, Summary(title=title, figures=tuple(figures)))
