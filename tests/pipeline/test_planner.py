"""What a dry run foretells."""

from __future__ import annotations

import pytest

from pipeline.planner import Preview, Rules, preview
from pipeline.storage import StorageSettings, open_store
from tests.integration.jobs import MODELS, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 3
BOX = ("face", 1, 2, 30, 20)


def foretold(result, source, overrides) -> Preview:
    """The preview of a run like the one that gave ``result``, with other overrides."""
    store = open_store(str(source), settings=StorageSettings())
    rules = Rules(result.revision.policy, MODELS, overrides)
    return preview(store, result.workspace, rules, shard_size=9)


def test_a_dry_run_counts_the_pictures_that_new_overrides_make_due(source, output):
    result, _ = run_stubbed(source, output)
    assert foretold(result, source, None).due == 0
    found = foretold(result, source, {"d0/0000.jpg": [BOX], "d1/0001.jpg": [BOX]})
    assert (found.images, found.due, found.changed) == (3, 2, 0)


def test_a_dry_run_keeps_the_overrides_of_the_job_unless_others_are_given(source, output, tmp_path):
    path = tmp_path / "boxes.yaml"
    path.write_text("d0/0000.jpg: [{label: face, xyxy: [1, 2, 30, 20]}]\n")
    result, _ = run_stubbed(source, output, overrides=str(path))
    assert foretold(result, source, None).due == 0
    assert foretold(result, source, {"d0/0000.jpg": [BOX]}).due == 0
    assert foretold(result, source, {}).due == 1
