"""An override that hides nothing is said aloud: in the log, the summary and the report."""

from __future__ import annotations

import json
import logging
from dataclasses import replace

import pytest

from pipeline.due import Choice
from pipeline.errors import ConfigurationError
from pipeline.job import load_spec
from pipeline.planner import Rules, preview
from pipeline.policy import load_policy
from pipeline.report import write_report
from pipeline.result import Exit
from pipeline.runner import Runner
from pipeline.storage import open_store
from tests.integration.jobs import MODELS, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 3


def overrides(folder, boxes):
    path = folder / "overrides.json"
    path.write_text(json.dumps({k: [{"label": "face", "xyxy": box}] for k, box in boxes.items()}))
    return str(path)


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_a_key_that_is_not_listed(source, output, tmp_path, caplog):
    (source / "notes.txt").write_text("no picture")
    box = [1, 2, 30, 20]
    asked = overrides(tmp_path, {"nope.jpg": box, "d0/0000.jpg": box, "notes.txt": box})
    result, _ = run_stubbed(source, output, overrides=asked)
    assert result.exit_code is Exit.COMPLETE
    assert result.overrides.unlisted == ["nope.jpg", "notes.txt"]
    (text,) = warnings(caplog)
    assert "not among the pictures of the input: 2 ('nope.jpg', 'notes.txt')" in text
    content = write_report(result)
    assert content["overrides"] == {
        "pictures": 3,
        "unlisted": {"count": 2, "sample": ["nope.jpg", "notes.txt"]},
        "outside_picture": {"count": 0, "sample": []},
    }
    store = result.workspace.ledger.store
    assert json.loads(store.get("summary.json"))["overrides"] == content["overrides"]
    assert "nope.jpg" in store.get("report.html").decode()
    assert "nope.jpg" in store.get("report.md").decode()


def test_it_is_said_again_by_a_run_that_only_resumes(source, output, tmp_path, caplog):
    run_stubbed(source, output, overrides=overrides(tmp_path, {"nope.jpg": [1, 2, 30, 20]}))
    caplog.clear()
    result, _ = run_stubbed(source, output)
    assert result.overrides.unlisted == ["nope.jpg"]
    assert len(warnings(caplog)) == 1


def test_ten_keys_are_named_and_all_are_counted(source, output, tmp_path, caplog):
    box = [1, 2, 30, 20]
    asked = overrides(tmp_path, {f"nope{number:02d}.jpg": box for number in range(12)})
    result, _ = run_stubbed(source, output, overrides=asked)
    (text,) = warnings(caplog)
    assert ": 12 ('nope00.jpg'," in text
    assert "'nope09.jpg', ...)" in text
    assert "nope10.jpg" not in text
    found = write_report(result)["overrides"]["unlisted"]
    assert (found["count"], len(found["sample"])) == (12, 10)


def test_a_box_wholly_outside_its_picture(source, output, tmp_path, caplog):
    inside, outside = [90, 60, 200, 200], [96, 0, 120, 20]
    asked = overrides(tmp_path, {"d0/0000.jpg": outside, "d1/0001.jpg": inside})
    result, _ = run_stubbed(source, output, overrides=asked)
    assert result.overrides.outside == ["d0/0000.jpg"]
    (text,) = warnings(caplog)
    assert "wholly outside of them: 1 ('d0/0000.jpg')" in text
    assert write_report(result)["overrides"]["outside_picture"]["sample"] == ["d0/0000.jpg"]
    assert "d0/0000.jpg" in result.workspace.ledger.store.get("report.md").decode()
    mended = overrides(tmp_path, {"d0/0000.jpg": inside})
    result, _ = run_stubbed(source, output, overrides=mended)
    assert result.overrides.outside == []


def test_plan_and_dry_run_warn_too(source, output, tmp_path, caplog):
    boxes = overrides(tmp_path, {"nope.jpg": [1, 2, 30, 20]})
    spec = load_spec(None, input=str(source), output=str(output), job="test", overrides=boxes)
    workspace, revision = Runner(spec, [], lambda versions: dict(MODELS)).plan_only()
    assert len(warnings(caplog)) == 1
    caplog.clear()
    rules = Rules(load_policy("default"), MODELS, revision.overrides)
    store = open_store(str(source), settings=spec.storage)
    preview(
        store, replace(workspace, job="new", ledger=workspace.sibling("new")), rules, shard_size=9
    )
    preview(store, workspace, Rules(rules.policy, MODELS), shard_size=9)
    assert len(warnings(caplog)) == 2


def test_no_warning_without_cause(source, output, tmp_path, caplog):
    run_stubbed(source, output)
    asked = overrides(tmp_path, {"d0/0000.jpg": [1, 2, 30, 20]})
    result, _ = run_stubbed(source, output, overrides=asked)
    assert (result.overrides.unlisted, result.overrides.outside) == ([], [])
    assert warnings(caplog) == []


@pytest.mark.parametrize("shard", [3, 99])
def test_a_shard_that_does_not_exist_is_a_usage_error(source, output, shard):
    run_stubbed(source, output, shard_size=1)
    with pytest.raises(ConfigurationError, match=rf"no shard {shard}\. Its shards are 0 to 2"):
        run_stubbed(source, output, choice=Choice("all", shard=shard))


def test_a_job_without_shards_says_so(source, output):
    with pytest.raises(ConfigurationError, match="has no shards yet"):
        run_stubbed(source, output, choice=Choice("all", shard=0))
