"""A model that fails its canary in the middle of a run, and servers that are gone."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigurationError
from pipeline.graph import RayEngine
from pipeline.job import load_spec
from pipeline.model_commands import probe_for
from pipeline.policy import load_policy
from pipeline.records import kept_boxes
from pipeline.result import Exit
from pipeline.verify import verify
from serving.errors import CanaryFailed, ServerUnavailable
from tests.integration.jobs import cut_off, files, pictures, run_stubbed

GROUPS = 3 * 32

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    pictures(folder, GROUPS)
    return folder


def one_actor(config):
    return RayEngine(config, workers=1, address=None, stall_timeout_s=120.0)


def models_of(versions):
    return {name: f"{number}:{number:016x}" for name, number in versions.items()}


def run(source, output, detector, engine, **more):
    return run_stubbed(
        source,
        output,
        detector=detector,
        engine_factory=engine,
        models_of=models_of,
        **{"versions": {"face_detector": 2}, "shard_size": 20, **more},
    )


ENGINES = pytest.mark.parametrize("engine", [None, one_actor], ids=["local", "ray"])


@ENGINES
def test_the_previous_version_goes_on(source, tmp_path, engine, caplog):
    output = tmp_path / "out"
    result, recorder = run(source, output, "ageing", engine, available=lambda model: (1, 2))
    assert result.exit_code is Exit.COMPLETE
    assert len(files(output)) == GROUPS
    assert "face_detector 2 failed its canary, version 1 judges instead" in result.revision.note
    assert result.revision.note in caplog.text
    failed = [row for row in recorder.rows if row["status"] == "failed"]
    assert {row["reason"] for row in failed} >= {"canary_failed"}
    ledger = result.workspace.ledger
    rows = [row for _, entry in ledger.shards() for row in ledger.outcomes(entry.shard)]
    assert all("face_detector=1:" in row["models"] for row in rows)
    # what version 2 blurred before it failed stays blurred: nothing is shown again
    blurred = {row["key"] for row in recorder.rows if "=2:" in row["models"] and row["kept"]}
    centres = {row["key"] for row in rows if len(kept_boxes(row)) == 2}
    assert blurred
    assert centres == blurred


def failing(*bad):
    """Judges versions of the face detector like a driver: those in ``bad`` fail."""

    def probe(versions, policies):
        if versions["face_detector"] in bad:
            error = CanaryFailed("the known face is not found", where="canary, face_detector")
            error.model = "face_detector"
            raise error

    return probe


def test_after_a_fallback_the_next_run_goes_on_with_what_judged_last(source, tmp_path):
    output = tmp_path / "out"
    more = {"available": lambda model: (1, 2), "probe": failing(2)}
    first, _ = run(source, output, "ageing", None, **more)
    again, recorder = run(source, output, "ageing", None, **more)
    assert recorder.rows == [], "nothing is thrown away"
    assert again.exit_code is Exit.COMPLETE
    assert again.revision == first.revision
    pictures(source / "late", 5, seed=3)
    late, recorder = run(source, output, "ageing", None, **more)
    assert len(recorder.rows) == 5
    assert late.revision.note == first.revision.note
    mended, recorder = run(source, output, "centre", None, **{**more, "probe": failing()})
    assert mended.revision.note == ""
    assert len(recorder.rows) == GROUPS + 5, "the version that the policy names judges again"


def test_the_canary_is_judged_under_every_policy_that_the_job_had(source, tmp_path):
    output = tmp_path / "out"
    run(source, output, "ageing", None, available=lambda model: (1, 2), policy="us")
    seen = []

    def probe(versions, policies):
        seen.extend(policy.name for policy in policies)

    run(source, output, "centre", None, probe=probe, policy="eu")
    assert set(seen) == {"us", "eu"}


def demanding(least):
    policy = load_policy("default")
    face = policy.face.model_copy(update={"min_probability": least})
    return policy.model_copy(update={"face": face})


def test_a_filter_that_one_policy_could_not_use_fails_before_the_run(tmp_path):
    spec = load_spec(None, input=str(tmp_path), output=str(tmp_path / "out"), job="probe")
    versions = {"face_detector": 1, "plate_detector": 1, "postprocessor": 1}
    probe_for(spec)(versions, [demanding(0.0), demanding(0.5)])
    with pytest.raises(CanaryFailed, match="probability"):
        probe_for(spec)(versions, [demanding(0.0), demanding(0.999)])


def test_what_is_not_judged_leaves_earlier_outcomes_in_force(source, tmp_path):
    output = tmp_path / "out"
    done, _ = run(source, output, "centre", None)
    before = {row["key"]: row for row in outcomes(done.workspace.ledger)}
    with pytest.raises(ServerUnavailable):
        run(source, output, "absent", None, versions={"face_detector": 1})
    ledger = done.workspace.ledger
    ledger.refresh()
    assert {row["key"]: row for row in outcomes(ledger)} == before


def outcomes(ledger):
    return [row for _, entry in ledger.shards() for row in ledger.outcomes(entry.shard)]


@ENGINES
def test_without_a_previous_version_the_run_stops_and_every_picture_has_an_outcome(
    source, tmp_path, engine
):
    output = tmp_path / "out"
    with pytest.raises(CanaryFailed, match="known face"):
        run(source, output, "ageing", engine, available=lambda model: (2,))
    published = len(files(output))
    assert 0 < published < GROUPS
    result, recorder = run(source, output, "centre", engine)
    assert result.exit_code is Exit.COMPLETE
    assert not list(verify(result.workspace).cut_off)
    assert len(recorder.rows) == GROUPS - published, "what was published is known, and stays"


@ENGINES
def test_asked_to_stop_there_is_no_fallback(source, tmp_path, engine):
    with pytest.raises(CanaryFailed):
        run(
            source,
            tmp_path / "out",
            "ageing",
            engine,
            available=lambda model: (1, 2),
            fallback="stop",
        )


@ENGINES
def test_servers_that_are_gone_end_the_run_in_good_order(source, tmp_path, engine):
    output = tmp_path / "out"
    with pytest.raises(ServerUnavailable, match="grpc://stub:1"):
        run(source, output, "unavailable", engine)
    published = set(files(output))
    assert 0 < len(published) < GROUPS
    result, recorder = run(source, output, "centre", engine)
    assert result.exit_code is Exit.COMPLETE
    assert {row["key"] for row in recorder.rows}.isdisjoint(published)


def test_a_model_that_fails_from_the_start_publishes_nothing_through_ray(source, tmp_path):
    with pytest.raises(Exception, match="canary was not found"):
        run(source, tmp_path / "out", "broken", one_actor)
    assert files(tmp_path / "out") == {}


def test_a_fallback_shows_nothing_that_a_killed_run_of_the_failing_version_hid(source, tmp_path):
    output = tmp_path / "out"
    versions = {"versions": {"face_detector": 2}, "models_of": models_of, "shard_size": 20}
    hidden = cut_off(source, output, detector="centre", **versions)
    assert hidden
    with pytest.raises(ConfigurationError, match="--model face_detector=2"):
        run(source, output, "outdated", None, available=lambda model: (1, 2))
    assert {key: files(output)[key] for key in hidden} == hidden
    run(source, output, "centre", None)
    done, _ = run(source, output, "outdated", None, versions={"face_detector": 1})
    assert done.exit_code is Exit.COMPLETE
    kept = {row["key"]: len(kept_boxes(row)) for row in outcomes(done.workspace.ledger)}
    assert set(kept.values()) == {2}, "the centre stays blurred besides the corner"
