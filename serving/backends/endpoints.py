"""Several Triton servers as one: the least busy sound one is asked, a failing one is left alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import tritonclient.grpc as grpcclient

from serving.backends.links import Link, established, links_to, places_of
from serving.backends.protocol import Request
from serving.backends.shared_memory import SharedInputs
from serving.backends.triton_settings import Address
from serving.backends.troubles import Trouble

TRIP_AFTER = 3
"""Failures in a row after which a server is left alone for a while."""

FIRST_REST_S = 0.1
LONGEST_REST_S = 0.5
"""How long: a server that comes back is asked again within this time."""

PROBE_SHARE = 0.1
"""Of the time, at most so much goes into asking one server whether it is back: one that does not
even refuse to answer holds up those that do the work."""

EXCLUDED_S = 60.0
"""How long a server whose canary failed is left alone; then its canary decides again."""


@dataclass(slots=True, eq=False)
class Endpoint:
    """One server.

    Attributes:
        address: where it is.
        client: asks it.
        in_flight: requests that it has not answered.
        failures: in a row.
        rests_until: when it is asked again.
        doubted: whether it must prove that it is ready before it is asked again.
        memory: what it reads tensors from; None if they are sent.
        shares: whether there is such memory; None until tried.
        former: names of memory that it may still hold open.
        in_question: whether it has answered, or failed over a request, since its canary was
            judged last.
        answers: since it was last asked for whether it was lost.
        lost: whether it was gone after it had answered, since then.
        links: connections to it at that time.
        places: addresses and ports that its name has had.
        computes: what it runs detectors with; empty if not known.
        excluded: why nobody relies on it; empty if they do.
        trouble: why it did not answer last; None if it did.
        ended: what it was asked when the process of a model turned out to have ended; that model
            must answer before anything else is asked. None while there was no such thing.
    """

    address: Address
    client: grpcclient.InferenceServerClient
    in_flight: int = 0
    failures: int = 0
    rests_until: float = 0.0
    doubted: bool = False
    memory: SharedInputs | None = None
    shares: bool | None = None
    former: list[str] = field(default_factory=list)
    in_question: bool = False
    answers: int = 0
    lost: bool = False
    links: frozenset[Link] = frozenset()
    places: frozenset[tuple[str, int]] = frozenset()
    computes: frozenset[str] = frozenset()
    excluded: str = ""
    trouble: Trouble | None = None
    ended: Request | None = None

    def moved(self, links: frozenset[Link]) -> bool:
        """Whether it may have answered over another connection than those there are now.

        Since this was last asked: over one that is gone, or one that was not there then.

        Args:
            links: see ``links.established``.
        """
        before, now = self.links, self.linked(links)
        self.links = now
        return self.answers > 0 and not (before and now and before <= now)

    def linked(self, links: frozenset[Link]) -> frozenset[Link]:
        """Those of ``links`` that lead to it, by any address that its name ever had."""
        self.places |= places_of(self.address.host, self.address.port)
        return links_to(self.places, links)

    def stop_sharing(self) -> None:
        """Let the memory go: a server that was started again does not know it."""
        if self.memory is not None:
            self.memory.close()
            self.former.append(self.memory.name)
        self.memory, self.shares = None, None


class Endpoints:
    """Chooses among servers; used by one thread.

    Args:
        endpoints: at least one.
        is_ready: asks a server whether it can answer, briefly.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        is_ready: Callable[[Endpoint], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._endpoints = list(endpoints)
        self._is_ready = is_ready
        self.clock = clock

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(self._endpoints)

    def usable(self) -> list[Endpoint]:
        """Those that are not excluded."""
        now = self.clock()
        return [one for one in self._endpoints if not (one.excluded and one.rests_until > now)]

    def take(self, last: Endpoint | None = None) -> Endpoint | None:
        """The least busy server that does not rest, counted as busier; None if all rest.

        Args:
            last: asked only if there is no other: it has just failed this request.
        """
        while awake := [one for one in self._endpoints if one.rests_until <= self.clock()]:
            fewest = min((one is last, one.in_flight) for one in awake)
            best = [one for one in awake if (one is last, one.in_flight) == fewest]
            chosen = random.choice(best)  # noqa: S311
            if chosen.doubted and not self.proves_ready(chosen):
                continue
            chosen.doubted, chosen.excluded = False, ""
            chosen.in_flight += 1
            return chosen
        return None

    def proves_ready(self, endpoint: Endpoint) -> bool:
        """Ask a server whether it can answer; if not, it rests."""
        began = self.clock()
        if self._is_ready(endpoint):
            return True
        took = self.clock() - began
        self.rest(endpoint, took / PROBE_SHARE if len(self._endpoints) > 1 else 0.0)
        return False

    def troubles(self) -> Trouble | None:
        """Why nobody answers, as told by all; lasting only if that of each is."""
        found = {one.address.url: one.trouble for one in self._endpoints if one.trouble}
        if not found:
            return None
        return Trouble(
            "; ".join(dict.fromkeys(trouble.text for trouble in found.values())),
            ". ".join(dict.fromkeys(trouble.fix for trouble in found.values())),
            lasting=len(found) == len(self._endpoints)
            and all(trouble.lasting for trouble in found.values()),
        )

    def wakes_in(self) -> float:
        """Seconds until the first server has rested enough."""
        return max(0.0, min(one.rests_until for one in self._endpoints) - self.clock())

    def forget(self, endpoint: Endpoint) -> None:
        """Count that nobody waits for an answer any more."""
        endpoint.in_flight -= 1

    def answered(self, endpoint: Endpoint) -> None:
        """Count an answer, and note over what the first one may have come."""
        if not endpoint.answers and not endpoint.links:
            endpoint.links = endpoint.linked(established())
        endpoint.in_flight -= 1
        endpoint.failures = 0
        endpoint.in_question = True
        endpoint.answers += 1
        endpoint.trouble = None

    def failed(self, endpoint: Endpoint, *, gone: bool) -> None:
        """Count that there was none.

        Args:
            endpoint: who was asked.
            gone: whether nobody seems to be there at all.
        """
        endpoint.in_flight -= 1
        endpoint.lost |= gone and endpoint.answers > 0
        if gone or endpoint.failures + 1 >= TRIP_AFTER:
            endpoint.stop_sharing()
            self.rest(endpoint)
        else:
            endpoint.failures += 1

    def process_ended(self, endpoint: Endpoint, request: Request) -> None:
        """Count that there was no answer: the server is there, the process of a model is not.

        Other models may be at work there, so memory stays shared.
        """
        endpoint.in_flight -= 1
        endpoint.lost |= endpoint.answers > 0
        endpoint.ended = request
        self.rest(endpoint)

    def rest(self, endpoint: Endpoint, at_least_s: float = 0.0) -> None:
        """Leave a server alone for a while; then it must prove that it is ready."""
        pause = min(FIRST_REST_S * 2 ** min(endpoint.failures, 8), LONGEST_REST_S)
        pause = max(pause, at_least_s)
        endpoint.failures += 1
        endpoint.doubted = True
        endpoint.rests_until = self.clock() + pause * random.uniform(0.5, 1.0)  # noqa: S311

    def exclude(self, endpoint: Endpoint, reason: str) -> bool:
        """Leave a server alone for long; returns whether there are others."""
        endpoint.excluded, endpoint.doubted, endpoint.in_question = reason, True, False
        endpoint.rests_until = self.clock() + EXCLUDED_S
        return bool(self.usable())
