"""Score a trained model on a split of a data set.

What is read and printed depends on the model's system. An NS-VQA model with a detector and an
attribute network looks at the pictures; the same command continues an interrupted run, and under
torchrun the pictures are shared among the processes. A MuRel model reads prepared questions and a
feature store; in its place stands a result file of the VQA servers, of whatever origin."""

from __future__ import annotations

import argparse
import importlib
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --out results/val
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --out results/val --explain 50 \\
      --errors-first
  torchrun --nproc-per-node 4 -m pyvqa.cli.evaluate MODEL --root DATA --split val --out results/val
  pyvqa eval ns-vqa-clevr --root data/CLEVR_v1.0 --split val --scenes ground-truth --out results/gt
  pyvqa eval runs/reinforce --root data/CLEVR_v1.0 --split val --scenes scenes_parsed.json \\
      --out results/val --guess --seed 1
  pyvqa eval runs/murel-vqa2 --root data/vqa2 --features coco.h5 --split val --out results/val
  pyvqa eval runs/murel-vqa2 --root data/vqa2 --features coco.h5 --split test --out results/test
  pyvqa eval OpenEnded_mscoco_val2014_model_results.json --root data/vqa2 --split val

OUT/result.json holds the scores. NS-VQA also writes OUT/answers.json {"answers":
[{"question_index", "answer"}, ...]} in file order and OUT/speed.json, the seconds; from pictures
OUT/scenes_parsed.json, what was seen as a scene file for --scenes, and OUT/errors.json, the wrong
answers and the stage each comes from. MuRel writes the files that the VQA servers take:
OUT/OpenEnded_mscoco_<subset>_model_results.json, also of a split without answers."""

# system -> module with its own options (`add_options`) and its evaluation (`run`)
EVALUATIONS: dict[str, str] = {
    "ns-vqa": "pyvqa.cli.evaluate_ns_vqa",
    "murel": "pyvqa.cli.evaluate_murel",
}


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the arguments of all systems, and of each one."""
    parser.add_argument(
        "model",
        help="a shipped model's name, a model folder, a run folder or a result file (.json)",
    )
    parser.add_argument(
        "--root",
        type=Path,
        required=True,
        help="folder of the data set: in its official layout, or prepared (murel)",
    )
    parser.add_argument("--split", required=True, help="e.g. val")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write result and answers here")
    parser.add_argument(
        "--batch-size", type=int, default=256, metavar="N", help="questions at once (default 256)"
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto"
    )
    parser.add_argument(
        "--max-questions", type=int, default=0, metavar="N", help="use the first N only; 0: all"
    )
    parser.add_argument(
        "--explain",
        type=int,
        default=0,
        metavar="N",
        help="write the steps of the first N answers to OUT/evidence.json",
    )
    parser.add_argument(
        "--errors-first", action="store_true", help="explain wrong answers before right ones"
    )
    for system in EVALUATIONS:
        _module(system).add_options(parser.add_argument_group(f"{system} models"))


def main(args: Namespace) -> int:
    """Evaluate as the model's system does."""
    from pyvqa.systems import system_of

    _check(args)
    if args.model.endswith(".json"):
        _refuse_others(args, "murel")
        return int(_module("murel").run_results(args))
    system = system_of(args.model)
    _refuse_others(args, system)
    code: int = _module(system).run(args)
    return code


def _module(system: str) -> Any:
    return importlib.import_module(EVALUATIONS[system])


def _check(args: Namespace) -> None:
    import torch

    from pyvqa.errors import ConfigError

    if args.explain and args.out is None:
        raise ConfigError("--explain writes a file; name a folder with --out DIR")
    if args.errors_first and not args.explain:
        raise ConfigError("--errors-first says which answers to explain; add --explain N")
    if args.batch_size < 1 or args.max_questions < 0 or args.explain < 0:
        raise ConfigError(
            "--batch-size must be at least 1, --max-questions and --explain at least 0"
        )
    if args.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: torch sees no CUDA device; use --device cpu")


def _refuse_others(args: Namespace, system: str) -> None:
    """Refuse options that only a model of another system has."""
    from pyvqa.errors import ConfigError

    for other in EVALUATIONS.keys() - {system}:
        parser = argparse.ArgumentParser(add_help=False)
        _module(other).add_options(parser.add_argument_group())
        for name, default in vars(parser.parse_args([])).items():
            if getattr(args, name) != default:
                flag = name.replace("_", "-")
                raise ConfigError(f"--{flag} is for {other} models, {args.model} is {system}'s")


if __name__ == "__main__":  # For `torchrun -m pyvqa.cli.evaluate`.
    import sys

    from pyvqa.cli.main import run_command

    raise SystemExit(run_command("eval", sys.argv[1:], "pyvqa eval"))
