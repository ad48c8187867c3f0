"""Real models for every test of serving: fetched once a session (cached between sessions)."""

import numpy as np
import pytest

from serving.backends.local import LocalBackend
from serving.canary import canary_pixels
from serving.detectors import DetectorSet
from serving.registry import fetch_models, find_repository

VERSIONS = {"face_detector": 1, "plate_detector": 1, "postprocessor": 0}


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
def detectors(backend):
    return DetectorSet(backend, VERSIONS)


@pytest.fixture(scope="session")
def canary() -> np.ndarray:
    return canary_pixels()
