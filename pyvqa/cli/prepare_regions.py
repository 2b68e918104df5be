"""The steps of `pyvqa prepare` that bring region features into one file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyvqa.data.region_files import Picture
    from pyvqa.data.region_origin import RegionOrigin

EXAMPLES = """  pyvqa prepare bottom-up-tsv --tsv test2015.tsv --names test2015 --out t.safetensors
  pyvqa prepare region-files --source extract_rcnn/ --out coco.safetensors
  pyvqa prepare region-files --source coco.safetensors --out coco.h5 --dtype float32"""

_NAMES = ("train2014", "val2014", "test2015", "coco", "id")


def add_steps(steps: _SubParsersAction[ArgumentParser]) -> None:
    """Declare the steps."""
    step = steps.add_parser("bottom-up-tsv", help="bottom-up attention files -> a feature store")
    step.add_argument(
        "--tsv", type=Path, required=True, nargs="+", metavar="FILE", help="one or more files"
    )
    step.add_argument(
        "--names",
        choices=_NAMES,
        required=True,
        help="which pictures the ids are: of one COCO split, of COCO train2014 and val2014 "
        "together (coco), or those of another collection such as Visual Genome (id)",
    )
    output_arguments(step)
    step.set_defaults(run_step=_run_bottom_up)
    step = steps.add_parser(
        "region-files", help="a folder of .pth or .npz files, or a store -> a feature store"
    )
    step.add_argument(
        "--source", type=Path, required=True, metavar="PATH", help="folder, .h5 or .safetensors"
    )
    output_arguments(step)
    step.set_defaults(run_step=_run_region_files)


def output_arguments(step: ArgumentParser) -> None:
    """Add what every command that writes a feature store takes."""
    step.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="how features are kept (default float16)",
    )
    step.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="a .safetensors or .h5 file"
    )


def _run_bottom_up(args: Namespace) -> int:
    from pyvqa.data.region_files import read_bottom_up

    name = _namer(args.names)
    pictures = (picture for file in args.tsv for picture in read_bottom_up(file, name))
    return _write(args, pictures, sum(_lines(file) for file in args.tsv))


def _namer(names: str) -> Callable[[int], str]:
    if names == "id":
        return str
    if names == "coco":
        return lambda number: f"COCO_{number:012d}"
    return lambda number: f"COCO_{names}_{number:012d}.jpg"


def _lines(path: Path) -> int:
    """Estimate a file's lines from its first one; only progress depends on it."""
    from pyvqa.errors import DataError

    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    with path.open("rb") as file:
        first = len(file.readline())
    return max(1, round(path.stat().st_size / max(1, first)))


def _run_region_files(args: Namespace) -> int:
    from pyvqa.data.region_files import list_files, read_file, read_store
    from pyvqa.data.region_store import open_file
    from pyvqa.errors import ConfigError

    if args.source.resolve() == args.out.resolve():
        raise ConfigError("--source and --out are the same file")
    if args.source.is_dir():
        files = list_files(args.source)
        return _write(args, map(read_file, files), len(files))
    store = open_file(args.source)
    return _write(args, read_store(store), len(store), store.origin)


def _write(
    args: Namespace, pictures: Iterator[Picture], total: int, origin: RegionOrigin | None = None
) -> int:
    from pyvqa.data.region_files import region_writer
    from pyvqa.train.logging import Progress, show_messages

    show_messages()
    regions = count = width = 0
    with region_writer(args.out, args.dtype, origin) as write, Progress(0, total) as progress:
        for picture in pictures:
            write(picture)
            count, regions = count + 1, regions + len(picture.features)
            width = picture.features.shape[1]
            progress.advance()
    print(f"features: {args.out} ({count:,} pictures, {regions:,} regions, {width:,} wide)")
    return 0
