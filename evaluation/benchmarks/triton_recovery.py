"""How soon a client goes on after its Triton server was killed and started again.

``python -m evaluation.benchmarks.triton_recovery [--rounds N]``

A real server is killed with SIGKILL under the requests of two clients and started again on the same
ports: the Triton backend, and the plain way, Triton's own client with its own channel options that
tries again every 50 ms. Printed is the time from the server's word that it is ready (looked for
every 100 ms) to each client's first answer; medians, largest, and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from serving.backends.triton import TritonBackend
from serving.backends.triton_settings import TritonSettings
from serving.contracts import FACE_DETECTOR
from serving.registry import find_repository
from serving.server import environment
from serving.server.process import PORTS, TritonServer, free_ports

PIXELS = np.zeros((1, 64, 64, 3), np.uint8)
PAUSE_S = 0.05
LONGEST_S = 60.0
GRACE_S = 0.3
"""An answer that was under way when the server was killed may still be read for so long."""


class Client:
    """Asks without end, and notes when answers came."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self.answers: list[float] = []
        self._ask = ask
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                self._ask()
            except InferenceServerException:
                time.sleep(PAUSE_S)
                continue
            self.answers.append(time.monotonic())

    def first_after(self, moment: float) -> float:
        """When the first answer after ``moment`` came."""
        deadline = time.monotonic() + LONGEST_S
        while time.monotonic() < deadline:
            later = [one for one in self.answers[-50:] if one > moment]
            if later:
                return min(later)
            time.sleep(0.005)
        raise SystemExit("no answer any more")

    def stop(self) -> None:
        """Ask no more."""
        self._over.set()
        self._thread.join(LONGEST_S)


def plain(server: TritonServer) -> Callable[[], None]:
    """One question by Triton's client as it comes."""
    client = grpcclient.InferenceServerClient(server.url.removeprefix("grpc://"))
    tensor = grpcclient.InferInput("image", list(PIXELS.shape), "UINT8")
    tensor.set_data_from_numpy(PIXELS)

    def ask() -> None:
        client.infer(FACE_DETECTOR.name, [tensor], model_version="1", client_timeout=30.0)

    return ask


def ours(server: TritonServer) -> Callable[[], None]:
    """One question by the Triton backend."""
    backend = TritonBackend(TritonSettings((server.url,)))

    def ask() -> None:
        backend.infer(FACE_DETECTOR.name, {"image": PIXELS}, version=1)

    return ask


def rounds(server: TritonServer, count: int) -> dict[str, list[float]]:
    """Seconds from ready to the first answer, by client."""
    clients = {"ours": Client(ours(server)), "plain": Client(plain(server))}
    found: dict[str, list[float]] = {name: [] for name in clients}
    for number in range(count):
        for client in clients.values():
            client.first_after(time.monotonic())
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        killed = time.monotonic() + GRACE_S
        server.start()
        ready = time.monotonic()
        for name, client in clients.items():
            found[name].append(client.first_after(killed) - ready)
        print(number, {name: round(values[-1], 3) for name, values in found.items()}, flush=True)
    for client in clients.values():
        client.stop()
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    installed = environment.install(log=print)
    with tempfile.TemporaryDirectory() as folder:
        server = TritonServer(installed, find_repository(), Path(folder), ports=free_ports(*PORTS))
        with server:
            found = rounds(server, arguments.rounds)
    medians = {name: statistics.median(values) for name, values in found.items()}
    result = {
        "rounds": arguments.rounds,
        "median_s": {name: round(value, 3) for name, value in medians.items()},
        "largest_s": {name: round(max(values), 3) for name, values in found.items()},
        "ours_to_plain": round(medians["ours"] / medians["plain"], 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Triton {environment.TRITON}",
        "versions": {name: version(name) for name in ("tritonclient", "grpcio")},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
