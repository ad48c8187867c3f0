"""Which tensor shapes come often enough to be compiled for?"""

from __future__ import annotations

from collections import OrderedDict

Shape = tuple[int, ...]

REMEMBERED = 64
"""Shapes whose work is added up at a time; the one seen longest ago is forgotten."""


class FrequentShapes:
    """Adds up the work done at each shape, and says when a shape has earned its own plan.

    A plan is worth its price once a shape has come often enough, but nobody knows how often it
    will still come. Buying when as much has been wasted as the plan costs is never worse than
    twice the best one could have done ("ski rental": Karlin et al., Algorithmica 3, 1988).

    Args:
        price: work, in elements of the input, that must have been done at a shape.
    """

    def __init__(self, price: int) -> None:
        self._price = price
        self._done: OrderedDict[Shape, int] = OrderedDict()

    def earned(self, shape: Shape) -> bool:
        """Count one more run at ``shape``; whether it has earned its plan, then starts anew."""
        size = 1
        for length in shape:
            size *= length
        done = self._done.pop(shape, 0) + size
        if done >= self._price:
            return True
        self._done[shape] = done
        if len(self._done) > REMEMBERED:
            self._done.popitem(last=False)
        return False

    def __len__(self) -> int:
        """How many shapes are remembered."""
        return len(self._done)
