"""What a server computes a model with, and how precisely: it decides which boxes are found."""

from __future__ import annotations

import hashlib
from typing import Any

SERVER = "triton"
UNKNOWN = "unknown"
_PLAIN = "onnxruntime f32"


def computes_with(config: Any) -> str:
    """``onnxruntime f32`` on a plain CPU, else words and a hash: ``onnxruntime fp16 gpu 1a2b3c4d``.

    The hash is of all that may change the arithmetic: backend, accelerators, parameters, devices.

    Args:
        config: a ``ModelConfig`` as a server tells it, with its defaults filled in.
    """
    backend = (config.backend or config.platform).removesuffix("_onnx")
    chosen = config.optimization.execution_accelerators
    accelerators = [*chosen.gpu_execution_accelerator, *chosen.cpu_execution_accelerator]
    kinds = sorted({type(group).Kind.Name(group.kind) for group in config.instance_group})
    devices = [kind.removeprefix("KIND_").lower() for kind in kinds]
    if backend == "onnxruntime" and not accelerators and devices == ["cpu"]:
        return _PLAIN
    told = [one.parameters.get("precision_mode", "").lower() for one in accelerators]
    parameters = sorted((key, value.string_value) for key, value in config.parameters.items())
    options = sorted((one.name, sorted(one.parameters.items())) for one in accelerators)
    exact = repr((backend, options, parameters, devices)).encode()
    digest = hashlib.sha256(exact).hexdigest()[:8]
    return " ".join([backend, *filter(None, told), *devices, digest])


def named(kinds: set[str]) -> str:
    """The runtime of servers that compute like ``kinds``, for the records."""
    return " ".join([SERVER, " and ".join(sorted(kinds or {UNKNOWN}))])


def kinds_of(runtime: str) -> frozenset[str]:
    """What is known of how servers compute, of what ``named`` gave; nothing of another runtime."""
    server, _, kinds = runtime.partition(" ")
    return frozenset(kinds.split(" and ") if server == SERVER and kinds else ()) - {UNKNOWN}


def same_boxes(one: str, other: str) -> bool:
    """Whether two runtimes are known to find the very same boxes.

    Servers that compute plainly on a CPU do what this process does in float32.
    """
    a, b = (text.removeprefix(f"{SERVER} ") for text in (one, other))
    return a == b and UNKNOWN not in a and a != SERVER
