"""All attackers on faces against one treatment, each beside itself on mean colours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluation.irreversibility.attackers import COPIES, Guess, linear, nearest
from evaluation.irreversibility.bounds import Area, Difference, difference
from evaluation.irreversibility.identities import People
from evaluation.irreversibility.networks import named, restored
from evaluation.irreversibility.observations import Observations, chips_of, observe, shown
from evaluation.irreversibility.restoration import deconvolved
from evaluation.irreversibility.treatments import Clear, Gaussian, MeanColour, Redacted, Treatment
from pipeline.cells import SPLINE_SIGMA

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Longs = NDArray[np.int64]
Log = Callable[[str], None]
# Embeddings float32 [n, 128] of chips.
Embedder = Callable[[Sequence[Pixels]], Floats]


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard attackers try.

    Attributes:
        places: of the grid, along each axis.
        runs: redactions of each picture at each place, with fresh secrets.
        steps: batches that the naming network is trained on; 0 for no networks.
        restoring: batches that the restoring network is trained on; 0 for none.
        deconvolving: whether the blur is undone by its known kernel.
        embedding: whether faces are compared by their embeddings at all.
        each: copies of each probe that an embedding is taken of.
        processes: that redact.
    """

    places: int = 3
    runs: int = 4
    steps: int = 200
    restoring: int = 120
    deconvolving: bool = True
    embedding: bool = True
    each: int = 1
    processes: int = 2


# The strongest attacker and the cheapest: what chooses settings.
LINEAR_ONLY = Effort(steps=0, restoring=0, deconvolving=False, embedding=False)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attacker's success against one treatment.

    Attributes:
        people: the set.
        treatment: what was done.
        attacker: who.
        copies: what of, see :data:`evaluation.irreversibility.attackers.COPIES`.
        rank1: against the same attacker on mean colours.
        chance: one in as many as there are people.
        verification: area under the ROC curve of "the same person or not".
    """

    people: str
    treatment: str
    attacker: str
    copies: str
    rank1: Difference
    chance: float
    verification: Area


class FaceStudy:
    """Attacks on one set of people; what does not depend on the treatment is done once."""

    def __init__(
        self, people: People, embedder: Embedder, effort: Effort, log: Log = print
    ) -> None:
        self._people, self._embedder, self._effort, self._log = people, embedder, effort, log

    def attacks(self, treatment: Treatment, *, size: float = 0) -> list[Attack]:
        """Every attacker against ``treatment``, at boxes of ``size`` pixels (see ``observe``)."""
        start = time.monotonic()
        seen = self._observed(treatment, size)
        self._log(
            f"{self._people.name}: {treatment.name}: redacted, {time.monotonic() - start:.0f} s"
        )
        base = self._mean_colour(size)
        found = []
        for attacker, copies, guess in self._guesses(seen, treatment):
            same = base[attacker, copies]
            rank1 = difference(guess.hits, same.hits, guess.truth, same.truth)
            found.append(
                Attack(
                    self._people.name,
                    treatment.name,
                    attacker,
                    copies,
                    rank1,
                    1 / self._people.identities,
                    guess.verification,
                )
            )
            self._log(
                f"  {attacker}, {copies}: {rank1.rate:.1%}, mean colour {rank1.base:.1%}, "
                f"{rank1.low:+.1%} to {rank1.high:+.1%}"
            )
        self._log(f"  {time.monotonic() - start:.0f} s")
        return found

    def _observed(self, treatment: Treatment, size: float) -> Observations:
        effort = self._effort
        return observe(
            self._people,
            treatment,
            places=effort.places,
            runs=effort.runs,
            size=size,
            processes=effort.processes,
        )

    def _mean_colour(self, size: float) -> dict[tuple[str, str], Guess]:
        if size not in self._bases:
            treatment = MeanColour()
            guesses = self._guesses(self._observed(treatment, size), treatment)
            self._bases[size] = {(who, copies): guess for who, copies, guess in guesses}
        return self._bases[size]

    @cached_property
    def _bases(self) -> dict[float, dict[tuple[str, str], Guess]]:
        return {}

    @cached_property
    def _clear(self) -> Observations:
        return observe(self._people, Clear(), places=1, runs=1, processes=self._effort.processes)

    @cached_property
    def _gallery(self) -> tuple[Floats, Longs]:
        """Embeddings of the known pictures in clear, and whose they are."""
        clear = self._clear
        chips = chips_of(clear.crops[clear.known, 0, 0])
        return self._embedder(chips), clear.identities[clear.known]

    def _guesses(
        self, seen: Observations, treatment: Treatment
    ) -> Iterator[tuple[str, str, Guess]]:
        steps = self._effort.steps
        for copies in COPIES:
            yield "linear", copies, linear(seen, copies)
        if steps:
            for copies in ("one", "all"):
                yield "network", copies, named(seen, copies, steps=steps)
        for copies in ("one", "all") if self._effort.embedding else ():
            crops, chips = shown(seen, copies, self._effort.each)
            yield "embedding", copies, self._named_by_embedding(seen, crops, chips)
            if copies == "one":
                yield "embedding, known pictures redacted", copies, self._parrot(seen, crops, chips)
            sigma = sigma_of(treatment)
            for method in ("wiener", "richardson_lucy") if self._effort.deconvolving else ():
                probes = ~seen.known[chips]
                undone = deconvolved(crops[probes], sigma, method)
                guess = self._named_by_embedding(seen, undone, chips[probes])
                yield f"{method}, then embedding", copies, guess
            if self._effort.restoring:
                undone, of = restored(
                    seen,
                    self._clear,
                    copies,
                    steps=self._effort.restoring,
                    each=self._effort.each,
                )
                guess = self._named_by_embedding(seen, undone, of)
                yield "restoring network, then embedding", copies, guess

    def _named_by_embedding(self, seen: Observations, crops: Floats, chips: Longs) -> Guess:
        probes = ~seen.known[chips]
        found = self._embedder(chips_of(crops[probes]))
        return nearest(found, seen.identities[chips[probes]], *self._gallery)

    def _parrot(self, seen: Observations, crops: Floats, chips: Longs) -> Guess:
        # one redacted copy of each known picture
        first = np.unique(chips, return_index=True)[1]
        wanted = ~seen.known[chips]
        wanted[first] = True
        crops, chips = crops[wanted], chips[wanted]
        known = seen.known[chips]
        found = self._embedder(chips_of(crops))
        names = seen.identities[chips]
        return nearest(found[~known], names[~known], found[known], names[known])


def sigma_of(treatment: Treatment) -> float:
    """The Gaussian that an attacker deconvolves with, as a share of the box."""
    if isinstance(treatment, Gaussian):
        return treatment.share
    if isinstance(treatment, Redacted):
        return treatment.share * SPLINE_SIGMA
    return 0.1
