"""`pyvqa eval` for NS-VQA: look at a split's pictures, answer its questions, print the tables."""

from __future__ import annotations

from argparse import Namespace, _ArgumentGroup
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyvqa.systems.ns_vqa.answer import NsVqa
    from pyvqa.systems.ns_vqa.evaluate import Evaluation, Looked
    from pyvqa.systems.ns_vqa.seeing import Sight
    from pyvqa.train.distributed import Ranks

_FILES = ("answers.json", "scenes_parsed.json", "errors.json", "evidence.json", "speed.json")
_RESULT = "result.json"  # written last: where it is, the others are
_SEEN = ".seen"  # what was seen, for whoever runs the command again


def add_options(group: _ArgumentGroup) -> None:
    """Declare what only this system has."""
    group.add_argument(
        "--scenes",
        metavar="FILE",
        help="do not look at pictures: ground-truth, or a scene file, official or parsed",
    )
    group.add_argument(
        "--guess", action="store_true", help="guess where a program fails, as the original does"
    )
    group.add_argument("--seed", type=int, default=0, help="of the guesses (default 0)")
    group.add_argument(
        "--grammar", action="store_true", help="let the parser write well-typed programs only"
    )
    group.add_argument(
        "--pictures-at-once", type=int, default=8, metavar="N", help="looked at (default 8)"
    )
    group.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the networks that look at pictures (default float32)",
    )


def run(args: Namespace) -> int:
    """Look, evaluate, write what was asked for, print the tables."""
    from pyvqa.errors import ConfigError
    from pyvqa.systems import load
    from pyvqa.systems.ns_vqa.evaluate import GROUND_TRUTH, evaluate
    from pyvqa.train.distributed import join
    from pyvqa.train.settings import TrainConfig

    if args.pictures_at_once < 1:
        raise ConfigError("--pictures-at-once must be at least 1")
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
