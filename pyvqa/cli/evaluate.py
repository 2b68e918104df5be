"""Score a trained model on a split of an official data set.

A model with a detector and an attribute network looks at the pictures; the same command continues
an interrupted run, and under torchrun the pictures are shared among the processes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyvqa.systems.ns_vqa.answer import NsVqa
    from pyvqa.systems.ns_vqa.evaluate import Evaluation, Looked
    from pyvqa.systems.ns_vqa.seeing import Sight
    from pyvqa.train.distributed import Ranks

EXAMPLES = """examples:
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --out results/val
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --out results/val --explain 50 \\
      --errors-first
  torchrun --nproc-per-node 4 -m pyvqa.cli.evaluate MODEL --root DATA --split val --out results/val
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --scenes ground-truth --out results/gt
  pyvqa eval runs/reinforce --root data/CLEVR_v1.0 --split val --scenes scenes_parsed.json \\
      --out results/val --guess --seed 1

OUT/result.json holds the scores (`accuracy` is the share of right answers), OUT/answers.json
{"answers": [{"question_index", "answer"}, ...]} in file order, OUT/speed.json the seconds. From
pictures also OUT/scenes_parsed.json, what was seen as a scene file for --scenes, and
OUT/errors.json, the wrong answers and the stage each comes from."""

_FILES = ("answers.json", "scenes_parsed.json", "errors.json", "evidence.json", "speed.json")
_RESULT = "result.json"  # written last: where it is, the others are
_SEEN = ".seen"  # what was seen, for whoever runs the command again


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="a shipped model's name, a model folder or a run folder")
    parser.add_argument(
        "--root", type=Path, required=True, help="folder of the data set, in its official layout"
    )
    parser.add_argument("--split", required=True, help="e.g. val")
    parser.add_argument(
        "--scenes",
        metavar="FILE",
        help="do not look at pictures: ground-truth, or a scene file, official or parsed",
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
        "--pictures-at-once", type=int, default=8, metavar="N", help="looked at (default 8)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the networks that look at pictures (default float32)",
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
    parser.add_argument(
        "--errors-first", action="store_true", help="explain wrong answers before right ones"
    )


def main(args: Namespace) -> int:
    """Look, evaluate, write what was asked for, print the tables."""
    from pyvqa.systems import load
    from pyvqa.systems.ns_vqa.evaluate import GROUND_TRUTH, evaluate
    from pyvqa.train.distributed import join
    from pyvqa.train.settings import TrainConfig

    _check(args)
    with join(TrainConfig(device=args.device)) as job, job.explained():
        model = load(args.model)
        model.parser.to(job.device)
        speed: dict[str, float] = {}
        looked = None if args.scenes else _look(model, args, job, speed)
        if job.rank > 0:
            return 0
        evaluation = evaluate(
            model,
            args.root,
            args.split,
            scenes=args.scenes or GROUND_TRUTH,
            looked=looked,
            guess_seed=args.seed if args.guess else None,
            grammar=args.grammar,
            batch_size=args.batch_size,
            limit=args.max_questions,
            explain=args.explain,
            errors_first=args.errors_first,
        )
        speed |= evaluation.speed
        _print(evaluation, speed)
        if args.out is not None:
            _write(args, evaluation, looked, speed)
            print(f"results: {args.out}")
    return 0


def _check(args: Namespace) -> None:
    import torch

    from pyvqa.errors import ConfigError

    if args.explain and args.out is None:
        raise ConfigError("--explain writes a file; name a folder with --out DIR")
    if args.errors_first and not args.explain:
        raise ConfigError("--errors-first says which answers to explain; add --explain N")
    if args.batch_size < 1 or args.max_questions < 0 or args.explain < 0:
        raise ConfigError(
            "--batch-size must be at least 1, --max-questions and --explain at least 0"
        )
    if args.pictures_at_once < 1:
        raise ConfigError("--pictures-at-once must be at least 1")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no CUDA device; use --device cpu")


# ---- pictures


def _look(model: NsVqa, args: Namespace, job: Ranks, speed: dict[str, float]) -> Looked | None:
    """Look at the pictures, each rank at its share; rank 0 gets what all have seen."""
    import tempfile

    from pyvqa.errors import ConfigError
    from pyvqa.systems.ns_vqa.evaluate import Looked, pictures_of, read_split
    from pyvqa.systems.ns_vqa.seeing import SeenParts

    if args.out is None and job.ranks > 1:
        raise ConfigError("several processes meet in a folder; name it with --out DIR")
    sight = _sight(model, args, job)
    pictures = pictures_of(
        args.root, args.split, read_split(args.root, args.split, args.max_questions)
    )
    with tempfile.TemporaryDirectory(prefix="pyvqa-") as fleeting:
        home = Path(fleeting) if args.out is None else args.out / _SEEN
        parts = SeenParts(home, sight, pictures)
        _make(parts, job, speed)
        if job.rank > 0:
            return None
        parts.clean()
        return Looked(parts.read(), sight.eyes.detector.config)


def _sight(model: NsVqa, args: Namespace, job: Ranks) -> Sight:
    from pyvqa.errors import ConfigError
    from pyvqa.systems.ns_vqa.seeing import Sight

    parts = {"detector": model.detector, "attribute network": model.attributes}
    lacking = [name for name, part in parts.items() if part is None]
    if lacking:
        raise ConfigError(
            f"{args.model}: has no {' and no '.join(lacking)}, so it cannot look at pictures; "
            "add --scenes ground-truth, or --scenes FILE with scenes parsed from them"
        )
    eyes = model.eyes
    eyes.detector.network.to(job.device)
    eyes.attributes.network.to(job.device)
    return Sight(eyes, args.pictures_at_once, args.precision)


def _make(parts: Any, job: Ranks, speed: dict[str, float]) -> None:
    """Make the parts that are missing, every rank its share."""
    import time

    from pyvqa.train.logging import Progress, show_messages

    show_messages()
    missing = parts.missing()
    mine = [part for part in range(parts.parts) if part % job.ranks == job.rank]
    left = [part for part in mine if part in set(missing)]
    done = parts.pictures_in(mine) - parts.pictures_in(left)
    job.wait()  # until all know what is missing
    started = time.perf_counter()
    with Progress(done, parts.pictures_in(mine), unit="picture", shown=job.rank == 0) as progress:
        parts.look(left, progress.advance)
    job.wait()
    if missing:
        speed["pictures"] = parts.pictures_in(missing)
        speed["look_seconds"] = round(time.perf_counter() - started, 3)


# ---- results


def _write(
    args: Namespace, evaluation: Evaluation, looked: Looked | None, speed: dict[str, float]
) -> None:
    from pyvqa.data.pieces import remove_half_written
    from pyvqa.evidence import write_answers
    from pyvqa.files import write_json
    from pyvqa.systems.ns_vqa.seeing import parsed_scenes

    out = args.out
    out.mkdir(parents=True, exist_ok=True)
    remove_half_written(out / name for name in (*_FILES, _RESULT))
    for name in ("errors.json", "evidence.json"):  # of an earlier evaluation
        (out / name).unlink(missing_ok=True)
    write_json(out / "answers.json", {"answers": evaluation.answers}, indent=None)
    if looked is not None:
        write_json(out / "scenes_parsed.json", parsed_scenes(looked.pictures), indent=None)
    if evaluation.errors is not None:
        write_json(out / "errors.json", {"errors": evaluation.errors})
    if evaluation.explained:
        write_answers(out / "evidence.json", evaluation.explained)
    write_json(out / "speed.json", speed)
    write_json(out / _RESULT, evaluation.result | {"model": str(args.model)})


def _print(evaluation: Evaluation, speed: dict[str, float]) -> None:
    from pyvqa.cli.common import per_second, percent, print_table

    rows = [(name, f"{count:,}", percent(share)) for name, count, share in evaluation.rows]
    print_table(rows, ("", "questions", "right"))
    _print_objects(evaluation.result)
    _print_causes(evaluation.result)
    print()
    if "look_seconds" in speed:
        print(f"{speed['pictures']:,} pictures: {_rate(speed['pictures'], speed['look_seconds'])}")
    count = evaluation.result["questions"]
    print(
        f"{count:,} questions: parsed {per_second(count, speed['parse_seconds'])}, "
        f"executed {per_second(count, speed['execute_seconds'])}"
    )


def _rate(count: float, seconds: float) -> str:
    return f"{count / max(seconds, 1e-9):.1f} a second"


def _print_objects(result: dict[str, Any]) -> None:
    """Print how well the pictures were read."""
    from pyvqa.cli.common import percent, print_table

    found = result.get("objects")
    if found is None:
        if "pictures" in result:
            print("\nno scene file: what was seen cannot be judged")
        return
    by = {"iou_50": "mask IoU 0.5", "iou_70": "mask IoU 0.7", "within_0.5": "within 0.5 units"}
    rows = [
        (f"{name}, {by[rule]}", f"{found[of]:,}", percent(share))
        for name, of in (("recall", "true"), ("precision", "seen"))
        for rule, share in found[name].items()
    ]
    pairs = f"{found['paired']:,}"
    rows += [(n, pairs, percent(share)) for n, share in found["attribute_accuracy"].items()]
    rows.append(("relations", pairs, percent(found["relation_accuracy"]["all"])))
    rows.append(("pictures all right", f"{found['scenes']:,}", percent(found["scenes_right"])))
    print()
    print_table(rows, ("", "objects", "right"))
    if found["mean_mask_iou"] is not None:
        print(f"mean mask IoU {found['mean_mask_iou']:.4f}")
    error = found["position_error"]
    if error["mean"] is not None:
        print(
            f"position error {error['mean']:.3f} units on average, "
            f"{error['percentile_95']:.3f} at the 95th percentile"
        )
    if result["coco"] is not None:
        ap = {kind: result["coco"][kind]["AP"] for kind in ("bbox", "segm")}
        print(f"COCO AP of boxes {ap['bbox']:.4f}, of masks {ap['segm']:.4f}")


def _print_causes(result: dict[str, Any]) -> None:
    """Print where wrong answers come from."""
    from pyvqa.cli.common import print_table

    wrong = result.get("wrong_answers")
    if not wrong or not wrong["total"]:
        return
    rows = [
        (f"{stage}: {kind}" if kind != stage else stage, f"{count:,}")
        for stage, kinds in wrong.items()
        if stage != "total"
        for kind, count in kinds.items()
        if count
    ]
    print()
    print_table(rows, ("wrong answers come from", "questions"))


if __name__ == "__main__":  # For `torchrun -m pyvqa.cli.evaluate`.
    import sys

    from pyvqa.cli.main import run_command

    raise SystemExit(run_command("eval", sys.argv[1:], "pyvqa eval"))
