"""The noise secret: read from the environment or a file, never stored, never logged."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from itertools import groupby, pairwise
from pathlib import Path

from pipeline.errors import ConfigurationError

VARIABLE = "STREETBLUR_SECRET"
FILE_VARIABLE = "STREETBLUR_SECRET_FILE"
_FORM = re.compile(r"[0-9a-fA-F]{64}")
_FIX = "Make one with: python -c 'import secrets; print(secrets.token_hex(32))'"
# What no random secret is. By chance 32 bytes have fewer than 16 different ones in 1 of 2^54 cases,
# a stretch of 9 evenly spaced ones in 1 of 2^51, a period of up to 16 in 1 of 2^127; they
# are UTF-8 in 1 of 2^26, all digits decimal in 1 of 2^43.
_LEAST_DIFFERENT = 16
_LONGEST_PERIOD = 16
_LEAST_EVEN = 9


class NoiseSecret:
    """32 secret bytes that key the noise; its text forms show only its id."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        if len(value) != 32:
            raise ConfigurationError("the noise secret must have 32 bytes", where=VARIABLE)
        self._value = value

    def reveal(self) -> bytes:
        """The 32 bytes themselves; only the noise generator asks for them."""
        return self._value

    @property
    def id(self) -> str:
        """HMAC id (16 hex digits) by which processes check that they hold the same secret."""
        return hmac.new(self._value, b"streetblur noise secret id", hashlib.sha256).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"NoiseSecret(id={self.id})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a noise secret is never pickled: workers read it from their own node")


def read_secret(environ: Mapping[str, str] = os.environ) -> NoiseSecret | None:
    """The configured secret, or None when none is configured.

    Raises:
        ConfigurationError: not 64 hex digits or too regular, or its file is unreadable or open to
            others.
    """
    text = environ.get(VARIABLE, "").strip()
    where = VARIABLE
    if not text and environ.get(FILE_VARIABLE):
        path = Path(environ[FILE_VARIABLE])
        where = f"{FILE_VARIABLE} ({path})"
        try:
            mode = path.stat().st_mode
            text = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(
                f"the secret file cannot be read ({type(error).__name__})", where=where
            ) from error
        if mode & 0o007:
            raise ConfigurationError(
                "the secret file is open to every user of this machine",
                where=where,
                fix=f"chmod 600 {path} (in Kubernetes: defaultMode: 0400)",
            )
    if not text:
        return None
    if not _FORM.fullmatch(text):
        raise ConfigurationError(
            f"the noise secret must be 64 hex digits (it has {len(text)} characters)",
            where=where,
            fix=_FIX,
        )
    value = bytes.fromhex(text)
    if pattern := _pattern(value):
        raise ConfigurationError(
            f"the noise secret is too regular to be random: {pattern}", where=where, fix=_FIX
        )
    return NoiseSecret(value)


def _pattern(value: bytes) -> str | None:
    """What shows that ``value`` was not drawn at random, in words; None where nothing does."""
    if any(value[period:] == value[:-period] for period in range(1, _LONGEST_PERIOD + 1)):
        return "it repeats itself"
    if len(set(value)) < _LEAST_DIFFERENT:
        return f"fewer than {_LEAST_DIFFERENT} of its bytes differ"
    with suppress(UnicodeDecodeError):
        value.decode("utf-8")
        return "it is text"
    if value.hex().isdecimal():
        return "it has decimal digits alone"
    steps = [(after - before) % 256 for before, after in pairwise(value)]
    if any(len(list(same)) >= _LEAST_EVEN - 1 for _, same in groupby(steps)):
        return f"{_LEAST_EVEN} or more bytes in a row are equal or count up or down"
    return None


def fresh_secret() -> NoiseSecret:
    """A random secret for one run; it is never stored."""
    return NoiseSecret(secrets.token_bytes(32))


def install_secret(secret: NoiseSecret) -> None:
    """Put ``secret`` into this process's environment; workers on this node inherit it."""
    os.environ[VARIABLE] = secret.reveal().hex()
