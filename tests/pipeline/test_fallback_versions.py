"""Which version takes the place of one that failed, and what a job that fell back goes on with."""

from __future__ import annotations

import pytest

from pipeline.fallback import Versions
from pipeline.policy import PrivacyPolicy, load_policy
from serving.errors import CanaryFailed


@pytest.fixture
def policy() -> PrivacyPolicy:
    return load_policy("default").with_models({"face_detector": 3, "plate_detector": 2})


def failed(model: str) -> CanaryFailed:
    error = CanaryFailed("nothing is found", where=f"canary, {model}")
    error.model = model
    return error


def test_the_newest_of_the_older_versions_takes_the_place_of_one_that_failed(
    policy: PrivacyPolicy,
) -> None:
    versions = Versions(available=lambda model: (1, 2, 3, 4))
    assert versions.fall_back(failed("face_detector"), policy)
    assert versions.of(policy) == {"face_detector": 2, "plate_detector": 2, "postprocessor": 1}
    assert versions.fall_back(failed("face_detector"), policy)
    assert versions.of(policy)["face_detector"] == 1
    assert not versions.fall_back(failed("face_detector"), policy), "there is none before 1"


def test_a_version_that_alone_is_newer_takes_no_place(policy: PrivacyPolicy) -> None:
    versions = Versions(available=lambda model: (3, 4))
    assert not versions.fall_back(failed("face_detector"), policy)
    assert versions.of(policy)["face_detector"] == 3
    assert versions.note == ""
