"""Write the built-in world in an official layout: pictures, scenes, and what is asked about them.

The same command continues an interrupted run. Equal settings give equal files, for any number of
workers and, under torchrun, processes."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.view.sheet import Picture
    from pyvqa.world.excerpt import Excerpt
    from pyvqa.world.template_files import Templates
    from pyvqa.world.write import Dataset, DatasetSettings

EXAMPLES = """examples:
  pyvqa synth clevr --out data/world --scenes 1000 --split val --seed 7 --page
  pyvqa synth clevr --out data/world --scenes 70000 --split train --size 320x240
  pyvqa synth clevr-mini --out data/mini --scenes 4000
  pyvqa synth clevr-ref --out data/world --scenes 1000 --split val --seed 7 --false-premise 2
  pyvqa synth clevr --no-images --out data/text --scenes 70000 --split train
  torchrun --nproc-per-node 4 -m pyvqa.cli.synth clevr --out data/world --scenes 70000
  pyvqa synth clevr --out data/official --scenes 100 --templates CLEVR_1.0_templates
  pyvqa synth vqa2 --out data/vqa2 --scenes 2000 --split train
  pyvqa synth vqacp2 --out data/vqacp2 --scenes 500 --split test
  pyvqa synth tdiuc --out data/tdiuc --scenes 500 --split val --page

clevr writes images/<split>/CLEVR_<split>_NNNNNN.png, scenes/CLEVR_<split>_scenes.json,
questions/CLEVR_<split>_questions.json and the masks as a COCO file, instances_<split>.json.
clevr-ref writes the same pictures, scenes/clevr_ref+_<split>_scenes.json with masks and boxes, and
refexps/clevr_ref+_<split>_refexps.json; clevr-mini writes images/CLEVR_mini_NNNNNN.png and
CLEVR_mini_coco_anns.json.
vqa2, vqacp2 and tdiuc write questions and annotations under their official names,
images/<part>/COCO_<part>_NNNNNNNNNNNN.png and annotations/instances_<part>.json; splits train and
val (vqa2 also test, without answers; vqacp2 train and test). `pyvqa prepare vqa2 --root DIR` reads
them, `pyvqa prepare features` describes the pictures.

A report of settings and balance goes to reports/. Without pictures there are no masks and boxes,
and no expressions about visibility."""

_SHOWN = 24  # pictures on the page


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "format",
        choices=("clevr", "clevr-mini", "clevr-ref", "vqa2", "vqacp2", "tdiuc"),
        help="the layout to write",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data folder")
    parser.add_argument("--scenes", type=int, required=True, metavar="N", help="how many scenes")
    parser.add_argument("--split", default="val", help="name of the split; default: val")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument("--no-images", action="store_true", help="scenes and text only")
    parser.add_argument(
        "--size", default="480x320", metavar="WxH", help="of the pictures; default: 480x320"
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="rays a pixel; default: training quality"
    )
    parser.add_argument(
        "--templates", type=Path, metavar="DIR", help="template files; default: the package's own"
    )
    parser.add_argument("--questions-per-scene", type=int, metavar="N", help="default: 10")
    parser.add_argument(
        "--false-premise",
        type=int,
        default=0,
        metavar="N",
        help="expressions a scene, beside the others, that refer to no object; default: 0",
    )
    parser.add_argument(
        "--condition",
        choices=("any", "a", "b"),
        default="any",
        help="colours of shapes: all, or CoGenT's A or B; default: any",
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads beside this one; default: one a core"
    )
    parser.add_argument(
        "--page", action="store_true", help="also write a page of the first pictures, offline HTML"
    )


def main(args: Namespace) -> int:
    """Make what is missing, publish the files, print the balance."""
    import torch

    from pyvqa.errors import ConfigError
    from pyvqa.world.write import Dataset

    if args.workers is not None and args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: must be 0 or more")
    workers = torch.get_num_threads() if args.workers is None else args.workers
    templates = _templates(args)
    dataset = Dataset(args.out, _settings(args), templates)
    complete = dataset.is_complete()
    first = complete or _make(dataset, workers)
    if complete:
        print("complete already: these files were made with the same settings")
    if first:
        _print_report(dataset)
    if first and args.page:
        print(_write_page(dataset))
    return 0


def _templates(args: Namespace) -> Templates | None:
    from pyvqa.errors import ConfigError
    from pyvqa.world.template_files import read_templates
    from pyvqa.world.write import layout_of

    language = layout_of(args.format, args.split).language
    if language:
        return read_templates(args.templates, language)
    for value, flag in (
        (args.templates, "--templates"),
        (args.questions_per_scene, "--questions-per-scene"),
        (args.false_premise, "--false-premise"),
    ):
        if value:
            raise ConfigError(f"{args.format} holds no text; leave out {flag}")
    return None


def _settings(args: Namespace) -> DatasetSettings:
    from pyvqa.cli.common import picture_quality
    from pyvqa.errors import ConfigError
    from pyvqa.world.questions import GeneratorSettings
    from pyvqa.world.scenes import SceneSettings
    from pyvqa.world.write import DatasetSettings

    quality = picture_quality(args.size, args.samples)
    if args.no_images and args.samples is not None:
        raise ConfigError("--samples is about pictures; leave out --no-images")
    if args.no_images and args.page:
        raise ConfigError("--page shows pictures; leave out --no-images")
    per_scene = 10 if args.questions_per_scene is None else args.questions_per_scene
    return DatasetSettings(
        format=args.format,
        split=args.split,
        scenes=args.scenes,
        seed=args.seed,
        scene=SceneSettings(condition=args.condition, width=quality.width, height=quality.height),
        questions=GeneratorSettings(per_scene=per_scene, false_premise=args.false_premise),
        pictures=None if args.no_images else quality,
    )


def _make(dataset: Dataset, workers: int) -> bool:
    """Make this process's share; say whether it is the one that published the files."""
    import sys

    from tqdm import tqdm

    from pyvqa.cli.common import torch_threads
    from pyvqa.train.distributed import join
    from pyvqa.train.settings import TrainConfig

    total = dataset.settings.scenes
    with join(TrainConfig(device="cpu")) as job:
        quiet = job.rank > 0 or not sys.stderr.isatty()
        with (
            tqdm(total=total, unit=" scenes", file=sys.stderr, disable=quiet) as bar,
            torch_threads(1 if workers else None),
        ):
            dataset.make_blocks(workers, bar.update, rank=job.rank, ranks=job.ranks)
        job.wait()
        if job.rank == 0:
            dataset.publish()
        return job.rank == 0


