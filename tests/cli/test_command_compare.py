"""`pyvqa compare`: runs, results and the original's experiments in one table."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pyvqa.cli.compare import read_metrics
from pyvqa.cli.main import main


def write_run(folder: Path, scores: list[float], losses: list[float]) -> Path:
    folder.mkdir(parents=True)
    lines = [
        {"kind": "validate", "step": 10 * k, "epoch": k, "accuracy_top1": a, "loss": b}
        for k, (a, b) in enumerate(zip(scores, losses, strict=True))
    ]
    lines.append({"kind": "train", "step": 99, "epoch": 9, "loss": 0.1})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def write_experiment(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "options.yaml").write_text("exp: {dir: logs}\n")
    logs = {"env_info": {"user": []}, "eval_epoch.epoch": [0, 1], "eval_epoch.loss": [2.0, 1.0],
            "eval_epoch.accuracy_top1": [50.0, 44.0], "eval_epoch.tdiuc.acc_mpt_a_norm": [1, 2],
            "eval_epoch.tdiuc.perQuestionType.how many": [9, 9],
            "train_epoch.loss": [3, 2]}  # fmt: skip
    (folder / "logs.json").write_text(json.dumps(logs))
    (folder / "logs_val_oe.json").write_text(json.dumps({"eval_epoch.overall": [61.5, 62.5]}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    one = write_run(tmp_path / "one", [40.0, 55.0, 52.0], [2.0, 1.5, 1.2])
    two = write_run(tmp_path / "two", [41.0, 42.0, 43.0], [2.0, 1.1, 1.4])
    return [str(one), f"Second={two}", f"Theirs={write_experiment(tmp_path / 'theirs')}"]


def table(path: Path) -> dict[str, list[tuple[str, float, str]]]:
    found: dict[str, list[tuple[str, float, str]]] = {}
    for row in csv.DictReader(path.open()):
        entry = (row["method"], float(row["score"]), row["epoch"])
        found.setdefault(row["metric"], []).append(entry)
    return found


def test_each_metric_where_it_is_best(runs, tmp_path, capsys):
    assert main(["compare", *runs, "--csv", f"{tmp_path}/t.csv"]) == 0
    found = table(tmp_path / "t.csv")
    assert found["validate/accuracy_top1"] == [
        ("one", 55.0, "1"), ("Theirs", 50.0, "0"), ("Second", 43.0, "2")]  # fmt: skip
    assert found["validate/loss"] == [("Theirs", 1.0, "1"), ("Second", 1.1, "1"), ("one", 1.2, "2")]
    assert found["validate/vqa_accuracy"] == [("Theirs", 62.5, "1")]
    assert "validate/acc_mpt_a_norm_legacy" in found
    assert not any(name.startswith("train/") or "perQuestionType" in name for name in found)
    assert "without some of the metrics: Second, one" in capsys.readouterr().out


def test_all_where_one_is_best_and_the_first_epochs(runs, tmp_path):
    best = ["--best", "validate/accuracy_top1", "--csv", f"{tmp_path}/t.csv"]
    assert main(["compare", *runs, *best]) == 0
    found = table(tmp_path / "t.csv")
    assert {r: s for r, s, _ in found["validate/loss"]} == {
        "one": 1.5, "Second": 1.4, "Theirs": 2.0}  # fmt: skip
    assert main(["compare", *runs, *best, "--epochs", "1", "--metric", "validate/loss:max"]) == 0
    found = table(tmp_path / "t.csv")
    assert [s for _, s, _ in found["validate/loss"]] == [2.0, 2.0, 2.0]


def test_results_markdown_and_page(tmp_path, capsys):
    for name, score in (("a|b", 60.25), ("<c>", 61.5)):
        (tmp_path / name).mkdir()
        content = {"split": "test", "questions": 5, "accuracy_top1": score - 9, "interval": [1, 2],
                   "by_type": {"acc_mpt_a": 3.5, "types": {}},
                   "vqa": {"overall": score}}  # fmt: skip
        (tmp_path / name / "result.json").write_text(json.dumps(content))
    runs = [str(tmp_path / "a|b"), str(tmp_path / "<c>")]
    files = ["--markdown", f"{tmp_path}/t.md", "--html", f"{tmp_path}/t.html"]
    assert main(["compare", *runs, *files]) == 0
    assert "## test/vqa_accuracy (max)" in capsys.readouterr().out
    markdown = (tmp_path / "t.md").read_text()
    assert "| 1 | <c> | 61.5 | - |\n| 2 | a\\|b | 60.25 | - |" in markdown
    page = (tmp_path / "t.html").read_text()
    assert "&lt;c&gt;" in page
    assert "<c>" not in page
    assert read_metrics(Path(runs[0]))["test/acc_mpt_a"].values == [3.5]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--metric", "validate/acuracy_top1"], "did you mean validate/accuracy_top1?"),
        (["--metric", "validate/loss:most"], "the order is max or min"),
        (["--best", "nothing"], "no run has the metric 'nothing'"),
        (["--epochs", "-1"], "--epochs must be at least 0"),
        (["nowhere"], "neither a run (log.jsonl)"),
        (["one=nowhere"], "two runs are called 'one'"),
    ],
)
def test_what_cannot_be(more, message, runs, capsys):
    assert main(["compare", *runs, *more]) == 1
    assert message in capsys.readouterr().err
