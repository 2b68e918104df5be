"""Turn official files into what training and evaluation read."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from pathlib import Path

from pyvqa.cli import prepare_features, prepare_regions, prepare_scenes, prepare_vqa

EXAMPLES = """examples:
  pyvqa prepare clevr-questions --questions CLEVR_train_questions.json \\
      --vocab-out clevr_vocab.json --out clevr_train_questions.h5
  pyvqa prepare clevr-questions --questions CLEVR_val_questions.json \\
      --vocab-in clevr_vocab.json --out clevr_val_questions.h5
  pyvqa prepare clevr-sample --questions clevr_train_questions.h5 --per-family 3 --out few/
"""
EXAMPLES += f"{prepare_vqa.EXAMPLES}\n{prepare_regions.EXAMPLES}\n{prepare_features.EXAMPLES}\n"
EXAMPLES += prepare_scenes.EXAMPLES


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the steps, each with its arguments."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    _clevr_questions(steps)
    _clevr_sample(steps)
    prepare_vqa.add_steps(steps)
    prepare_regions.add_steps(steps)
    prepare_features.add_step(steps)
    prepare_scenes.add_steps(steps)


def main(args: Namespace) -> int:
    """Run the chosen step."""
    return int(args.run_step(args))


def _clevr_questions(steps: _SubParsersAction[ArgumentParser]) -> None:
    step = steps.add_parser(
        "clevr-questions", help="question file (.json, .json.gz) -> vocabulary and h5 token rows"
    )
    step.add_argument(
        "--questions", type=Path, required=True, metavar="FILE", help="an official question file"
    )
    step.add_argument(
        "--mode", choices=("prefix", "postfix", "chain"), default="prefix", help="order of programs"
    )
    step.add_argument("--vocab-in", type=Path, metavar="FILE", help="use this vocabulary")
    step.add_argument("--vocab-out", type=Path, metavar="FILE", help="write the one that was used")
    step.add_argument(
        "--expand-vocab", action="store_true", help="append the file's new words to --vocab-in"
    )
    step.add_argument(
        "--unk-threshold",
        type=int,
        default=1,
        metavar="N",
        help="leave words seen fewer than N times out of a new vocabulary (default 1)",
    )
    step.add_argument(
        "--encode-unk", action="store_true", help="encode words outside the vocabulary as <UNK>"
    )
    step.add_argument("--out", type=Path, required=True, metavar="FILE.h5", help="written here")
    step.set_defaults(run_step=_run_clevr_questions)


def _run_clevr_questions(args: Namespace) -> int:
    from pyvqa.data.clevr_questions import (
        ClevrVocabulary,
        build_vocabulary,
        encode_questions,
        expand_words,
    )
    from pyvqa.errors import ConfigError, DataError
    from pyvqa.programs.questions import read_questions

    if args.vocab_in is None and args.vocab_out is None:
        raise ConfigError("give --vocab-out to build a vocabulary, or --vocab-in to use one")
    if args.expand_vocab and (args.vocab_in is None or args.vocab_out is None):
        raise ConfigError("--expand-vocab needs --vocab-in and --vocab-out")
    table = read_questions(args.questions)
    try:
        if args.vocab_in is None:
            vocabulary = build_vocabulary(table, mode=args.mode, minimum=args.unk_threshold)
        else:
            vocabulary = ClevrVocabulary.read(args.vocab_in)
            if args.expand_vocab:
                new = build_vocabulary(table, mode=args.mode, minimum=args.unk_threshold)
                vocabulary = expand_words(vocabulary, new)
        encoded = encode_questions(
            table, vocabulary, mode=args.mode, encode_unknown=args.encode_unk
        )
    except DataError as error:
        raise DataError(f"{args.questions}: {error}") from error
    if args.vocab_out is not None:
        vocabulary.write(args.vocab_out)
        print(f"vocabulary: {args.vocab_out} ({len(vocabulary.words)} words)")
    encoded.write(args.out)
    programs = "no programs" if encoded.programs is None else f"{encoded.programs.shape[1]} tokens"
    print(
        f"questions: {args.out} ({len(encoded):,} questions of up to {encoded.questions.shape[1]} "
        f"words, programs: {programs})"
    )
    return 0


def _clevr_sample(steps: _SubParsersAction[ArgumentParser]) -> None:
    step = steps.add_parser("clevr-sample", help="pick few questions of an h5 file")
    step.add_argument(
        "--questions", type=Path, required=True, metavar="FILE.h5", help="made by clevr-questions"
    )
    size = step.add_mutually_exclusive_group()
    size.add_argument(
        "--per-family", type=int, default=5, metavar="N", help="N of each family (default 5)"
    )
    size.add_argument("--random", type=int, metavar="N", help="N of any family instead")
    step.add_argument("--seed", type=int, default=0, help="of the random walk (default 0)")
    step.add_argument("--index", type=int, metavar="K", help="a number for the file's name")
    step.add_argument(
        "--out",
        type=Path,
        required=True,
        help="an .h5 file, or a folder for a name like the original's",
    )
    step.set_defaults(run_step=_run_clevr_sample)


def _run_clevr_sample(args: Namespace) -> int:
    from pyvqa.data.clevr_questions import (
        ClevrQuestions,
        sample_any,
        sample_name,
        sample_per_family,
    )
    from pyvqa.errors import ConfigError, DataError

    if args.per_family < 1 or (args.random is not None and args.random < 1):
        raise ConfigError("--per-family and --random must be at least 1")
    questions = ClevrQuestions.read(args.questions)
    if args.random is not None:
        rows = sample_any(len(questions), args.random, args.seed)
    elif questions.families is None:
        raise DataError(f"{args.questions}: has no question families; use --random N")
    else:
        rows = sample_per_family(questions.families, args.per_family, args.seed)
    out = args.out
    if out.suffix != ".h5":
        out = out / sample_name(args.per_family, args.random, args.index)
    questions.take(rows).write(out)
    print(f"questions: {out} ({len(rows):,} of {len(questions):,})")
    return 0


if __name__ == "__main__":  # For `torchrun -m pyvqa.cli.prepare`.
    from pyvqa.cli.main import prepare

    raise SystemExit(prepare())
