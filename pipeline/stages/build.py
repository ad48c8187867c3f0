"""Builds the stages from a description that can travel to any process."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from pipeline.errors import ConfigurationError
from pipeline.images import ImageLimits
from pipeline.lease import LeaseGuard
from pipeline.policy import PrivacyPolicy
from pipeline.records import WorkItem
from pipeline.secret import NoiseSecret, read_secret
from pipeline.stages.decide import Decide
from pipeline.stages.detect import Detect, Detector
from pipeline.stages.envelope import Envelope, guarded
from pipeline.stages.fetch import Decode, Fetch
from pipeline.stages.publish import Publish
from pipeline.stages.redact import Redact
from pipeline.storage import StorageSettings, open_store


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
    models: str = ""
    policy_digest: str = field(default="")


def packaged_detector(config: StageConfig) -> Detector:
    """The detectors of the model repository behind the local backend, canary checked."""
    from serving.detectors import load_detectors

    versions = config.policy.models.model_dump()
    return load_detectors(versions, repository=config.model_repository)


Chain = Callable[[Envelope], Envelope]


def start(item: WorkItem) -> Envelope:
    """A fresh envelope for ``item``."""
    return Envelope(item)


def fetch_chain(config: StageConfig) -> Chain:
    """Fetch and decode."""
    return _fetch_chains(config.token, _Hold(config))


def detect_chain(config: StageConfig) -> Chain:
    """Detect."""
    return _detect_chains(config.token, _Hold(config))


def publish_chain(config: StageConfig) -> Chain:
    """Decide, redact, check and write."""
    return _publish_chains(config.token, _Hold(config))


class _Hold:
    """Carries a configuration past a cache keyed by its token alone."""

    def __init__(self, config: StageConfig) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hold)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=2)
def _fetch_chains(token: str, hold: _Hold) -> Chain:
    config = hold.config
    fetch = Fetch(open_store(config.input_uri, settings=config.storage), config.limits)
    decode = Decode(config.limits)
    return lambda envelope: guarded("decode", decode, guarded("fetch", fetch, envelope))


@lru_cache(maxsize=2)
def _detect_chains(token: str, hold: _Hold) -> Chain:
    module, _, function = hold.config.detector.partition(":")
    detect = Detect(getattr(importlib.import_module(module), function)(hold.config))
    return lambda envelope: guarded("detect", detect, envelope)


@lru_cache(maxsize=2)
def _publish_chains(token: str, hold: _Hold) -> Chain:
    config = hold.config
    output = open_store(config.output_uri, settings=config.storage)
    guard = LeaseGuard(output, config.epoch)
    redact = Redact(config.policy, worker_secret(config.secret_id))
    decide = Decide(config.policy)
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
            fix="Set the same STREETBLUR_SECRET or STREETBLUR_SECRET_FILE on every node before Ray starts",
        )
    return secret
