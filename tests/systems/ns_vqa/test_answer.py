"""Questions typed by people are read in the vocabulary's own spelling where that is possible."""

from __future__ import annotations

import pytest

from pyvqa.data.clevr_questions import split_words
from pyvqa.systems.ns_vqa.answer import as_known

WORDS = dict.fromkeys(["What", "what", "red", "there", "is", "a", "it", "cube", ";", ","], 0)


@pytest.mark.parametrize(
    ("typed", "tokens"),
    [
        ("What red cube is there?", ["What", "red", "cube", "is", "there"]),
        ("WHAT  red\tcube is there ?", ["what", "red", "cube", "is", "there"]),
        (" There is a Red cube;is it\n", ["there", "is", "a", "red", "cube", ";", "is", "it"]),
        ("there , cube!", ["there", ",", "cube"]),
        ("Crimson CUBE", ["Crimson", "cube"]),
        ("", [""]),
    ],
)
def test_spaces_and_capitals_do_not_matter(typed: str, tokens: list[str]) -> None:
    assert split_words(as_known(typed, WORDS)) == tokens


@pytest.mark.parametrize("text", ["What is red; is there a cube", "there, is a cube"])
def test_known_spelling_stays(text: str) -> None:
    assert as_known(text, WORDS) == text
