"""Builds the stages from a description that can travel to any process."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pipeline.errors import ConfigurationError
from pipeline.images import ImageLimits
from pipeline.lease import LeaseGuard
from pipeline.policy import PrivacyPolicy
from pipeline.records import WorkItem
from pipeline.secret import NoiseSecret, read_secret
from pipeline.shadow import ShadowDetector, ShadowPlan
from pipeline.stages.decide import Decide
from pipeline.stages.detect import DetectGroup, Detector
from pipeline.stages.envelope import Envelope, Provenance, guarded
from pipeline.stages.fetch import Decode, Fetch
from pipeline.stages.publish import Publish
from pipeline.stages.redact import Redact
from pipeline.storage import StorageSettings, open_store
from serving.allocator import keep_freed_memory
from serving.backends.protocol import InferenceBackend
from serving.backends.runtimes.choice import Runtime
from serving.backends.triton_settings import TritonSettings
from serving.contracts import DETECTORS, DetectorContract
from serving.geometry import LABELS

if TYPE_CHECKING:
    from serving.detectors import DetectorSet


@dataclass(frozen=True, slots=True)
class StageConfig:
    """All that a worker needs besides its secret; picklable, without any credential.

    Attributes:
        token: names this configuration; a process builds its stages once a token.
        input_uri, output_uri: the two stores.
        storage: how to reach them.
        policy: the rules.
        limits: bounds for one image.
        epoch: lease epoch of the run; late writers are told by it.
        secret_id: HMAC id of the noise secret every worker must hold.
        detector: ``module:function`` that takes this configuration and gives a Detector.
        model_repository: where the models lie; by default as the registry finds them.
        runtime: what runs them.
        triton: servers to ask instead, if it names any.
        models: ``model=version:fingerprint`` of all that judge, for the outcomes.
        versions: of the models that judge; those that it does not name, as the policy says.
        only: names of the detectors that look; all if empty.
        shadows: other versions that judge some pictures, and decide nothing.
        fingerprints: of the graphs that must have answered, by model.
        past: policies of runs that may have been cut off, by digest (see ``WorkItem.past``).
    """

    token: str
    input_uri: str
    output_uri: str
    storage: StorageSettings
    policy: PrivacyPolicy
    limits: ImageLimits
    epoch: int
    secret_id: str
    detector: str = "pipeline.stages.build:packaged_detector"
    model_repository: str | None = None
    runtime: Runtime = "auto"
    triton: TritonSettings = field(default_factory=TritonSettings)
    planned_runtime: str = ""
    models: str = ""
    versions: Mapping[str, int] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    shadows: tuple[ShadowPlan, ...] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    policy_digest: str = ""
    past: Mapping[str, PrivacyPolicy] = field(default_factory=dict)

    @property
    def provenance(self) -> Provenance:
        """What every outcome says of the run."""
        return {
            "policy_digest": self.policy_digest,
            "models": self.models,
            "secret_id": self.secret_id,
        }


def packaged_detector(config: StageConfig) -> Detector:
    """The detectors behind the Triton servers, or of the model repository in this process.

    Candidates well below the policy's thresholds are recorded too, never any above them lost.
    """
    from serving.backends.choose import open_backend

    backend = open_backend(
        config.triton,
        repository=config.model_repository,
        runtime=config.runtime,
        planned=config.planned_runtime,
    )
    return detectors_for(
        backend,
        (config.policy, *config.past.values()),
        {**config.policy.models.model_dump(), **config.versions},
        fingerprints=config.fingerprints,
        detectors=[one for one in DETECTORS if not config.only or one.name in config.only],
    )


def detectors_for(
    backend: InferenceBackend,
    policies: Sequence[PrivacyPolicy],
    versions: Mapping[str, int],
    *,
    fingerprints: Mapping[str, str] | None = None,
    detectors: Sequence[DetectorContract] = DETECTORS,
) -> DetectorSet:
    """Detectors that serve all of ``policies``, see ``DetectorSet``.

    Their floors lie below every threshold, and their canary is kept by every rule.
    """
    from serving.detectors import DEFAULT_FLOOR, DetectorSet

    rules = {label: [policy.for_label(label) for policy in policies] for label in LABELS}
    return DetectorSet(
        backend,
        versions,
        {k: min(DEFAULT_FLOOR, *(one.lowest_threshold for one in v)) for k, v in rules.items()},
        fingerprints=fingerprints,
        detectors=detectors,
        least_probability={k: max(one.min_probability for one in v) for k, v in rules.items()},
    )


Chain = Callable[[Envelope], Envelope]


def start(item: WorkItem) -> Envelope:
    """A fresh envelope for ``item``."""
    return Envelope(item)


def fetch_chain(config: StageConfig) -> Chain:
    """Fetch and decode; made once a process and configuration."""
    return _once("fetch", config, _make_fetch)


def detect_group(config: StageConfig) -> DetectGroup:
    """Detect, group by group; made once a process and configuration."""
    return _once("detect", config, _make_detect)


def publish_chain(config: StageConfig) -> Chain:
    """Decide, redact, check and write; made once a process and configuration."""
    return _once("publish", config, _make_publish)


_made: dict[str, tuple[str, Any]] = {}

Made = TypeVar("Made")


def _once(name: str, config: StageConfig, make: Callable[[StageConfig], Made]) -> Made:
    """The stages of this configuration; those of an earlier run in this process are let go."""
    token, made = _made.get(name, ("", None))
    if made is None or token != config.token:
        made = make(config)
        _made[name] = (config.token, made)
    return cast(Made, made)


SHADOW_S = 10.0
"""How long a shadow is waited for, at the most: the pictures that it judges wait meanwhile."""

WORKER_KEPT_BYTES = 1 << 28
"""Freed memory that a worker of the CPU steps keeps: some pictures of 5 megapixels."""


def _make_fetch(config: StageConfig) -> Chain:
    keep_freed_memory(WORKER_KEPT_BYTES)
    fetch = Fetch(open_store(config.input_uri, settings=config.storage), config.limits)
    decode = Decode(config.limits)
    return lambda envelope: guarded("decode", decode, guarded("fetch", fetch, envelope))


def _make_detect(config: StageConfig) -> DetectGroup:
    module, _, function = config.detector.partition(":")
    build = getattr(importlib.import_module(module), function)
    shadows = [
        ShadowDetector(plan, partial(build, _shadowed(config, plan))) for plan in config.shadows
    ]
    return DetectGroup(build(config), shadows)


def _shadowed(config: StageConfig, plan: ShadowPlan) -> StageConfig:
    """The configuration of a shadow: its version alone; of a detector, nothing but that one."""
    fingerprints = {plan.model: plan.fingerprint} if plan.fingerprint else {}
    servers = replace(
        config.triton,
        timeout_s=min(config.triton.timeout_s, SHADOW_S),
        outage_s=min(config.triton.outage_s, SHADOW_S),
    )
    return replace(
        config,
        triton=servers,
        versions={**config.versions, plan.model: plan.version},
        fingerprints={**config.fingerprints, **fingerprints},
        only=(plan.model,) if plan.model in {one.name for one in DETECTORS} else (),
    )


def _make_publish(config: StageConfig) -> Chain:
    keep_freed_memory(WORKER_KEPT_BYTES)
    output = open_store(config.output_uri, settings=config.storage)
    guard = LeaseGuard(output, config.epoch)
    redact = Redact(config.policy, worker_secret(config.secret_id), config.input_uri)
    decide = Decide(config.policy, config.past)
    publish = Publish(output, redact, config.policy, guard.check)
    return lambda envelope: guarded("publish", publish, guarded("decide", decide, envelope))


def worker_secret(expected_id: str) -> NoiseSecret:
    """This node's noise secret.

    Raises:
        ConfigurationError: the node has none, or another one than the driver.
    """
    secret = read_secret()
    if secret is None or secret.id != expected_id:
        raise ConfigurationError(
            "this worker does not hold the run's noise secret",
            where="STREETBLUR_SECRET",
            fix="Set the same STREETBLUR_SECRET (or _FILE) on every node before Ray starts",
        )
    return secret
