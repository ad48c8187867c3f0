"""CPU of both detectors under each runtime, against ONNX Runtime in float32.

``python -m evaluation.benchmarks.runtimes [--repeats N] [--picture FILE] [--mixed EVERY]``

One picture of 2448 x 2048 pixels (any photograph, enlarged): native tiles and both low-resolution
passes, both detectors. All sides live in one process and take turns; medians of the repeats are
compared. Plans for single shapes are earned before anything is measured; ``without plans`` is the
same without them.

With ``--mixed`` every EVERYth picture of dev instead, each once: small pictures of some hundred
sizes, nearly each of which OpenVINO meets for the first time, the worst that can happen to it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.annotations import data_root
from pipeline.policy import DEFAULT_POLICY, load_policy
from serving.backends.local import LocalBackend
from serving.backends.protocol import Outputs
from serving.backends.runtimes.choice import Choice, choose_runtime
from serving.detectors import DetectorSet

SIZE = (2448, 2048)
WARM_UP = 50
BASE = "onnxruntime f32"


class MeteredBackend(LocalBackend):
    """Adds up the CPU seconds of its answers."""

    seconds = 0.0

    def infer(self, *args: Any, **options: Any) -> Outputs:
        """See ``InferenceBackend.infer``."""
        before = time.process_time()
        try:
            return super().infer(*args, **options)
        finally:
            self.seconds += time.process_time() - before


@contextmanager
def _without_plans() -> Iterator[None]:
    with patch("serving.backends.runtimes.openvino.PLAN_PRICE", 1 << 62):
        yield


def _open(choice: Choice) -> MeteredBackend:
    with patch("serving.backends.local.choose_runtime", lambda _: choice):
        return MeteredBackend()


def compare(pixels: NDArray[np.uint8], repeats: int) -> dict[str, dict[str, Any]]:
    """CPU ms of one picture by side: in the sessions alone, and in the whole of ``detect``."""
    fast = choose_runtime("openvino")
    sides: dict[str, tuple[Choice, AbstractContextManager[None]]] = {
        BASE: (Choice("onnxruntime", "f32"), nullcontext()),
        "openvino f32": (Choice("openvino", "f32"), nullcontext()),
        f"{fast}, without plans": (fast, _without_plans()),
        str(fast): (fast, nullcontext()),
    }
    versions = load_policy(DEFAULT_POLICY).models.model_dump()
    backends, detectors = {}, {}
    for name, (choice, context) in sides.items():
        with context:
            backends[name] = _open(choice)
            detectors[name] = DetectorSet(backends[name], versions)
            for _ in range(WARM_UP if name.startswith("openvino") else 2):
                detectors[name].detect(pixels)
    sessions: dict[str, list[float]] = {name: [] for name in sides}
    whole: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in detectors.items():
            backends[name].seconds, before = 0.0, time.process_time()
            side.detect(pixels)
            whole[name].append(1000 * (time.process_time() - before))
            sessions[name].append(1000 * backends[name].seconds)
    return {
        name: {
            "sessions_ms": round(statistics.median(sessions[name]), 1),
            "sessions_ratio": _ratio(sessions[BASE], sessions[name]),
            "detect_ms": round(statistics.median(whole[name]), 1),
            "detect_ratio": _ratio(whole[BASE], whole[name]),
        }
        for name in sides
    }


def compare_mixed(paths: Sequence[Path]) -> dict[str, Any]:
    """CPU seconds that ONNX Runtime and the fast runtime take for pictures of many sizes."""
    versions = load_policy(DEFAULT_POLICY).models.model_dump()
    fast = choose_runtime("openvino")
    sides = {
        str(choice): DetectorSet(_open(choice), versions)
        for choice in (Choice("onnxruntime", "f32"), fast)
    }
    for side in sides.values():
        side.check()
    seconds = dict.fromkeys(sides, 0.0)
    for path in paths:
        pixels = _read(path)
        for name, side in sides.items():
            before = time.process_time()
            side.detect(pixels)
            seconds[name] += time.process_time() - before
    return {
        "pictures": len(paths),
        **{name: round(value, 1) for name, value in seconds.items()},
        "ratio": round(seconds[BASE] / seconds[str(fast)], 2),
    }


def _read(path: Path) -> NDArray[np.uint8]:
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise SystemExit(f"{path} cannot be read")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def _ratio(base: list[float], other: list[float]) -> dict[str, float]:
    """How many times faster: the medians' ratio, and the range over the repeats."""
    each = [a / b for a, b in zip(base, other, strict=True)]
    median = statistics.median(base) / statistics.median(other)
    return {"median": round(median, 2), "least": round(min(each), 2), "most": round(max(each), 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--picture", type=Path, help="default: the first of facemask_ilc2021")
    parser.add_argument("--mixed", type=int, help="every Nth picture of dev instead")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    dev = data_root() / "dev"
    about: dict[str, Any] = {
        "default": str(choose_runtime("auto")),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {n: version(n) for n in ("onnxruntime", "openvino", "numpy")},
    }
    if given.mixed:
        paths = sorted(dev.glob("*/images/*.jpg"))[:: given.mixed]
        print(json.dumps({**compare_mixed(paths), **about}, indent=2))
        return
    folder = dev / "facemask_ilc2021" / "images"
    path = given.picture or min(folder.glob("*.jpg"), default=folder)
    large = cv2.resize(_read(path), SIZE, interpolation=cv2.INTER_CUBIC)
    sides = compare(np.asarray(large, np.uint8), given.repeats)
    size = f"{SIZE[0]} x {SIZE[1]}"
    print(
        json.dumps({"picture": size, "repeats": given.repeats, "sides": sides, **about}, indent=2)
    )


if __name__ == "__main__":
    main()
