"""Compare runs: who is best by which metric, and in which epoch."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyvqa.errors import ConfigError, DataError

if TYPE_CHECKING:
    from pyvqa.view.curves import Series

EXAMPLES = """examples:
  pyvqa compare runs/murel runs/attention
  pyvqa compare MuRel=runs/murel Attention=runs/attention --best validate/accuracy_top1
  pyvqa compare runs/murel logs/vqa2/murel --metric validate/vqa_accuracy --html both.html
  pyvqa compare results/murel-test results/attention-test --markdown table.md --csv table.csv

A RUN is a run folder (pyvqa train), a results folder (pyvqa eval --out) or the experiment's folder
of MuRel's or BLOCK's own code. Metrics are named KIND/NAME: validate/accuracy_top1, train/loss,
test/vqa_accuracy. Of the original's logs, eval_epoch.X is validate/X (in logs_test test/X) and
overall of logs_val_oe is validate/vqa_accuracy; its normalised means over question types, which mix
in the plain ones, are validate/acc_mpt_a_norm_legacy and acc_mpt_h_norm_legacy."""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]RUN", help="a folder, as below")
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="NAME[:max|min]",
        help="rank by this one (repeatable; default: all of validation and results)",
    )
    parser.add_argument(
        "--best",
        default="",
        metavar="NAME",
        help="read all metrics where this one is best (default: each where it is itself)",
    )
    parser.add_argument(
        "--epochs", type=int, default=0, metavar="N", help="the first N epochs only; 0: all"
    )
    for name, what in (("markdown", "Markdown"), ("csv", "CSV"), ("html", "a page")):
        parser.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"write the tables as {what}"
        )


def main(args: Namespace) -> int:
    """Rank, print, write what was asked for."""
    from pyvqa.cli.common import print_table
    from pyvqa.files import write_text
    from pyvqa.view.comparison import rank, rows_of, to_csv, to_markdown, to_page

    if args.epochs < 0:
        raise ConfigError("--epochs must be at least 0")
    runs = {label: read_metrics(folder) for label, folder in _labelled(args.runs).items()}
    rankings = rank(runs, _metrics(args.metric, runs), best=args.best, epochs=args.epochs)
    for ranking in rankings:
        print(f"## {ranking.metric} ({ranking.order})\n")
        print_table(rows_of(ranking), ("Place", "Method", "Score", "Epoch"))
        print()
    lacking = sorted({run for ranking in rankings for run in ranking.missing})
    if lacking:
        print(f"without some of the metrics: {', '.join(lacking)}")
    for file, write in ((args.markdown, to_markdown), (args.csv, to_csv), (args.html, to_page)):
        if file is not None:
            write_text(file, write(rankings))
            print(f"tables: {file}")
    return 0


def read_metrics(folder: Path) -> dict[str, Series]:
    """Read the metrics of a run, a results folder or an experiment of the original.

    Raises:
        DataError: the folder is none of these, or a file is damaged.
    """
    from pyvqa.systems.murel.experiment import Experiment
    from pyvqa.view.curves import read_log

    if (folder / "log.jsonl").is_file():
        return read_log(folder)
    if (folder / "result.json").is_file():
        return _results(folder / "result.json")
    if Experiment.is_one(folder):
        return _experiment(Experiment(folder))
    raise DataError(
        f"{folder}: neither a run (log.jsonl), nor results (result.json), nor an experiment of the "
        "original code (options.yaml); check the path"
    )


def _results(path: Path) -> dict[str, Series]:
    """Read the numbers of a result file, those of its groups by their own names."""
    from pyvqa.files import read_json
    from pyvqa.view.curves import Series

    content: dict[str, Any] = read_json(path, expect=dict)
    vqa, by_type = content.get("vqa"), content.get("by_type")
    values = {name: value for name, value in content.items() if _is_number(value)}
    if isinstance(vqa, dict):
        values["vqa_accuracy"] = vqa.get("overall")
    if isinstance(by_type, dict):
        values |= {name: value for name, value in by_type.items() if name.startswith("acc_mpt")}
    split = content.get("split", "result")
    # Epoch -1: of no epoch.
    return {
        f"{split}/{n}": Series([0], [float(v)], [-1]) for n, v in values.items() if _is_number(v)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _experiment(experiment: Any) -> dict[str, Series]:
    """Read the logs of the original under our names."""
    from pyvqa.view.curves import Series

    found: dict[str, Series] = {}
    for log, kinds in (
        ("logs", {"train_epoch": "train", "eval_epoch": "validate"}),
        ("logs_val_oe", {"eval_epoch": "validate"}),
        ("logs_test", {"eval_epoch": "test"}),
    ):
        if not (experiment.folder / f"{log}.json").is_file():
            continue
        for key, values in experiment.logs(log).items():
            kind, _, name = key.partition(".")
            if kind not in kinds or name == "epoch":
                continue
            places = list(range(len(values)))
            series = Series(places, [float(value) for value in values], list(places))
            found[f"{kinds[kind]}/{_our_name(name)}"] = series
    return found


def _our_name(name: str) -> str:
    name = "vqa_accuracy" if name == "overall" else name.removeprefix("tdiuc.")
    # Means over types of plain and normalised values together.
    return f"{name}_legacy" if name in ("acc_mpt_a_norm", "acc_mpt_h_norm") else name


def _labelled(runs: list[str]) -> dict[str, Path]:
    """Give every folder its label: the given one, or the end of its path."""
    from pyvqa.view.curves import run_names

    parted: list[tuple[str, Path]] = []
    for text in runs:
        label, equals, rest = text.partition("=")
        named = bool(equals) and not Path(text).exists()
        parted.append((label, Path(rest)) if named else ("", Path(text)))
    names = run_names([path for _, path in parted])
    labelled: dict[str, Path] = {}
    for (label, path), name in zip(parted, names, strict=True):
        key = label or name
        if key in labelled:
            raise ConfigError(f"two runs are called {key!r}; label them, e.g. other={path}")
        labelled[key] = path
    return labelled


def _metrics(given: list[str], runs: Mapping[str, Mapping[str, Series]]) -> dict[str, str]:
    """Say by which metrics to rank, and in which order."""
    from pyvqa.view.comparison import default_order

    if not given:
        names = dict.fromkeys(name for found in runs.values() for name in found)
        # Of every question type the original has a metric of its own.
        held = [n for n in names if not n.startswith("train/") and "/perQuestionType" not in n]
        shown = held or list(names)
        return {name: default_order(name) for name in shown}
    chosen = {}
    for text in given:
        name, colon, order = text.rpartition(":")
        if not colon:
            name, order = text, default_order(text)
        if order not in ("max", "min"):
            raise ConfigError(f"--metric {text}: the order is max or min, e.g. {name}:max")
        chosen[name] = order
    return chosen
