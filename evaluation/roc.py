"""How well a score tells true from false: the area under the receiver operating curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def area_under_curve(true: NDArray[np.floating], false: NDArray[np.floating]) -> float:
    """Chance that a true one scores higher than a false one, ties counted half.

    Args:
        true: scores of true objects, [n].
        false: scores of false ones, [m].

    Returns:
        0..1; NaN if either is empty.
    """
    if len(true) == 0 or len(false) == 0:
        return float("nan")
    ordered = np.sort(false)
    below = np.searchsorted(ordered, true, side="left")
    up_to = np.searchsorted(ordered, true, side="right")
    return float((below + up_to).mean() / (2 * len(false)))
