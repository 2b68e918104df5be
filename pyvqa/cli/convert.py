"""Turn weights of the original releases into model folders, and back; put networks together."""

from __future__ import annotations

from argparse import REMAINDER, ArgumentParser, Namespace
from pathlib import Path

EXAMPLES = """examples:
  pyvqa convert ns-vqa question_parser.pt object_detector.pt attribute_net.pt \\
      --vocab clevr_vocab.json --out models/ns-vqa
  pyvqa convert ns-vqa object_detector.pt --out models/detector
  pyvqa convert ns-vqa runs/detector runs/attributes runs/parser --out models/mine
  pyvqa convert ns-vqa models/ns-vqa --back --network detector --out object_detector.pt
  pyvqa convert murel logs/vqa2/murel --vocab data/vqa2 --out models/murel
  pyvqa convert murel ckpt_last_model.pth.tar --options options.yaml \\
      --vocab vocabulary.json --out models/murel
  pyvqa convert murel murel.yaml --out vqa2.yaml --arguments --optimizer.lr 0.0001
  pyvqa convert murel models/murel --back --out ckpt_last_model.pth.tar

Keys that have no place in our networks are listed and end the command with exit code 1."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("system", choices=("ns-vqa", "murel"), help="whose weights they are")
    parser.add_argument(
        "source",
        nargs="+",
        help="ns-vqa: files of the original, or models and runs of ours to put together, one of "
        "each network; murel: an experiment's folder, a checkpoint or an option file of the "
        "original; with --back a model",
    )
    parser.add_argument(
        "--vocab",
        type=Path,
        metavar="FILE",
        help="the vocabulary of the parser; murel: of the data, or the folder that has it",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="model folder (option file: YAML); --back: a file"
    )
    parser.add_argument("--back", action="store_true", help="from our model to the original's file")
    parser.add_argument(
        "--network",
        choices=("parser", "detector", "attributes"),
        default="parser",
        help="ns-vqa with --back: which network to write (default: parser)",
    )
    parser.add_argument("--options", type=Path, metavar="FILE", help="murel: options of the source")
    parser.add_argument(
        "--checkpoint", metavar="NAME", help="murel: last or best_... (default: the best)"
    )
    parser.add_argument(
        "--arguments",
        nargs=REMAINDER,
        default=[],
        help="murel: arguments of the original's command line, to the end of the line",
    )


def main(args: Namespace) -> int:
    """Convert in one of the two directions."""
    from pyvqa.errors import ConfigError

    if len(args.source) != 1 and (args.back or args.system == "murel"):
        raise ConfigError(f"one source is needed here, {len(args.source)} are given")
    for name in ("options", "checkpoint", "arguments"):
        if args.system != "murel" and getattr(args, name):
            raise ConfigError(f"--{name} is for murel alone; leave it out")
    return _murel(args) if args.system == "murel" else _ns_vqa(args)


def _ns_vqa(args: Namespace) -> int:
    from pyvqa.systems import find_model
    from pyvqa.systems.ns_vqa.convert import export_model, import_model

    if args.back:
        export_model(find_model(args.source[0]), args.network, args.out)
        print(f"written: {args.out}")
        return 0
    sources = [Path(source) for source in args.source]
    sources = [source if source.is_file() else find_model(source) for source in sources]
    placed = import_model(sources, args.vocab, args.out)
    print(f"written: {args.out} ({placed} tensors, none left over)")
    return 0


def _murel(args: Namespace) -> int:
    from pyvqa.errors import ConfigError
    from pyvqa.systems import find_model
    from pyvqa.systems.murel.convert import export_model, import_model, import_settings

    source = Path(args.source[0])
    if args.back:
        remarks = export_model(find_model(source), args.out)
        print(f"written: {args.out}", *remarks, sep="\n")
    elif source.suffix in (".yaml", ".yml"):
        import_settings(source, args.arguments, args.out)
        print(f"written: {args.out}")
    else:
        if args.vocab is None:
            raise ConfigError("--vocab is required: the vocabulary that the network was made for")
        placed = import_model(
            source,
            args.vocab,
            args.out,
            options=args.options,
            arguments=args.arguments,
            checkpoint=args.checkpoint,
        )
        print(f"written: {args.out} ({placed} tensors, none left over)")
    return 0
