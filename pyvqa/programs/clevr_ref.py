"""The CLEVR-Ref+ language: its functions and values (clevr-refplus-dataset-gen metadata.json)."""

from __future__ import annotations

from pyvqa.programs import clevr

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "nineth")
SIDES = ("from left", "from right", "from front")
VISIBILITIES = ("fully visible", "partially visible")

# What released programs use: 56 functions. ("nineth" is the data set's own spelling.)
FUNCTIONS: tuple[str, ...] = tuple(
    sorted(
        ["scene", "unique", "union", "intersect"]
        + [f"relate[{relation}]" for relation in clevr.RELATIONS]
        + [f"same_{attribute}" for attribute in clevr.ATTRIBUTES]
        + [
            f"filter_{attribute}[{value}]"
            for attribute in clevr.ATTRIBUTES
            for value in clevr.VALUES[attribute]
        ]
        + [f"filter_visible[{visibility}]" for visibility in VISIBILITIES]
        + [
            f"filter_ordinal[the {ordinal} one of the,{side}]"
            for ordinal in ORDINALS
            for side in SIDES
        ]
    )
)

# Further functions that the generator's engine executes; expressions never end in them.
QUESTION_FUNCTIONS: tuple[str, ...] = (
    "count",
    "exist",
    *(f"query_{attribute}" for attribute in clevr.ATTRIBUTES),
    *(f"equal_{attribute}" for attribute in clevr.ATTRIBUTES),
    "equal_integer",
    "equal_object",
    "less_than",
    "greater_than",
)
