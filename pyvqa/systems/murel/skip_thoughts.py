"""The published skip-thoughts files: word vectors and recurrent weights to begin with.

Kiros et al. 2015. A folder holds `dictionary.txt` (a word per line), and for one direction
`utable.npy` [lines, 620] with `uni_skip.npz`, for two `btable.npy` with `bi_skip.npz`. In the
archive, `encoder_W` [D, 2H] is reset and update gate side by side, `encoder_Wx` [D, H] the
candidate, `encoder_U` and `encoder_Ux` the same of the state, `encoder_b` and `encoder_bx` the
biases; `encoder_r_*` is the second direction. Nothing in them is run: pickled arrays are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyvqa.errors import DataError
from pyvqa.nn.gru import GruDirection
from pyvqa.nn.question import QuestionEncoder

UNKNOWN = "UNK"


def read_skip_thoughts(folder: Path, encoder: QuestionEncoder, words: Sequence[str]) -> int:
    """Fill an encoder's words and GRU from a folder; give the number of words it does not know.

    A word that the dictionary lacks gets the vector of UNK. `words` are in the order of their
    numbers, the first one being the padding, whose row is set to zero.

    Raises:
        DataError: a file is missing, damaged, or of other sizes than the encoder.
    """
    two = len(encoder.gru.directions) == 2
    lines = _read_dictionary(folder / "dictionary.txt")
    vectors = _look_up(folder / ("btable.npy" if two else "utable.npy"), lines, words[1:], encoder)
    path = folder / ("bi_skip.npz" if two else "uni_skip.npz")
    archive = _open(path)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path}: holds one array, not an archive of them; fetch it again")
    prefixes = ("encoder_", "encoder_r_")
    with archive, torch.no_grad():
        encoder.embedding.weight[0] = 0.0
        encoder.embedding.weight[1:] = vectors
        for prefix, direction in zip(prefixes, encoder.gru.directions, strict=False):
            _fill(direction, archive, prefix, path)
    return sum(word not in lines for word in words[1:])


def _look_up(
    path: Path, lines: Mapping[str, int], words: Sequence[str], encoder: QuestionEncoder
) -> Tensor:
    """Read the vectors of some words, and no others, from the table of all."""
    table = _open(path)
    width = encoder.embedding.embedding_dim
    if getattr(table, "ndim", 0) != 2 or table.shape[1] != width or table.dtype.kind != "f":
        raise DataError(
            f"{path}: not floats of shape [words, {width}]; set question.word_dim to its width, or "
            "give the published file"
        )
    rows = np.array([lines.get(word, lines[UNKNOWN]) for word in words], dtype=np.int64)
    if rows.size and int(rows.max()) >= table.shape[0]:
        raise DataError(
            f"{path}: has {table.shape[0]} rows, the dictionary beside it {len(lines)} words; are "
            "both of one release?"
        )
    return torch.from_numpy(np.ascontiguousarray(table[rows], dtype=np.float32))


def _read_dictionary(path: Path) -> dict[str, int]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise _absent(path, error) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text; give the published dictionary.txt") from error
    # A later line of the same word counts, as the original's table has it.
    lines = {line.strip(): number for number, line in enumerate(text.split("\n"))}
    if UNKNOWN not in lines:
        raise DataError(f"{path}: has no word {UNKNOWN}; give the published dictionary.txt")
    return lines


def _open(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise _absent(path, error) from error
    except Exception as error:  # numpy and zipfile raise many unrelated types for damaged files
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise DataError(f"{path}: not a readable array file ({reason}); fetch it again") from error


def _absent(path: Path, error: OSError) -> DataError:
    return DataError(
        f"{path}: cannot be read ({error.strerror or error}); fetch dictionary.txt, utable.npy "
        "(2.3 GB) and uni_skip.npz of skip-thoughts, or set question.skip_thoughts to null for "
        "random weights"
    )


def _fill(direction: nn.Module, archive: Mapping[str, Any], prefix: str, path: Path) -> None:
    if not isinstance(direction, GruDirection):
        raise TypeError(f"{type(direction).__name__} is no direction of a GRU")
    targets = (
        (direction.weight_input, "W", "Wx"),
        (direction.weight_hidden, "U", "Ux"),
        (direction.bias_input, "b", "bx"),
    )
    for target, gates, candidate in targets:
        parts = [_array(archive, prefix + name, path).t() for name in (gates, candidate)]
        if any(part.dim() != target.dim() for part in parts) or _joined(parts) != target.shape:
            raise DataError(
                f"{path}: {prefix}{gates} and {prefix}{candidate} give {_joined(parts)}, this "
                f"encoder needs {list(target.shape)}; set question.word_dim and hidden to theirs"
            )
        target.copy_(torch.cat(parts))
    if direction.bias_hidden is not None:
        direction.bias_hidden.zero_()


def _joined(parts: Sequence[Tensor]) -> torch.Size:
    return torch.Size([sum(part.shape[0] for part in parts), *parts[0].shape[1:]])


def _array(archive: Mapping[str, Any], name: str, path: Path) -> Tensor:
    try:
        array = archive[name]
    except Exception as error:  # missing, pickled, or a damaged part of the archive
        raise DataError(f"{path}: has no readable array {name}; fetch it again") from error
    if array.ndim not in (1, 2) or array.dtype.kind != "f":
        raise DataError(f"{path}: {name} is {array.dtype} {array.shape}, not a float matrix")
    return torch.from_numpy(np.asarray(array, dtype=np.float32))
