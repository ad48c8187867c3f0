"""Typed errors: each says what happened, where, and what to do about it."""

from __future__ import annotations


class StreetblurError(Exception):
    """Base of every error a user can meet.

    Args:
        what: one sentence, what went wrong.
        where: the file, key, field or address concerned.
        fix: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        parts = [what if not where else f"{where}: {what}"]
        if fix:
            parts.append(fix)
        super().__init__(
            " ".join(part if part.endswith((".", "!")) else f"{part}." for part in parts)
        )

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts over pickling (Ray sends errors between processes)."""
        return (_rebuild, (type(self), self.__dict__.copy(), self.args))


def _rebuild(
    cls: type[StreetblurError], state: dict[str, object], args: tuple[object, ...]
) -> StreetblurError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ConfigurationError(StreetblurError):
    """A setting, job file or policy is wrong."""


def nested_outputs(inner: str, outer: str) -> ConfigurationError:
    """Two outputs of which one lies within the other."""
    return ConfigurationError(
        f"this output lies within another one, {outer}, and neither knows what the other blurred",
        where=inner,
        fix="Choose outputs that lie apart, or run the other job for these pictures, too",
    )


class StorageError(StreetblurError):
    """The object store could not do what was asked, after bounded retries."""


class LedgerError(StreetblurError):
    """The workspace holds something that contradicts itself."""


class LeaseError(StreetblurError):
    """Another run holds the output, or this run has lost it."""


class EngineUnavailable(StreetblurError):
    """No cluster could be started or joined."""


class Refusal(StreetblurError):
    """Something is not accepted, for one of a known set of reasons.

    Args:
        reason: stable machine-readable code, for instance ``truncated``.
        what: one sentence for people.
    """

    def __init__(self, reason: str, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(what, where=where, fix=fix)
        self.reason = reason


class ImageRefused(Refusal):
    """An input that is bad or not supported: it is quarantined, never retried."""


class OutputRejected(Refusal):
    """An output failed its check and must not be published."""
