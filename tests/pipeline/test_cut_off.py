"""A run that was cut off may have published what no outcome tells of: it stays blurred."""

from __future__ import annotations

import pytest
import yaml

from pipeline.cut_off import Suspicion, unrecorded, unrecorded_elsewhere
from pipeline.errors import ConfigurationError
from pipeline.identity import row_identity
from pipeline.images import ImageLimits
from pipeline.job import load_spec
from pipeline.ledger import Ledger
from pipeline.policy import load_policy
from pipeline.records import NamedBox, kept_boxes
from pipeline.result import Exit
from pipeline.runner import Runner
from pipeline.secret import VARIABLE
from pipeline.stages.build import StageConfig, packaged_detector
from pipeline.status import find_outcome
from pipeline.storage import StorageSettings, open_store
from serving.errors import ServerUnavailable
from tests.integration.jobs import (
    OTHER_MODELS,
    SECRET,
    CutAtOnce,
    cut_off,
    files,
    pictures,
    run_stubbed,
)

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 4

CENTRE = [("face", 24, 16, 72, 48)]
KEYS = ("d0/0000.jpg", "d1/0001.jpg")


@pytest.fixture
def lax(tmp_path):
    """A policy under which the stub's face is not blurred."""
    policy = load_policy("default").model_dump(mode="json")
    policy["face"]["threshold"] = 0.99
    path = tmp_path / "lax.yaml"
    path.write_text(yaml.safe_dump(policy))
    return str(path)


def boxes(result):
    found = {}
    for row in result.workspace.ledger.live_rows():
        _, outcome = find_outcome(result.workspace.ledger, row.key)
        found[row.key] = [(b.label, b.x1, b.y1, b.x2, b.y2) for b in kept_boxes(outcome)]
    return found


def test_other_rules_show_nothing_that_the_killed_run_hid(source, output, lax):
    hidden = cut_off(source, output)
    assert len(hidden) == 2
    result, _ = run_stubbed(source, output, policy=lax)
    now = files(output)
    assert {key: now[key] for key in hidden} == hidden
    assert boxes(result) == {key: CENTRE if key in hidden else [] for key in now}
    _, recorder = run_stubbed(source, output, policy=lax)
    assert recorder.rows == []
    assert files(output) == now


def outage(source, output, **more):
    """A run whose servers are gone from the start: every picture fails."""
    with pytest.raises(ServerUnavailable):
        run_stubbed(source, output, detector="absent", **more)


def test_an_outage_after_the_kill_is_no_record_of_what_was_hidden(source, output, lax):
    hidden = cut_off(source, output)
    outage(source, output)
    result, _ = run_stubbed(source, output, policy=lax)
    assert {key: files(output)[key] for key in hidden} == hidden
    assert boxes(result) == {key: CENTRE if key in hidden else [] for key in files(output)}


def test_an_outage_after_the_kill_lets_no_other_models_in(source, output):
    cut_off(source, output)
    outage(source, output)
    with pytest.raises(ConfigurationError, match="--model face_detector=1"):
        run_stubbed(source, output, models=OTHER_MODELS)


def test_another_runtime_is_refused_until_the_killed_run_is_finished(source, output, monkeypatch):
    cut_off(source, output)
    monkeypatch.setattr("pipeline.runner.runs_on", lambda triton, runtime: "another f32")
    with pytest.raises(
        ConfigurationError, match=r"on another runtime \(.*, not another f32\)"
    ) as e:
        run_stubbed(source, output)
    assert "what it blurred in them is not known" in e.value.what
    assert "--runtime" in e.value.fix
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, SECRET)
    run_stubbed(source, output)
    monkeypatch.setattr("pipeline.runner.runs_on", lambda triton, runtime: "another f32")
    _, recorder = run_stubbed(source, output)
    assert recorder.rows == [], "a runtime alone makes nothing due"