def _print_report(dataset: Dataset) -> None:
    from pyvqa.cli.common import print_table
    from pyvqa.world.balance import ROW_TITLES, table
    from pyvqa.world.vqa_balance import VQA_TITLES, vqa_table

    report = dataset.report()
    if dataset.layout.dataset:
        print_table(vqa_table(report["balance"]), VQA_TITLES)
    elif "balance" in report:
        print_table(table(report["balance"]), ROW_TITLES)
    if dataset.settings.pictures:
        print(dataset.pictures_path)
    for path in dataset.paths:
        print(path)
    if dataset.settings.format == "clevr-ref" and not dataset.settings.pictures:
        print("left out without pictures: obj_mask, obj_bbox and expressions with filter_visible")


def _write_page(dataset: Dataset) -> Path:
    from pyvqa.files import write_text
    from pyvqa.view.sheet import sheet_page
    from pyvqa.world.excerpt import excerpt, find_page

    settings = dataset.settings
    pictures = [_sheet_picture(one) for one in excerpt(dataset, _SHOWN)]
    expressions = settings.format == "clevr-ref"
    sentences = "expressions" if expressions else "questions"
    pointed = "an object, its name or an expression" if expressions else "an object or its name"
    text = sheet_page(
        pictures,
        title=f"{settings.format}, split {settings.split}",
        lead=(
            f"The first {len(pictures)} of {settings.scenes:,} pictures, seed {settings.seed}. "
            f"Point at {pointed} to see the mask; a click keeps it."
        ),
        figures=(
            ("pictures", f"{len(pictures):,}"),
            ("objects", f"{sum(len(p.labels) for p in pictures):,}"),
            *(
                [(sentences, f"{sum(len(p.lines) for p in pictures):,}")]
                if pictures[0].lines
                else []
            ),
        ),
    )
    path = find_page(dataset)
    write_text(path, text)
    return path


def _sheet_picture(one: Excerpt) -> Picture:
    from pyvqa.view.sheet import Line, Picture

    lines = []
    for entry in one.entries:
        if "refexp" in entry:
            objects = tuple(entry["program"][-1]["_output"])
            lines.append(Line(text=entry["refexp"], objects=objects))
        else:
            lines.append(Line(text=entry["question"], answer=entry["answer"]))
    objects = one.scene["objects"]
    labels = (f"{o['size']} {o['color']} {o['material']} {o['shape']}" for o in objects)
    return Picture(
        title=one.scene["image_filename"],
        png=one.png,
        size=one.size,
        labels=tuple(labels),
        masks=tuple(one.masks),
        lines=tuple(lines),
    )


if __name__ == "__main__":  # For `torchrun -m pyvqa.cli.synth`.
    import sys

    from pyvqa.cli.main import run_command

    raise SystemExit(run_command("synth", sys.argv[1:], "pyvqa synth"))
