"""The private cluster: it is private, it is followed by another when it dies, it prints nothing."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import ray
from ray._private import worker as ray_worker

from pipeline import ray_cluster
from pipeline.engine import OutcomeDict
from pipeline.errors import EngineUnavailable
from pipeline.graph import RayEngine
from pipeline.ray_cluster import connect, disconnect
from pipeline.records import WorkItem
from pipeline.result import Exit
from pipeline.secret import VARIABLE
from pipeline.stages.build import StageConfig
from tests.integration.jobs import SECRET, environment, files, pictures, run_stubbed


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


@pytest.mark.parametrize("address", [None, "auto"])
def test_a_cluster_that_cannot_be_had_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, address: str | None
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("Timed out waiting for file gcs_server_port\nand much more")

    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", fail)
        with pytest.raises(EngineUnavailable, match="no Ray cluster") as caught:
            connect(1, address)
    assert "more" not in caught.value.what
    assert caught.value.fix
    assert ray_cluster._folders == []


def test_a_cluster_that_is_slow_to_start_is_started_once_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started, real = [], ray.init

    def slow(**options: object) -> object:
        started.append(options["_temp_dir"])
        if len(started) == 1:
            raise Exception("The current node timed out during startup. This could happen because")
        return real(**options)

    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", slow)
        assert connect(1, None)
    assert len(set(started)) == 2, "each in a folder of its own"
    assert not Path(str(started[0])).exists()
    disconnect()
    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", lambda **_: slow(_temp_dir=started.clear()))
        with pytest.raises(EngineUnavailable, match="timed out"):
            connect(1, None)


def test_nobody_at_the_address_is_told_at_once() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(EngineUnavailable, match="refused"):
            connect(1, f"127.0.0.1:{nobody.getsockname()[1]}")


def test_nobody_starts_a_cluster_by_asking_too_late() -> None:
    connect(1, None)
    reference = ray.put(b"")
    ray.shutdown()
    with pytest.raises(Exception, match=r"not been started|not initialized|shut"):
        ray.get(reference)
    assert not ray.is_initialized()


def test_a_thread_that_waits_for_a_dead_gcs_holds_nobody_up() -> None:
    connect(1, None)
    worker = ray_worker.global_worker
    (gcs,) = ray_worker._global_node.all_processes["gcs_server"]
    gcs.process.kill()
    gcs.process.wait()
    worker.listener_thread = threading.Thread(target=threading.Event().wait, daemon=True)
    worker.listener_thread.start()
    disconnect()
    assert not ray.is_initialized()
    connect(1, None)
    assert ray.cluster_resources()["CPU"] == 2
    disconnect()


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


JOIN = """
import ray, sys
from pipeline.ray_cluster import connect, disconnect
try:
    connect(1, sys.argv[1])
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(ray.cluster_resources()["CPU"])
"""


def joining(address: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", JOIN, address],
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nobody_joins_a_private_cluster_without_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # what may come from the caller's environment
    connect(1, None)
    address = ray.get_runtime_context().gcs_address
    own = {name: os.environ[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}
    for name in own:
        monkeypatch.delenv(name)
    strangers = [
        joining(address),
        joining(address, RAY_AUTH_MODE="disabled"),
        joining(address, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="0" * 64),
    ]
    for stranger in strangers:
        printed, errors = stranger.communicate(timeout=240)
        assert stranger.returncode == 1, printed
        assert re.search("InvalidAuthToken|Authentication|Unauthenticated", errors)
    assert joining(address, **own).communicate(timeout=240)[0] == "2.0\n"


def test_what_a_cluster_that_does_not_start_says_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_temp_dir: str, **_: object) -> None:
        logs = Path(_temp_dir) / "session_1" / "logs"
        logs.mkdir(parents=True)
        (logs / "gcs_server.err").write_text("well\n" * 9 + "Check failed: no threads\n")
        (logs / "worker-1.out").write_text("of no interest\n")
        raise RuntimeError("it ended")

    with monkeypatch.context() as patch:
        patch.setattr(ray, "init", fail)
        with caplog.at_level("WARNING"), pytest.raises(EngineUnavailable):
            connect(1, None)
    # where the folder's name is too long for sockets, that is told, too
    told = [line for one in caplog.records if not (line := one.getMessage()).startswith("Ray's")]
    assert told == ["gcs_server.err: well"] * 4 + ["gcs_server.err: Check failed: no threads"]
    assert ray_cluster._folders == []
