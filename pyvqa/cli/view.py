"""Write a page of training curves (run folders) or of reasoning traces (an answers file)."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa view runs/parser                         curves, written to runs/parser/view.html
  pyvqa view runs/a runs/b --out both.html       curves of several runs side by side
  pyvqa view demo/answers.json --out page.html   answers with their steps"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="run folders, or one answers file"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="default: view.html beside the input"
    )


def main(args: Namespace) -> int:
    """Write the page and say where it is."""
    from pyvqa.errors import ConfigError
    from pyvqa.evidence import read_answers
    from pyvqa.files import write_text
    from pyvqa.view.curves import curves_page
    from pyvqa.view.trace import Summary, trace_page

    first: Path = args.paths[0]
    if first.is_dir():
        out = args.out or first / "view.html"
        text = curves_page(args.paths)
    elif len(args.paths) == 1:
        out = args.out or first.with_name("view.html")
        answers = read_answers(first)
        judged = [a.is_right for a in answers if a.is_right is not None]
        figures = [("questions", str(len(answers)))]
        if judged:
            figures.append(("answered right", f"{100 * sum(judged) / len(judged):.1f} %"))
        text = trace_page(answers, Summary(title=first.name, figures=tuple(figures)))
    else:
        raise ConfigError(f"{first}: not a run folder; several paths must all be run folders")
    write_text(out, text)
    print(f"page: {out}")
    return 0
