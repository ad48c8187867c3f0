"""CPU and memory of detection when the process keeps the memory it frees, against glibc's default.

``python -m evaluation.benchmarks.allocator [--repeats N] [--every N] [--data DIR]``

Every fifth picture of dev (by default) goes through the detectors, in child processes of their
own, interleaved; only detection is counted, without reading, decoding and the loading of the
models. Medians of the repeats are compared.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np

from evaluation.benchmarks.children import Report, measure
from pipeline.policy import DEFAULT_POLICY, load_policy
from serving.detectors import load_detectors


def one_side(keep: bool, paths: Sequence[Path], pipe: Connection) -> None:
    """Detect on ``paths``; send the CPU seconds and the peak memory of this process in MB."""
    with nullcontext() if keep else patch("serving.backends.local.keep_freed_memory"):
        detectors = load_detectors(load_policy(DEFAULT_POLICY).models.model_dump())
    detectors.check()
    spent = 0.0
    system = 0.0
    for path in paths:
        bgr = cv2.imread(str(path))
        if bgr is None:
            continue
        pixels = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
        before = resource.getrusage(resource.RUSAGE_SELF)
        detectors.detect(pixels)
        after = resource.getrusage(resource.RUSAGE_SELF)
        system += after.ru_stime - before.ru_stime
        spent += after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send({"cpu_s": spent, "system_s": system, "peak_mb": peak})


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--data", default=os.environ.get("STREETBLUR_DATA", "../shared/data"))
    parser.add_argument("--every", type=int, default=5, help="take every Nth picture")
    arguments = parser.parse_args()
    paths = sorted((Path(arguments.data) / "dev").rglob("*.jpg"))[:: arguments.every]
    runs: dict[str, list[Report]] = {"default": [], "kept": []}
    for _ in range(arguments.repeats):
        for name, found in runs.items():
            found.append(measure(one_side, name == "kept", paths))
            print(name, json.dumps(found[-1]), flush=True)
    medians = {
        name: {key: round(statistics.median(one[key] for one in found), 2) for key in found[0]}
        for name, found in runs.items()
    }
    result = {
        "pictures": len(paths),
        "repeats": arguments.repeats,
        "ratio": round(medians["kept"]["cpu_s"] / medians["default"]["cpu_s"], 3),
        **medians,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in ("onnxruntime", "numpy")},
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
