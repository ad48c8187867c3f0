"""Is the model repository fit for use? Hashes, interfaces, and a canary inference."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from serving.backends.local import LocalBackend
from serving.canary import CanaryResult, run_canary
from serving.contracts import CONTRACTS
from serving.detectors import DetectorSet
from serving.errors import ModelCorrupt, ModelMissing, ServingError
from serving.graphs import breaches, fingerprint_of
from serving.pypi import sha256_file
from serving.registry import (
    ModelRecord,
    find_repository,
    model_path,
    present_versions,
    read_record,
)


def check_models(location: str | Path | None = None) -> Iterator[ModelRecord]:
    """Check every version of every model that is present, and run the canary on the newest.

    Nothing is checked before it is iterated over.

    Yields:
        The records of those that are sound; what is wrong with the others is raised afterwards.

    Raises:
        ModelMissing: a model is absent, or has no record.
        ModelCorrupt: a file differs from its record, or its graph breaks the contract.
        InferenceError: a model cannot be run.
        InsaneOutput: the canary's face or plate is not found.
    """
    repository = find_repository(location)
    records: list[ModelRecord] = []
    wrong: list[ServingError] = []
    for model in CONTRACTS:
        for version in present_versions(repository, model) or (1,):
            try:
                records.append(check_version(repository, model, version))
            except (ModelMissing, ModelCorrupt) as error:
                wrong.append(error)
    newest = {record.model: record.version for record in records}
    if newest.keys() == CONTRACTS.keys():
        check_canary(repository, newest)
        yield from records
    if len(wrong) > 1:
        first = wrong[0]
        more = " ".join(str(error) for error in wrong[1:])
        raise type(first)(first.what, where=first.where, fix=f"{first.fix}. Also: {more}")
    if wrong:
        raise wrong[0]


def check_version(repository: Path, model: str, version: int) -> ModelRecord:
    """Compare one model file with its record and its graph with the contract.

    Raises:
        ModelMissing, ModelCorrupt: see ``check_models``.
    """
    path = model_path(repository, model, version)
    record = read_record(path.parent)
    digest = sha256_file(path)
    if digest != record.sha256 or (record.model, record.version) != (model, version):
        raise ModelCorrupt(
            f"SHA-256 is {digest}; recorded is {record.sha256} for {record.model} {record.version}",
            where=str(path),
            fix="Delete the folder and run `streetblur models fetch`",
        )
    graph = onnx.load(path)
    if fingerprint_of(graph) != record.fingerprint:
        raise ModelCorrupt(
            f"the graph's fingerprint is {fingerprint_of(graph)}; recorded is {record.fingerprint}",
            where=str(path),
            fix="Delete the folder and run `streetblur models fetch`",
        )
    if found := breaches(graph, CONTRACTS[model]):
        raise ModelCorrupt(
            f"the graph breaks the contract: {'; '.join(found)}",
            where=str(path),
            fix="Export the model again with the tensors of serving/contracts.py",
        )
    return record


def check_canary(repository: Path, versions: dict[str, int]) -> CanaryResult:
    """One canary inference with the given detector versions.

    Raises:
        InferenceError, InsaneOutput: see ``check_models``.
    """
    backend = LocalBackend(repository)
    try:
        return run_canary(DetectorSet(backend, versions))
    finally:
        backend.close()
