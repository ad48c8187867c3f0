"""CPU per image of a real Triton server by gRPC and by shared memory, against the same in-process.

``python -m evaluation.benchmarks.triton_transport [--repeats N] [--images N] [--markdown FILE]``

One image is one native tile of a 2448x2048 picture, uint8 [1312, 1120, 3], which both detectors
judge. CPU is that of this process and of the server with its model processes together. In each
repeat each way is measured in turn, right after the same batch in-process; where several requests
are in flight, in as many processes at once as there are cores for them, since cores that share a
cache are slower together, whoever keeps them busy. The first repeat warms up and does not count.
Printed are medians of the ratios, and what of the CPU the client and the server itself need, the
model processes aside: that is what the way itself costs.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from serving.backends.local import LocalBackend
from serving.backends.protocol import InferenceBackend, Request
from serving.backends.triton import TritonBackend
from serving.backends.triton_settings import TritonSettings
from serving.canary import canary_pixels
from serving.contracts import DETECTORS
from serving.server import environment
from serving.server.process import TritonServer
from serving.server.serve import serving

SHAPE = (1312, 1120, 3)
BATCHES = (1, 4, 8)
IN_FLIGHT = (1, 4)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to have images judged.

    Attributes:
        transport: ``gRPC`` or ``shared memory``.
        batch: images a request.
        in_flight: requests under way.
    """

    transport: str
    batch: int
    in_flight: int


def ways() -> list[Way]:
    """All that are compared with in-process."""
    return [
        Way(transport, batch, in_flight)
        for transport in ("gRPC", "shared memory")
        for batch in BATCHES
        for in_flight in IN_FLIGHT
    ]


def picture() -> NDArray[np.uint8]:
    """A real picture of the size of a tile: the canary, repeated."""
    known = canary_pixels()
    high, wide = (-(-SHAPE[axis] // known.shape[axis]) for axis in (0, 1))
    return np.ascontiguousarray(np.tile(known, (high, wide, 1))[: SHAPE[0], : SHAPE[1]])


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU milliseconds an image.

    Attributes:
        whole: of all processes.
        way: of this process and the server, without its model processes.
    """

    whole: float
    way: float


def cpu_seconds(server: TritonServer) -> tuple[float, float]:
    """CPU that this process and the server have used, and that its model processes have."""
    root = psutil.Process(server.pid)
    way = time.process_time() + sum(root.cpu_times()[:2])
    return way, sum(sum(one.cpu_times()[:2]) for one in root.children(recursive=True))


def requests(way: Way, images: int) -> Iterator[Request]:
    """What ``images`` need of both detectors."""
    batch = np.repeat(picture()[None], way.batch, axis=0)
    for _ in range(images // way.batch):
        for contract in DETECTORS:
            yield Request(contract.name, {"image": batch}, 1)


def judge(backend: InferenceBackend, way: Way, images: int) -> None:
    """Have ``images`` judged."""
    for answer in backend.infer_many(requests(way, images)):
        if not answer["count"].all():
            raise SystemExit("a model found nothing: nothing worth measuring")


def cost(way: Way, server: TritonServer, images: int) -> Cpu:
    """CPU of having ``images`` judged by the server."""
    settings = TritonSettings(
        (server.url,),
        in_flight=way.in_flight,
        shared_memory=way.transport == "shared memory",
        slot_bytes=way.batch * int(np.prod(SHAPE)),
        timeout_s=300,
    )
    backend = TritonBackend(settings)
    try:
        judge(backend, way, way.batch)
        shares = [one.shares for one in backend.endpoints]
        if shares != [way.transport == "shared memory"]:
            raise SystemExit(f"{way}: shared memory is {shares}")
        before = cpu_seconds(server)
        judge(backend, way, images)
        own, models = (
            1000 * (new - old) / images
            for new, old in zip(cpu_seconds(server), before, strict=True)
        )
        return Cpu(own + models, own)
    finally:
        backend.close()


class Plain:
    """In-process: one process a core, each with a backend, as long-lived as the server's."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes = []
        for _ in range(os.cpu_count() or 1):
            ours, theirs = context.Pipe()
            context.Process(target=self._serve, args=(theirs,), daemon=True).start()
            theirs.close()
            self._pipes.append(ours)

    def cost(self, way: Way, images: int) -> float:
        """CPU milliseconds an image, with several at a time if ``way`` has several in flight."""
        pipes = self._pipes[: way.in_flight]
        share = max(images // len(pipes) // way.batch, 1) * way.batch
        for step in (way.batch, share):  # the first warms up
            for pipe in pipes:
                pipe.send((way, step))
            seconds = sum(float(pipe.recv()) for pipe in pipes)
        return 1000 * seconds / (share * len(pipes))

    @staticmethod
    def _serve(pipe: Connection) -> None:
        backend = LocalBackend(runtime="onnxruntime")
        while True:
            try:
                way, images = pipe.recv()
            except EOFError:
                return
            before = time.process_time()
            judge(backend, way, images)
            pipe.send(time.process_time() - before)


Costs = dict[Way, list[tuple[Cpu, float]]]
"""Of each way, and of in-process right before it, in each repeat that counts."""


def measure(server: TritonServer, repeats: int, images: int, log: Callable[[str], None]) -> Costs:
    """Have each way judge ``images`` in each repeat."""
    found: Costs = {way: [] for way in ways()}
    plain = Plain()
    for repeat in range(repeats + 1):
        for way, costs in found.items():
            count = max(images, 2 * way.batch * way.in_flight)
            base = plain.cost(way, count)
            value = cost(way, server, count)
            log(f"{repeat} {way}: {value}, in-process {base:.1f}, {value.whole / base:.3f}")
            if repeat:
                costs.append((value, base))
    return found


def table(found: Costs) -> list[str]:
    """A Markdown table: medians, and of the ratios to in-process median and range."""
    lines = [
        "| way | batch | in flight | CPU ms an image | of it client and server "
        "| in-process | ratio (least-most) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for way, costs in found.items():
        ratios = [value.whole / base for value, base in costs]
        spread = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"
        whole, own, base = (
            statistics.median(values)
            for values in zip(*((v.whole, v.way, b) for v, b in costs), strict=True)
        )
        lines.append(
            f"| {way.transport} | {way.batch} | {way.in_flight} "
            f"| {whole:.0f} | {own:.0f} | {base:.0f} | {spread} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=8, help="images a way and repeat, at least")
    parser.add_argument("--markdown", type=Path, help="write the table there as well")
    arguments = parser.parse_args()
    environment.install(log=print)
    with serving(log=print) as server:
        found = measure(
            server, arguments.repeats, arguments.images, lambda text: print(text, flush=True)
        )
    names = ("onnxruntime", "tritonclient", "grpcio", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    where = f"{platform.machine()}, {os.cpu_count()} cores; Triton {environment.TRITON}, {versions}"
    lines = [
        *table(found),
        "",
        f"{arguments.repeats} repeats of {arguments.images} images; {where}.",
    ]
    print("\n".join(lines))
    if arguments.markdown:
        arguments.markdown.write_text("\n".join(lines) + "\n")
    rows = {
        str(way): [(asdict(value), base) for value, base in costs] for way, costs in found.items()
    }
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
