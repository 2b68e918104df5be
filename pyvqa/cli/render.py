"""Make the pictures of a scene file, with the masks of its objects."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa render --scenes CLEVR_val_scenes.json --out data/pictures
  pyvqa render --scenes CLEVR_train_scenes.json --cameras cameras.json --out data/pictures
  pyvqa render --scenes scenes.json --size 960x640 --samples 256 --out data/large

Any official scene file will do. Pictures go to images/ under the scenes' own names; scenes.json
holds the same scenes with the COCO mask of every object, as CLEVR-mini's files do;
render_info.json tells where cameras and lamps stood, and can be given to --cameras again. An
interrupted run goes on when the same command is given again."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--scenes", type=Path, required=True, metavar="FILE", help="scene file, .json or .json.gz"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--cameras",
        type=Path,
        metavar="FILE",
        help="cameras.json (file name -> [x, y, z]) or render_info.json (with lamps); default: "
        "found from the scenes' pixel_coords, lamps unmoved",
    )
    parser.add_argument(
        "--size",
        default="480x320",
        metavar="WxH",
        help="of the pictures, and what pixel_coords refer to; default: 480x320",
    )
    parser.add_argument(
        "--samples", type=int, metavar="N", help="rays a pixel; default: training quality"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads beside this one; default: one a core"
    )


def main(args: Namespace) -> int:
    """Read, find the cameras, make the pictures, say what cannot be seen."""
    import torch
    from tqdm import tqdm

    from pyvqa.cli.common import picture_quality, torch_threads
    from pyvqa.errors import ConfigError
    from pyvqa.world.from_files import fit_views, read_scene_file, read_views
    from pyvqa.world.rerender import Rerendering

    if args.workers is not None and args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: must be 0 or more")
    quality = picture_quality(args.size, args.samples)
    scenes = read_scene_file(args.scenes)
    if args.cameras is None:
        views = fit_views(scenes, quality.width, quality.height)
    else:
        views = read_views(args.cameras, scenes)
    work = Rerendering(args.out, scenes, views, quality)
    if work.is_complete():
        print("complete already: these pictures were made with the same settings")
    else:
        workers = torch.get_num_threads() if args.workers is None else args.workers
        quiet = not sys.stderr.isatty()
        with (
            tqdm(total=len(scenes), unit=" pictures", file=sys.stderr, disable=quiet) as bar,
            torch_threads(1 if workers else None),
        ):
            work.make(workers, bar.update)
    unseen = work.unseen()
    if unseen:
        print(
            f"pyvqa: no pixel shows {unseen[0]}"
            + (f" and {len(unseen) - 1} others" if len(unseen) > 1 else "")
            + ": outside the frame or hidden; the mask is empty",
            file=sys.stderr,
        )
    print(f"{len(scenes):,} pictures in {work.pictures_path}")
    print(work.scenes_path)
    print(work.info_path)
    return 0
