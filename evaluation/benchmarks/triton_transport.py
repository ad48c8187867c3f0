"""CPU per image of a real Triton server by gRPC and by shared memory, against the same in-process.

``python -m evaluation.benchmarks.triton_transport [--repeats N] [--images N] [--markdown FILE]``

One image is one native tile of a 2448x2048 picture, uint8 [1312, 1120, 3], which both detectors
judge. CPU is that of this process and of the server with its model processes together, which no
other work on the machine touches. In each repeat each way is measured in turn, right after the same
batch in-process; the first repeat warms up and does not count. Printed are medians of the ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
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
        transport: ``in-process``, ``gRPC`` or ``shared memory``.
        batch: images a request.
        in_flight: requests under way.
    """

    transport: str
    batch: int
    in_flight: int


def ways() -> list[Way]:
    """All that are compared with in-process, where there is one request at a time."""
    return [
        Way(transport, batch, in_flight)
        for transport in ("gRPC", "shared memory")
        for batch in BATCHES
        for in_flight in IN_FLIGHT
    ]


def open_way(way: Way, url: str) -> InferenceBackend:
    """The backend of ``way``; float32 ONNX Runtime on one thread everywhere."""
    if way.transport == "in-process":
        return LocalBackend(runtime="onnxruntime")
    settings = TritonSettings(
        (url,),
        in_flight=way.in_flight,
        shared_memory=way.transport == "shared memory",
        slot_bytes=way.batch * int(np.prod(SHAPE)),
        timeout_s=300,
    )
    return TritonBackend(settings)


def picture() -> NDArray[np.uint8]:
    """A real picture of the size of a tile: the canary, repeated."""
    known = canary_pixels()
    high, wide = (-(-SHAPE[axis] // known.shape[axis]) for axis in (0, 1))
    return np.ascontiguousarray(np.tile(known, (high, wide, 1))[: SHAPE[0], : SHAPE[1]])


def cpu_seconds(server: TritonServer) -> float:
    """CPU that this process, the server and its model processes have used."""
    root = psutil.Process(server.pid)
    own = time.process_time()
    return own + sum(sum(one.cpu_times()[:2]) for one in [root, *root.children(recursive=True)])


def cost(way: Way, server: TritonServer, images: int) -> float:
    """CPU milliseconds an image."""
    backend = open_way(way, server.url)
    batch = np.repeat(picture()[None], way.batch, axis=0)

    def requests() -> Iterator[Request]:
        for _ in range(images // way.batch):
            for contract in DETECTORS:
                yield Request(contract.name, {"image": batch}, 1)

    try:
        for answer in backend.infer_many([Request(c.name, {"image": batch}, 1) for c in DETECTORS]):
            if not answer["count"].all():
                raise SystemExit("a model found nothing: nothing worth measuring")
        if isinstance(backend, TritonBackend):
            shares = [one.shares for one in backend.endpoints]
            if shares != [way.transport == "shared memory"]:
                raise SystemExit(f"{way}: shared memory is {shares}")
        before = cpu_seconds(server)
        for _ in backend.infer_many(requests()):
            pass
        return 1000 * (cpu_seconds(server) - before) / images
    finally:
        backend.close()


def measure(
    server: TritonServer, repeats: int, images: int, log: Callable[[str], None]
) -> dict[Way, list[tuple[float, float]]]:
    """Cost of each way, and in-process right before it, in each repeat that counts."""
    found: dict[Way, list[tuple[float, float]]] = {way: [] for way in ways()}
    for repeat in range(repeats + 1):
        for way, costs in found.items():
            base = cost(Way("in-process", way.batch, 1), server, images)
            value = cost(way, server, images)
            log(f"{repeat} {way}: {value:.1f}, in-process {base:.1f}, {value / base:.3f}")
            if repeat:
                costs.append((value, base))
    return found


def table(found: dict[Way, list[tuple[float, float]]]) -> list[str]:
    """A Markdown table: medians, and of the ratios to in-process median and range."""
    lines = [
        "| way | batch | in flight | CPU ms an image | in-process | ratio (least-most) |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for way, costs in found.items():
        ratios = [value / base for value, base in costs]
        spread = f"**{statistics.median(ratios):.2f}** ({min(ratios):.2f}-{max(ratios):.2f})"
        value, base = (statistics.median(side) for side in zip(*costs, strict=True))
        lines.append(
            f"| {way.transport} | {way.batch} | {way.in_flight} "
            f"| {value:.0f} | {base:.0f} | {spread} |"
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=8, help="images a way and repeat")
    parser.add_argument("--markdown", type=Path, help="write the table there as well")
    arguments = parser.parse_args()
    environment.install(log=print)
    with serving(log=print) as server:
        found = measure(server, arguments.repeats, arguments.images, lambda text: print(text))
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
    print(json.dumps({str(way): costs for way, costs in found.items()}))


if __name__ == "__main__":
    main()
