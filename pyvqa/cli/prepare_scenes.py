"""The steps of `pyvqa prepare` that lead from pictures to scenes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.systems.ns_vqa.extract import DetectionWork, SceneWork
    from pyvqa.systems.ns_vqa.regions import RegionWork

EXAMPLES = """  pyvqa prepare clevr-detections --model ns-vqa-clevr --root data/CLEVR_v1.0 \\
      --split val --out detections.h5
  pyvqa prepare clevr-objects --detections detections.h5 --out objects.json
  pyvqa prepare clevr-objects --detections detections.pkl \\
      --ground-truth data/CLEVR_mini/CLEVR_mini_coco_anns.json --out mini_objects.json
  pyvqa prepare clevr-scenes --model ns-vqa-clevr --objects objects.json \\
      --root data/CLEVR_v1.0 --split val --out scenes_parsed.json
  torchrun --nproc-per-node 4 -m pyvqa.cli.prepare clevr-detections --model ns-vqa-clevr \\
      --root data/CLEVR_v1.0 --split val --out detections.h5

features, clevr-detections and clevr-scenes go on where they were interrupted when the same command
is run again. Split mini is a CLEVR-mini folder. Without pictures: pyvqa synth clevr --help."""


def add_steps(steps: _SubParsersAction[ArgumentParser]) -> None:
    """Declare the steps, each with its arguments."""
    _detections(steps)
    _objects(steps)
    _scenes(steps)


def _detections(steps: _SubParsersAction[ArgumentParser]) -> None:
    step = steps.add_parser("clevr-detections", help="pictures -> h5 file of what a detector finds")
    _over_pictures(step, "with a detector")
    step.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="pictures at once (default 8)"
    )
    step.add_argument("--out", type=Path, required=True, metavar="FILE.h5", help="written here")
    step.set_defaults(run_step=_run_detections)


def _objects(steps: _SubParsersAction[ArgumentParser]) -> None:
    step = steps.add_parser("clevr-objects", help="detections -> objects, as NS-VQA describes them")
    step.add_argument(
        "--detections",
        type=Path,
        required=True,
        metavar="FILE",
        help="an .h5 file of clevr-detections, or the original's detections.pkl",
    )
    step.add_argument(
        "--ground-truth",
        type=Path,
        metavar="FILE",
        help="keep what lies on a true object of this scene file with masks, and note its values",
    )
    step.add_argument(
        "--score", type=float, default=0.9, metavar="S", help="least score, exclusive (default 0.9)"
    )
    step.add_argument(
        "--align-iou",
        type=float,
        metavar="T",
        help="least mask IoU with a true object, exclusive (default 0.7)",
    )
    step.add_argument(
        "--match",
        choices=("best", "first"),
        help="which true object: the one that overlaps most (default), or the first as originally",
    )
    step.add_argument(
        "--suppression", action="store_true", help="drop the lesser of two objects that overlap"
    )
    step.add_argument(
        "--suppression-iou", type=float, metavar="T", help="highest mask IoU (default 0.5)"
    )
    step.add_argument(
        "--suppression-iomin",
        type=float,
        metavar="T",
        help="highest overlap over the smaller mask (default 0.5)",
    )
    step.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="written here")
    step.set_defaults(run_step=_run_objects)


def _scenes(steps: _SubParsersAction[ArgumentParser]) -> None:
    step = steps.add_parser("clevr-scenes", help="objects in pictures -> scenes for the questions")
    _over_pictures(step, "with an attribute network")
    step.add_argument(
        "--objects", type=Path, required=True, metavar="FILE", help="made by clevr-objects"
    )
    step.add_argument(
        "--labels",
        choices=("detector", "network"),
        help="who tells color, material and shape (default: as the model's settings say)",
    )
    step.add_argument("--out", type=Path, required=True, metavar="FILE.json", help="written here")
    step.set_defaults(run_step=_run_scenes)


def _over_pictures(step: ArgumentParser, needs: str) -> None:
    step.add_argument(
        "--model", required=True, help=f"a shipped model, model or run folder {needs}"
    )
    step.add_argument(
        "--root", type=Path, required=True, help="folder of the data set, in its official layout"
    )
    step.add_argument("--split", required=True, help="e.g. val; mini: a CLEVR-mini folder")
    step.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:NUMBER")
    step.add_argument(
        "--workers", type=int, default=1, metavar="N", help="threads that read ahead (default 1)"
    )


def _run_detections(args: Namespace) -> int:
    from pyvqa.errors import ConfigError
    from pyvqa.systems import find_model
    from pyvqa.systems.ns_vqa.extract import DetectionWork

    if args.batch_size < 1:
        raise ConfigError(f"--batch-size {args.batch_size}: must be at least 1")
    if args.out.suffix != ".h5":
        raise ConfigError(f"--out {args.out}: the name must end in .h5")
    folder = find_model(args.model)
    work = DetectionWork(folder, args.root, args.split, args.out, args.batch_size)
    return carry_out(work, args)


def _run_scenes(args: Namespace) -> int:
    from pyvqa.systems import find_model
    from pyvqa.systems.ns_vqa.extract import SceneWork
    from pyvqa.systems.ns_vqa.folder import read_config

    folder = find_model(args.model)
    by_class = read_config(folder).perception.category_labels
    if args.labels is not None:
        by_class = args.labels == "detector"
    work = SceneWork(folder, args.objects, args.root, args.split, args.out, by_class)
    return carry_out(work, args)


def carry_out(work: DetectionWork | SceneWork | RegionWork, args: Namespace) -> int:
    """Make this process's share; the first of several publishes the file."""
    import sys
    import time

    from tqdm import tqdm

    from pyvqa.errors import ConfigError
    from pyvqa.train.distributed import join
    from pyvqa.train.settings import TrainConfig

    if args.workers < 1:
        raise ConfigError(f"--workers {args.workers}: must be at least 1")
    with join(TrainConfig(device=args.device)) as job:
        if work.is_complete():
            if job.rank == 0:
                print(f"complete already: {args.out} was made with the same settings")
            return 0
        quiet = job.rank > 0 or not sys.stderr.isatty()
        start = time.perf_counter()
        share = -(-work.total // job.ranks)
        with tqdm(total=share, unit=f" {work.unit}", file=sys.stderr, disable=quiet) as bar:
            done = work.make(job.rank, job.ranks, job.device, args.workers, bar.update)
        speed = done / max(1e-9, time.perf_counter() - start)
        job.wait()
        if job.rank == 0:
            work.publish()
            others = f" by each of {job.ranks} processes" if job.ranks > 1 else ""
            print(f"{args.out} ({work.total:,} {work.unit}, {speed:.1f} a second{others})")
    return 0


def _run_objects(args: Namespace) -> int:
    import numpy as np

    from pyvqa.systems.ns_vqa.detections import read_detections
    from pyvqa.systems.ns_vqa.objects import Suppression, make_objects, read_truth

    _check_options(args)
    detections = read_detections(args.detections)
    truth = None if args.ground_truth is None else read_truth(args.ground_truth)
    rule = None
    if args.suppression:
        iou, iomin = args.suppression_iou, args.suppression_iomin
        rule = Suppression(0.5 if iou is None else iou, 0.5 if iomin is None else iomin)
    objects = make_objects(
        detections,
        score=args.score,
        truth=truth,
        align_iou=0.7 if args.align_iou is None else args.align_iou,
        match=args.match or "best",
        suppression=rule,
    )
    objects.write(args.out)
    pictures = len(np.unique(objects.image_index))
    print(
        f"objects: {args.out} ({len(objects):,} of {len(detections):,} detections, in {pictures:,} "
        f"of {len(detections.image_index):,} pictures)"
    )
    return 0


def _check_options(args: Namespace) -> None:
    """Refuse options that would have no effect, and shares that are none."""
    from pyvqa.errors import ConfigError

    given = vars(args)
    needed = {
        "align_iou": "ground_truth",
        "match": "ground_truth",
        "suppression_iou": "suppression",
        "suppression_iomin": "suppression",
    }
    for name, other in needed.items():
        if given[name] is not None and not given[other]:
            raise ConfigError(f"--{name} goes with --{other} only".replace("_", "-"))
    if args.ground_truth is not None and args.suppression:
        raise ConfigError("objects are paired with --ground-truth or thinned out, not both")
    for name in ("score", "align_iou", "suppression_iou", "suppression_iomin"):
        if given[name] is not None and not 0 <= given[name] <= 1:
            raise ConfigError(f"--{name} {given[name]}: must lie in 0..1".replace("_", "-"))
