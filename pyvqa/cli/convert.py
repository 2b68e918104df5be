"""Turn weights of the original releases into model folders, and back."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa convert ns-vqa question_parser.pt --vocab clevr_vocab.json --out models/ns-vqa
  pyvqa convert ns-vqa models/ns-vqa --back --out question_parser.pt

Keys that have no place in our networks are listed and end the command with exit code 1."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("system", choices=("ns-vqa",), help="whose weights they are")
    parser.add_argument("source", help="weights of the original; with --back a model of ours")
    parser.add_argument("--vocab", type=Path, metavar="FILE", help="the vocabulary of the weights")
    parser.add_argument("--out", type=Path, required=True, help="model folder; with --back a file")
    parser.add_argument("--back", action="store_true", help="from our model to the original's file")


def main(args: Namespace) -> int:
    """Convert in one of the two directions."""
    from pyvqa.errors import ConfigError
    from pyvqa.systems import find_model
    from pyvqa.systems.ns_vqa.convert import export_parser, import_parser

    if args.back:
        export_parser(find_model(args.source), args.out)
        print(f"written: {args.out}")
        return 0
    if args.vocab is None:
        raise ConfigError(
            "--vocab is required: the vocabulary file that the weights were trained with"
        )
    placed = import_parser(Path(args.source), args.vocab, args.out)
    print(f"written: {args.out} ({placed} tensors, none left over)")
    return 0
