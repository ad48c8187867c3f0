"""At which tensor shapes a replica has been verified, and which are due."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence

Shape = tuple[int, int]
"""Height and width of a detector's tensor in pixels."""

REMEMBERED = 512
"""Shapes of each replica; the least recently used is forgotten, which costs a verification when
it is used again."""


class Verified:
    """Remembers, for each replica by its name, at which shapes it passed, and when."""

    def __init__(self) -> None:
        self._turn = 0
        self._passed: dict[str, OrderedDict[Shape, int]] = {}

    def due(self, replica: str, used: Iterable[Shape]) -> tuple[Shape, ...]:
        """Those of ``used`` that never passed, in order, and of the others the one that passed
        longest ago: each has its turn, and a check costs little once all have passed.
        """
        passed = self._passed.get(replica, OrderedDict())
        shapes = sorted(set(used))
        known = [shape for shape in shapes if shape in passed]
        for shape in known:
            passed.move_to_end(shape)
        oldest = sorted(known, key=lambda shape: passed[shape])[:1]
        return (*(shape for shape in shapes if shape not in passed), *oldest)

    def passed(self, replica: str, shapes: Sequence[Shape]) -> None:
        """Remember that ``replica`` passed at ``shapes`` now."""
        passed = self._passed.setdefault(replica, OrderedDict())
        for shape in shapes:
            self._turn += 1
            passed[shape] = self._turn
            passed.move_to_end(shape)
        while len(passed) > REMEMBERED:
            passed.popitem(last=False)

    def forget(self, replica: str | None = None) -> None:
        """Whatever ``replica`` passed counts no more; of all replicas if it is None."""
        if replica is None:
            self._passed.clear()
        else:
            self._passed.pop(replica, None)
