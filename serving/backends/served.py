"""What Triton servers serve: the fingerprint of each model version, asked of every server."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace

from serving.backends.protocol import InferenceBackend
from serving.backends.triton import TritonBackend, least_inputs
from serving.backends.triton_settings import TritonSettings
from serving.contracts import CONTRACTS, DETECTORS, FINGERPRINT, ModelContract
from serving.errors import ModelCorrupt, ModelMissing, ServerUnavailable
from serving.model_checks import judge_version
from serving.sanity import check_tensors

log = logging.getLogger(__name__)


def served_fingerprints(settings: TritonSettings, versions: Mapping[str, int]) -> dict[str, str]:
    """Fingerprint (16 hex digits) of each model's version, the same on every server.

    A server that is gone is left out if others are there: whoever asks it when it comes back
    compares fingerprints again.

    Args:
        settings: the servers.
        versions: by model.

    Raises:
        ModelMissing: a server does not serve a version.
        ModelCorrupt: servers serve different graphs under one number.
        ServingError: no server answers, or one not as the contract says.
    """
    backend = TritonBackend(settings)
    try:
        found: dict[str, str] = {}
        gone: ServerUnavailable | None = None
        for replica in backend.replicas():
            try:
                told = {m: _ask(replica, CONTRACTS[m], v) for m, v in versions.items()}
            except ServerUnavailable as error:
                backend.exclude(replica, error)  # says so in the log
                gone = error
                continue
            for model, fingerprint in told.items():
                version = versions[model]
                if found.setdefault(model, fingerprint) != fingerprint:
                    raise ModelCorrupt(
                        f"one server serves graph {found[model]}, another {fingerprint}",
                        where=f"{model} {version} at {', '.join(settings.urls)}",
                        fix="Give all servers the same model repository",
                    )
        if gone is not None and not found:
            raise gone
        return found
    finally:
        backend.close()


def served_runtime(settings: TritonSettings) -> str:
    """What the servers run detectors with, see ``precision.named``; those that are there.

    Raises:
        ServerUnavailable: none is.
    """
    backend = TritonBackend(settings)
    try:
        backend.replicas()
        return backend.runtime
    finally:
        backend.close()


def served_versions(settings: TritonSettings, model: str) -> tuple[int, ...]:
    """Versions of ``model`` that every server has ready that is there, rising.

    Raises:
        ServerUnavailable: none is.
    """
    backend = TritonBackend(settings)
    sets: list[set[int]] = []
    gone: ServerUnavailable | None = None
    try:
        for one in backend.endpoints:
            try:
                sets.append(backend.ready_versions(one, model))
            except ServerUnavailable as error:
                log.warning("%s", error)
                gone = error
        if gone is not None and not sets:
            raise gone
        return tuple(sorted(set.intersection(*sets)))
    finally:
        backend.close()


def check_served(settings: TritonSettings) -> Iterator[str]:
    """Judge the canary with every version of each model on every server; a line for each.

    Raises:
        CanaryFailed: a version does not find what it should.
        ModelMissing: a server serves no version of a model.
        ServingError: a server does not answer.
    """
    for address in settings.addresses():
        backend = TritonBackend(replace(settings, urls=(address.url,)))
        try:
            yield from _check_one(backend, address.url)
        finally:
            backend.close()


def _check_one(backend: TritonBackend, url: str) -> Iterator[str]:
    (endpoint,) = backend.endpoints
    ready = {model: sorted(backend.ready_versions(endpoint, model)) for model in CONTRACTS}
    if lacking := [model for model, versions in ready.items() if not versions]:
        raise ModelMissing("no version of the model is ready", where=f"{lacking[0]} at {url}")
    newest = {contract.name: ready[contract.name][-1] for contract in DETECTORS}
    for model, versions in ready.items():
        for version in versions:
            judge_version(backend, model, {**newest, model: version}, url)
            yield f"{model} {version} at {url}: canary"


def _ask(replica: InferenceBackend, contract: ModelContract, version: int) -> str:
    outputs = replica.infer(contract.name, least_inputs(contract), version=version)
    check_tensors(contract, outputs, batch=1)
    return bytes(outputs[FINGERPRINT.name][0].tobytes()).hex()
