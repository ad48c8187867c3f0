"""``status`` counts what is due as ``verify`` does, from the ledger alone."""

from __future__ import annotations

import json

import pytest

from pipeline.access import Access
from pipeline.due import Choice
from pipeline.engine import LocalEngine
from pipeline.errors import ConfigurationError, StreetblurError
from pipeline.job import load_spec
from pipeline.operations import explain, show_status, verify_job
from pipeline.runner import Runner
from pipeline.status import job_status
from pipeline.verify import verify
from tests.integration.jobs import MODELS, OTHER_MODELS, cut_off, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")


def policy(folder):
    path = folder / "mine.yaml"
    path.write_text("name: mine\nface: {threshold: 0.2}\nplate: {threshold: 0.2}\n")
    return str(path)


def overrides(folder, *keys):
    path = folder / "overrides.yaml"
    path.write_text(
        "".join(f"{k}: [{{label: face, xyxy: [1, 2, 30, 20]}}]\n" for k in keys) or "{}"
    )
    return str(path)


def planned(source, output, **flags):
    spec = load_spec(None, input=str(source), output=str(output), job="test", **flags)
    workspace, _ = Runner(spec, [], lambda versions: dict(MODELS)).plan_only()
    return workspace


def due(workspace):
    """What status says is due; verify must say the same."""
    workspace.ledger.refresh()
    status = job_status(workspace.ledger, "test")
    result = verify(workspace)
    assert status.due == result.due.count
    for name in ("rows", "published", "quarantined", "failed", "kept"):
        assert getattr(status.tally, name) == getattr(result.tally, name)
    return status.due


def test_changed_overrides_make_just_their_keys_due(source, output, tmp_path):
    run_stubbed(source, output, shard_size=2, overrides=overrides(tmp_path, "d0/0000.jpg"))
    other = overrides(tmp_path, "d0/0003.jpg")
    assert due(planned(source, output, overrides=other)) == 2
    result, recorder = run_stubbed(source, output)
    assert len(recorder.rows) == 2
    assert due(result.workspace) == 0


def test_overrides_put_back_make_nothing_due(source, output, tmp_path):
    run_stubbed(source, output, overrides=overrides(tmp_path, "d0/0000.jpg"))
    assert due(planned(source, output, overrides=overrides(tmp_path))) == 1
    assert due(planned(source, output, overrides=overrides(tmp_path, "d0/0000.jpg"))) == 0


def test_a_partial_rerun_under_another_policy_leaves_the_rest_due(source, output, tmp_path):
    (source / "bad.jpg").write_text("this is text")
    run_stubbed(source, output)
    mine = policy(tmp_path)
    result, recorder = run_stubbed(source, output, policy=mine, choice=Choice("quarantined"))
    assert len(recorder.rows) == 1
    assert due(result.workspace) == 6
    result, recorder = run_stubbed(source, output)
    assert len(recorder.rows) == 6
    assert due(result.workspace) == 0


def test_a_partial_rerun_under_other_overrides_leaves_theirs_due(source, output, tmp_path):
    (source / "bad.jpg").write_text("this is text")
    run_stubbed(source, output)
    asked = overrides(tmp_path, "d0/0000.jpg")
    result, _ = run_stubbed(source, output, overrides=asked, choice=Choice("quarantined"))
    assert due(result.workspace) == 1


def test_a_commit_of_mixed_rules_does_not_pass_for_the_old_rules_either(source, output, tmp_path):
    (source / "bad.jpg").write_text("this is text")
    run_stubbed(source, output, policy="eu")
    run_stubbed(source, output, policy=policy(tmp_path), choice=Choice("quarantined"))
    assert due(planned(source, output, policy="eu")) == 1


def test_changed_rules_and_replaced_rows(source, output, tmp_path):
    run_stubbed(source, output)
    (source / "d0" / "0000.jpg").unlink()
    workspace = planned(source, output, policy=policy(tmp_path))
    assert due(workspace) == 5
    result, _ = run_stubbed(source, output)
    assert due(result.workspace) == 0


def test_failed_images_stay_due(source, output):
    victim = source / "d0" / "0000.jpg"
    (source / "bad.jpg").write_text("this is text")

    def losing(config):
        victim.unlink()
        return LocalEngine(config)

    result, _ = run_stubbed(source, output, engine_factory=losing)
    tally = job_status(result.workspace.ledger, "test").tally
    assert (tally.published, tally.quarantined, tally.failed) == (5, 1, 1)
    assert due(result.workspace) == 1


def test_a_job_whose_planning_was_refused_hides_no_other(source, output, capsys):
    cut_off(source, output)
    with pytest.raises(ConfigurationError, match="other models"):
        run_stubbed(source, output, job="refused", models=OTHER_MODELS)
    capsys.readouterr()
    show_status(Access(output=str(output)), as_json=True)
    refused, test = json.loads(capsys.readouterr().out)
    assert (refused["job"], refused["images"], refused["committed"]) == ("refused", 0, 0)
    assert refused["details"]["planned"] == "not yet"
    assert refused["details"]["input"] == source.as_uri()
    assert (test["job"], test["images"], test["due"]) == ("test", 6, 6)
    for ask in (verify_job, lambda access, as_json, **_: explain(access, "d0/0000.jpg", as_json)):
        with pytest.raises(StreetblurError, match=r"nothing has been planned|not in the job"):
            ask(Access(output=str(output), job="refused"), False, allow_empty=False)
