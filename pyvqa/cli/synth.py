"""Write the built-in world in an official layout: random scenes and what can be asked about them.

The same command continues an interrupted run. Equal settings give equal files, for any number of
workers and, under torchrun, processes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.world.write import Dataset

EXAMPLES = """examples:
  pyvqa synth clevr --no-images --out data/world --scenes 1000 --split val --seed 7
  pyvqa synth clevr --no-images --out data/world --scenes 70000 --split train --workers 2
  torchrun --nproc-per-node 4 -m pyvqa.cli.synth clevr --no-images --out data/world --scenes 70000
  pyvqa synth clevr-ref --no-images --out data/world --scenes 1000 --split val
  pyvqa synth clevr --no-images --out data/official --scenes 100 --templates CLEVR_1.0_templates

clevr writes scenes/CLEVR_<split>_scenes.json and questions/CLEVR_<split>_questions.json, clevr-ref
writes scenes/clevr_ref+_<split>_scenes.json and refexps/clevr_ref+_<split>_refexps.json; both write
reports/<format>_<split>_balance.json. Without pictures there are no masks and boxes, and no
expressions about visibility."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("format", choices=("clevr", "clevr-ref"), help="the layout to write")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data folder")
    parser.add_argument("--scenes", type=int, required=True, metavar="N", help="how many scenes")
    parser.add_argument("--split", default="val", help="name of the split; default: val")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--no-images", action="store_true", help="scenes and text only")
    parser.add_argument(
        "--templates", type=Path, metavar="DIR", help="template files; default: the package's own"
    )
    parser.add_argument(
        "--questions-per-scene", type=int, default=10, metavar="N", help="default: 10"
    )
    parser.add_argument(
        "--condition",
        choices=("any", "a", "b"),
        default="any",
        help="colours of shapes: all, or CoGenT's A or B; default: any",
    )
    parser.add_argument(
        "--workers", type=int, default=0, metavar="N", help="threads beside this one; default: 0"
    )


def main(args: Namespace) -> int:
    """Make what is missing, publish the files, print the balance."""
    from pyvqa.errors import ConfigError
    from pyvqa.world.questions import GeneratorSettings
    from pyvqa.world.scenes import SceneSettings
    from pyvqa.world.template_files import read_templates
    from pyvqa.world.write import LAYOUTS, Dataset, DatasetSettings

    if not args.no_images:
        raise ConfigError("pictures cannot be made yet; add --no-images for scenes and text alone")
    if args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: must be 0 or more")
    settings = DatasetSettings(
        format=args.format,
        split=args.split,
        scenes=args.scenes,
        seed=args.seed,
        scene=SceneSettings(condition=args.condition),
        questions=GeneratorSettings(per_scene=args.questions_per_scene),
    )
    templates = read_templates(args.templates, LAYOUTS[args.format].language)
    dataset = Dataset(args.out, settings, templates)
    complete = dataset.is_complete()
    first = complete or _make(dataset, args.workers)
    if complete:
        print("complete already: these files were made with the same settings")
    if first:
        _print_report(dataset)
    return 0


def _make(dataset: Dataset, workers: int) -> bool:
    """Make this process's share; say whether it is the one that published the files."""
    import sys

    from tqdm import tqdm

    from pyvqa.train.distributed import join
    from pyvqa.train.settings import TrainConfig

    total = dataset.settings.scenes
    with join(TrainConfig(device="cpu")) as job:
        quiet = job.rank > 0 or not sys.stderr.isatty()
        with tqdm(total=total, unit=" scenes", file=sys.stderr, disable=quiet) as bar:
            dataset.make_blocks(workers, bar.update, rank=job.rank, ranks=job.ranks)
        job.wait()
        if job.rank == 0:
            dataset.publish()
        return job.rank == 0


def _print_report(dataset: Dataset) -> None:
    from pyvqa.cli.common import print_table
    from pyvqa.world.balance import ROW_TITLES, table

    print_table(table(dataset.report()["balance"]), ROW_TITLES)
    for path in (dataset.scenes_path, dataset.entries_path, dataset.report_path):
        print(path)
    if dataset.settings.format == "clevr-ref":
        print("left out without pictures: obj_mask, obj_bbox and expressions with filter_visible")


if __name__ == "__main__":  # For `torchrun -m pyvqa.cli.synth`.
    import sys

    from pyvqa.cli.main import run_command

    raise SystemExit(run_command("synth", sys.argv[1:], "pyvqa synth"))
