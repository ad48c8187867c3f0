"""What a commit takes over from the one before, and that none is made without the lease."""

from __future__ import annotations

import shutil

import pytest

import pipeline.runner
from pipeline.engine import LocalEngine
from pipeline.errors import LeaseError, LedgerError
from pipeline.lease_record import lease_key
from pipeline.result import Exit
from pipeline.storage_local import FolderStore
from tests.integration.jobs import files, pictures, run_stubbed

pytestmark = pytest.mark.usefixtures("secret")


def test_outcomes_that_vanish_during_a_run_are_no_part_of_a_commit(tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    pictures(source, 4)
    run_stubbed(source, output)
    first = files(output)
    (output / "d0" / "0000.jpg").unlink()

    def losing(config):
        shutil.rmtree(output / "_streetblur" / "test" / "outcomes")
        return LocalEngine(config)

    with pytest.raises(LedgerError, match="3 outcomes of shard 0 are no longer there"):
        run_stubbed(source, output, engine_factory=losing)
    result, recorder = run_stubbed(source, output)
    assert len(recorder.rows) == 4
    assert files(output) == first
    assert result.exit_code is Exit.COMPLETE


@pytest.fixture
def lease_goes(monkeypatch, output):
    """Lets another run follow the one under way, and returns when that has noticed."""
    held = []
    acquire = pipeline.runner.acquire

    def acquire_and_tell(*arguments, **options):
        held.append(acquire(*arguments, **options))
        return held[-1]

    def go():
        (lease,) = held
        (output / lease_key(lease.epoch + 1)).write_text("the record of another run")
        assert lease.lost.wait(60)

    monkeypatch.setattr(pipeline.runner, "acquire", acquire_and_tell)
    return go


def records(output):
    """Names of the outcomes and commits that the job has written."""
    job = output / "_streetblur" / "test"
    return [path.parent.parent.name for path in sorted(job.glob("[oc]*/*/*"))]


def test_a_run_that_loses_its_lease_during_a_wave_records_nothing_more(source, output, lease_goes):
    class Losing(LocalEngine):
        def run(self, items, *, searching=False):
            rows = list(super().run(items, searching=searching))
            lease_goes()
            yield from rows

    with pytest.raises(LeaseError, match="no longer holds the output"):
        run_stubbed(source, output, engine_factory=Losing, lease_ttl_s=5.0)
    assert records(output) == []


def test_a_run_that_loses_its_lease_while_it_commits_does_not_commit(
    source, output, lease_goes, monkeypatch
):
    put = FolderStore.put

    def put_and_lose(store, key, data, **options):
        done = put(store, key, data, **options)
        if key.startswith("outcomes/"):
            lease_goes()
        return done

    monkeypatch.setattr(FolderStore, "put", put_and_lose)
    with pytest.raises(LeaseError, match="no longer holds the output"):
        run_stubbed(source, output, lease_ttl_s=5.0)
    assert records(output) == ["outcomes"]
