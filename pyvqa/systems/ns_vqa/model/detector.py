"""The detector's classes: an object's colour, material and shape at once, or its shape alone."""

from __future__ import annotations

from typing import Any

COLORS = ("blue", "brown", "cyan", "gray", "green", "purple", "red", "yellow")
MATERIALS = ("rubber", "metal")
SHAPES = ("cube", "cylinder", "sphere")

# Number of classes with the background, by what they tell apart; the shape varies fastest.
CLASSES = {"combined": 1 + len(COLORS) * len(MATERIALS) * len(SHAPES), "shape": 1 + len(SHAPES)}


def class_of(known: dict[str, Any], categories: str = "combined") -> int:
    """Give the class of an object with color, material and shape."""
    shape = SHAPES.index(known["shape"])
    if categories == "shape":
        return 1 + shape
    color, material = COLORS.index(known["color"]), MATERIALS.index(known["material"])
    return 1 + (color * len(MATERIALS) + material) * len(SHAPES) + shape


def attributes_of(label: int, categories: str = "combined") -> dict[str, str]:
    """Say what a class tells about an object.

    Raises:
        ValueError: there is no such class.
    """
    if not 1 <= label < CLASSES[categories]:
        raise ValueError(f"class {label} is not among 1..{CLASSES[categories] - 1}")
    rest, shape = divmod(label - 1, len(SHAPES))
    if categories == "shape":
        return {"shape": SHAPES[shape]}
    color, material = divmod(rest, len(MATERIALS))
    return {"color": COLORS[color], "material": MATERIALS[material], "shape": SHAPES[shape]}