def test_who_computes_alike_may_finish_what_another_began(source, output, tmp_path, monkeypatch):
    def on(runtime):
        monkeypatch.setattr("pipeline.runner.runs_on", lambda triton, _: runtime)

    on("triton onnxruntime fp16 gpu 01234567")
    cut_off(source, output)
    for other in ("triton onnxruntime f32", "onnxruntime f32"):
        on(other)
        with pytest.raises(ConfigurationError, match="compute with onnxruntime fp16 gpu 01234567"):
            run_stubbed(source, output)
    on("triton onnxruntime fp16 gpu 01234567")
    run_stubbed(source, output)
    on("onnxruntime f32")
    cut_off(source, tmp_path / "another")
    on("triton onnxruntime f32")
    result, _ = run_stubbed(source, tmp_path / "another")
    assert result.exit_code is Exit.COMPLETE


def test_allow_unblur_lets_the_present_rules_decide(source, output, lax):
    cut_off(source, output)
    result, _ = run_stubbed(source, output, policy=lax, allow_unblur=True, allow_empty=True)
    assert set(map(tuple, boxes(result).values())) == {()}


def test_the_same_rules_leave_no_trace_of_the_cut(source, output, tmp_path):
    cut_off(source, output)
    _, recorder = run_stubbed(source, output)
    assert {d["source"] for row in recorder.rows for d in row["detections"]} == {"stub"}
    run_stubbed(source, tmp_path / "undisturbed")
    assert files(output) == files(tmp_path / "undisturbed")


def test_rules_that_published_nothing_blur_nothing(source, output, lax):
    cut_off(source, output, CutAtOnce)
    result, _ = run_stubbed(source, output, policy=lax, allow_empty=True)
    assert set(map(tuple, boxes(result).values())) == {()}


def test_a_picture_that_came_later_is_judged_by_the_present_rules_alone(source, output, lax):
    run_stubbed(source, output)
    pictures(source / "new", 1, seed=5)
    result, _ = run_stubbed(source, output, policy=lax)
    found = boxes(result)
    assert found.pop("new/d0/0000.jpg") == []
    assert set(map(tuple, found.values())) == {tuple(CENTRE)}


def test_what_another_job_hid_before_it_was_killed_stays_hidden(source, output, lax):
    hidden = cut_off(source, output, job="a")
    result, _ = run_stubbed(source, output, job="b", policy=lax)
    now = files(output)
    assert {key: now[key] for key in hidden} == hidden
    assert boxes(result) == {key: CENTRE if key in hidden else [] for key in now}


def test_rules_that_come_back_remember_what_lay_between(source, output, lax):
    first, _ = run_stubbed(source, output, policy=lax, allow_empty=True)
    assert set(map(tuple, boxes(first).values())) == {()}
    hidden = cut_off(source, output, policy="default")
    result, recorder = run_stubbed(source, output, policy=lax, allow_empty=True)
    blurred = {row["key"] for row in recorder.rows}
    assert len(blurred) == 2  # the altered ones; the others still are what the first run made
    assert {key: boxes(result)[key] for key in blurred} == dict.fromkeys(blurred, CENTRE)
    assert {key: files(output)[key] for key in blurred} == {key: hidden[key] for key in blurred}


