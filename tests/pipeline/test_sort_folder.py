"""The listing is sorted in a private folder that is gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import scratch
from pipeline.manifest import Row, sorted_rows


def test_sorting_uses_a_private_folder_and_removes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    rows = [Row(f"{number:03d}.jpg", "etag", 1) for number in range(50)]
    stream = sorted_rows(reversed(rows), run_rows=7)
    first = next(stream)
    (folder,) = [path for path in tmp_path.glob("*/*") if path.is_dir()]
    assert folder.parent == scratch.scratch_root()
    assert folder.stat().st_mode & 0o7777 == 0o700
    assert len(list(folder.iterdir())) == 7
    assert [first, *stream] == rows
    assert list(scratch.scratch_root().iterdir()) == []
