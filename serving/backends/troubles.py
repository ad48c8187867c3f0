"""Why a server does not answer, and what helps: gRPC's own words tell only who knows them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tritonclient.utils import InferenceServerException

_CERTIFICATE = (
    "Name the authority that signed the server's certificate (triton.ca_file, "
    "STREETBLUR_TRITON__CA_FILE), and the host by a name that the certificate holds"
)
_NO_TLS = "The server speaks no TLS at this port: use grpc://, or another port"
_OWN_FILES = "Check that triton.ca_file, cert_file and key_file are PEM files that belong together"
_HANDSHAKE = "Check the certificates on both sides (triton.ca_file, cert_file, key_file)"
_TOKEN = "Set STREETBLUR_TRITON_TOKEN or STREETBLUR_TRITON_TOKEN_FILE on every node"  # noqa: S105
_NO_TRITON = "Name Triton's gRPC port (8001 by default)"
_CLOSES = (
    "If the server wants TLS, use grpcs://; if it wants a certificate of the client, name "
    "triton.cert_file and key_file; if this is Triton's HTTP port (8000 by default), name its "
    "gRPC port (8001)"
)
_START = "Start it, or correct --triton"
_AGAIN = "Start the server again: it does not do so by itself"
_BUSY = "It has too much to do: start more servers, or use fewer workers"
_SLOW = "It takes too long: look at its load, or allow it more time (triton.timeout_s)"

_LASTING = (
    ("CERTIFICATE_VERIFY_FAILED", _CERTIFICATE),
    ("Hostname Verification", _CERTIFICATE),
    ("Peer name", _CERTIFICATE),
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    ("create security handshaker", _OWN_FILES),
    ("_ALERT_", _HANDSHAKE),
)
_LASTING_STATUS = {
    "UNAUTHENTICATED": _TOKEN,
    "PERMISSION_DENIED": _TOKEN,
    "UNIMPLEMENTED": _NO_TRITON,
}
_ENDED = re.compile(
    r"(Failed to process the request\(s\)[^,]*, message: )?Stub process '[^']+' is not healthy"
)
"""Whole, from the start: what a model itself says comes in other words."""
_NEVER_ARRIVED = ("failed to connect", "errors resolving", "DNS resolution failed")


def status_of(error: InferenceServerException) -> str:
    """The gRPC status: ``UNAVAILABLE`` and so on; empty if there is none."""
    return str(error.status() or "").removeprefix("StatusCode.")


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a server does not answer.

    Attributes:
        text: what the server or gRPC says.
        fix: what helps.
        lasting: whether it is of no use to wait.
    """

    text: str
    fix: str = _START
    lasting: bool = False


def trouble(status: str, text: str) -> Trouble:
    """What an error of gRPC means.

    Args:
        status: ``UNAVAILABLE`` and so on.
        text: gRPC's or the server's.
    """
    text = text.strip() or status
    if fix := _LASTING_STATUS.get(status):
        return Trouble(f"{status}: {text}", fix, lasting=True)
    if process_ended(status, text):
        return Trouble(text, _AGAIN)
    if status == "UNAVAILABLE":
        for part, fix in _LASTING:
            if part in text:
                return Trouble(text, fix, lasting=True)
        if never_arrived(text) and "Socket closed" in text:
            return Trouble(text, f"{_START}. {_CLOSES}")
        if "maximum queue size" in text:
            return Trouble(text, _BUSY)
    return Trouble(text, _SLOW if status == "DEADLINE_EXCEEDED" else _START)


def never_arrived(text: str) -> bool:
    """Whether a request was not even sent: there was no connection."""
    return any(part in text for part in _NEVER_ARRIVED)


def process_ended(status: str, text: str) -> bool:
    """Whether the process in which a server ran a model has ended.

    Triton's Python backend says so for ever; the server lives, and says that it is ready.
    """
    return status == "INTERNAL" and _ENDED.match(text.strip()) is not None
