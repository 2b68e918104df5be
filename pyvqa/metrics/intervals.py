"""How sure a share counted on few questions is."""

from __future__ import annotations

import math

# Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054


def wilson(share: float, count: int, z: float = _Z) -> tuple[float, float]:
    """Give Wilson's score interval (95 %) of a share of `count` questions, within [0, 1].

    For scores between 0 and 1 (VQA accuracy) it is on the safe side: of all scores with that mean,
    those that are only 0 or 1 vary most. Without questions nothing is known: (0, 1).
    """
    if count == 0:
        return 0.0, 1.0
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    middle = share + z * z / (2 * count)
    scale = 1 + z * z / count
    # At 0 and 1 the formula reaches the end itself, but for rounding.
    low = 0.0 if share <= 0 else (middle - spread) / scale
    return low, 1.0 if share >= 1 else (middle + spread) / scale
