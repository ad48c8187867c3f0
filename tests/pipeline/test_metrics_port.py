"""``--metrics-port`` serves the run's metrics while it runs, on the loopback address alone."""

from __future__ import annotations

import logging
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.secret import VARIABLE
from serving.detectors import DetectionResult
from tests.integration.jobs import MODELS, SECRET, pictures
from tests.stubs import CentreDetector


class Asking(CentreDetector):
    """Asks for the metrics of the run it works for."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.pages: list[str] = []
        self.elsewhere: list[bool] = []

    def detect(self, pixels: np.ndarray) -> DetectionResult:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            self.pages.append(answer.read().decode())
        with socket.socket() as other:
            other.settimeout(2)
            self.elsewhere.append(other.connect_ex(("127.0.0.2", self.port)) == 0)
        return super().detect(pixels)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The command sets the root logger up; put it back."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_metrics_are_served_while_the_job_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking = Asking(free_port())
    monkeypatch.setenv(VARIABLE, SECRET)
    monkeypatch.setattr("pipeline.stages.build.packaged_detector", lambda config: asking)
    monkeypatch.setattr("pipeline.model_commands.models_in_force", lambda versions: dict(MODELS))
    monkeypatch.setattr("pipeline.stages.detect.GROUP_ROWS", 1)
    pictures(tmp_path / "in", 3)
    words = ["run", str(tmp_path / "in"), str(tmp_path / "out"), "--engine", "local"]
    words += ["--job", "metered", "--metrics-port", str(asking.port)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert 'streetblur_images_total{job="metered",status="published"} 0.0' in asking.pages[0]
    assert 'streetblur_images_total{job="metered",status="published"} 2.0' in asking.pages[-1]
    assert asking.elsewhere == [False] * 3
