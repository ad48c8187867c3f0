"""What is known of a labelled object besides its class and box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping


class Attributes(Mapping[str, str]):
    """Names and values as text; frozen, hashable, and sendable to other processes."""

    __slots__ = ("_pairs",)

    _pairs: dict[str, str]

    def __init__(self, pairs: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        object.__setattr__(self, "_pairs", dict(sorted(dict(pairs).items())))

    @classmethod
    def of_scalars(cls, values: Mapping[str, object]) -> Attributes:
        """The texts, numbers and booleans among ``values``; ``true`` and ``false`` as in JSON."""
        return cls(
            (str(name), str(value).lower() if isinstance(value, bool) else str(value))
            for name, value in values.items()
            if isinstance(value, str | int | float)
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"attributes cannot be changed ({name})")

    def __getitem__(self, name: str) -> str:
        return self._pairs[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def __hash__(self) -> int:
        return hash(tuple(self._pairs.items()))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (tuple(self._pairs.items()),))

    def __repr__(self) -> str:
        return f"Attributes({self._pairs!r})"
