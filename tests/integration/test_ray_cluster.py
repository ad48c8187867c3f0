"""The private cluster: it is private, it is followed by another when it dies, it prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import ray
from ray._private import worker as ray_worker

from pipeline.engine import OutcomeDict
from pipeline.graph import RayEngine
from pipeline.ray_cluster import connect
from pipeline.records import WorkItem
from pipeline.result import Exit
from pipeline.secret import VARIABLE
from pipeline.stages.build import StageConfig
from tests.integration.jobs import SECRET, files, pictures, run_stubbed


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, SECRET)
    ray.shutdown()
    yield
    ray.shutdown()


def test_a_cluster_that_runs_elsewhere_is_not_joined_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert connect(1, None)
    assert ray.cluster_resources()["CPU"] == 2


def test_nobody_starts_a_cluster_by_asking_too_late() -> None:
    connect(1, None)
    reference = ray.put(b"")
    ray.shutdown()
    with pytest.raises(Exception, match=r"not been started|not initialized|shut"):
        ray.get(reference)
    assert not ray.is_initialized()


class Dying:
    """An engine whose first cluster loses its GCS before the work begins."""

    killed = 0

    def __init__(self, config: StageConfig) -> None:
        self._inner = RayEngine(config, workers=1, address=None, stall_timeout_s=120.0)

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        if not Dying.killed:
            Dying.killed += 1
            (gcs,) = ray_worker._global_node.all_processes["gcs_server"]
            gcs.process.kill()
        yield from self._inner.run(items, searching=searching)

    def close(self) -> None:
        self._inner.close()


def test_a_cluster_whose_gcs_dies_is_followed_by_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pictures(tmp_path / "in", 4)
    result, recorder = run_stubbed(tmp_path / "in", tmp_path / "out", engine_factory=Dying)
    assert [str(error) for error in recorder.crashes] == ["gcs_server of the Ray cluster ended"]
    assert result.exit_code is Exit.COMPLETE
    assert len(files(tmp_path / "out")) == 4
    printed = capfd.readouterr()
    assert (printed.out, "Traceback" in printed.err) == ("", False)
