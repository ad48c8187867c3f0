"""`streetblur serve`: a real Triton server for development."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from types import FrameType

from serving import registry
from serving.server import environment
from serving.server.serve import serving, wait_for_end

log = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def serve(*, install: bool, ports: dict[str, int | None]) -> None:
    """Start a server, print its address, and keep it until a signal comes.

    Args:
        install: make the server's own environment first, if it is not there.
        ports: ``grpc``, ``http``, ``metrics``; None takes a free one.

    Raises:
        ServingError: it cannot be installed or started, ends by itself, or fails its canary.
    """
    if install:
        environment.install(log=_say)
    registry.fetch_models(log=_say)
    given = {name: port for name, port in ports.items() if port is not None}
    for each in _SIGNALS:
        signal.signal(each, _stop)
    with suppress(KeyboardInterrupt), serving(ports=given, log=_say) as server:
        print(server.url, flush=True)  # noqa: T201 - what the caller waits for
        wait_for_end(server)
    _say("stopped")


def _stop(number: int, frame: FrameType | None) -> None:
    """End the server at the first signal; none that follows cuts the cleaning up short."""
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress for people
