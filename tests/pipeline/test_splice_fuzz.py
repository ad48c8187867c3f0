"""Damaged files: refused or equal outside the boxes, without a crash, a hang or more memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.fuzz_splice import fuzz

MAX_SECONDS, MAX_GROWTH_MB = 5, 200


def test_damaged_files_are_refused_or_come_out_right() -> None:
    report = fuzz(300, seed=7)
    assert report["wrong"] == []
    assert report["outcomes"]["spliced"] > 20, report["outcomes"]  # type: ignore[index]


@pytest.mark.nightly
def test_no_index_of_compiled_code_leaves_its_array(tmp_path: Path) -> None:
    """In a process of its own: compiled with every index checked."""
    command = [sys.executable, "-m", "tests.pipeline.fuzz_splice", "--files", "5000"]
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    print(report)
    assert report["bounds_checked"]
    assert report["wrong"] == []
    assert report["slowest_s"] < MAX_SECONDS
    assert report["memory_growth_mb"] < MAX_GROWTH_MB
