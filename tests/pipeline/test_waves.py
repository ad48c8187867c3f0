"""What a commit takes over from the one before."""

from __future__ import annotations

import shutil

import pytest

from pipeline.engine import LocalEngine
from pipeline.errors import LedgerError
from pipeline.result import Exit
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
