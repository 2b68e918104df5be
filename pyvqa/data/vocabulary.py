"""Token tables: which integer stands for which word, function or answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pyvqa.errors import DataError

NULL, START, END, UNKNOWN = range(4)
SPECIAL = ("<NULL>", "<START>", "<END>", "<UNK>")


def build_table(tokens: Iterable[str], minimum: int = 1) -> dict[str, int]:
    """Number the four special tokens, then every token seen at least `minimum` times, sorted.

    Sorting is by code point (ns-vqa reason/utils/preprocess.py `build_vocab`).
    """
    counts = Counter(tokens)
    kept = sorted(token for token, count in counts.items() if count >= minimum)
    return {token: k for k, token in enumerate([*SPECIAL, *kept])}


def extend_table(table: Mapping[str, int], more: Iterable[str]) -> dict[str, int]:
    """Append the tokens that `table` lacks, in their given order."""
    extended = dict(table)
    for token in more:
        extended.setdefault(token, len(extended))
    return extended


def inverse(table: Mapping[str, int]) -> list[str]:
    """List the tokens by number."""
    return sorted(table, key=table.__getitem__)


def check_table(table: Any, where: str) -> dict[str, int]:
    """Check a table read from a file: strings numbered 0, 1, 2, ..., the special tokens first.

    Raises:
        DataError: `where` and what is wrong.
    """
    if not isinstance(table, dict) or not all(type(k) is int for k in table.values()):
        raise DataError(f"{where}: not a table of token -> number; is this a vocabulary file?")
    if sorted(table.values()) != list(range(len(table))):
        raise DataError(
            f"{where}: numbers are not 0..{len(table) - 1}, each once; rebuild the file"
        )
    for number, token in enumerate(SPECIAL):
        if table.get(token) != number:
            found = table.get(token, "missing")
            raise DataError(f"{where}: {token} must be number {number}, it is {found}")
    return dict(table)
