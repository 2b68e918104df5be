"""The steps of `pyvqa prepare` for VQA v2, VQA-CP v2, TDIUC and Visual Genome."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _SubParsersAction
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyvqa.data.vqa_files import Questions
    from pyvqa.data.vqa_process import Choices
    from pyvqa.data.vqa_questions import VqaVocabulary

EXAMPLES = """  pyvqa prepare vqa2 --root data/vqa2 --out prepared/vqa2
  pyvqa prepare vqa2 --root data/vqa2 --trainval --vgenome data/vgenome --out prepared/vqa2-vg
  pyvqa prepare vqa2 --questions train=q.json.gz --annotations train=a.json.gz --out prepared/few
  pyvqa prepare tdiuc --root data/tdiuc --answers 1480 --out prepared/tdiuc"""

_HELP = {
    "vqa2": "VQA v2 questions and annotations -> tables of numbers",
    "vqacp2": "VQA-CP v2 likewise; its test set is the split val",
    "tdiuc": "TDIUC likewise; 5 %% of its training questions are the split val",
    "vgenome": "Visual Genome's questions and answers likewise",
}
_ANSWERS = {"vqa2": 3000, "vqacp2": 3000, "tdiuc": 1480, "vgenome": 10_000}
_SPLITS = ("train", "val", "test", "test-dev")


def add_steps(steps: _SubParsersAction[ArgumentParser]) -> None:
    """Declare the four steps."""
    for dataset, text in _HELP.items():
        step = steps.add_parser(dataset, help=text)
        what = "question_answers.json" if dataset == "vgenome" else "the official files"
        step.add_argument("--root", type=Path, metavar="DIR", help=f"folder with {what}")
        if dataset != "vgenome":
            _file_arguments(step)
        _choice_arguments(step, dataset)
        if dataset == "vqa2":
            step.add_argument(
                "--vgenome",
                type=Path,
                metavar="DIR",
                help="add Visual Genome's questions with a known answer (needs --trainval)",
            )
        step.add_argument("--out", type=Path, required=True, metavar="DIR", help="written here")
        step.set_defaults(run_step=_run, dataset=dataset)


def _file_arguments(step: ArgumentParser) -> None:
    for kind in ("questions", "annotations"):
        step.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar="SPLIT=FILE",
            help=f"{kind} of train, val, test or test-dev; may be repeated, instead of --root",
        )


def _choice_arguments(step: ArgumentParser, dataset: str) -> None:
    step.add_argument(
        "--answers",
        type=int,
        default=_ANSWERS[dataset],
        metavar="N",
        help=f"the N most frequent answers are classes (default {_ANSWERS[dataset]})",
    )
    step.add_argument(
        "--min-words",
        type=int,
        default=0,
        metavar="N",
        help="words seen N times or less are unknown (default 0)",
    )
    step.add_argument(
        "--tokeniser",
        choices=("mcb", "naive", "nltk"),
        default="mcb",
        help="how questions are cut into words (default mcb)",
    )
    step.add_argument(
        "--normalise-answers",
        action="store_true",
        help="count answers in the form in which the evaluation compares them",
    )
    step.add_argument(
        "--vocabulary",
        type=Path,
        metavar="PATH",
        help="number words and answers as this does: a vocabulary.json, or a folder that the "
        "original code processed (wid_to_word.pth, aid_to_ans.pth)",
    )
    if dataset in ("vqa2", "vqacp2"):
        step.add_argument(
            "--trainval",
            action="store_true",
            help="train on train and val together, 5 %% of which are the split val",
        )
    if dataset in ("vqa2", "vqacp2", "tdiuc"):
        step.add_argument(
            "--seed", type=int, default=1337, help="of the choice of those 5 %% (default 1337)"
        )


def _run(args: Namespace) -> int:
    from pyvqa.cli.common import print_table
    from pyvqa.data.vqa_files import OFFICIAL_SIZES, find_genome, read_genome
    from pyvqa.data.vqa_process import Choices, process
    from pyvqa.data.vqa_questions import VqaData, require_free
    from pyvqa.metrics.vqa_text import plain_answer

    choices = Choices(
        answers=args.answers,
        min_words=args.min_words,
        tokeniser=args.tokeniser,
        trainval=args.dataset == "tdiuc" or getattr(args, "trainval", False),
        seed=getattr(args, "seed", 1337),
    )
    require_free(args.out)  # before the long work
    files = _files(args)
    given, dev = _read(args.dataset, files, choices)
    genome = None
    if getattr(args, "vgenome", None) is not None:
        files["vgenome"] = (find_genome(args.vgenome), None)
        genome = read_genome(files["vgenome"][0], choices.split_words)
    done = process(
        given,
        choices,
        test_dev=dev,
        genome=genome,
        normalise=plain_answer if args.normalise_answers else None,
        vocabulary=_vocabulary(args.vocabulary),
    )
    about = _about(args, files, choices)
    splits = {name: (table, done.subsets[name]) for name, table in done.splits.items()}
    VqaData.write(args.out, about, done.vocabulary, splits)
    found = {name: len(questions) for name, questions in given.items()}
    found |= {"test-dev": len(dev)} if dev else {}
    found |= {"vgenome": len(genome)} if genome is not None else {}
    sizes = {**OFFICIAL_SIZES[args.dataset], "vgenome": OFFICIAL_SIZES["vgenome"]["train"]}
    print_table(_count_rows(found, sizes), ("read", "questions", "in the release"))
    print()
    rows = [(n, f"{len(t):,}", f"{len(t.image_names):,}") for n, t in done.splits.items()]
    print_table(rows, ("written", "questions", "pictures"))
    print(
        f"{len(done.vocabulary.words) - 1:,} words, {len(done.vocabulary.answers):,} answers; "
        f"{done.rare:,} training questions with a rarer answer left out"
        + (f"; {done.genome:,} of Visual Genome added" if genome is not None else "")
    )
    print(f"data: {args.out}")
    return 0


def _vocabulary(path: Path | None) -> VqaVocabulary | None:
    from pyvqa.data.vqa_questions import VqaVocabulary

    if path is None:
        return None
    return VqaVocabulary.read_original(path) if path.is_dir() else VqaVocabulary.read(path)


Files = dict[str, tuple[Path, Path | None]]


def _files(args: Namespace) -> Files:
    """Say where the files of each split are."""
    from pyvqa.data.vqa_files import find_files, find_genome
    from pyvqa.errors import ConfigError

    named = [*getattr(args, "questions", []), *getattr(args, "annotations", [])]
    if (args.root is None) == (not named):
        raise ConfigError("give either --root DIR, or --questions and --annotations SPLIT=FILE")
    if args.dataset == "vgenome":
        return {"train": (find_genome(args.root), None)}
    if args.root is not None:
        return find_files(args.root, args.dataset)
    questions = _by_split(args.questions, "--questions")
    annotations = _by_split(args.annotations, "--annotations")
    alone = sorted(annotations.keys() - questions.keys())
    if alone or "train" not in questions:
        raise ConfigError(f"--questions {alone[0] if alone else 'train'}=FILE is missing")
    return {name: (questions[name], annotations.get(name)) for name in _SPLITS if name in questions}


def _by_split(pairs: Sequence[str], flag: str) -> dict[str, Path]:
    from pyvqa.errors import ConfigError

    found: dict[str, Path] = {}
    for pair in pairs:
        split, equals, name = pair.partition("=")
        if not equals or not name or split not in _SPLITS:
            raise ConfigError(f"{flag} {pair}: expected SPLIT=FILE, SPLIT of {', '.join(_SPLITS)}")
        if split in found:
            raise ConfigError(f"{flag} {split}=...: given twice")
        found[split] = Path(name)
    return found


def _read(
    dataset: str, files: Files, choices: Choices
) -> tuple[dict[str, Questions], frozenset[int]]:
    """Read all splits, and which questions test-dev has."""
    from pyvqa.data.vqa_files import read_genome, read_ids, read_questions

    if dataset == "vgenome":
        return {"train": read_genome(files["train"][0], choices.split_words)}, frozenset()
    given = {}
    for name, pair in files.items():
        if name != "test-dev":
            given[name] = read_questions(*pair, first_human=dataset == "tdiuc")
    dev = files.get("test-dev")
    return given, frozenset() if dev is None else frozenset(read_ids(dev[0]))


def _about(args: Namespace, files: Files, choices: Choices) -> dict[str, Any]:
    """Say what the folder is made of: a change of any file or choice shows in it."""
    from dataclasses import asdict

    from pyvqa.files import sha256

    paths = [path for pair in files.values() for path in pair if path is not None]
    return {
        "dataset": args.dataset,
        "choices": {
            **asdict(choices),
            "normalise_answers": args.normalise_answers,
            "given_vocabulary": args.vocabulary is not None,
        },
        "sources": {path.name: sha256(path) for path in paths},
    }


def _count_rows(found: Mapping[str, int], official: Mapping[str, int]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for split, count in found.items():
        size = official.get(split)
        same = "the same" if size == count else f"{size:,}"
        rows.append((split, f"{count:,}", "-" if size is None else same))
    return rows
