"""Workers of a cluster use again what a model frees, although Ray Data runs it in a thread."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import ray

from pipeline import ray_cluster
from pipeline.ray_cluster import connect, disconnect
from serving.allocator import ONE_ARENA, keep_freed_memory
from tests.integration.jobs import environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc only")

ROUNDS = 20
TENSORS, TENSOR_BYTES = 4, 24 << 20


class Model:
    """Frees as much as a model does; counts how often the system had to clear a page for it."""

    def __init__(self) -> None:
        keep_freed_memory()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        self._work()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(ROUNDS):
            self._work()
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        return {"faults": np.full(len(batch["id"]), faults)}

    def _work(self) -> None:
        """Some tensors at a time, so that they do not fit into one piece of a thread's heap."""
        tensors = [np.ones(TENSOR_BYTES, np.uint8) for _ in range(TENSORS)]
        assert all(one[-1] for one in tensors)


def faults() -> int:
    """Page faults of a worker of the cluster that this process has joined.

    A thread may be given the main heap by chance, so what the worker was told is looked at, too.
    """
    told = ray.remote(lambda: os.environ.get("MALLOC_ARENA_MAX"))
    assert ray.get(told.remote()) == ONE_ARENA["MALLOC_ARENA_MAX"]
    one = ray.data.ActorPoolStrategy(size=1)
    return int(ray.data.range(1).map_batches(Model, compute=one).take_all()[0]["faults"])


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No cluster before and after, and no word on arenas in the environment."""
    monkeypatch.setenv("MALLOC_ARENA_MAX", "")
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    disconnect()
    yield monkeypatch
    disconnect()


def test_in_a_private_cluster(alone: pytest.MonkeyPatch) -> None:
    connect(1, None)
    assert faults() < ROUNDS


def test_in_a_cluster_that_others_started(alone: pytest.MonkeyPatch) -> None:
    with alone.context() as patch:
        patch.setattr(ray_cluster, "ONE_ARENA", {})
        connect(1, None)
    address = ray.get_runtime_context().gcs_address
    joined = (
        "import sys; from pipeline.ray_cluster import connect; connect(1, sys.argv[1]); "
        "from tests.integration.test_ray_memory import faults; print(faults())"
    )
    done = subprocess.run(
        [sys.executable, "-c", joined, address],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < ROUNDS
