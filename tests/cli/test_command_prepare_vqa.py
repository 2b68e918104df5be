"""`pyvqa prepare vqa2`, `vqacp2`, `tdiuc`, `vgenome`, `bottom-up-tsv`, `region-files`."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from data.vqa_cases import entries, write_pair, write_vqa2

from pyvqa.cli import main as cli
from pyvqa.data.region_store import open_regions
from pyvqa.data.vqa_questions import VqaData


def run(*arguments: object) -> int:
    return cli.main(["prepare", *map(str, arguments)])


def test_vqa2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_vqa2(tmp_path / "raw")
    assert run("vqa2", "--root", root, "--out", tmp_path / "data", "--answers", 5) == 0
    out = capsys.readouterr().out
    assert "443,757" in out  # what the release has
    data = VqaData(tmp_path / "data")
    assert data.splits == ["train", "val", "test"]
    assert len(data.vocabulary.answers) == 5
    assert data.about["dataset"] == "vqa2"
    assert data.about["choices"]["answers"] == 5
    digests = data.about["sources"]
    assert all(len(digest) == 64 for digest in digests.values())
    assert len(digests) == 6


def test_named_files_give_the_same(tmp_path: Path) -> None:
    root = write_vqa2(tmp_path / "raw")
    named: list[object] = []
    for split, name in (("train", "train2014"), ("val", "val2014"), ("test", "test2015")):
        named += ["--questions", f"{split}={root}/v2_OpenEnded_mscoco_{name}_questions.json"]
        if split != "test":
            named += ["--annotations", f"{split}={root}/v2_mscoco_{name}_annotations.json"]
    dev = root / "v2_OpenEnded_mscoco_test-dev2015_questions.json"
    assert run("vqa2", *named, "--questions", f"test-dev={dev}", "--out", tmp_path / "a") == 0
    assert run("vqa2", "--root", root, "--out", tmp_path / "b") == 0
    for name in ("train.safetensors", "test.safetensors", "vocabulary.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_trainval_with_visual_genome(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_vqa2(tmp_path / "raw")
    pairs = [
        {"qa_id": 9000 + k, "image_id": 5, "question": "Zebra?", "answer": answer}
        for k, answer in enumerate(["Yes.", "no", "zebra"])
    ]
    genome = tmp_path / "question_answers.json"
    genome.write_text(json.dumps([{"id": 5, "qas": pairs}]))
    both = ["--trainval", "--vgenome", genome, "--out", tmp_path / "data"]
    assert run("vqa2", "--root", root, *both) == 0
    assert "2 of Visual Genome added" in capsys.readouterr().out
    data = VqaData(tmp_path / "data")
    assert data.split("train").question_ids[-2:].tolist() == [9000, 9001]
    assert data.vocabulary.words[-2:] == ("UNK", "zebra")
    assert run("vgenome", "--root", genome, "--out", tmp_path / "vg") == 0
    assert len(VqaData(tmp_path / "vg").split("train")) == 3


def test_vqacp2_and_tdiuc(tmp_path: Path) -> None:
    questions, annotations = entries(60, 0)
    for question in questions:
        question["coco_split"] = "val2014"
    (tmp_path / "cp").mkdir()
    for part, rows in (("train", slice(0, 40)), ("test", slice(40, 60))):
        for kind, content in (("questions", questions), ("annotations", annotations)):
            file = tmp_path / "cp" / f"vqacp_v2_{part}_{kind}.json"
            file.write_text(json.dumps(content[rows]))
    assert run("vqacp2", "--root", tmp_path / "cp", "--out", tmp_path / "cp-data") == 0
    cp = VqaData(tmp_path / "cp-data")
    assert [len(cp.split(name)) for name in cp.splits] == [40, 20]
    tdiuc = entries(60, 1, people=1)
    for annotation in tdiuc[1]:
        del annotation["multiple_choice_answer"]
    write_pair(tmp_path / "td", "train2014", tdiuc)
    write_pair(tmp_path / "td", "val2014", entries(10, 2, 500, people=1))
    assert run("tdiuc", "--root", tmp_path / "td", "--out", tmp_path / "td-data") == 0
    data = VqaData(tmp_path / "td-data")
    assert [len(data.split(name)) for name in data.splits] == [57, 3, 10]


def test_a_given_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_vqa2(tmp_path / "raw")
    assert run("vqa2", "--root", root, "--answers", 4, "--out", tmp_path / "a") == 0
    few = write_vqa2(tmp_path / "few", train=9)
    model = VqaData(tmp_path / "a").vocabulary
    (tmp_path / "original").mkdir()
    torch.save(dict(enumerate(model.words[1:], 1)), tmp_path / "original/wid_to_word.pth")
    torch.save(list(model.answers), tmp_path / "original/aid_to_ans.pth")
    for k, path in enumerate([tmp_path / "a/vocabulary.json", tmp_path / "original"]):
        given = ["--vocabulary", path, "--out", tmp_path / f"few{k}"]
        assert run("vqa2", "--root", few, *given) == 0
        data = VqaData(tmp_path / f"few{k}")
        assert data.vocabulary == model
        assert len(data.split("val")) == 20
    capsys.readouterr()
    torch.save([1, 2], tmp_path / "original/wid_to_word.pth")
    assert run("vqa2", "--root", few, "--vocabulary", tmp_path / "original", "--out", "x") == 1
    assert "wid_to_word.pth: not a table of word numbers" in capsys.readouterr().err


def test_normalised_answers(tmp_path: Path) -> None:
    root = write_vqa2(tmp_path / "raw")
    assert run("vqa2", "--root", root, "--normalise-answers", "--out", tmp_path / "data") == 0
    answers = VqaData(tmp_path / "data").vocabulary.answers
    assert "2" in answers
    assert "two" not in answers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --root DIR, or"),
        (["--root", ".", "--questions", "train=x.json"], "give either --root DIR, or"),
        (["--questions", "x.json"], "expected SPLIT=FILE"),
        (["--questions", "dev=x.json"], "expected SPLIT=FILE"),
        (["--questions", "val=x.json"], "--questions train=FILE is missing"),
        (["--questions", "train=a", "--questions", "train=b"], "given twice"),
        (["--questions", "train=a", "--annotations", "val=b"], "--questions val=FILE is missing"),
        (["--questions", "train=nowhere.json"], "nowhere.json: no such file"),
        (["--root", ".", "--answers", "0"], "answers must be at least 1"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("vqa2", *arguments, "--out", tmp_path / "data") == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "data").exists()


def test_other_folders_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_vqa2(tmp_path / "raw")
    before = {file.name: file.read_bytes() for file in root.iterdir()}
    assert run("vqa2", "--root", root, "--out", root) == 1
    assert "holds files that are not prepared data" in capsys.readouterr().err
    assert {file.name: file.read_bytes() for file in root.iterdir()} == before
    assert run("vqa2", "--root", root, "--out", root / "v2_mscoco_val2014_annotations.json") == 1
    assert "is a file" in capsys.readouterr().err
    for _ in range(2):  # what was prepared may be prepared again
        assert run("vqa2", "--root", root, "--out", tmp_path / "data") == 0


def test_feature_stores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "pth"
    folder.mkdir()
    lines = []
    for k in (3, 4):
        boxes, features = rng.random((2, 4), np.float32), rng.random((2, 3), np.float32)
        content = {"pooled_feat": features, "rois": boxes, "norm_rois": boxes / 10}
        tensors = {key: torch.from_numpy(value) for key, value in content.items()}
        torch.save(tensors, folder / f"COCO_val2014_{k:012d}.jpg.pth")
        packed = [base64.b64encode(a.tobytes()).decode() for a in (boxes, features)]
        lines.append("\t".join([str(k), "10", "10", "2", *packed]) + "\n")
    (tmp_path / "a.tsv").write_text("".join(lines))
    tsv = ["--tsv", tmp_path / "a.tsv", "--names", "val2014", "--dtype", "float32"]
    assert run("bottom-up-tsv", *tsv, "--out", tmp_path / "a.h5") == 0
    assert "2 pictures, 4 regions, 3 wide" in capsys.readouterr().out
    own = ["--source", folder, "--dtype", "float32"]
    assert run("region-files", *own, "--out", tmp_path / "b.safetensors") == 0
    again = ["--source", tmp_path / "b.safetensors", "--dtype", "float32"]
    assert run("region-files", *again, "--out", tmp_path / "c.h5") == 0
    stores = [open_regions([tmp_path / name]) for name in ("a.h5", "b.safetensors", "c.h5")]
    names = [f"COCO_val2014_{k:012d}.jpg" for k in (4, 3)]
    first, *others = [store.read(store.rows_of(names)) for store in stores]
    for other in others:
        assert all(torch.allclose(a, b) for a, b in zip(first, other, strict=True))
    assert run("region-files", *again[:2], "--out", tmp_path / "b.safetensors") == 1
    assert "are the same file" in capsys.readouterr().err
    assert run("bottom-up-tsv", "--tsv", "no.tsv", *tsv[2:], "--out", tmp_path / "d.h5") == 1
    assert "no.tsv: no such file" in capsys.readouterr().err