def test_overrides_of_the_killed_run_stay(source, output, tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("d0/0000.jpg:\n- {label: face, xyxy: [1, 2, 30, 20]}\n")
    cut_off(source, output, overrides=str(path), detector="blind", allow_empty=True)
    path.write_text("{}\n")
    result, _ = run_stubbed(source, output, overrides=str(path), detector="blind", allow_empty=True)
    assert boxes(result)["d0/0000.jpg"] == [("face", 1, 2, 30, 20)]


def test_overrides_that_a_killed_job_had_last_stay_though_it_once_was_complete(
    source, output, tmp_path
):
    def run(run_job, job, area):
        path = tmp_path / f"{job}.yaml"
        named = {key: [{"label": "face", "xyxy": area}] for key in KEYS if area}
        path.write_text(yaml.safe_dump(named))
        flags = {"detector": "blind", "allow_empty": True, "overrides": str(path)}
        return run_job(source, output, job=job, **flags)

    run(run_stubbed, "a", [40, 2, 70, 20])
    hidden = run(cut_off, "a", [1, 30, 30, 50])
    result, _ = run(run_stubbed, "b", None)
    both = [("face", 1, 30, 30, 50), ("face", 40, 2, 70, 20)]
    assert {key: sorted(found) for key, found in boxes(result).items() if found} == dict.fromkeys(
        KEYS, both
    )
    assert {key: files(output)[key] for key in KEYS} == {key: hidden[key] for key in KEYS}


@pytest.mark.parametrize("job", ["test", "another"])
def test_what_other_models_hid_cannot_be_told_and_stops_the_run(source, output, job):
    hidden = cut_off(source, output)
    with pytest.raises(ConfigurationError, match="other models was cut off") as caught:
        run_stubbed(source, output, job=job, models=OTHER_MODELS)
    assert "--allow-unblur" in caught.value.fix
    assert files(output) == hidden
    run_stubbed(source, output)  # finished first, as the error says
    result, _ = run_stubbed(source, output, job=job, models=OTHER_MODELS, detector="blind")
    assert set(map(tuple, boxes(result).values())) == {tuple(CENTRE)}


@pytest.mark.parametrize("job", ["test", "another"])
def test_a_revision_that_nobody_ran_under_lets_no_other_models_in(source, output, job):
    """A run that lost its lease while it wrote its revision makes it valid late."""
    hidden = cut_off(source, output)
    ledger = Ledger(open_store(str(output / "_streetblur" / "test"), settings=StorageSettings()))
    late = ledger.current().model_copy(update={"number": 1, "models": OTHER_MODELS})
    late = late.model_copy(update={"shard_first": 1, "shard_count": 0, "epoch": 99})
    ledger.write_revision(late, [], [], fence=lambda: None)
    with pytest.raises(ConfigurationError, match="other models was cut off"):
        run_stubbed(source, output, job=job, models=OTHER_MODELS, detector="blind")
    assert files(output) == hidden


def test_a_plan_forgets_nothing_whatever_is_said(source, output):
    hidden = cut_off(source, output)
    flags = {"engine": "local", "job": "test", "allow_unblur": True}
    spec = load_spec(None, input=str(source), output=str(output), **flags)
    with pytest.raises(ConfigurationError, match="other models was cut off"):
        Runner(spec, [], lambda versions: dict(OTHER_MODELS)).plan_only()
    assert files(output) == hidden


def test_other_models_are_welcome_when_the_killed_run_published_nothing(source, output):
    assert cut_off(source, output, CutAtOnce) == {}
    result, _ = run_stubbed(source, output, models=OTHER_MODELS)
    assert len(boxes(result)) == PICTURES


def test_allow_unblur_lets_other_models_decide_alone(source, output):
    cut_off(source, output)
    result, _ = run_stubbed(
        source, output, models=OTHER_MODELS, detector="blind", allow_unblur=True, allow_empty=True
    )
    assert set(map(tuple, boxes(result).values())) == {()}


def test_a_finished_job_does_not_stand_in_the_way_of_another_that_was_killed(source, output):
    run_stubbed(source, output, job="a")
    cut_off(source, output, job="b", models=OTHER_MODELS, detector="corner")
    result, _ = run_stubbed(source, output, job="b", models=OTHER_MODELS, detector="corner")
    assert set(map(tuple, boxes(result).values())) == {(("face", 0, 0, 10, 10), *CENTRE)}


def test_a_killed_job_over_other_pictures_does_not_stand_in_the_way(source, output, tmp_path):
    (tmp_path / "mine").mkdir()
    pictures(tmp_path / "mine" / "z", 2, seed=3)
    cut_off(source, output, job="a")
    result, _ = run_stubbed(tmp_path / "mine", output, job="b", models=OTHER_MODELS)
    assert result.processed == 2


def test_what_a_killed_run_wrote_once_more_is_not_taken_for_an_old_record(source, output, lax):
    run_stubbed(source, output)
    run_stubbed(source, output, policy=lax, allow_unblur=True, allow_empty=True)
    before = files(output)
    now = cut_off(source, output, policy="default")
    hidden = {key: data for key, data in now.items() if data != before[key]}
    assert len(hidden) == 2
    run_stubbed(source, output, policy=lax, allow_empty=True)
    assert {key: files(output)[key] for key in hidden} == hidden


def test_only_rules_later_than_the_newest_outcome_are_suspected(source, output):
    result, _ = run_stubbed(source, output)
    row = next(result.workspace.ledger.live_rows())
    revisions = [
        result.revision.model_copy(update={"number": number, "policy_digest": digest})
        for number, digest in enumerate(("a", "b", "a", "c"))
    ]
    numbers = {
        at: [
            one.number
            for one in unrecorded(
                revisions,
                row,
                {
                    "status": "published",
                    "identity": row_identity(revisions[at], row.key, row.etag),
                },
            )
        ]
        for at in range(4)
    }
    assert numbers == {0: [1, 2, 3], 1: [2, 3], 2: [1, 2, 3], 3: []}
    assert unrecorded(revisions, row, None) == revisions
    gone = {"status": "published", "identity": "of rules long gone"}
    assert unrecorded(revisions, row, gone) == revisions
    last = row_identity(revisions[3], row.key, row.etag)
    for status in ("failed", "quarantined"):
        assert unrecorded(revisions, row, {"status": status, "identity": last}) == revisions


def test_what_two_jobs_may_have_hidden_adds_up():
    one, other = NamedBox("face", 1, 2, 3, 4), NamedBox("plate", 5, 6, 7, 8)
    both = Suspicion(frozenset("a"), frozenset({one})) | Suspicion(
        frozenset("b"), frozenset({other})
    )
    assert both == Suspicion(frozenset("ab"), frozenset({one, other}))


def test_another_job_is_suspected_only_for_the_same_source(source, output, lax, tmp_path):
    path = tmp_path / "overrides.yaml"
    path.write_text("d0/0000.jpg:\n- {label: face, xyxy: [1, 2, 30, 20]}\n")
    result, _ = run_stubbed(source, output, policy=lax, job="b", allow_empty=True)
    cut_off(source, output, job="a", overrides=str(path))
    sibling = result.workspace.sibling("a")
    rows = list(sibling.live_rows())

    def suspected(etags):
        return dict(unrecorded_elsewhere(sibling, sibling.shards(), etags, result.revision))

    found = suspected({row.key: row.etag for row in rows})
    assert found.keys() == {row.key for row in rows}
    digest = sibling.current().policy_digest
    assert {one.policies for one in found.values()} == {frozenset({digest})}
    assert found["d0/0000.jpg"].boxes == {NamedBox("face", 1, 2, 30, 20)}
    replaced = {row.key: row.etag if row.row else "another" for row in rows}
    assert suspected(replaced).keys() == found.keys() - {rows[0].key}


def test_the_detectors_report_all_that_an_earlier_policy_would_blur(monkeypatch):
    floors = []
    more = []

    def made(backend, versions, floor, **options):
        floors.append(floor)
        more.append(options)

    monkeypatch.setattr("serving.detectors.DetectorSet", made)
    strict, open_ = (
        load_policy("default").model_copy(
            update={
                "plate": load_policy("default").plate.model_copy(update={"threshold": {0: value}})
            }
        )
        for value in (0.5, 0.011)
    )
    config = StageConfig(
        token="t",
        input_uri="file:///in",
        output_uri="file:///out",
        storage=StorageSettings(),
        policy=strict,
        limits=ImageLimits(),
        epoch=1,
        secret_id="",
        past={"digest": open_},
        fingerprints={"face_detector": "0" * 16},
    )
    packaged_detector(config)
    assert more[0]["fingerprints"] == {"face_detector": "0" * 16}
    assert floors[0]["plate"] == 0.011
