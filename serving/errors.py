"""Typed errors of model serving: each says what happened, where, and what to do about it."""

from __future__ import annotations


class ServingError(Exception):
    """Base of every error that model serving raises.

    Args:
        what: one sentence, what went wrong.
        where: the model, file, tensor or pass concerned.
        fix: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        parts = [f"{where}: {what}" if where else what]
        if fix:
            parts.append(fix)
        super().__init__(" ".join(p if p.endswith((".", "!")) else f"{p}." for p in parts))

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the three parts over pickling (errors travel between processes)."""
        return (_rebuild, (type(self), self.what, self.where, self.fix), self.__dict__)


def _rebuild(cls: type[ServingError], what: str, where: str, fix: str) -> ServingError:
    return cls(what, where=where, fix=fix)


class ModelMissing(ServingError):
    """A model, version or file that is needed is not in the model repository."""


class ModelCorrupt(ServingError):
    """A model file differs from what was recorded, or its graph breaks the contract."""


class VersionTaken(ServingError):
    """A model of one's own has a version number that the package gives to a model itself."""


class FetchFailed(ServingError):
    """A file could not be fetched from the package index, or its hash is wrong."""


class InvalidInput(ServingError):
    """The caller passed a tensor or picture that breaks the contract."""


class InferenceError(ServingError):
    """The backend could not run the model.

    Attributes:
        model: which; empty where it is not known.
    """

    model: str = ""


class NoAnswer(InferenceError):
    """Whoever was asked lives, but did not answer this request in time, tried again and again."""


class RejectedInput(InferenceError):
    """The model runs, but cannot judge this input, asked alone and again: the input is at fault.

    Attributes:
        row: which input of a batch.
    """

    row: int = 0


class EndsServer(RejectedInput):
    """Servers end when they are asked for this input, tried again and again."""


class ServerUnavailable(ServingError):
    """No server answered for as long as an outage is waited for."""


class TooSlow(ServerUnavailable):
    """A server lives, but does not even judge its canary in time."""


class InsaneOutput(ServingError):
    """The model answered, but no live model answers like that: the image must not be published.

    Attributes:
        model: which model answered; empty where it is not known.
    """

    model: str = ""


class CanaryFailed(InsaneOutput):
    """A model does not find what is known to be in the canary picture."""


class ServerFailed(ServingError):
    """A Triton server could not be started, or ended."""
