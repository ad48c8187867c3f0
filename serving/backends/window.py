"""A few requests under way at a time: sent, waited for, sent again, and answered in order."""

from __future__ import annotations

import heapq
import queue
import random
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from tritonclient.utils import InferenceServerException

from serving.backends.endpoints import Endpoint, Endpoints
from serving.backends.protocol import Outputs, Request
from serving.backends.troubles import Trouble, never_arrived, process_ended, status_of, trouble
from serving.errors import (
    EndsServer,
    InferenceError,
    ModelMissing,
    NoAnswer,
    RejectedInput,
    ServerUnavailable,
)

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
"""Between two tries of a request; each is spread by half, so that clients do not come together."""

MOST_DEATHS = 4
"""So often a server that was ready may end over one request, before that is the request's fault."""

MOST_TIMEOUTS, MOST_REFUSALS = 3, 2
"""So often a request may take too long, or be refused, before that is its own fault."""

LONE_TRIES = 2
"""So often an input that makes a server fail is asked once more, alone, before it is rejected."""

MODEL_WAIT_S = 10.0
"""How long a server that lacks a model is waited for: it may be loading it."""

_GRACE_S = 5.0
_LOST_REGION = "shared memory region"
_BUSY = ("maximum queue size", "request timeout expired")
_LACKS = "unknown model"  # also where only the version is unknown, or not loaded yet

MOST_LOST_REGIONS = 2
"""So often a server may not find memory that it was shown, before tensors are sent to it."""


class Transport(Protocol):
    """What carries requests to servers."""

    def send(
        self, endpoint: Endpoint, request: Request, timeout_s: float, callback: Any
    ) -> tuple[Any, Callable[[], None]]:
        """Start a request; ``callback(result, error)`` comes from another thread.

        Returns:
            The call, to be cancelled, and what to do when it is over.
        """

    def read(self, request: Request, result: Any) -> Outputs:
        """The tensors of an answer."""


@dataclass(slots=True, eq=False)
class Flight:
    """One request on its way.

    Attributes:
        number: place among the answers.
        request: what is asked.
        alone: whether nothing else may be under way with it.
        tries, deaths, timeouts, refusals, lone_tries, lost_regions: what has happened to it.
        failing_since: since when nobody has been there to judge it; None before it failed.
        gone_since: since when not even a busy server has been there.
        last: who failed it last.
        call, endpoint, release: of the try that is under way; ``release`` when it is over.
    """

    number: int
    request: Request
    alone: bool = False
    tries: int = 0
    deaths: int = 0
    timeouts: int = 0
    refusals: int = 0
    lone_tries: int = 0
    lost_regions: int = 0
    failing_since: float | None = None
    gone_since: float | None = None
    last: Endpoint | None = None
    call: Any = None
    endpoint: Endpoint | None = None
    release: Callable[[], None] = field(default=lambda: None)

    @property
    def rows(self) -> int:
        """How many inputs are asked about."""
        return len(next(iter(self.request.inputs.values())))


