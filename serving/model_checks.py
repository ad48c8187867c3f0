"""Is the model repository fit for use? Hashes, interfaces, and a canary inference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx

from serving.backends.local import LocalBackend
from serving.backends.protocol import InferenceBackend
from serving.canary import CanaryResult, run_canary
from serving.contracts import CONTRACTS, DETECTORS
from serving.detectors import DetectorSet
from serving.errors import CanaryFailed, ModelCorrupt, ModelMissing, ServingError, VersionTaken
from serving.graphs import breaches, fingerprint_of
from serving.pypi import sha256_file
from serving.registry import (
    ModelRecord,
    find_repository,
    model_path,
    present_versions,
    read_record,
    refuse_to_replace,
)
from serving.sources import source_of


def check_models(location: str | Path | None = None) -> Iterator[ModelRecord]:
    """Check every version of every model that is present, and have each judge the canary.

    A detector judges alone; a post-processor judges what the newest sound detectors find. Nothing
    is checked before it is iterated over.

    Yields:
        The records of those that are sound; what is wrong with the others is raised afterwards. A
        post-processor cannot be judged, and is left out, where a detector has no sound version.

    Raises:
        ModelMissing: a model is absent, or has no record.
        ModelCorrupt: a file differs from its record, or its graph breaks the contract.
        VersionTaken: a model of one's own has the number of one that is fetched.
        CanaryFailed: a version does not find the canary's face or plate, or cannot be run.
    """
    repository = find_repository(location)
    wrong: list[ServingError] = []
    newest: dict[str, int] = {}
    for model in CONTRACTS:
        for version in present_versions(repository, model) or (1,):
            try:
                record = check_version(repository, model, version)
                if (source := source_of(model, version)) is not None:
                    refuse_to_replace(source, repository / model / str(version))
                if not _can_judge(model, newest):
                    continue
                check_canary(repository, model, {**newest, model: version})
            except (ModelMissing, ModelCorrupt, VersionTaken, CanaryFailed) as error:
                wrong.append(error)
                continue
            newest[model] = version
            yield record
    if len(wrong) > 1:
        first = wrong[0]
        more = " ".join(str(error) for error in wrong[1:])
        raise type(first)(first.what, where=first.where, fix=f"{first.fix}. Also: {more}")
    if wrong:
        raise wrong[0]


def _can_judge(model: str, detectors: dict[str, int]) -> bool:
    """Whether ``model`` is a detector, or all of ``detectors`` are there for it."""
    names = {contract.name for contract in DETECTORS}
    return model in names or names <= detectors.keys()


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


def check_canary(repository: Path, model: str, versions: dict[str, int]) -> CanaryResult:
    """Have one version of ``model`` judge the canary.

    Args:
        repository: where the models lie.
        model: the one that is judged: of a detector, nothing else is asked.
        versions: its own, and those of the detectors that it needs.

    Raises:
        CanaryFailed: see ``check_models``.
        ModelCorrupt: it cannot be opened.
    """
    backend = LocalBackend(repository)
    try:
        return judge_version(backend, model, versions)
    finally:
        backend.close()


def judge_version(
    backend: InferenceBackend, model: str, versions: Mapping[str, int], place: str = ""
) -> CanaryResult:
    """As ``check_canary``, by any backend.

    Args:
        backend: runs it.
        model, versions: as there.
        place: where that is, for the error: a server's address.

    Raises:
        CanaryFailed: as there.
    """
    only = [contract for contract in DETECTORS if contract.name == model] or DETECTORS
    try:
        return run_canary(DetectorSet(backend, versions, detectors=only))
    except CanaryFailed as error:
        where = f"canary, {model} {versions[model]}"
        raise CanaryFailed(
            error.what,
            where=f"{where} at {place}" if place else where,
            fix="Take the version out of the repository, or put a sound one there",
        ) from error
