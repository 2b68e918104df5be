"""Beginning with the published skip-thoughts files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pyvqa.errors import DataError
from pyvqa.systems.murel.build import build_network, build_question
from pyvqa.systems.murel.skip_thoughts import read_skip_thoughts

from .conftest import murel, question

DICTIONARY = ["the", "UNK", "cat", "is"]
WORDS = ["", "is", "zebra", "cat"]


def write_files(folder: Path, *, width: int = 4, hidden: int = 6, two: bool = False) -> dict:
    rng = np.random.default_rng(0)
    half = hidden // 2 if two else hidden
    arrays = {}
    for prefix in ("encoder_", "encoder_r_") if two else ("encoder_",):
        shapes = {
            "W": (width, 2 * half),
            "Wx": (width, half),
            "U": (half, 2 * half),
            "Ux": (half, half),
            "b": (2 * half,),
            "bx": (half,),
        }
        arrays |= {prefix + k: rng.standard_normal(v).astype(np.float32) for k, v in shapes.items()}
    table = rng.standard_normal((len(DICTIONARY), width)).astype(np.float32)
    folder.mkdir(exist_ok=True)
    (folder / "dictionary.txt").write_text("\n".join(DICTIONARY) + "\n")
    np.save(folder / ("btable.npy" if two else "utable.npy"), table)
    np.savez(folder / ("bi_skip.npz" if two else "uni_skip.npz"), **arrays)
    return {"table": table, **arrays}


@pytest.mark.parametrize("kind", ["bayesian", "uni", "drop", "bi"])
def test_words_and_gates_come_where_they_belong(tmp_path: Path, kind: str):
    arrays = write_files(tmp_path, two=kind == "bi")
    dropout = 0.25 if kind in ("bayesian", "drop") else 0.0
    encoder = build_question(question(encoder=kind, dropout=dropout), len(WORDS))
    assert read_skip_thoughts(tmp_path, encoder, WORDS) == 1  # zebra
    rows = encoder.embedding.weight.detach().numpy()
    assert not rows[0].any()
    np.testing.assert_array_equal(rows[1:], arrays["table"][[3, 1, 2]])
    for prefix, direction in zip(("encoder_", "encoder_r_"), encoder.gru.directions, strict=False):
        joined = np.concatenate([arrays[prefix + "W"], arrays[prefix + "Wx"]], 1).T
        np.testing.assert_array_equal(direction.weight_input.detach(), joined)
        joined = np.concatenate([arrays[prefix + "U"], arrays[prefix + "Ux"]], 1).T
        np.testing.assert_array_equal(direction.weight_hidden.detach(), joined)
        joined = np.concatenate([arrays[prefix + "b"], arrays[prefix + "bx"]])
        np.testing.assert_array_equal(direction.bias_input.detach(), joined)


def test_a_network_begins_with_them(tmp_path: Path):
    arrays = write_files(tmp_path)
    network = build_network(murel(question=question(skip_thoughts=str(tmp_path))), WORDS, 3)
    expected = torch.from_numpy(arrays["table"][2])
    assert torch.equal(network.question.embedding.weight[3], expected)


def test_bad_files(tmp_path: Path):
    encoder = build_question(question(), len(WORDS))

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message):
            read_skip_thoughts(tmp_path, encoder, WORDS)

    refused(r"dictionary\.txt: cannot be read .* null for random weights")
    write_files(tmp_path, width=5)
    refused(r"utable\.npy: not floats of shape \[words, 4\]")
    write_files(tmp_path, hidden=8)
    refused(r"encoder_W and encoder_Wx give .* this encoder needs \[18, 4\]")
    write_files(tmp_path)
    (tmp_path / "dictionary.txt").write_text("the\ncat\n")
    refused("has no word UNK")
    (tmp_path / "dictionary.txt").write_text("\n".join(["a"] * 9 + ["UNK", "cat"]))
    refused("are both of one release")
    write_files(tmp_path)
    np.save(tmp_path / "utable.npy", np.array([{}], dtype=object), allow_pickle=True)
    refused(r"utable\.npy: not a readable array file")
    write_files(tmp_path)
    np.savez(tmp_path / "uni_skip.npz", encoder_W=np.array([{}], dtype=object))
    refused("no readable array encoder_W")
    (tmp_path / "uni_skip.npz").write_bytes(b"PK but no archive")
    refused(r"uni_skip\.npz: not a readable array file")
    with (tmp_path / "uni_skip.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    refused("holds one array")