@dataclass(slots=True)
class Window:
    """Takes requests to answers.

    Attributes:
        transport: carries them.
        endpoints: who is asked.
        requests: what is asked; taken one by one as there is room.
        in_flight: requests that exist at a time.
        timeout_s: how long a server may take for one.
        outage_s: how long one is tried while nobody answers.
        gone_s: how long while nobody is there, not even somebody busy; ``outage_s`` by default.
    """

    transport: Transport
    endpoints: Endpoints
    requests: Iterable[Request]
    in_flight: int
    timeout_s: float
    outage_s: float
    gone_s: float | None = None
    _flying: set[Flight] = field(default_factory=set, init=False)
    _waiting: list[tuple[float, int, Flight]] = field(default_factory=list, init=False)
    _ready: dict[int, Outputs] = field(default_factory=dict, init=False)
    _done: queue.SimpleQueue[tuple[Flight, Any, Any]] = field(
        default_factory=queue.SimpleQueue, init=False
    )

    def answers(self) -> Generator[Outputs, None, None]:
        """The answers in order.

        Raises:
            RejectedInput, NoAnswer, InferenceError: a request cannot be answered.
            ServerUnavailable, ModelMissing: no request can.
        """
        source = enumerate(self.requests)
        more, due = True, 0
        try:
            while True:
                self._send_again()
                while more and self._has_room():
                    following = next(source, None)
                    more = following is not None
                    if following is not None:
                        self._send(Flight(*following))
                while due in self._ready:
                    yield self._ready.pop(due)
                    due += 1
                if self._flying or self._waiting:
                    self._wait()
                elif not more:
                    return
        finally:
            self._let_go()

    def _has_room(self) -> bool:
        if any(flight.alone for flight in self._flying):
            return False
        if any(flight.alone for _, _, flight in self._waiting):
            return False
        return len(self._flying) + len(self._waiting) + len(self._ready) < self.in_flight

    def _blocked(self, flight: Flight) -> bool:
        """Whether ``flight`` has to wait for those that are under way."""
        alone = flight.alone or any(one.alone for one in self._flying)
        return bool(self._flying) and alone

    def _send_again(self) -> None:
        now = self.endpoints.clock()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, flight = self._waiting[0]
            if self._blocked(flight):
                return
            heapq.heappop(self._waiting)
            if flight.alone and flight.rows > 1:
                self._ready[flight.number] = self._row_by_row(flight)
            else:
                self._send(flight)

    def _send(self, flight: Flight) -> None:
        endpoint = self.endpoints.take(flight.last)
        if endpoint is None:
            reason = self.endpoints.troubles() or Trouble("every server rests")
            if reason.lasting:
                raise self._nobody(reason)
            self._try_later(flight, reason.text, self.endpoints.wakes_in())
            return
        flight.endpoint = endpoint
        flight.tries += 1

        def landed(result: Any, error: Any) -> None:
            self._done.put((flight, result, error))

        flight.call, flight.release = self.transport.send(
            endpoint, flight.request, self.timeout_s, landed
        )
        self._flying.add(flight)

    def _wait(self) -> None:
        """Take the next answer, or return when something may be sent again."""
        longest = pause = self.timeout_s + _GRACE_S
        if self._waiting and not self._blocked(self._waiting[0][2]):
            pause = min(longest, max(0.0, self._waiting[0][0] - self.endpoints.clock()))
        if not self._flying:
            time.sleep(pause)
            return
        try:
            flight, result, error = self._done.get(timeout=pause)
        except queue.Empty:
            if pause == longest:
                raise NoAnswer(
                    f"neither answer nor error for {longest:.0f} s", where="gRPC"
                ) from None
            return
        self._flying.discard(flight)
        flight.release()
        if error is None:
            self._landed(flight, result)
        else:
            self._failed(flight, error)

    def _landed(self, flight: Flight, result: Any) -> None:
        assert flight.endpoint is not None  # noqa: S101 - for the type checker
        self.endpoints.answered(flight.endpoint)
        self._ready[flight.number] = self.transport.read(flight.request, result)

    def _failed(self, flight: Flight, error: InferenceServerException) -> None:
        """Decide what a failure means: for the server, and for the request."""
        endpoint = flight.endpoint
        assert endpoint is not None  # noqa: S101 - for the type checker
        status = status_of(error)
        text = (error.message() or status).strip()
        flight.last = endpoint
        endpoint.trouble = trouble(status, text)
        if endpoint.trouble.lasting:
            self.endpoints.failed(endpoint, gone=True)
            reason = self.endpoints.troubles()
            if reason is not None and reason.lasting:
                raise self._nobody(reason)
            self._try_later(flight, text)
        elif status == "NOT_FOUND" and _LOST_REGION in text:
            self.endpoints.failed(endpoint, gone=False)
            endpoint.lost |= endpoint.answers > 0  # it has been started again
            endpoint.stop_sharing()
            flight.lost_regions += 1
            if flight.lost_regions >= MOST_LOST_REGIONS:
                endpoint.shares = False
            self._try_later(flight, text)
        elif status in {"NOT_FOUND", "UNAVAILABLE"} and _LACKS in text.lower():
            self.endpoints.failed(endpoint, gone=True)
            self._try_later(flight, text, limit=MODEL_WAIT_S, missing=True)
        elif status == "UNAVAILABLE" and any(part in text.lower() for part in _BUSY):
            self.endpoints.failed(endpoint, gone=False)
            endpoint.failures = 0  # it is busy, not broken
            self._try_later(flight, text, busy=True)
        elif status == "UNAVAILABLE":
            self.endpoints.failed(endpoint, gone=True)
            flight.deaths += not never_arrived(text)
            if flight.deaths >= MOST_DEATHS:
                raise self._about(flight, EndsServer, f"servers end when asked ({text})")
            self._try_later(flight, text)
        elif status == "DEADLINE_EXCEEDED":
            self.endpoints.failed(endpoint, gone=False)
            flight.timeouts += 1
            if flight.timeouts >= MOST_TIMEOUTS:
                what = f"no answer within {self.timeout_s:g} s, {MOST_TIMEOUTS} times"
                raise self._about(flight, NoAnswer, what)
            self._try_later(flight, text, outage=False)
        elif process_ended(status, text):
            self.endpoints.process_ended(endpoint, flight.request)
            self._try_later(flight, text)
        elif status == "INVALID_ARGUMENT":
            self.endpoints.failed(endpoint, gone=False)
            endpoint.failures = 0  # it lives, and has looked at the request
            endpoint.in_question = True  # its canary tells whether it may refuse
            flight.refusals += 1
            if flight.refusals >= min(MOST_REFUSALS, len(self.endpoints.usable())):
                raise self._about(flight, RejectedInput, text)
            self._try_later(flight, text, outage=False)
        else:
            self.endpoints.failed(endpoint, gone=False)
            endpoint.in_question = True  # the input's fault or the server's: its canary tells
            self._ask_alone(flight, f"{status}: {text}")

    def _nobody(self, reason: Trouble) -> ServerUnavailable:
        urls = ", ".join(one.address.url for one in self.endpoints)
        return ServerUnavailable(reason.text, where=urls, fix=reason.fix)

    def _about(self, flight: Flight, kind: type[InferenceError], what: str) -> InferenceError:
        assert flight.last is not None  # noqa: S101 - for the type checker
        error = kind(what, where=f"{flight.request.model} at {flight.last.address.url}")
        error.model = flight.request.model
        return error

    def _ask_alone(self, flight: Flight, text: str) -> None:
        """A server failed over a batch; it may be another's fault, so ask for each input alone.

        Raises:
            RejectedInput: it fails alone as well.
        """
        if flight.lone_tries >= LONE_TRIES:
            what = f"the model fails on this input alone, too ({text})"
            raise self._about(flight, RejectedInput, what)
        flight.lone_tries += 1
        flight.alone = True
        self._try_later(flight, text, outage=False)

    def _row_by_row(self, flight: Flight) -> Outputs:
        """A batch asked for row by row, one at a time, while nothing else is under way."""
        request = flight.request
        answers: list[Outputs] = []
        for row in range(flight.rows):
            part = {name: value[row : row + 1] for name, value in request.inputs.items()}
            alone = replace(self, requests=[replace(request, inputs=part)], in_flight=1)
            try:
                answers += alone.answers()
            except RejectedInput as error:
                error.row = row
                raise
        return {name: np.concatenate([one[name] for one in answers]) for name in answers[0]}

    def _try_later(
        self,
        flight: Flight,
        text: str,
        at_least_s: float = 0.0,
        *,
        limit: float | None = None,
        missing: bool = False,
        busy: bool = False,
        outage: bool = True,
    ) -> None:
        """Have ``flight`` sent again after a pause.

        Args:
            flight: what failed.
            text: why.
            at_least_s: of the pause.
            limit: try no longer than that, nor than an outage.
            missing: whether the model is.
            busy: whether somebody is there, with too much to do.
            outage: whether this may be one. It is none where somebody is there and fails over this
                request: that is tried a limited number of times, however long each takes.

        Raises:
            ServerUnavailable: it has been tried long enough.
            ModelMissing: likewise, and servers say that they lack the model.
        """
        now = self.endpoints.clock()
        if flight.failing_since is None or not outage:
            flight.failing_since = now
        if flight.gone_since is None or busy or not outage:
            flight.gone_since = now
        if all(one.ended for one in self.endpoints):
            limit = MODEL_WAIT_S
        tried, gone = now - flight.failing_since, now - flight.gone_since
        longest = min(self.outage_s, limit or self.outage_s)
        if tried > longest or (self.gone_s is not None and gone > self.gone_s):
            raise self._given_up(flight, text, tried, missing=missing)
        pause = min(FIRST_PAUSE_S * 2 ** min(flight.tries, 8), LONGEST_PAUSE_S)
        pause = max(pause * random.uniform(0.5, 1.0), at_least_s)  # noqa: S311
        heapq.heappush(self._waiting, (now + pause, flight.number, flight))

    def _given_up(
        self, flight: Flight, text: str, tried: float, *, missing: bool
    ) -> ModelMissing | ServerUnavailable:
        """What ``_try_later`` raises, after ``tried`` seconds."""
        request = flight.request
        urls = ", ".join(one.address.url for one in self.endpoints)
        if missing:
            return ModelMissing(
                f"the server does not serve it ({text})",
                where=f"{request.model} {request.version or ''} at {urls}",
                fix="Load it there, or name another version in the policy (models:)",
            )
        reason = self.endpoints.troubles() or Trouble(text)
        ended = [one.ended.model for one in self.endpoints if one.ended]
        if len(ended) == len(list(self.endpoints)):
            models = ", ".join(dict.fromkeys(ended))
            what = f"the model's process has ended there: {models} ({reason.text})"
        else:
            what = f"nobody answered {request.model} for {tried:.0f} s ({reason.text})"
        return ServerUnavailable(
            what, where=urls, fix=f"{reason.fix}; then run the same command again to go on"
        )

    def _let_go(self) -> None:
        """Give up what is under way; its answers go nowhere."""
        for flight in self._flying:
            flight.call.cancel()
            flight.release()
            if flight.endpoint is not None:
                self.endpoints.forget(flight.endpoint)
        self._flying.clear()
