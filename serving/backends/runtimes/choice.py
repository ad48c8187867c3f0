"""Which runtime, at which precision: the measured default (docs/benchmarks/runtimes.md)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, get_args

from serving.backends.runtimes.session import Session
from serving.contracts import ModelContract
from serving.errors import InvalidInput

Runtime = Literal["auto", "onnxruntime", "openvino"]

RUNTIMES: tuple[str, ...] = get_args(Runtime)

_CPU_INFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime that is there, and the precision of its detectors.

    Attributes:
        runtime: ``onnxruntime`` or ``openvino``.
        precision: ``f32`` or ``bf16``.
    """

    runtime: Literal["onnxruntime", "openvino"]
    precision: Literal["f32", "bf16"]

    def __str__(self) -> str:
        return f"{self.runtime} {self.precision}"

    def open(self, path: Path, contract: ModelContract, threads: int) -> Session:
        """Open ``path`` (``model.onnx``), which keeps ``contract``, on ``threads`` threads.

        Raises:
            ModelCorrupt: it cannot be opened.
        """
        if self.runtime == "onnxruntime":
            from serving.backends.runtimes import onnxruntime

            return onnxruntime.open_session(path, contract, threads)
        from serving.backends.runtimes import openvino

        return openvino.open_session(path, contract, threads, self.precision)


def choose_runtime(runtime: Runtime = "auto") -> Choice:
    """What ``runtime`` means on this machine.

    ``auto`` is OpenVINO in bfloat16 where the processor computes in it, for twice the speed, and
    ONNX Runtime elsewhere: OpenVINO in float32 is an eighth faster where all pictures have one
    size, not where they have many, and ONNX Runtime gives the very bytes a Triton server gives.

    Raises:
        InvalidInput: there is no such runtime, or it is not installed.
    """
    if runtime not in RUNTIMES:
        raise InvalidInput(
            f"{runtime!r} is not one of {', '.join(RUNTIMES)}",
            where="runtime",
            fix="Choose one of these",
        )
    if runtime == "onnxruntime" or (runtime == "auto" and not processor_has_bfloat16()):
        return Choice("onnxruntime", "f32")
    try:
        openvino = importlib.import_module("serving.backends.runtimes.openvino")
    except ImportError as error:
        if runtime == "auto":
            return Choice("onnxruntime", "f32")
        raise InvalidInput(
            f"OpenVINO cannot be imported ({error})",
            where="runtime openvino",
            fix="Run `pip install 'openvino>=2026.4'`, or choose the runtime onnxruntime",
        ) from error
    if processor_has_bfloat16() and openvino.bfloat16_supported():
        return Choice("openvino", "bf16")
    return Choice("onnxruntime" if runtime == "auto" else "openvino", "f32")


def runtime_in_force(runtime: Runtime = "auto") -> str:
    """Runtime and precision that ``runtime`` means on this machine, like ``openvino bf16``.

    Raises:
        InvalidInput: see ``choose_runtime``.
    """
    return str(choose_runtime(runtime))


@lru_cache(maxsize=1)
def processor_has_bfloat16() -> bool:
    """Whether the processor has instructions for bfloat16; False where that cannot be told.

    OpenVINO also reports it for processors on which it has to emulate it.
    """
    try:
        lines = _CPU_INFO.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return not _BFLOAT16_FLAGS.isdisjoint(flags.split())
