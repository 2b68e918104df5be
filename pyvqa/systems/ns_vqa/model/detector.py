"""The detector's classes: what of an object's colour, material and shape they tell apart."""

from __future__ import annotations

import math
from typing import Any

VALUES = {
    "color": ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow"),
    "material": ("rubber", "metal"),
    "shape": ("cube", "cylinder", "sphere"),
}
# The attributes that classes combine, the last one varying fastest. A half-hidden object shows
# sooner what it is made of than what shape it has: with classes of surfaces alone its score is not
# shared out among shapes.
CATEGORIES = {
    "combined": ("color", "material", "shape"),
    "surface": ("color", "material"),
    "shape": ("shape",),
}
# Number of classes with the background.
CLASSES = {
    name: 1 + math.prod(len(VALUES[part]) for part in parts) for name, parts in CATEGORIES.items()
}


def class_of(known: dict[str, Any], categories: str = "combined") -> int:
    """Give the class of an object with color, material and shape."""
    label = 0
    for part in CATEGORIES[categories]:
        label = label * len(VALUES[part]) + VALUES[part].index(known[part])
    return 1 + label


def attributes_of(label: int, categories: str = "combined") -> dict[str, str]:
    """Say what a class tells about an object.

    Raises:
        ValueError: there is no such class.
    """
    if not 1 <= label < CLASSES[categories]:
        raise ValueError(f"class {label} is not among 1..{CLASSES[categories] - 1}")
    rest, said = label - 1, {}
    for part in reversed(CATEGORIES[categories]):
        rest, value = divmod(rest, len(VALUES[part]))
        said[part] = VALUES[part][value]
    return said
