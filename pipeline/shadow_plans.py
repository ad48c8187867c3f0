"""Which shadows a job asks for, checked against the versions that decide."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pipeline.errors import ConfigurationError
from pipeline.identity import ModelsInForce, fingerprints
from pipeline.job import JobSpec
from pipeline.shadow import ShadowPlan

log = logging.getLogger(__name__)


def plan_shadows(spec: JobSpec, models: ModelsInForce) -> tuple[ShadowPlan, ...]:
    """The shadows of ``spec``.

    Args:
        spec: what to do.
        models: gives ``version:fingerprint`` of versions.

    Raises:
        ServingError: there is no such version.
    """
    plans = []
    for model, shares in spec.shadow.items():
        for version, share in shares.items():
            known = fingerprints(models({model: version}))
            plans.append(ShadowPlan(model, version, share, known.get(model, "")))
    return tuple(plans)


def refuse_own_shadow(spec: JobSpec, deciding: Mapping[str, int]) -> None:
    """Refuse a shadow of the very version that decides: it would compare it with itself.

    Raises:
        ConfigurationError: there is one.
    """
    for model, shares in spec.shadow.items():
        version = deciding.get(model)
        if version in shares:
            raise ConfigurationError(
                f"version {version} of {model} decides itself and cannot be its own shadow",
                where=f"--shadow {model}:{version}",
                fix=f"Name another version, or let another one decide with --model {model}=N",
            )


def without_own(
    plans: tuple[ShadowPlan, ...], deciding: Mapping[str, int]
) -> tuple[ShadowPlan, ...]:
    """``plans`` but for those of versions that came to decide, because others failed."""
    own = [plan for plan in plans if deciding.get(plan.model) == plan.version]
    for plan in own:
        log.warning("%s %d decides now and is no shadow any more", plan.model, plan.version)
    return tuple(plan for plan in plans if plan not in own)
