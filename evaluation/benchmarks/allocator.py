"""CPU and memory when a process keeps the memory it frees, against glibc's default.

``python -m evaluation.benchmarks.allocator [--repeats N] [--every N] [--data DIR]``

Three parts, in child processes of their own, interleaved: detection on every fifth picture of dev,
without reading, decoding and the loading of the models; the same in a thread that is not the main
one, as Ray Data does it, keeping memory, with one arena against glibc's default; and the other
steps (decode, hand over, redact four faces, check) on one picture of dev enlarged to 5 megapixels.
Medians of the repeats are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import cv2
import numpy as np

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
from serving.detectors import load_detectors
from serving.geometry import Box


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


def detection(keep: bool, paths: Sequence[Path], pipe: Connection) -> None:
    """Detect on ``paths``; send what it cost."""
    with nullcontext() if keep else patch("serving.backends.local.keep_freed_memory"):
        detectors = load_detectors(load_policy(DEFAULT_POLICY).models.model_dump())
    detectors.check()
    meter = Meter()
    for path in paths:
        bgr = cv2.imread(str(path))
        if bgr is None:
            continue
        pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        with meter:
            detectors.detect(pixels)
    pipe.send(meter.report)


def detection_in_thread(keep: bool, paths: Sequence[Path], pipe: Connection) -> None:
    """As ``detection``, in another thread; the memory is to be kept either way."""
    thread = Thread(target=detection, args=(True, paths, pipe))
    thread.start()
    thread.join()


def other_steps(keep: bool, paths: Sequence[Path], pipe: Connection) -> None:
    """The other steps on the first of ``paths``, enlarged, 20 times; send what they cost."""
    if keep:
        keep_freed_memory(WORKER_KEPT_BYTES)
    small = cv2.imread(str(paths[0]))
    if small is None:
        raise SystemExit(f"{paths[0]} cannot be read")
    large = cv2.resize(small, (2448, 2048), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", large)[1].tobytes()
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
            (handed,) = unpack(pack([Envelope(item, data, info, judged)]))
            noise = NoiseKey(b"benchmark", str(number))
            made = redact_image(
                data, info, boxes, noise=noise, policy=policy, decoded=handed.pixels
            )
            check_output(data, info, made.data, boxes, policy, decoded=handed.pixels)
    pipe.send(meter.report)


@contextmanager
def one_arena() -> Iterator[None]:
    """Processes that are started within have one arena, as Ray's workers here."""
    with patch.dict(os.environ, ONE_ARENA):
        yield


def compare(
    one_side: Callable[..., None], paths: Sequence[Path], repeats: int
) -> dict[str, object]:
    """Medians of both ways, and their ratio."""
    runs: dict[str, list[Report]] = {"default": [], "kept": []}
    for _ in range(repeats):
        for name, found in runs.items():
            with one_arena() if name == "kept" else nullcontext():
                found.append(measure(one_side, name == "kept", paths))
            print(one_side.__name__, name, json.dumps(found[-1]), flush=True)
    medians = {
        name: {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
        for name, found in runs.items()
    }
    ratio = round(medians["kept"]["cpu_s"] / medians["default"]["cpu_s"], 3)
    return {"ratio": ratio, **medians}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--every", type=int, default=5, help="take every Nth picture")
    arguments = parser.parse_args()
    paths = sorted((Path(arguments.data) / "dev").rglob("*.jpg"))[:: arguments.every]
    result = {
        "pictures": len(paths),
        "repeats": arguments.repeats,
        "detection": compare(detection, paths, arguments.repeats),
        "detection_in_thread": compare(detection_in_thread, paths, arguments.repeats),
        "other_steps": compare(other_steps, paths, arguments.repeats),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
