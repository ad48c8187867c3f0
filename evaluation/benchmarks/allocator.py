"""CPU and memory when a process keeps the memory it frees, against glibc's default.

``python -m evaluation.benchmarks.allocator [--repeats N] [--every N] [--data DIR]``

In child processes of their own, interleaved, medians of the repeats: detection on every fifth
picture of dev, without reading, decoding and the loading of the models; detection on pictures
enlarged to 2448x2048, with each runtime, in a thread that is not the main one, as Ray Data does it:
memory is kept either way, with one arena against as many as glibc likes; and the other steps
(decode, hand over, redact four faces, check) on one enlarged picture.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.benchmarks.children import Report, measure
from pipeline.blocks import pack, unpack
from pipeline.decode import decode_to_judge
from pipeline.encode import redact_image
from pipeline.images import ImageLimits, inspect_image
from pipeline.noise import NoiseKey
from pipeline.output_check import check_output
from pipeline.policy import DEFAULT_POLICY, load_policy
from pipeline.records import WorkItem
from pipeline.redaction import RedactionBox
from pipeline.stages.build import WORKER_KEPT_BYTES
from pipeline.stages.envelope import Envelope
from serving.allocator import ONE_ARENA, keep_freed_memory
from serving.backends.local import LocalBackend
from serving.backends.runtimes.choice import Runtime
from serving.detectors import DetectorSet, load_detectors
from serving.geometry import Box

Pixels = NDArray[np.uint8]
FULL = (2448, 2048)
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")


class Meter:
    """CPU seconds of what runs within it, added up; the system's share apart."""

    def __init__(self) -> None:
        self.report: Report = {"cpu_s": 0.0, "system_s": 0.0}

    def __enter__(self) -> None:
        self._before = resource.getrusage(resource.RUSAGE_SELF)

    def __exit__(self, *_: object) -> None:
        after, before = resource.getrusage(resource.RUSAGE_SELF), self._before
        system = after.ru_stime - before.ru_stime
        self.report["system_s"] += system
        self.report["cpu_s"] += after.ru_utime - before.ru_utime + system
        self.report["peak_mb"] = after.ru_maxrss / 1024


def judge(detectors: DetectorSet, pictures: Iterable[Pixels], pipe: Connection) -> None:
    """Detect on ``pictures``; send what it cost."""
    detectors.check()
    meter = Meter()
    for pixels in pictures:
        with meter:
            detectors.detect(pixels)
    pipe.send(meter.report)


def detection(keep: bool, paths: Sequence[Path], pipe: Connection) -> None:
    """Detect on ``paths``; send what it cost."""
    with nullcontext() if keep else patch("serving.backends.local.keep_freed_memory"):
        detectors = load_detectors(load_policy(DEFAULT_POLICY).models.model_dump())
    judge(detectors, map(read, paths), pipe)


def in_thread(runtime: Runtime, paths: Sequence[Path], pipe: Connection) -> None:
    """Detect on ten of ``paths``, enlarged, in a thread; send what it cost."""
    taken = [cv2.resize(read(path), FULL, interpolation=cv2.INTER_CUBIC) for path in paths[:10]]
    versions = load_policy(DEFAULT_POLICY).models.model_dump()
    detectors = DetectorSet(LocalBackend(runtime=runtime), versions)
    detectors.detect(np.asarray(taken[0]))
    thread = Thread(target=judge, args=(detectors, taken, pipe))
    thread.start()
    thread.join()


def read(path: Path) -> Pixels:
    """A picture, RGB."""
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise SystemExit(f"{path} cannot be read")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def other_steps(keep: bool, paths: Sequence[Path], pipe: Connection) -> None:
    """The other steps on the first of ``paths``, enlarged, 20 times; send what they cost."""
    if keep:
        keep_freed_memory(WORKER_KEPT_BYTES)
    large = cv2.resize(read(paths[0]), FULL, interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", large[:, :, ::-1])[1].tobytes()
    policy = load_policy(DEFAULT_POLICY)
    style = policy.face.style
    boxes = [
        RedactionBox.around(Box(x, 600, x + 100, 720), style, "face") for x in (500, 700, 900, 1100)
    ]
    item = WorkItem("a.jpg", "etag", len(data), 0, 0, "identity")
    meter = Meter()
    for number in range(21):
        with meter if number else nullcontext():  # the first also warms up
            info = inspect_image(data, ImageLimits())
            judged = decode_to_judge(data, info)
            unpack(pack([Envelope(item, data, info, judged)]))
            noise = NoiseKey(b"benchmark", str(number))
            made = redact_image(data, info, boxes, noise=noise, policy=policy)
            check_output(data, info, made.data, boxes, policy, spliced=made.spliced, whole=False)
    pipe.send(meter.report)


Side = Callable[[], Report]


def compare(name: str, plain: Side, ours: Side, repeats: int) -> dict[str, object]:
    """Medians of both sides, and their ratio."""
    runs: dict[str, list[Report]] = {"default": [], "kept": []}
    for _ in range(repeats):
        for way, side in (("default", plain), ("kept", ours)):
            runs[way].append(side())
            print(name, way, json.dumps(runs[way][-1]), flush=True)
    medians = {
        way: {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
        for way, found in runs.items()
    }
    ratio = round(medians["kept"]["cpu_s"] / medians["default"]["cpu_s"], 3)
    return {"ratio": ratio, **medians}


def threads(runtime: Runtime, paths: Sequence[Path], environment: dict[str, str]) -> Report:
    """``in_thread`` in a process with ``environment``."""
    with patch.dict(os.environ, environment):
        return measure(in_thread, runtime, paths)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--every", type=int, default=5, help="take every Nth picture")
    arguments = parser.parse_args()
    paths = sorted((Path(arguments.data) / "dev").rglob("*.jpg"))[:: arguments.every]
    n = arguments.repeats
    result = {
        "pictures": len(paths),
        "repeats": n,
        **{
            name: compare(
                name, partial(measure, side, False, paths), partial(measure, side, True, paths), n
            )
            for name, side in (("detection", detection), ("other_steps", other_steps))
        },
        **{
            f"{runtime}_in_thread": compare(
                runtime,
                partial(threads, runtime, paths, {}),
                partial(threads, runtime, paths, ONE_ARENA),
                n,
            )
            for runtime in RUNTIMES
        },
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
