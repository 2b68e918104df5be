"""Score a trained model on a split of an official data set."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --scenes ground-truth --out results/val
  pyvqa eval runs/reinforce --root data/CLEVR_v1.0 --split val --scenes scenes_parsed.json \\
      --out results/val --guess --seed 1

OUT/result.json holds the scores (`accuracy` is the share of right answers), OUT/answers.json
{"answers": [{"question_index", "answer"}, ...]} in file order."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a shipped model's name, a model folder or a run folder")
    parser.add_argument(
        "--root", type=Path, required=True, help="folder of the data set, in its official layout"
    )
    parser.add_argument("--split", required=True, help="e.g. val")
    parser.add_argument(
        "--scenes",
        default="ground-truth",
        metavar="FILE",
        help="ground-truth (default), or a scene file, official or parsed from pictures",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write result and answers here")
    parser.add_argument(
        "--guess", action="store_true", help="guess where a program fails, as the original does"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the guesses (default 0)")
    parser.add_argument(
        "--grammar", action="store_true", help="let the parser write well-typed programs only"
    )
    parser.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="questions at once (default 256)"
    )
    parser.add_argument(
        "--max-questions", type=int, default=0, metavar="N", help="use the first N only; 0: all"
    )
    parser.add_argument(
        "--explain",
        type=int,
        default=0,
        metavar="N",
        help="write the steps of the first N answers to OUT/evidence.json",
    )


def main(args: Namespace) -> int:
    """Evaluate, write what was asked for, print the table."""
    from pyvqa.cli.common import per_second, percent, print_table
    from pyvqa.errors import ConfigError
    from pyvqa.evidence import write_answers
    from pyvqa.files import write_json
    from pyvqa.systems import load
    from pyvqa.systems.ns_vqa.evaluate import evaluate

    if args.explain and args.out is None:
        raise ConfigError("--explain writes a file; name a folder with --out DIR")
    if args.batch_size < 1 or args.max_questions < 0 or args.explain < 0:
        raise ConfigError(
            "--batch-size must be at least 1, --max-questions and --explain at least 0"
        )
    evaluation = evaluate(
        load(args.model),
        args.root,
        args.split,
        scenes=args.scenes,
        guess_seed=args.seed if args.guess else None,
        grammar=args.grammar,
        batch_size=args.batch_size,
        limit=args.max_questions,
        explain=args.explain,
    )
    result = evaluation.result
    rows = [(name, f"{count:,}", percent(share)) for name, count, share in evaluation.rows]
    print_table(rows, ("", "questions", "right"))
    count = result["questions"]
    print(
        f"{count:,} questions: parsed {per_second(count, result['parse_seconds'])}, "
        f"executed {per_second(count, result['execute_seconds'])}"
    )
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "result.json", result | {"model": str(args.model)})
        write_json(args.out / "answers.json", {"answers": evaluation.answers}, indent=None)
        if evaluation.explained:
            write_answers(args.out / "evidence.json", evaluation.explained)
        print(f"results: {args.out}")
    return 0
