"""Real Triton servers for tests, and model repositories in which something is wrong.

A repository starts as a copy of the real one (``copy_repository``); ``add_version`` puts a changed
graph beside version 1 or over it. Each changed graph is stamped anew, so it has a fingerprint of
its own, and has its record, so the embedded backend takes it as well.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import psutil

from serving.backends.protocol import Request
from serving.backends.triton import TritonBackend
from serving.backends.triton_settings import TritonSettings
from serving.contracts import CONTRACTS, FINGERPRINT
from serving.detectors import DetectionResult, DetectorSet
from serving.graphs import keep_outputs
from serving.record import record_model
from serving.registry import LICENCE_FILE, MODEL_FILE, RECORD_FILE
from serving.server import environment
from serving.server.process import TritonServer

FACE, PLATE = "face_detector", "plate_detector"
POISON = (13, 7)
"""Red and green of the first pixel, over which the graph of ``fails_on_poison`` fails."""

Change = Callable[[onnx.ModelProto], None]


def why_no_server() -> str:
    """Why this platform cannot run the server from PyPI; empty if it can."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"Triton from PyPI needs Linux on x86_64, not {sys.platform} {platform.machine()}"
    if sys.version_info[:2] not in {(3, 11), (3, 12)}:
        return f"Triton from PyPI needs Python 3.11 or 3.12, not {platform.python_version()}"
    return ""


# model repositories


def copy_repository(
    source: Path, target: Path, models: Sequence[str] = tuple(CONTRACTS), *, instances: int = 1
) -> Path:
    """Version 1 of ``models``, with fewer instances than usual: they start sooner."""
    for model in models:
        version = (MODEL_FILE, RECORD_FILE, LICENCE_FILE)
        for part in ("config.pbtxt", "configs/cpu.pbtxt", *(f"1/{name}" for name in version)):
            place = target / model / part
            if not (source / model / part).is_file():
                continue  # what is our own needs no licence of others
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / model / part, place)
        config = target / model / "configs/cpu.pbtxt"
        config.write_text(re.sub(r"count: \d+", f"count: {instances}", config.read_text()))
    return target


def edit_config(
    repository: Path, model: str, old: str, new: str, names: Sequence[str] = ("", "cpu")
) -> None:
    """Replace ``old`` in a model's configurations: the usual one is named ``""``."""
    for name in names:
        path = repository / model / (f"configs/{name}.pbtxt" if name else "config.pbtxt")
        text = path.read_text()
        assert old in text, f"{path} has no {old}"
        path.write_text(text.replace(old, new))


def limit_queue(repository: Path, model: str, size: int) -> None:
    """Have ``model`` take one request at a time, and refuse more while ``size`` wait."""
    edit_config(repository, model, "max_batch_size: 16", "max_batch_size: 1")
    edit_config(repository, model, "max_queue_size: 128", f"max_queue_size: {size}")


def add_version(repository: Path, model: str, version: int, change: Change) -> str:
    """Write version 1's graph with ``change`` as ``version`` (1: in its place).

    Returns:
        The fingerprint of the new graph, 16 hex digits.
    """
    contract = CONTRACTS[model]
    graph = onnx.load(repository / model / "1" / MODEL_FILE)
    keep_outputs(graph, [spec.name for spec in contract.outputs if spec != FINGERPRINT])
    change(graph)
    path = repository / model / str(version) / MODEL_FILE
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return record_model(path).fingerprint


def other_weights(model: onnx.ModelProto) -> None:
    """A sound model that answers a little differently: one filter is a millionth stronger."""
    weight = next(item for item in model.graph.initializer if len(item.dims) == 4)
    value = onnx.numpy_helper.to_array(weight) * np.float32(1 + 1e-6)
    weight.CopyFrom(onnx.numpy_helper.from_array(value, weight.name))


def zeros(model: onnx.ModelProto) -> None:
    """Every number is 0, as from a server whose numpy does not fit."""
    for name, kind in (("boxes", 1), ("points", 1), ("count", 6), ("peak", 1)):
        _after(model, name, f"none = Cast<to = {kind}>(zero)\n{name} = Mul(was, none)")


def not_a_number(model: onnx.ModelProto) -> None:
    """Boxes are NaN."""
    _after(model, "boxes", "nan = Div(zero, zero)\nboxes = Add(was, nan)")


def shifted(model: onnx.ModelProto) -> None:
    """Boxes lie 20 px beside what they should cover."""
    _after(
        model,
        "boxes",
        """
        shift = Constant<value_floats = [20.0, 20.0, 20.0, 20.0, 0.0]>()
        moved = Add(was, shift)
        is_row = Greater(was, zero)
        boxes = Where(is_row, moved, was)
        """,
    )


