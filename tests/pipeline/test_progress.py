"""What the log says of pictures that were not published."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from pipeline.progress import LogObserver
from serving.errors import ServerUnavailable
from tests.integration.jobs import run_stubbed

pytestmark = pytest.mark.usefixtures("secret")
PICTURES = 80


def test_pictures_that_a_run_leaves_unjudged_are_one_line(
    source: Path, output: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "a.jpg").write_text("this is text")
    with caplog.at_level(logging.INFO), pytest.raises(ServerUnavailable):
        run_stubbed(source, output, detector="unavailable", observers=[LogObserver()])
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in warned] == [
        "not published",
        "49 pictures were not judged: a model failed, or nobody answered",
    ]
    assert warned[0].__dict__["image"]["key"] == "a.jpg"
