"""What Ray writes on this machine, spilled originals among it: private, and gone after the run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import ray
from ray._private import worker as ray_worker

from pipeline import ray_cluster
from pipeline.engine import OutcomeDict
from pipeline.graph import RayEngine
from pipeline.ray_cluster import connect, disconnect
from pipeline.records import WorkItem
from pipeline.result import Exit
from pipeline.scratch import sweep
from pipeline.secret import VARIABLE
from pipeline.stages.build import StageConfig
from tests.integration.jobs import SECRET, pictures, run_stubbed


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(VARIABLE, SECRET)
    ray.shutdown()
    disconnect()
    yield
    disconnect()


class Looking:
    """The Ray engine; looks at its folder when the first row comes."""

    seen: ClassVar[list[tuple[Path, Path, str, int]]] = []

    def __init__(self, config: StageConfig) -> None:
        self._inner = RayEngine(config, workers=1, address=None, stall_timeout_s=120.0)

    def run(self, items: Iterable[WorkItem], *, searching: bool = False) -> Iterator[OutcomeDict]:
        for row in self._inner.run(items, searching=searching):
            if not self.seen:
                (folder,) = ray_cluster._folders
                node = ray_worker._global_node
                self.seen.append(
                    (
                        folder,
                        Path(node.get_session_dir_path()),
                        json.loads(node._object_spilling_config)["params"]["directory_path"],
                        folder.stat().st_mode & 0o7777,
                    )
                )
            yield row

    def close(self) -> None:
        self._inner.close()


def test_the_session_is_private_and_gone_after_the_run(tmp_path: Path) -> None:
    pictures(tmp_path / "in", 4)
    result, _ = run_stubbed(tmp_path / "in", tmp_path / "out", engine_factory=Looking)
    assert result.exit_code is Exit.COMPLETE
    ((folder, session, spill, mode),) = Looking.seen
    assert mode == 0o700
    assert session.is_relative_to(folder)
    assert Path(spill).is_relative_to(folder)
    assert not folder.exists()
    assert not folder.with_name(f"{folder.name}.owner").exists()


def test_what_a_killed_run_left_is_removed_and_a_living_one_keeps_its_own() -> None:
    code = (
        "import time; from pipeline import ray_cluster; ray_cluster.connect(1, None)\n"
        "print(ray_cluster._folders[0], flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    try:
        assert connect(1, None)
        assert (left / "r").is_dir()
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert (left / "r").is_dir()
    deadline = time.monotonic() + 60
    while left.exists() and time.monotonic() < deadline:  # its cluster dies after it
        sweep(left.parent)
        time.sleep(0.5)
    assert not left.exists()
    assert ray_cluster._folders[0].is_dir()


def test_a_long_name_for_temporary_files_gives_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # noqa: S108 - nothing is written
    assert ray_cluster._short_temp() == Path("/tmp")  # noqa: S108
    assert caplog.records == []
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 40)))
    assert ray_cluster._short_temp() == Path("/tmp")  # noqa: S108
    assert "too long" in caplog.text
