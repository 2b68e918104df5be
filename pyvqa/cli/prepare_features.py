"""The step of `pyvqa prepare` that describes the regions of any pictures."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path

from pyvqa.cli.prepare_regions import output_arguments
from pyvqa.cli.prepare_scenes import carry_out

EXAMPLES = """  pyvqa prepare features --model ns-vqa-clevr --images data/vqa2/images/train2014 \\
      --out train2014.h5
  pyvqa prepare features --model runs/detector --images photographs/ --regions 16 \\
      --out photographs.safetensors"""

_SUFFIXES = {"h5": ".h5", "packed": ".safetensors"}


def add_step(steps: _SubParsersAction[ArgumentParser]) -> None:
    """Declare the step."""
    step = steps.add_parser(
        "features", help="a folder of pictures -> a feature store, by the package's own detector"
    )
    step.add_argument(
        "--model", required=True, help="a shipped model, model or run folder with a detector"
    )
    step.add_argument(
        "--images", type=Path, required=True, metavar="DIR", help="a folder of PNG, JPEG or WebP"
    )
    step.add_argument(
        "--regions", type=int, default=36, metavar="N", help="of a picture, at most (default 36)"
    )
    step.add_argument(
        "--store",
        choices=tuple(_SUFFIXES),
        help="h5, or packed (.safetensors), which reads faster; default: as --out is called",
    )
    step.add_argument(
        "--batch-size", type=int, default=8, metavar="N", help="pictures at once (default 8)"
    )
    step.add_argument("--device", default="auto", help="auto (default), cpu, cuda or cuda:NUMBER")
    step.add_argument(
        "--workers", type=int, default=1, metavar="N", help="threads that read ahead (default 1)"
    )
    output_arguments(step)
    step.set_defaults(run_step=_run)


def _run(args: Namespace) -> int:
    from pyvqa.errors import ConfigError
    from pyvqa.systems import find_model
    from pyvqa.systems.ns_vqa.regions import RegionWork

    if args.regions < 1 or args.batch_size < 1:
        raise ConfigError("--regions and --batch-size must be at least 1")
    if args.store is not None:
        suffix = _SUFFIXES[args.store]
        if not args.out.suffix:
            args.out = args.out.with_name(args.out.name + suffix)
        elif args.out.suffix != suffix:
            raise ConfigError(f"--out {args.out}: a store of kind {args.store} ends in {suffix}")
    work = RegionWork(
        find_model(args.model),
        args.images,
        args.out,
        name=args.model,
        regions=args.regions,
        dtype=args.dtype,
        batch_size=args.batch_size,
    )
    return carry_out(work, args)
