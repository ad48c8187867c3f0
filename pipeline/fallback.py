"""What to go on with when a model cannot be relied on: the version before it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import get_args

from pipeline.identity import model_versions
from pipeline.job import Revision
from pipeline.ledger import Ledger
from pipeline.policy import ModelName, PrivacyPolicy
from serving.errors import CanaryFailed

log = logging.getLogger(__name__)

VersionsOf = Callable[[str], tuple[int, ...]]
Probe = Callable[[dict[str, int], Sequence[PrivacyPolicy]], None]
"""Judges the canary with versions, under every policy; raises CanaryFailed."""

_BETWEEN_REASONS = re.compile(rf"; (?=(?:{'|'.join(get_args(ModelName))}) \d+ failed its canary)")


@dataclass(slots=True)
class Versions:
    """The model versions that judge in one run.

    Attributes:
        available: versions of a model that could judge, rising; None if there is no going back.
        fallen: versions that took the place of those that the policy names.
        reasons: why.
    """

    available: VersionsOf | None = None
    fallen: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    @classmethod
    def last(cls, ledger: Ledger, policy: PrivacyPolicy) -> Versions:
        """Those that judged last in a job that fell back, for whoever plans but judges nothing.

        Of a model for which ``policy`` names another version than the rules did then, it is not
        known whether it fails: that one counts.
        """
        revisions = ledger.revisions() if ledger.job() else []
        return cls._of_revision(revisions[-1], policy) if revisions else cls()

    @classmethod
    def _of_revision(cls, revision: Revision, policy: PrivacyPolicy) -> Versions:
        now, then = policy.models.model_dump(), revision.policy.models.model_dump()
        fallen = {
            name: number
            for name, number in model_versions(revision.models).items()
            if revision.note and number != then.get(name) == now.get(name)
        }
        told = {text.partition(" ")[0]: text for text in _BETWEEN_REASONS.split(revision.note)}
        return cls(fallen=fallen, reasons={n: told.get(n, revision.note) for n in fallen})

    def of(self, policy: PrivacyPolicy) -> dict[str, int]:
        """Versions by model."""
        return {**policy.models.model_dump(), **self.fallen}

    @property
    def note(self) -> str:
        """Why other versions judge than the policy names; empty if they do not."""
        return "; ".join(self.reasons.values())

    def fall_back(self, error: CanaryFailed, policy: PrivacyPolicy) -> bool:
        """Have the previous version of the model that failed judge; whether there is one."""
        if self.available is None or error.model not in self.of(policy):
            return False
        failed = self.of(policy)[error.model]
        lower = [number for number in self.available(error.model) if number < failed]
        if not lower:
            return False
        self.fallen[error.model] = max(lower)
        self.reasons[error.model] = (
            f"{error.model} {failed} failed its canary, version {max(lower)} judges instead "
            f"({error.what})"
        )
        log.warning("%s", self.reasons[error.model])
        return True
