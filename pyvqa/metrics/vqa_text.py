"""How the official VQA evaluation brings answers into one form before comparing them.

Rules of PythonEvaluationTools/vqaEvaluation/vqaEval.py, with their oddities: they decide scores.
"""

from __future__ import annotations

import re

MARKS = ';/[]"{}()=+\\_-><@`,?!'
_THOUSANDS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
# The original passes a flag where the number of replacements belongs: so many stops go at most.
_STOPS = 32
_ARTICLES = frozenset(("a", "an", "the"))
_NUMBER_WORDS = "zero one two three four five six seven eight nine ten".split()
NUMBERS = {word: str(number) for number, word in enumerate(_NUMBER_WORDS)} | {"none": "0"}

# Forms that are often written without one of their apostrophes. Those with a capital I are left
# out: words are in lower case when they are looked up, so the original's entries have no effect.
_CONTRACTIONS = """
    'ow's'at 'twas ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't
    hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am
    might've mightn't mightn't've must've mustn't needn't not've o'clock oughtn't shan't she'd've
    should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've
    someone'll someone's something'd something'd've something'll that's there'd there'd've
    there're there's they'd they'd've they'll they're they've wasn't we'd've we've weren't what'll
    what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd
    you'd've you'll you're you've
"""


def _misspelt(form: str) -> list[str]:
    """List a form without its apostrophe, or without each of its apostrophes in turn."""
    return [form[:k] + form[k + 1 :] for k, letter in enumerate(form) if letter == "'"]


CONTRACTIONS = {wrong: form for form in _CONTRACTIONS.split() for wrong in _misspelt(form)}
CONTRACTIONS["somebody'd"] = "somebodyd"  # the wrong way round in the original


def strip_breaks(text: str) -> str:
    """Turn line breaks and tabs into spaces and drop spaces at both ends."""
    return text.replace("\n", " ").replace("\t", " ").strip()


def strip_marks(text: str) -> str:
    """Delete punctuation marks or turn them into spaces; delete stops that no digit follows.

    A mark goes without a trace if one like it stands beside a space, or if the text holds a number
    like 1,000; else it becomes a space.
    """
    if text.isalnum():  # most answers are one plain word
        return text
    result = text
    thousands = _THOUSANDS.search(text) is not None
    for mark in MARKS:
        if mark in text:
            goes = thousands or f"{mark} " in text or f" {mark}" in text
            result = result.replace(mark, "" if goes else " ")
    return _FULL_STOP.sub("", result, _STOPS)


def plain_words(text: str) -> str:
    """Lower the case, write numbers to ten in digits, drop articles, mend contractions."""
    words = (NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def plain_answer(text: str) -> str:
    """Apply all three rules."""
    return plain_words(strip_marks(strip_breaks(text)))
