"""Whatever goes wrong with a shadow concerns the shadow alone, and does not last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.shadow import MOST_FAILURES, ShadowDetector, ShadowPlan
from pipeline.stages.detect import DetectGroup, Detector
from pipeline.storage import ObjectStore, StorageSettings, open_store
from serving.errors import InferenceError, NoAnswer, ServerUnavailable
from tests.pipeline.test_stages import GOOD, Doubtful, Scripted, two


@pytest.fixture
def source(tmp_path: Path) -> ObjectStore:
    store = open_store(str(tmp_path / "in"), settings=StorageSettings())
    store.ensure_root()
    return store


def shadowed(build: Callable[[], Detector]) -> tuple[DetectGroup, ShadowDetector]:
    shadow = ShadowDetector(ShadowPlan("face_detector", 2, 1.0), build)
    return DetectGroup(Scripted(*[GOOD] * 20), [shadow]), shadow


def messages(group: DetectGroup, source: ObjectStore) -> list[str]:
    judged = group(two(source))
    assert all(one.ending is None for one in judged)
    return [one.shadows[0].message for one in judged]


def test_a_shadow_that_nobody_answers_is_asked_once(source: ObjectStore) -> None:
    made = Scripted(ServerUnavailable("nobody answers"))
    group, _ = shadowed(lambda: made)
    assert messages(group, source) == ["nobody answers."] * 2
    assert messages(group, source) == ["nobody answers."] * 2
    assert len(made.answers) == 0, "a second question would have had no answer"


def test_a_shadow_s_error_that_nobody_foresaw_harms_no_picture(source: ObjectStore) -> None:
    group, _ = shadowed(lambda: Scripted(ValueError("what?"), GOOD))
    assert messages(group, source) == ["ValueError: what?", ""]


def test_a_shadow_that_fails_again_and_again_is_given_up(source: ObjectStore) -> None:
    made = Scripted(*[InferenceError("no answer")] * MOST_FAILURES)
    group, _ = shadowed(lambda: made)
    assert [messages(group, source) for _ in range(3)] == [["no answer."] * 2] * 3
    assert made.answers == []


def test_a_shadow_whose_canary_fails_later_tells_nothing(source: ObjectStore) -> None:
    group, shadow = shadowed(lambda: Doubtful(GOOD, GOOD, GOOD, GOOD, sound=[True, True, False]))
    assert messages(group, source) == ["", ""]
    assert messages(group, source) == ["the canary failed somewhere meanwhile"] * 2
    assert shadow.doubt() == ""


def test_a_success_forgives_failures(source: ObjectStore) -> None:
    failure = InferenceError("no answer")
    answers = [failure, failure, GOOD, failure, failure, GOOD, GOOD, GOOD]
    group, _ = shadowed(lambda: Scripted(*answers))
    told = [message for _ in range(4) for message in messages(group, source)]
    assert told == ["no answer."] * 2 + [""] + ["no answer."] * 2 + [""] * 3


def test_what_a_shadow_judged_before_it_broke_does_not_count(source: ObjectStore) -> None:
    group, _ = shadowed(lambda: Scripted(GOOD, ServerUnavailable("gone")))
    assert messages(group, source) == ["gone."] * 2


def test_a_shadow_that_hangs_is_given_up_at_once(source: ObjectStore) -> None:
    made = Scripted(NoAnswer("no answer in time"))
    closed = []
    made.close = lambda: closed.append(made)
    group, _ = shadowed(lambda: made)
    assert messages(group, source) == ["no answer in time."] * 2
    assert made.answers == []
    assert closed == [made], "it keeps no connection"
