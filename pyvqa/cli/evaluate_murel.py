"""`pyvqa eval` for MuRel: answer prepared questions, write result files, print the tables."""

from __future__ import annotations

from argparse import Namespace, _ArgumentGroup
from pathlib import Path
from typing import Any

_RESULT = "result.json"
_MOST_TYPES = 20  # that are printed; VQA v2 has 65


def add_options(group: _ArgumentGroup) -> None:
    """Declare what only this system has."""
    group.add_argument(
        "--features",
        type=Path,
        nargs="+",
        default=[],
        metavar="STORE",
        help="feature stores with the pictures of the split",
    )
    group.add_argument(
        "--without-pictures", action="store_true", help="replace all features by zeros"
    )
    group.add_argument(
        "--vqa-eval",
        choices=("official", "legacy"),
        default="official",
        help="flavour of the VQA accuracy: the current official code, or the older copy that the "
        "original carries (default official)",
    )
    group.add_argument(
        "--save-logits", action="store_true", help="write OUT/logits.h5, for ensembles"
    )


def run(args: Namespace) -> int:
    """Answer, write what was asked for, print the tables."""
    import time

    from pyvqa.data.vqa_questions import VqaData
    from pyvqa.errors import ConfigError
    from pyvqa.systems import find_model
    from pyvqa.systems.murel.evaluate import evaluate
    from pyvqa.systems.murel.folder import read_model
    from pyvqa.train.distributed import join
    from pyvqa.train.logging import Progress, show_messages
    from pyvqa.train.settings import TrainConfig

    if bool(args.features) == args.without_pictures:
        raise ConfigError("give either --features STORE, or --without-pictures")
    if args.save_logits and args.out is None:
        raise ConfigError("--save-logits writes a file; name a folder with --out DIR")
    show_messages()
    with join(TrainConfig(device=args.device)) as job:
        if job.ranks > 1:
            raise ConfigError("a MuRel model is evaluated by one process; run it without torchrun")
        model = read_model(find_model(args.model))
        model.network.to(job.device)
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            (args.out / _RESULT).unlink(missing_ok=True)  # written last
        data = VqaData(args.root)
        started = time.perf_counter()
        total = data.questions(args.split, args.max_questions)
        with Progress(0, total, unit="question") as progress:
            evaluation = evaluate(
                model,
                data,
                args.split,
                args.features,
                batch_size=args.batch_size,
                limit=args.max_questions,
                flavour=args.vqa_eval,
                logits=args.out / "logits.h5" if args.save_logits else None,
                explain=args.explain,
                errors_first=args.errors_first,
                advance=progress.advance,
            )
        seconds = time.perf_counter() - started
    _print(evaluation.result, seconds)
    if args.out is not None:
        _write(args, evaluation)
        print(f"results: {args.out}")
    return 0


def run_results(args: Namespace) -> int:
    """Score a result file on prepared questions."""
    import time

    from pyvqa.data.vqa_questions import VqaData
    from pyvqa.errors import ConfigError
    from pyvqa.files import write_json
    from pyvqa.systems.murel.evaluate import evaluate_results

    for name in ("features", "without_pictures", "save_logits", "explain", "max_questions"):
        if getattr(args, name):
            flag = name.replace("_", "-")
            raise ConfigError(f"--{flag} is for models, {args.model} holds answers already")
    started = time.perf_counter()
    path = Path(args.model)
    result = evaluate_results(VqaData(args.root), args.split, path, args.vqa_eval)
    _print(result, time.perf_counter() - started)
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / _RESULT, result | {"results": str(path)})
        print(f"results: {args.out}")
    return 0


def _write(args: Namespace, evaluation: Any) -> None:
    from pyvqa.data.vqa_results import write_results
    from pyvqa.evidence import write_answers
    from pyvqa.files import write_json

    write_results(
        args.out, evaluation.subset, evaluation.table, evaluation.texts, evaluation.vocabulary
    )
    (args.out / "evidence.json").unlink(missing_ok=True)
    if evaluation.explained:
        write_answers(args.out / "evidence.json", evaluation.explained)
    write_json(args.out / _RESULT, evaluation.result | {"model": str(args.model)})


def _print(result: dict[str, Any], seconds: float) -> None:
    from pyvqa.cli.common import per_second, print_table

    count = result["questions"]
    if result["accuracy_top1"] is None:
        print(f"{count:,} questions without answers: there is nothing to score")
    else:
        print_table(_rows(result), ("percent", "questions", "score", "95 % interval"))
    print(f"\n{count:,} questions: {per_second(count, seconds)}")


def _rows(result: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """List scores: official accuracy and its parts, top 1 and 5, types."""
    count = f"{result['questions']:,}"
    vqa, by_type = result["vqa"], result["by_type"]
    rows = []
    if vqa is not None:
        rows.append(("VQA accuracy", count, f"{vqa['overall']:.2f}", _interval(vqa["interval"])))
        rows += [_part(f"  {name}", part) for name, part in vqa["answer_types"].items()]
    top1 = f"{result['accuracy_top1']:.2f}"
    rows.append(("right answer first", count, top1, _interval(result["interval"])))
    if "accuracy_top5" in result:
        rows.append(("among the first five", count, f"{result['accuracy_top5']:.2f}", ""))
    for name, words in (
        ("acc_mpt_a", "mean over types"),
        ("acc_mpt_h", "harmonic mean over types"),
        ("acc_mpt_a_norm", "mean over types, normalised"),
        ("acc_mpt_h_norm", "harmonic mean over types, normalised"),
    ):
        rows.append((words, count, f"{by_type[name]:.2f}", ""))
    types = by_type["types"] if vqa is None else vqa["types"]
    shown = dict(sorted(types.items())) if len(types) <= _MOST_TYPES else {}
    return rows + [_part(f"  {name or '(no type)'}", part) for name, part in shown.items()]


def _part(name: str, part: Any) -> tuple[str, str, str, str]:
    score, low, high, count = part
    return name, f"{count:,}", f"{score:.2f}", _interval((low, high))


def _interval(ends: Any) -> str:
    return f"{ends[0]:.2f} to {ends[1]:.2f}"
