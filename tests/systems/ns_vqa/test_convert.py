"""Weights of the original release: there and back, and what is refused."""

from __future__ import annotations

import pytest
import torch

from pyvqa.cli.main import main
from pyvqa.errors import CheckpointError
from pyvqa.systems import load
from pyvqa.systems.ns_vqa.build import build_parser
from pyvqa.systems.ns_vqa.config import ParserConfig
from pyvqa.systems.ns_vqa.convert import import_model
from pyvqa.systems.ns_vqa.upstream import parser_from_upstream, parser_names, parser_to_upstream
from pyvqa.train.checkpoint import read_torch

# What the original's checkpoint of a default network holds (its state_dict, in order).
NAMES = ["encoder.embedding.weight"]
for layer in range(2):
    for suffix in ("", "_reverse"):
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            NAMES.append(f"encoder.rnn.{name}_l{layer}{suffix}")
NAMES.append("decoder.embedding.weight")
for layer in range(2):
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        NAMES.append(f"decoder.rnn.{name}_l{layer}")
NAMES += ["decoder.out_linear.weight", "decoder.out_linear.bias"]
NAMES += ["decoder.attention.linear_out.weight", "decoder.attention.linear_out.bias"]


def checkpoint(small, **settings) -> dict:
    torch.manual_seed(0)
    config = ParserConfig(word_dim=6, hidden=5, mask_padding=False, **settings)
    words, functions = len(small.vocabulary.words), len(small.vocabulary.functions)
    parser = build_parser(config, words, functions)
    return parser_to_upstream(config, words, functions, parser.state_dict())


def test_every_name_of_the_original_has_a_place():
    ours, unplaced = parser_names(NAMES)
    assert unplaced == []
    parser = build_parser(ParserConfig(hidden=4, word_dim=4), 92, 44)
    assert sorted(ours.values()) == sorted(parser.state_dict())


def test_the_default_network_has_the_size_of_the_original():
    parser = build_parser(ParserConfig(), 92, 44)
    assert sum(p.numel() for p in parser.parameters()) == 7_076_236


@pytest.mark.parametrize(
    "settings",
    [{}, {"attention": False, "layers": 1}, {"bidirectional": False}, {"variable_lengths": False}],
)
def test_there_and_back_changes_no_bit(small, tmp_path, settings, capsys):
    original = checkpoint(small, **settings)
    torch.save(original, tmp_path / "question_parser.pt")
    arguments = ["convert", "ns-vqa", str(tmp_path / "question_parser.pt")]
    arguments += ["--vocab", str(small.vocabulary_file), "--out", str(tmp_path / "model")]
    assert main(arguments) == 0
    assert "none left over" in capsys.readouterr().out
    back = ["convert", "ns-vqa", str(tmp_path / "model"), "--back"]
    assert main([*back, "--out", str(tmp_path / "back.pt")]) == 0
    again = read_torch(tmp_path / "back.pt")
    assert again["net_params"] == original["net_params"]
    assert list(again["net_state"]) == list(original["net_state"])
    for name, value in original["net_state"].items():
        assert torch.equal(again["net_state"][name], value), name
    assert load(tmp_path / "model").config.mask_padding is False


def test_word_vectors_may_have_another_width(small):
    original = checkpoint(small, function_dim=9)
    config, _, _, weights, unplaced = parser_from_upstream(original)
    assert (config.word_dim, config.function_dim, unplaced) == (6, 9, [])
    assert weights["word_embedding.weight"].shape[1] == 6


def test_leftover_keys_are_listed(small, tmp_path):
    original = checkpoint(small)
    original["net_state"]["decoder.extra.weight"] = torch.zeros(1)
    torch.save(original, tmp_path / "odd.pt")
    with pytest.raises(CheckpointError, match=r"no place for decoder\.extra\.weight"):
        import_model([tmp_path / "odd.pt"], small.vocabulary_file, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_wrong_files_are_refused(small, tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        read_torch(tmp_path / "absent.pt")
    (tmp_path / "noise.pt").write_bytes(b"not weights at all")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_torch(tmp_path / "noise.pt")
    torch.save({"weights": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="net_params or net_state is missing"):
        import_model([tmp_path / "other.pt"], small.vocabulary_file, tmp_path / "model")
    original = checkpoint(small)
    original["net_params"]["end_id"] = 3
    with pytest.raises(CheckpointError, match="unknown framing"):
        parser_from_upstream(original)


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"net_params": Trap()}, tmp_path / "trap.pt")
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        read_torch(tmp_path / "trap.pt")
    assert not (tmp_path / "ran").exists()


def test_a_vocabulary_of_another_size_is_refused(small, tmp_path):
    original = checkpoint(small)
    original["net_params"]["input_vocab_size"] += 1
    torch.save(original, tmp_path / "bigger.pt")
    with pytest.raises(CheckpointError, match="give its own vocabulary"):
        import_model([tmp_path / "bigger.pt"], small.vocabulary_file, tmp_path / "model")


def test_masked_attention_has_no_place_in_the_original(small, tmp_path, capsys):
    from pyvqa.systems.ns_vqa.folder import write_parser

    config = ParserConfig(word_dim=6, hidden=5)
    words, functions = len(small.vocabulary.words), len(small.vocabulary.functions)
    write_parser(tmp_path, build_parser(config, words, functions), config, small.vocabulary, "")
    arguments = ["convert", "ns-vqa", str(tmp_path), "--back", "--out", str(tmp_path / "x.pt")]
    assert main(arguments) == 1
    assert "masks padding" in capsys.readouterr().err
    assert not (tmp_path / "x.pt").exists()
