"""Run the symbolic programs of a question or expression file over its scenes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa execute --language clevr --scenes CLEVR_val_scenes.json --questions CLEVR_val_questions.json
  pyvqa execute --language clevr-ref --scenes clevr_ref+_val_scenes.json \\
      --questions clevr_ref+_val_refexps.json --out answers.json --trace

The answers file holds {"accuracy": share or null, "answers": [...]}, one entry per question in file
order: {"question_index", "answer"}, or for expressions {"refexp_index", "objects", "status"} with
0-based objects in ascending order and the status "ok" or "invalid"."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--language", choices=("clevr", "clevr-ref"), default="clevr", help="default: clevr"
    )
    parser.add_argument(
        "--scenes", type=Path, required=True, metavar="FILE", help="scenes, .json or .json.gz"
    )
    parser.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="questions or expressions"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the answers here")
    parser.add_argument("--trace", action="store_true", help="keep every step's result in --out")


def main(args: Namespace) -> int:
    """Execute, write the answers, print accuracy by type and the speed."""
    from pyvqa.cli.common import per_second, percent, print_table
    from pyvqa.errors import ConfigError, DataError
    from pyvqa.files import write_json
    from pyvqa.programs.questions import read_questions
    from pyvqa.programs.run import run_file
    from pyvqa.programs.scenes import read_scenes

    if args.trace and args.out is None:
        raise ConfigError("--trace goes into the answers file; name one with --out FILE")
    scenes = read_scenes(args.scenes, args.language)
    questions = read_questions(args.questions)
    try:
        result = run_file(scenes, questions, args.language, trace=args.trace)
    except DataError as error:
        raise DataError(f"{args.questions} on {args.scenes}: {error}") from error
    if args.out is not None:
        content = {"accuracy": result.accuracy, "answers": result.entries}
        write_json(args.out, content, indent=None)
    total = len(result.entries)
    kind = "type" if args.language == "clevr" else "template"
    rows = [(name, f"{count:,}", percent(share)) for name, count, share in result.by_group()]
    print_table(
        [*rows, ("all", f"{total:,}", percent(result.accuracy))], (kind, "programs", "right")
    )
    print(f"{total:,} programs on {len(scenes):,} scenes: {per_second(total, result.seconds)}")
    if args.out is not None:
        print(f"answers: {args.out}")
    return 0
