"""How VQA questions are cut into words: three tokenisers (block datasets/vqa_utils.py).

mcb      lower case, most punctuation deleted, `-` and `/` are spaces; used by every published
         configuration
naive    case kept, every separator is a word of its own
nltk     lower case, then NLTK's Treebank rules
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Tokeniser = Callable[[str], list[str]]

_MCB_MARKS = str.maketrans({**dict.fromkeys("?!'\"$:@(),.;", ""), "-": " ", "/": " "})
_SEPARATORS = re.compile(r"([-.\"',: ?!$#@~()*&^%;\[\]/\\+<>\n=])")
_treebank: list[Any] = []  # NLTK's tokeniser, once somebody has asked for it


def split_mcb(text: str) -> list[str]:
    """Split at single spaces after deleting marks; a tab or line break stays in its word."""
    return [word for word in text.lower().translate(_MCB_MARKS).split(" ") if word]


def split_naive(text: str) -> list[str]:
    """Split at separators and keep them, except for spaces and line breaks."""
    return [word for word in _SEPARATORS.split(text) if word not in ("", " ", "\n")]


def split_nltk(text: str) -> list[str]:
    """Split by NLTK's Treebank rules, taking the text as one sentence.

    NLTK's `word_tokenize` would cut the text into sentences first, by a model that has to be
    downloaded; the words differ only where a full stop ends a sentence inside a question.
    """
    if not _treebank:
        from nltk.tokenize.destructive import NLTKWordTokenizer

        _treebank.append(NLTKWordTokenizer())
    words: list[str] = _treebank[0].tokenize(text.lower())
    return words


TOKENISERS: Mapping[str, Tokeniser] = {
    "mcb": split_mcb,
    "naive": split_naive,
    "nltk": split_nltk,
}
