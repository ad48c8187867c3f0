"""The policy applied to candidates: thresholds, sizes, borders, forced boxes."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.policy import ClassPolicy, PrivacyPolicy
from pipeline.records import NamedBox, Outcome, named_features, outcomes_table
from pipeline.stages.decide import decide, forced
from serving.contracts import FEATURES
from serving.geometry import Box, Candidate

POLICY = PrivacyPolicy(
    name="test",
    face=ClassPolicy(threshold=0.5, min_height_px=10, blur_below_minimum=False),
    plate=ClassPolicy(threshold=0.3, min_probability=0.5, min_height_px=10),
)


def candidate(label="face", box=(10, 10, 40, 50), score=0.9, probability=1.0):
    return Candidate(label, Box(*box), score, probability, "native")


@pytest.mark.parametrize(
    ("given_candidate", "kept", "reason"),
    [
        (candidate(), True, "above_threshold"),
        (candidate(score=0.5), True, "above_threshold"),
        (candidate(score=0.49), False, "below_threshold"),
        (candidate(box=(10, 10, 20, 19)), False, "below_minimum"),
        (candidate("plate", (10, 10, 20, 19), 0.4), True, "below_minimum"),
        (candidate("plate", probability=0.4), False, "below_probability"),
    ],
)
def test_each_candidate_gets_its_reason(given_candidate, kept, reason):
    (decision,) = decide([given_candidate], POLICY, 100, 100)
    assert (decision.kept, decision.reason) == (kept, reason)


@pytest.mark.parametrize(
    ("height", "score", "kept", "threshold"),
    [(23, 0.2, True, 0.1), (24, 0.2, False, 0.4), (24, 0.4, True, 0.4), (23, 0.09, False, 0.1)],
)
def test_large_boxes_have_a_threshold_of_their_own(height, score, kept, threshold):
    policy = POLICY.model_copy(update={"face": ClassPolicy(threshold={0: 0.1, 24: 0.4})})
    (decision,) = decide([candidate(box=(0, 0, 20, height), score=score)], policy, 100, 100)
    assert (decision.kept, decision.threshold) == (kept, threshold)


def test_nothing_is_dropped_without_a_record():
    candidates = [candidate(score=score / 10) for score in range(10)]
    assert len(decide(candidates, POLICY, 100, 100)) == 10


@given(
    st.tuples(*[st.floats(-50, 150) for _ in range(2)]),
    st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)),
    st.integers(1, 90),
    st.integers(1, 90),
)
def test_rounded_box_covers_the_candidate_inside_the_image(corner, size, width, height):
    box = (corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])
    (d,) = decide([candidate(box=box)], POLICY, width, height)
    assert 0 <= d.x1 < d.x2 <= width
    assert 0 <= d.y1 < d.y2 <= height
    assert d.x1 <= max(min(box[0], width - 1), 0)
    assert d.x2 >= min(max(box[2], 0), width)


def test_forced_boxes_are_kept_unless_they_lie_outside():
    inside, outside = forced(
        [NamedBox("face", -5, -5, 5, 5), NamedBox("face", 200, 200, 210, 210)],
        "override",
        "override",
        100,
        100,
    )
    assert (inside.kept, inside.x1, inside.x2) == (True, 0, 5)
    assert (outside.kept, outside.reason) == (False, "override_outside_image")


def test_the_features_of_a_candidate_are_recorded():
    judged = dataclasses.replace(candidate(), features=(0.5, 2.0))
    (decision,) = decide([judged], POLICY, 100, 100)
    assert decision.features == (0.5, 2.0)


def test_features_travel_through_the_outcomes_table():
    (decision,) = decide([dataclasses.replace(candidate(), features=(0.5, 2.0))], POLICY, 100, 100)
    outcome = Outcome("a", 0, 0, "published", "", "id", "etag", 9, detections=(decision,))
    (row,) = outcomes_table([outcome.as_row()]).to_pylist()
    assert row["detections"][0]["features"] == [0.5, 2.0]


@pytest.mark.parametrize("values", [None, [], [1.0, 2.0]])
def test_features_of_another_version_are_shown_without_names(values):
    assert named_features(values) == list(values or [])


def test_features_are_shown_by_name():
    assert named_features([float(n) for n in range(len(FEATURES))])["score"] == FEATURES.index(
        "score"
    )
