"""Real models for every test of serving: fetched once a session (cached between sessions)."""

from pathlib import Path

import numpy as np
import pytest

from serving.backends.local import LocalBackend
from serving.canary import canary_pixels
from serving.detectors import DetectorSet
from serving.registry import fetch_models, find_repository
from tests.serving import triton

VERSIONS = {"face_detector": 1, "plate_detector": 1, "postprocessor": 1}


@pytest.fixture(scope="session")
def repository():
    location = find_repository()
    fetch_models(location)
    return location


@pytest.fixture(scope="session")
def backend(repository):
    opened = LocalBackend(repository)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def float32(repository):
    """The exact backend: ONNX Runtime, whatever the default is on this machine."""
    opened = LocalBackend(repository, runtime="onnxruntime")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def detectors(backend):
    return DetectorSet(backend, VERSIONS)


@pytest.fixture(scope="session")
def canary() -> np.ndarray:
    return canary_pixels()


@pytest.fixture(scope="session")
def served_repository(repository, tmp_path_factory) -> Path:
    """Face detector: 1; 2, a little different; 3, which fails over poison. Plate detector: 1."""
    folder = triton.copy_repository(repository, tmp_path_factory.mktemp("served"))
    triton.add_version(folder, triton.FACE, 2, triton.other_weights)
    triton.add_version(folder, triton.FACE, 3, triton.fails_on_poison)
    return folder


@pytest.fixture(scope="session")
def can_serve() -> None:
    """Skips where the server from PyPI cannot run."""
    if reason := triton.why_no_server():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def triton_server(can_serve, served_repository, tmp_path_factory):
    """A real server for the session over ``served_repository``; leave it as it is."""
    with triton.running(served_repository, tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="session")
def embedded(served_repository):
    """The embedded backend over the same repository: what every answer has to be."""
    opened = LocalBackend(served_repository, runtime="onnxruntime")
    yield opened
    opened.close()
