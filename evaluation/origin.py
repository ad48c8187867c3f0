"""What figures are of: which policy, models and runtime, on which data."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.model_commands import models_in_force
from pipeline.policy import PrivacyPolicy
from serving.backends.runtimes.choice import runtime_in_force


@dataclass(frozen=True, slots=True)
class Origin:
    """What made the outputs that figures are of; parts that are not known are empty.

    Attributes:
        data: digest of what was looked at.
        policy: digest of the policy.
        models: ``model=version:fingerprint,...``, as outcomes name them.
        runtime: what ran the models.
    """

    data: str = ""
    policy: str = ""
    models: str = ""
    runtime: str = ""

    @property
    def known(self) -> bool:
        """Whether it is known what made the outputs."""
        return all((self.policy, self.models, self.runtime))

    def versions(self) -> dict[str, str]:
        """``version:fingerprint`` by model."""
        parts = (one.partition("=") for one in self.models.split(",") if one)
        return {name: value for name, _, value in parts}


UNKNOWN = Origin()


def origin_of(policy: PrivacyPolicy, data: str) -> Origin:
    """Of what this machine makes under ``policy``, on data with the digest ``data``.

    Raises:
        ServingError: a model cannot be had.
    """
    found = models_in_force(policy.models.model_dump())
    models = ",".join(f"{name}={value}" for name, value in sorted(found.items()))
    return Origin(data, policy.digest(), models, runtime_in_force())