def constant_rows(model: onnx.ModelProto) -> None:
    """The same box in every row, whatever is shown."""
    row = "[10.0, 10.0, 30.0, 30.0, 0.5]"
    _after(
        model,
        "boxes",
        f"""
        row = Constant<value_floats = {row}>()
        blank = Mul(was, zero)
        boxes = Add(blank, row)
        """,
    )
    _after(
        model,
        "count",
        """
        none = Cast<to = 6>(zero)
        all = Constant<value_ints = [1024]>()
        all_int = Cast<to = 6>(all)
        nothing = Mul(was, none)
        count = Add(nothing, all_int)
        """,
    )
    half = (
        "half = Constant<value_float = 0.5>()\nno_peak = Mul(was, zero)\npeak = Add(no_peak, half)"
    )
    _after(model, "peak", half)


def fails_on_poison(model: onnx.ModelProto) -> None:
    """ONNX Runtime fails over any batch with an input whose first pixel is ``POISON``.

    It gives the answers of version 1 to all others.
    """
    red, green = POISON
    _after(
        model,
        "peak",
        f"""
        from = Constant<value_ints = [0, 0, 0]>()
        to = Constant<value_ints = [1, 1, 2]>()
        axes = Constant<value_ints = [1, 2, 3]>()
        corner = Slice(image, from, to, axes)
        corner_int = Cast<to = 7>(corner)
        poison = Constant<value_ints = [{red}, {green}]>()
        difference = Sub(corner_int, poison)
        distance = Abs(difference)
        apart = ReduceSum<keepdims = 0>(distance, axes)
        nearest = ReduceMin<keepdims = 0>(apart)
        no_distance = Constant<value_int = 0>()
        is_poison = Equal(nearest, no_distance)
        index = Cast<to = 7>(is_poison)
        only_one = Constant<value_floats = [0.0]>()
        nothing = Gather(only_one, index)
        peak = Add(was, nothing)
        """,
    )


def _after(model: onnx.ModelProto, output: str, text: str) -> None:
    """Put nodes (ONNX text form) behind ``output``: they read it as ``was``, and make it anew.

    They may also read ``zero``, and ``image``.
    """
    was = f"{output}/was"
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == output:
                    names[index] = was
    zero = "zero = Constant<value_float = 0.0>()"
    graph = onnx.parser.parse_graph(f"more (float was) => (float {output}) {{\n{zero}\n{text}\n}}")
    outside = {"was": was, "image": "image", output: output}
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = outside.get(name, f"{output}/more/{name}")
    model.graph.node.extend(graph.node)


# servers


def make_server(
    repository: Path,
    folder: Path,
    *,
    options: Sequence[str] = (),
    ports: dict[str, int] | None = None,
) -> TritonServer:
    """A server that has not been started; its environment is installed if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    installed = environment.install()
    return TritonServer(installed, repository, folder, options=tuple(options), ports=ports)


@contextmanager
def running(
    repository: Path, folder: Path, *, options: Sequence[str] = ()
) -> Iterator[TritonServer]:
    """A server while it is needed."""
    server = make_server(repository, folder, options=options)
    server.start()
    try:
        yield server
    finally:
        kill(server)


def kill(server: TritonServer) -> None:
    """End a server without a word (which is sooner than to ask it), and its stubs."""
    if server.is_running():
        os.kill(server.pid, signal.SIGKILL)
    server.stop()


def stubs(server: TritonServer, model: str) -> list[psutil.Process]:
    """The processes in which a server runs ``model``."""
    children = psutil.Process(server.pid).children(recursive=True)
    return [child for child in children if any(model in word for word in child.cmdline()[1:])]


@contextmanager
def asking(*servers: TritonServer | str, **settings: object) -> Iterator[TritonBackend]:
    """A backend over servers, or their addresses."""
    urls = tuple(one if isinstance(one, str) else one.url for one in servers)
    backend = TritonBackend(TritonSettings(urls, **settings))  # type: ignore[arg-type]
    try:
        yield backend
    finally:
        backend.close()


# tensors


def tensor(seed: int, shape: tuple[int, int, int] = (1, 64, 96)) -> np.ndarray:
    """Noise, uint8 [N, H, W, 3]; never poison."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    pixels[:, 0, 0, 0] = seed % 13
    return pixels


def poisoned(seed: int, shape: tuple[int, int, int] = (1, 64, 96), row: int = 0) -> np.ndarray:
    """``tensor`` with an input over which ``fails_on_poison`` fails."""
    pixels = tensor(seed, shape)
    pixels[row, 0, 0, :2] = POISON
    return pixels


def request(pixels: np.ndarray, model: str = FACE, version: int | None = 1) -> Request:
    """A question about ``pixels``."""
    return Request(model, {"image": pixels}, version)


def found(detectors: DetectorSet, pixels: np.ndarray) -> DetectionResult:
    """What is found in ``pixels``, whatever the models ran on."""
    return replace(detectors.detect(pixels), runtime="")


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether two answers are equal to the bit, types and shapes included."""
    return list(one) == list(other) and all(
        (one[name].dtype, one[name].shape, one[name].tobytes())
        == (other[name].dtype, other[name].shape, other[name].tobytes())
        for name in one
    )
