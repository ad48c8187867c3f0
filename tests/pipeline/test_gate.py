"""Once models cannot be relied on, no worker judges anything more."""

from __future__ import annotations

import pytest

from pipeline.gate import NOT_JUDGED, LocalGate, judge
from pipeline.graph import RayGate
from pipeline.images import ImageLimits
from pipeline.policy import DEFAULT_POLICY, load_policy
from pipeline.records import WorkItem
from pipeline.shadow import ShadowPlan
from pipeline.stages import build
from pipeline.stages.build import SHADOW_S, StageConfig
from pipeline.stages.envelope import Envelope
from pipeline.storage import StorageSettings
from serving.backends.triton_settings import TritonSettings
from serving.errors import ServerUnavailable

ERROR = ServerUnavailable("nobody answers", where="grpc://a:1")


def group() -> list[Envelope]:
    item = WorkItem("a.jpg", "etag", 1, 0, 0, "identity")
    return [Envelope(item), Envelope(item).ended("quarantined", "corrupt", "x")]


def never() -> None:
    raise AssertionError("a closed gate lets nothing be judged")


def judged_by_nobody(gate: LocalGate | RayGate) -> None:
    stopped, ended = judge(group(), never, gate)
    assert stopped.ending is not None
    assert (stopped.ending.status, stopped.ending.reason) == ("failed", "stopped")
    assert NOT_JUDGED in stopped.notes
    assert ended.ending is not None
    assert ended.ending.reason == "corrupt"


def test_a_closed_gate_in_one_process() -> None:
    gate = LocalGate()
    with pytest.raises(AssertionError):
        judge(group(), never, gate)
    gate.close(ERROR)
    gate.close(ServerUnavailable("later"))
    assert gate.error is ERROR
    judged_by_nobody(gate)


@pytest.mark.usefixtures("cluster")
def test_a_closed_gate_on_a_cluster_is_closed_for_all_and_taken_once() -> None:
    ours, theirs, others = RayGate("run"), RayGate("run"), RayGate("other")
    assert not theirs.closed()
    ours.close(ERROR)
    ours.close(ServerUnavailable("later"))
    judged_by_nobody(theirs)
    assert not others.closed()
    found = theirs.take()
    assert (type(found), str(found)) == (ServerUnavailable, str(ERROR))
    assert not ours.closed()
    assert ours.take() is None


def test_a_shadow_is_not_waited_for_as_long_as_what_decides() -> None:
    patient = TritonSettings(("grpc://127.0.0.1:1",), timeout_s=60, outage_s=600)
    config = StageConfig(
        token="t",
        input_uri="file:///in",
        output_uri="file:///out",
        storage=StorageSettings(),
        policy=load_policy(DEFAULT_POLICY),
        limits=ImageLimits(),
        epoch=1,
        secret_id="",
        triton=patient,
        versions={"face_detector": 1},
    )
    found = build._shadowed(config, ShadowPlan("face_detector", 2, 1.0, "ab" * 8))
    assert (found.triton.timeout_s, found.triton.outage_s) == (SHADOW_S, SHADOW_S)
    assert found.versions["face_detector"] == 2
    assert found.only == ("face_detector",)
