"""Takes a model of your own into a model repository: stamps its graph, and writes its record."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import onnx

from serving.contracts import CONTRACTS
from serving.errors import ModelCorrupt, ModelMissing, ServingError, VersionTaken
from serving.graphs import breaches, fingerprint_of, stamp
from serving.pypi import sha256_file, write_atomically
from serving.registry import (
    MODEL_FILE,
    RECORD_FILE,
    REPOSITORY_SETTING,
    ModelRecord,
    advice_to_renumber,
    find_repository,
    model_path,
)
from serving.sources import source_of


def record_model(
    path: Path, *, source: str = "own", licence: str = "unknown", origin: str = "own"
) -> ModelRecord:
    """Write ``source.json`` beside a model, whose graph is stamped first if it is not yet.

    Args:
        path: ``<repository>/<model>/<version>/model.onnx``.
        source: release or module that the weights come from.
        licence, origin: of the weights.

    Raises:
        ModelMissing: there is no such model, or no version.
        ModelCorrupt: the graph cannot be read, or breaks the contract.
    """
    model, version = path.parent.parent.name, path.parent.name
    contract = CONTRACTS.get(model)
    if contract is None or not version.isdigit() or path.name != MODEL_FILE:
        raise ModelMissing(
            "this is no place of a model",
            where=str(path),
            fix=f"Put it at <model>/<version>/{MODEL_FILE}; models are {', '.join(CONTRACTS)}",
        )
    try:
        before = sha256_file(path)
        graph = onnx.load(path)
        if fingerprint_of(graph) is None:
            graph = stamp(graph, contract)
            write_atomically(
                path, graph.SerializeToString(deterministic=True), setting=REPOSITORY_SETTING
            )
        found = breaches(graph, contract)
    except ServingError:
        raise
    except Exception as error:  # whatever a file that is no such graph makes of onnx
        raise _unfit(path, f"the graph cannot be taken ({error})") from error
    if found:
        raise _unfit(path, f"the graph breaks the contract: {'; '.join(found)}")
    record = ModelRecord(
        model=model,
        version=int(version),
        sha256=sha256_file(path),
        source=source,
        source_sha256=before,
        licence=licence,
        origin=origin,
        onnx=onnx.__version__,
        fingerprint=fingerprint_of(graph) or "",
    )
    content = (json.dumps(asdict(record), indent=2) + "\n").encode()
    write_atomically(path.parent / RECORD_FILE, content, setting=REPOSITORY_SETTING)
    return record


def _unfit(path: Path, what: str) -> ModelCorrupt:
    return ModelCorrupt(
        what,
        where=str(path),
        fix="Export the model again with the tensors of serving/contracts.py",
    )


def _refuse_taken(repository: Path, model: str, version: int) -> None:
    """Refuse the number of a model that ``fetch_models`` would look for in its place.

    Raises:
        VersionTaken: it is one.
    """
    source = source_of(model, version)
    if source is not None:
        raise VersionTaken(
            f"this number is that of the model that `streetblur models fetch` makes "
            f"({source.origin})",
            where=f"{model} {version}",
            fix=advice_to_renumber(repository, model, version),
        )


def main(arguments: list[str] | None = None) -> int:
    """``python -m serving.record``: record a version that lies in the model repository."""
    parser = argparse.ArgumentParser(prog="python -m serving.record", description=__doc__)
    parser.add_argument("model", choices=tuple(CONTRACTS))
    parser.add_argument("version", type=int)
    for name in ("source", "origin"):
        parser.add_argument(f"--{name}", default="own")
    parser.add_argument("--licence", default="unknown")
    given = parser.parse_args(arguments)
    repository = find_repository()
    try:
        _refuse_taken(repository, given.model, given.version)
        record = record_model(
            model_path(repository, given.model, given.version),
            source=given.source,
            licence=given.licence,
            origin=given.origin,
        )
    except ServingError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command
        return 1
    print(f"{record.model} {record.version}: fingerprint {record.fingerprint}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
