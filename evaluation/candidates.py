"""Candidates of labelled pictures, found once: detection is slow and depends on no policy."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
from rich.console import Console
from rich.progress import Progress

from pipeline.decode import decode_upright
from pipeline.errors import ConfigurationError
from pipeline.images import ImageLimits, inspect_image
from pipeline.model_commands import fetch, models_present
from pipeline.policy import PrivacyPolicy
from serving.contracts import GRAPH_FLOOR
from serving.detectors import DetectorSet, load_detectors
from serving.geometry import LABELS, Box, Candidate

DEFAULT_CACHE = Path(tempfile.gettempdir()) / "streetblur-candidates"


class CandidateCache:
    """Candidates by picture, in one JSON file for each state of models and detection code."""

    def __init__(self, folder: Path, versions: Mapping[str, int]) -> None:
        self._versions = dict(versions)
        self._path = folder / f"candidates-{detection_digest(versions)}.json"
        self._known: dict[str, list[dict[str, Any]]] = {}
        if self._path.is_file():
            try:
                self._known = json.loads(self._path.read_bytes())
            except ValueError as error:
                raise ConfigurationError(
                    f"the cache of candidates is damaged ({error})",
                    where=str(self._path),
                    fix="Remove the file; candidates are then found again",
                ) from error

    def fill(self, paths: Sequence[Path], processes: int) -> None:
        """Detect in those of ``paths`` that are not known yet, and store all."""
        missing = [path for path in paths if _name(path) not in self._known]
        if not missing:
            return
        with (
            Progress(console=Console(stderr=True)) as progress,
            ProcessPoolExecutor(
                processes,
                mp_context=get_context("forkserver"),
                initializer=_start,
                initargs=(self._versions,),
            ) as pool,
        ):
            task = progress.add_task("detecting", total=len(missing))
            for path, rows in zip(missing, pool.map(_detect, missing, chunksize=2), strict=True):
                self._known[_name(path)] = rows
                progress.advance(task)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(self._known), encoding="utf-8")
        partial.replace(self._path)

    @staticmethod
    def name(path: Path) -> str:
        """What a picture is known by: the same bytes have the same name."""
        return _name(path)

    def candidates(self, path: Path) -> list[Candidate]:
        """The candidates of one picture."""
        return [_candidate(row) for row in self._known[_name(path)]]


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """A candidate as it was before JSON, which knows no tuples."""
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
    values["box"] = Box(**row["box"])
    return Candidate(**values)


def detection_digest(versions: Mapping[str, int]) -> str:
    """Changes with the versions, the model files, the runtime and the code of ``serving/``."""
    import serving
    from serving.backends.runtimes.choice import runtime_in_force
    from serving.registry import find_repository

    digest = hashlib.sha256(json.dumps(dict(versions), sort_keys=True).encode())
    digest.update(runtime_in_force().encode())
    sources = sorted(Path(serving.__file__).parent.rglob("*.py"))
    for path in [*sources, *sorted(find_repository().rglob("*.onnx"))]:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def open_cache(folder: Path, policy: PrivacyPolicy) -> CandidateCache:
    """The cache for the models that ``policy`` names; fetches the default models when missing."""
    versions = policy.models.model_dump()
    if any(state.endswith("missing") for state in models_present(versions).values()):
        fetch()
    return CandidateCache(folder, versions)


_detectors: DetectorSet | None = None


def _start(versions: dict[str, int]) -> None:
    global _detectors
    cv2.setNumThreads(1)
    _detectors = load_detectors(versions, floor=dict.fromkeys(LABELS, GRAPH_FLOOR))


def _detect(path: Path) -> list[dict[str, Any]]:
    if _detectors is None:
        raise RuntimeError("the process was not started with _start")
    data = path.read_bytes()
    upright = decode_upright(data, inspect_image(data, ImageLimits()))
    found = _detectors.detect(upright).candidates
    return [asdict(dataclasses.replace(candidate, features=())) for candidate in found]


@cache
def _name(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
