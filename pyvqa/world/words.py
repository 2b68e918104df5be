"""All words that questions made from templates can have, found without making any."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from pyvqa.data.clevr_questions import split_words
from pyvqa.programs.clevr import RELATIONS, VALUES
from pyvqa.world.template_files import Templates

# What a parameter of a question template may hold.
_VALUES: dict[str, tuple[str, ...]] = {
    **{name.capitalize(): values for name, values in VALUES.items()},
    "Relation": RELATIONS,
}
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
_PLACEHOLDER = re.compile(r"<[^<>]*>")


def question_words(templates: Templates) -> set[str]:
    """Collect every word (as `split_words` cuts them) that a question of these templates can have.

    Optional parts are taken both ways and every value in all its synonyms; values of a placeholder
    are not tied to each other, so that a word may be listed which no scene ever calls for.
    """
    words: set[str] = set()
    for family in templates.families:
        texts, params, _, _ = family.source
        phrases = {name: _phrases(kind, templates) for name, kind in params}
        for text in texts:
            for chunk in {chunk for plain in _both_ways(text) for chunk in plain.split()}:
                words.update(_words(chunk, phrases))
    if "another" in words:  # written as "a" where the two descriptions differ already
        words.add("a")
    return words


def _both_ways(text: str) -> Iterator[str]:
    """Give a wording with every choice of its optional parts."""
    parts = _OPTIONAL.split(text)  # optional ones at odd positions
    choices = [(part, "") if k % 2 else (part,) for k, part in enumerate(parts)]
    for chosen in itertools.product(*choices):
        yield "".join(chosen)


def _phrases(kind: str, templates: Templates) -> list[str]:
    """List what a parameter can be written as, nothing included."""
    values = _VALUES.get(kind, ())
    written = [phrase for v in values for phrase in templates.synonyms.get(v, [v])]
    empty = templates.synonyms.get("thing", ["thing"]) if kind == "Shape" else [""]
    return [*empty, *written]


def _words(chunk: str, phrases: dict[str, list[str]]) -> Iterator[str]:
    """Give the words of one piece between spaces, e.g. `cubes` of `<S>s`."""
    names = _PLACEHOLDER.findall(chunk)
    frame = _PLACEHOLDER.split(chunk)
    for filling in itertools.product(*(phrases[name] for name in names)):
        text = "".join(itertools.chain.from_iterable(zip(frame, (*filling, ""), strict=True)))
        yield from (word for word in split_words(text) if word)
