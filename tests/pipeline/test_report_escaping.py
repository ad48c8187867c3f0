"""Keys come from strangers: the report shows them as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.report import write_report
from pipeline.secret import VARIABLE
from tests.integration.jobs import SECRET, run_stubbed
from tests.pipeline.pictures import KINDS

HOSTILE = "<script>alert(1)</script>.jpg"
BROKEN = "\"'><img src=x onerror=alert(2)>.jpg"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workspace of a job over hostile keys: one published, one quarantined."""
    monkeypatch.setenv(VARIABLE, SECRET)
    published, broken = tmp_path / "in" / HOSTILE, tmp_path / "in" / BROKEN
    published.parent.mkdir(parents=True)
    published.write_bytes(KINDS["jpeg-420"](96, 64))
    broken.write_bytes(b"\xff\xd8\xff no picture")
    result, _ = run_stubbed(tmp_path / "in", tmp_path / "out", job="b")
    tally = result.verification.tally
    assert (tally.published, tally.quarantined) == (1, 1)
    write_report(result)
    return tmp_path / "out" / "_streetblur" / "b"


def test_hostile_keys_are_text_in_the_page(workspace: Path) -> None:
    page = (workspace / "report.html").read_text("utf-8")
    assert "alert(1)" in page
    assert "alert(2)" in page
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_hostile_keys_are_text_in_the_markdown(workspace: Path) -> None:
    text = (workspace / "report.md").read_text("utf-8")
    assert "alert" in text
    assert "<script" not in text
    assert "<img" not in text
