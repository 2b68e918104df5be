"""Turn weights of the original releases into model folders, and back; put networks together."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa convert ns-vqa question_parser.pt object_detector.pt attribute_net.pt \\
      --vocab clevr_vocab.json --out models/ns-vqa
  pyvqa convert ns-vqa object_detector.pt --out models/detector
  pyvqa convert ns-vqa runs/detector runs/attributes runs/parser --out models/mine
  pyvqa convert ns-vqa models/ns-vqa --back --network detector --out object_detector.pt

Keys that have no place in our networks are listed and end the command with exit code 1."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("system", choices=("ns-vqa",), help="whose weights they are")
    parser.add_argument(
        "source",
        nargs="+",
        help="files of the original, or models and runs of ours to put together; one of each "
        "network; with --back a model",
    )
    parser.add_argument("--vocab", type=Path, metavar="FILE", help="the vocabulary of the parser")
    parser.add_argument("--out", type=Path, required=True, help="model folder; with --back a file")
    parser.add_argument("--back", action="store_true", help="from our model to the original's file")
    parser.add_argument(
        "--network",
        choices=("parser", "detector", "attributes"),
        default="parser",
        help="with --back: which network to write (default: parser)",
    )


def main(args: Namespace) -> int:
    """Convert in one of the two directions."""
    from pyvqa.errors import ConfigError
    from pyvqa.systems import find_model
    from pyvqa.systems.ns_vqa.convert import export_model, import_model

    if args.back:
        if len(args.source) != 1:
            raise ConfigError(f"--back takes one model, {len(args.source)} are given")
        export_model(find_model(args.source[0]), args.network, args.out)
        print(f"written: {args.out}")
        return 0
    sources = [Path(source) for source in args.source]
    sources = [source if source.is_file() else find_model(source) for source in sources]
    placed = import_model(sources, args.vocab, args.out)
    print(f"written: {args.out} ({placed} tensors, none left over)")
    return 0
